-- Alerts that people trust: why something was not told, silences made at run time, and refused webhooks by minute.

ALTER TABLE alert_transitions
    ADD COLUMN IF NOT EXISTS suppressed_by String DEFAULT '' COMMENT 'What kept this step from being told: a silence, a maintenance window, another alert; empty when nothing did',
    ADD COLUMN IF NOT EXISTS below_since Nullable(DateTime64(3, 'UTC')) DEFAULT NULL COMMENT 'Since when it is below its limit though it is kept firing (keep_firing_for)',
    COMMENT COLUMN kind 'Kind of the rule: budget, usage, latency, efficiency, policy, error_rate, spend_spike, no_data, unpriced_model, signature_failures, dead_letters, lag, sql; or report: the row is no alert but what a day, week or month came to',
    COMMENT COLUMN scope 'What the rule is applied to one by one: all, model, user, provider, source, or labels of a query',
    COMMENT COLUMN reason 'Why: held, fired, repeated, unsuppressed, kept, over_again, below, forgotten, period_ended, rule_removed; scheduled for a report',
    COMMENT COLUMN unit 'Unit of value and limit_value: usd, tokens, requests, ms, s, percent, number',
    COMMENT COLUMN threshold_percent 'Percent of the limit that was reached, for budget and usage; NULL for a forecast, and for all other kinds',
    COMMENT COLUMN details 'JSON: top contributors, the newest event and notes at the time of the decision; or all of a report';

CREATE OR REPLACE VIEW alerts
(
    at DateTime64(3, 'UTC') COMMENT 'When it was decided, UTC',
    rule String COMMENT 'Name of the rule in the settings',
    kind LowCardinality(String) COMMENT 'Kind of the rule: budget, usage, latency, efficiency, policy, error_rate, spend_spike, no_data, unpriced_model, signature_failures, dead_letters, lag, sql',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    labels Map(String, String) COMMENT 'Labels of the rule',
    scope LowCardinality(String) COMMENT 'What the rule is applied to one by one: all, model, user, provider, source, or labels of a query',
    `group` String COMMENT 'Which model, user, … it is about. Empty for scope all, and for requests that have none',
    state LowCardinality(String) COMMENT 'pending, firing, resolved, inactive',
    reason LowCardinality(String) COMMENT 'Why: held, fired, repeated, unsuppressed, kept, over_again, below, forgotten, period_ended, rule_removed',
    notified Bool COMMENT 'Whether this step is told to people',
    suppressed_by String COMMENT 'What kept it from being told: a silence, a maintenance window, another alert; empty when nothing did',
    unit LowCardinality(String) COMMENT 'Unit of value and limit_value: usd, tokens, requests, ms, s, percent, number',
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
    at, rule, kind, severity, labels, scope, `group`, state, reason, notify AS notified, suppressed_by, unit, value, value_usd,
    limit_value, limit_usd, ifNull(toFloat64(threshold_percent), limit_value) AS threshold, period, period_start, since,
    requests, priced_requests, fingerprint
FROM alert_transitions
WHERE kind != 'report'
ORDER BY at, revision
LIMIT 1 BY transition_id
COMMENT 'One row per step of an alert';

CREATE TABLE IF NOT EXISTS alert_silences
(
    id String COMMENT 'Names the silence',
    rule String COMMENT 'Glob for the rule; empty for any',
    `group` String COMMENT 'Glob for the group; empty for any',
    severity String COMMENT 'info, warning or critical; empty for any',
    labels Map(String, String) COMMENT 'Globs for labels that the rule must have',
    starts_at DateTime64(3, 'UTC') COMMENT 'From then on, UTC',
    ends_at DateTime64(3, 'UTC') COMMENT 'Until then, UTC; set to the time of expiry when it is ended early',
    comment String COMMENT 'Why, for people',
    version UInt64 COMMENT 'The row with the highest version counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
TTL toDateTime(ends_at) + INTERVAL 1 YEAR
COMMENT 'Silences made with heliometer silences add';

CREATE TABLE IF NOT EXISTS signature_failure_rows
(
    minute DateTime('UTC') COMMENT 'When they were counted: start of the minute, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender whose secrets did not fit',
    instance String COMMENT 'Which process counted them',
    failures UInt64 COMMENT 'Webhooks with a missing, malformed or wrong signature so far in this minute'
)
ENGINE = ReplacingMergeTree(failures)
ORDER BY (minute, source, instance)
TTL minute + INTERVAL 90 DAY
COMMENT 'Webhooks that were refused for their signature, by minute';
