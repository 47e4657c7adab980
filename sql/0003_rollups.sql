-- Totals per bucket. They are recomputed from the deduplicated rows for every bucket that was touched, and the
-- new row replaces the old one; a group that has vanished gets a tombstone. Nothing is ever added up twice.
--
-- Latency is kept as a DDSketch with 1 % relative error, which merges exactly into coarser buckets.
-- Costs are sums of the priced requests; priced_requests / requests is how complete they are.

CREATE TABLE IF NOT EXISTS model_minute_rows
(
    bucket                DateTime('UTC') COMMENT 'Start of the minute',
    source                LowCardinality(String) COMMENT 'Name of the sender',
    model                 LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider              LowCardinality(String) COMMENT 'Provider; empty when unknown',
    requests              UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests       UInt64 COMMENT 'Of these, how many have a cost',
    cost_usd              Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens         UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens     UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens          UInt64 COMMENT 'Sum of the known total tokens',
    cached_tokens         UInt64 COMMENT 'Sum of the known cached tokens',
    inefficient_requests  UInt64 COMMENT 'Calls with a token ratio above the limit',
    error_requests        UInt64 COMMENT 'Calls that ended in an error',
    latency_state         AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) COMMENT 'Sketch of the known latencies in milliseconds',
    version               UInt64 COMMENT 'The highest version of a group is the valid one',
    is_deleted            UInt8 COMMENT '1 = the group has vanished from this bucket'
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, source, model, provider)
COMMENT 'Totals per minute and model; read the view model_minute instead';

CREATE TABLE IF NOT EXISTS model_day_rows AS model_minute_rows
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYear(bucket)
ORDER BY (bucket, source, model, provider)
COMMENT 'Totals per UTC day and model; read the view model_day instead';

CREATE TABLE IF NOT EXISTS user_hour_rows
(
    bucket                DateTime('UTC') COMMENT 'Start of the hour',
    source                LowCardinality(String) COMMENT 'Name of the sender',
    user_id               String COMMENT 'Who made the calls; empty when not said',
    model                 LowCardinality(String) COMMENT 'Model name; empty when unknown',
    requests              UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests       UInt64 COMMENT 'Of these, how many have a cost',
    cost_usd              Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens         UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens     UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens          UInt64 COMMENT 'Sum of the known total tokens',
    cached_tokens         UInt64 COMMENT 'Sum of the known cached tokens',
    inefficient_requests  UInt64 COMMENT 'Calls with a token ratio above the limit',
    error_requests        UInt64 COMMENT 'Calls that ended in an error',
    latency_state         AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) COMMENT 'Sketch of the known latencies in milliseconds',
    version               UInt64 COMMENT 'The highest version of a group is the valid one',
    is_deleted            UInt8 COMMENT '1 = the group has vanished from this bucket'
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, source, user_id, model)
COMMENT 'Totals per hour, user and model; read the view user_hour instead';

CREATE TABLE IF NOT EXISTS user_month_rows AS user_hour_rows
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYear(bucket)
ORDER BY (bucket, source, user_id, model)
COMMENT 'Totals per UTC month, user and model; read the view user_month instead';

CREATE TABLE IF NOT EXISTS rollup_passes
(
    name           LowCardinality(String) COMMENT 'Which rollup',
    watermark      DateTime64(3, 'UTC') COMMENT 'Rows inserted before this are in the rollups',
    last_version   UInt64 COMMENT 'Version the last pass wrote; the next writes a higher one',
    at             DateTime64(3, 'UTC') COMMENT 'When the pass ended'
)
ENGINE = ReplacingMergeTree(last_version)
ORDER BY name
COMMENT 'How far the rollups have come';

CREATE OR REPLACE VIEW model_minute
(
    bucket DateTime('UTC') COMMENT 'Start of the minute, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error'
)
AS WITH finalizeAggregation(latency_state) AS latency
SELECT bucket, source, model, provider,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests
FROM model_minute_rows FINAL
COMMENT 'Totals per minute and model';

CREATE OR REPLACE VIEW model_day
(
    bucket DateTime('UTC') COMMENT 'Start of the UTC day, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error'
)
AS WITH finalizeAggregation(latency_state) AS latency
SELECT bucket, source, model, provider,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests
FROM model_day_rows FINAL
COMMENT 'Totals per UTC day and model';

CREATE OR REPLACE VIEW user_hour
(
    bucket DateTime('UTC') COMMENT 'Start of the hour, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender',
    user_id String COMMENT 'Who made the calls; empty when not said',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error'
)
AS WITH finalizeAggregation(latency_state) AS latency
SELECT bucket, source, user_id, model,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests
FROM user_hour_rows FINAL
COMMENT 'Totals per hour and user and model';

-- Monthly limits of the `usage` alert rules, written when the service starts, so that user_month can show them.
CREATE TABLE IF NOT EXISTS user_limit_rows
(
    user_id     String COMMENT 'The user; empty for the limit of everyone without one of their own',
    is_default  Bool COMMENT 'The limit of everyone without one of their own',
    limit_usd   Decimal(38, 12) COMMENT 'Monthly limit in USD',
    version     UInt64 COMMENT 'The highest version of a limit is the valid one',
    is_deleted  UInt8 COMMENT '1 = the limit was removed from the settings'
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (is_default, user_id)
COMMENT 'Monthly limits per user in USD';

CREATE OR REPLACE VIEW user_month
(
    bucket DateTime('UTC') COMMENT 'Start of the UTC month',
    source LowCardinality(String) COMMENT 'Name of the sender',
    user_id String COMMENT 'Who made the calls; empty when not said',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    limit_usd Nullable(Decimal(38, 12)) COMMENT 'The user''s monthly limit over all models; NULL without one',
    limit_used_ratio Nullable(Float64) COMMENT 'The user''s spend of the month over all models and sources / limit_usd'
)
AS WITH
    finalizeAggregation(latency_state) AS latency,
    (SELECT toNullable(min(limit_usd)) FROM user_limit_rows FINAL WHERE is_default HAVING count() > 0) AS default_limit_usd,
    (SELECT groupArray((user_id, limit_usd)) FROM user_limit_rows FINAL WHERE NOT is_default) AS own_limits,
    mapFromArrays(own_limits.1, own_limits.2) AS own_limit_usd
SELECT bucket, source, user_id, model,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    if(mapContains(own_limit_usd, user_id), toNullable(own_limit_usd[user_id]), default_limit_usd) AS limit_usd,
    toFloat64(sum(cost_usd) OVER (PARTITION BY bucket, user_id)) / nullIf(toFloat64(limit_usd), 0) AS limit_used_ratio
FROM user_month_rows FINAL
COMMENT 'Totals per UTC month, user and model, against the user''s limit';
