-- Alerts: what was decided, and what was delivered.
--
-- alert_transitions is append-only. One row is one step of one alert (pending, firing, resolved, inactive) and carries
-- the whole state after it, so that the newest row of each alert is enough to continue after a restart. The same row is
-- the outbox entry: what has notify = true and no final row in alert_deliveries is still to be sent.

CREATE TABLE IF NOT EXISTS alert_transitions
(
    transition_id String COMMENT 'Names this step, the same however often it is decided: SHA-256 in hex',
    fingerprint String COMMENT 'Names the alert (rule, group, threshold, period start or begin): SHA-256 in hex. Its steps share it',
    at DateTime64(3, 'UTC') COMMENT 'When the step was decided, UTC',
    rule String COMMENT 'Name of the rule in the settings',
    kind LowCardinality(String) COMMENT 'Kind of the rule: budget, usage, latency, efficiency',
    severity LowCardinality(String) COMMENT 'info, warning or critical, as the rule says',
    labels Map(String, String) COMMENT 'Labels of the rule',
    scope LowCardinality(String) COMMENT 'What the rule is applied to one by one: all, model, user, provider, source',
    `group` String COMMENT 'Which model, user, … it is about. Empty for scope all, and for requests that have none',
    state LowCardinality(String) COMMENT 'State after the step: pending, firing, resolved, inactive',
    reason LowCardinality(String) COMMENT 'Why: held, fired, repeated, below, period_ended, rule_removed',
    revision UInt32 COMMENT 'Counts the steps of this alert from 0',
    notify Bool COMMENT 'Whether people are to be told',
    notifiers Array(LowCardinality(String)) COMMENT 'Where it goes, if notify',
    measure String COMMENT 'What is measured, in words',
    unit LowCardinality(String) COMMENT 'Unit of value and limit_value: usd, tokens, requests, ms, percent',
    value Float64 COMMENT 'The measured value, in unit',
    value_usd Nullable(Decimal(38, 12)) COMMENT 'The same, exact, if unit is usd',
    limit_value Float64 COMMENT 'The limit that the value is measured against, in unit',
    limit_usd Nullable(Decimal(38, 12)) COMMENT 'The same, exact, if unit is usd',
    threshold_percent Nullable(UInt32) COMMENT 'Percent of the limit that was reached, for budget and usage',
    period String COMMENT 'The period or window for people, such as: month 2025-09 (UTC), last 5m',
    period_start Nullable(DateTime64(3, 'UTC')) COMMENT 'Start of the period, for budget and usage',
    period_end Nullable(DateTime64(3, 'UTC')) COMMENT 'End of the period, exclusive, for budget and usage',
    since DateTime64(3, 'UTC') COMMENT 'When the alert was first seen over its limit',
    last_notified_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When people were last told of this alert, this step included',
    requests UInt64 COMMENT 'Requests that the value stands on',
    priced_requests UInt64 COMMENT 'Those of them whose price is known',
    exceeding_requests Nullable(UInt64) COMMENT 'Requests over the limit by themselves, for latency and efficiency',
    details String COMMENT 'JSON: top contributors and the newest event at the time of the decision'
)
ENGINE = MergeTree
ORDER BY (at, rule, `group`)
TTL toDateTime(at) + INTERVAL 2 YEAR
COMMENT 'Every step of every alert, append-only. Also the outbox of notifications';

-- One row per message and receiver, replaced by later attempts. A final row always outlives an earlier one.
CREATE TABLE IF NOT EXISTS alert_deliveries
(
    transition_id String COMMENT 'Which step of which alert: alert_transitions.transition_id',
    notifier LowCardinality(String) COMMENT 'Where it goes: slack',
    fingerprint String COMMENT 'Names the alert',
    rule String COMMENT 'Name of the rule in the settings',
    state LowCardinality(String) COMMENT 'pending (will be tried again), sent, or failed (given up)',
    attempts UInt32 COMMENT 'Attempts so far',
    error String COMMENT 'What went wrong at the last attempt. Never holds a URL',
    at DateTime64(3, 'UTC') COMMENT 'When the last attempt ended, UTC',
    version UInt64 COMMENT 'The row with the highest version counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (transition_id, notifier)
TTL toDateTime(at) + INTERVAL 2 YEAR
COMMENT 'Delivery of notifications';

CREATE OR REPLACE VIEW alerts
(
    at DateTime64(3, 'UTC') COMMENT 'When it was decided, UTC',
    rule String COMMENT 'Name of the rule in the settings',
    kind LowCardinality(String) COMMENT 'Kind of the rule: budget, usage, latency, efficiency',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    labels Map(String, String) COMMENT 'Labels of the rule',
    scope LowCardinality(String) COMMENT 'What the rule is applied to one by one: all, model, user, provider, source',
    `group` String COMMENT 'Which model, user, … it is about. Empty for scope all, and for requests that have none',
    state LowCardinality(String) COMMENT 'pending, firing, resolved, inactive',
    reason LowCardinality(String) COMMENT 'Why: held, fired, repeated, below, period_ended, rule_removed',
    notified Bool COMMENT 'Whether this step is told to people',
    unit LowCardinality(String) COMMENT 'Unit of value and limit_value: usd, tokens, requests, ms, percent',
    value Float64 COMMENT 'The measured value, in unit',
    value_usd Nullable(Decimal(38, 12)) COMMENT 'The same, exact, if unit is usd',
    limit_value Float64 COMMENT 'The limit, in unit',
    limit_usd Nullable(Decimal(38, 12)) COMMENT 'The same, exact, if unit is usd',
    threshold Float64 COMMENT 'What was crossed: percent of the limit for budget and usage, else the limit itself',
    period String COMMENT 'The period or window for people',
    period_start Nullable(DateTime64(3, 'UTC')) COMMENT 'Start of the period, for budget and usage',
    since DateTime64(3, 'UTC') COMMENT 'When it was first seen over its limit',
    requests UInt64 COMMENT 'Requests that the value stands on',
    priced_requests UInt64 COMMENT 'Those of them whose price is known',
    fingerprint String COMMENT 'Names the alert; its steps share it'
)
AS SELECT
    at, rule, kind, severity, labels, scope, `group`, state, reason, notify AS notified, unit, value, value_usd,
    limit_value, limit_usd, ifNull(toFloat64(threshold_percent), limit_value) AS threshold, period, period_start, since,
    requests, priced_requests, fingerprint
FROM alert_transitions
ORDER BY at, revision
LIMIT 1 BY transition_id
COMMENT 'One row per step of an alert';

CREATE OR REPLACE VIEW notifications
(
    at DateTime64(3, 'UTC') COMMENT 'When the last attempt ended, UTC',
    fingerprint String COMMENT 'Names the alert: alerts.fingerprint',
    rule String COMMENT 'Name of the rule in the settings',
    notifier LowCardinality(String) COMMENT 'Where it went: slack',
    state LowCardinality(String) COMMENT 'pending (will be tried again), sent, or failed (given up)',
    attempts UInt32 COMMENT 'Attempts so far',
    error String COMMENT 'What went wrong at the last attempt',
    transition_id String COMMENT 'Which step of the alert'
)
AS SELECT at, fingerprint, rule, notifier, state, attempts, error, transition_id
FROM alert_deliveries FINAL
COMMENT 'One row per delivery of a notification';
