-- Who may read what, on a ClickHouse server: change names, passwords and limits, and run it as an administrator once the tables are
-- there (`heliometer migrate`). On a cluster, every statement gets ON CLUSTER, or users are kept in a replicated directory.
-- The embedded engine has the same as settings: [[clickhouse.readers]].

-- Whoever has this profile may choose output formats and shorter limits, and change nothing.
CREATE SETTINGS PROFILE IF NOT EXISTS heliometer_read SETTINGS
    readonly = 2, max_execution_time = 60 MIN 1 MAX 600, max_memory_usage = 4000000000 MIN 1 MAX 4000000000;

-- 1. People and programs that may see every source, but not what was said (the view contents).
CREATE ROLE IF NOT EXISTS heliometer_read SETTINGS PROFILE 'heliometer_read';
GRANT SELECT ON heliometer.* TO heliometer_read;
REVOKE SELECT ON heliometer.contents FROM heliometer_read;
REVOKE SELECT ON heliometer.content_rows FROM heliometer_read;

-- 2. Those that may see the calls and totals of some sources only. A view reads its tables with the rights of whoever asks, so both
-- names matter. What is not about one source is not for them: alerts, notifications, outcomes.
CREATE ROLE IF NOT EXISTS heliometer_read_source SETTINGS PROFILE 'heliometer_read';
GRANT SELECT ON heliometer.requests TO heliometer_read_source;
GRANT SELECT ON heliometer.request_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.model_minute TO heliometer_read_source;
GRANT SELECT ON heliometer.model_minute_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.model_hour TO heliometer_read_source;
GRANT SELECT ON heliometer.model_hour_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.model_day TO heliometer_read_source;
GRANT SELECT ON heliometer.model_day_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.model_month TO heliometer_read_source;
GRANT SELECT ON heliometer.model_month_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.user_minute TO heliometer_read_source;
GRANT SELECT ON heliometer.user_minute_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.user_hour TO heliometer_read_source;
GRANT SELECT ON heliometer.user_hour_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.user_day TO heliometer_read_source;
GRANT SELECT ON heliometer.user_day_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.user_month TO heliometer_read_source;
GRANT SELECT ON heliometer.user_month_rows TO heliometer_read_source;
-- The monthly limits, without which user_month cannot be read.
GRANT SELECT ON heliometer.user_limit_rows TO heliometer_read_source;
GRANT SELECT ON heliometer.price_drift TO heliometer_read_source;
GRANT SELECT ON heliometer.unpriced_models TO heliometer_read_source;

-- As soon as a table has a policy for somebody, everybody else needs one that says "all rows".
CREATE ROW POLICY IF NOT EXISTS heliometer_all_rows ON
    heliometer.request_rows,
    heliometer.model_minute_rows, heliometer.model_hour_rows, heliometer.model_day_rows, heliometer.model_month_rows,
    heliometer.user_minute_rows, heliometer.user_hour_rows, heliometer.user_day_rows, heliometer.user_month_rows,
    heliometer.user_limit_rows
    USING 1 TO ALL EXCEPT heliometer_read_source;

-- 3. How much they may ask, each user by itself. A dashboard with fifteen panels that is shown all day asks some 900 queries an hour.
CREATE QUOTA IF NOT EXISTS heliometer_read KEYED BY user_name
    FOR INTERVAL 1 hour MAX queries = 20000, execution_time = 3600 TO heliometer_read;
CREATE QUOTA IF NOT EXISTS heliometer_read_source KEYED BY user_name
    FOR INTERVAL 1 hour MAX queries = 1000, execution_time = 600 TO heliometer_read_source;

-- 4. Grafana, Metabase, Superset or dbt: everything.
CREATE USER IF NOT EXISTS heliometer_grafana IDENTIFIED WITH sha256_password BY 'change-me-1' DEFAULT ROLE heliometer_read;
GRANT heliometer_read TO heliometer_grafana;

-- 5. A team that may see its own source, here `support`. These four statements again for each further team.
CREATE USER IF NOT EXISTS heliometer_support IDENTIFIED WITH sha256_password BY 'change-me-2' DEFAULT ROLE heliometer_read_source;
GRANT heliometer_read_source TO heliometer_support;
CREATE ROW POLICY IF NOT EXISTS heliometer_support ON
    heliometer.request_rows,
    heliometer.model_minute_rows, heliometer.model_hour_rows, heliometer.model_day_rows, heliometer.model_month_rows,
    heliometer.user_minute_rows, heliometer.user_hour_rows, heliometer.user_day_rows, heliometer.user_month_rows
    USING source = 'support' TO heliometer_support;
-- Of the limits, the common one and those of its own users.
CREATE ROW POLICY IF NOT EXISTS heliometer_support_limits ON heliometer.user_limit_rows
    USING is_default OR user_id IN (SELECT user_id FROM heliometer.user_month_rows WHERE source = 'support') TO heliometer_support;
