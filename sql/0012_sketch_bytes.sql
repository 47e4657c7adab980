-- Sketches of latencies are stored as their bytes: making one takes some microseconds, also where its row is only looked at and
-- left out, as most are when a day or a month is computed for the users who made calls just now. latency_quantiles makes a
-- sketch of the bytes when a query asks for it. Several processes may apply this at once, so latency_state, which is what is
-- converted, never comes back. What is stored is converted in the background, about a million rows a second.

ALTER TABLE model_minute_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_minute_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_minute_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE model_minute_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

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
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling'
)
AS WITH finalizeAggregation(latency_quantiles) AS latency
SELECT bucket, source, model, provider,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error
FROM model_minute_rows FINAL
COMMENT 'Totals per minute and model';

ALTER TABLE model_hour_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_hour_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_hour_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE model_hour_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

CREATE OR REPLACE VIEW model_hour
(
    bucket DateTime('UTC') COMMENT 'Start of the hour, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling'
)
AS WITH finalizeAggregation(latency_quantiles) AS latency
SELECT bucket, source, model, provider,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error
FROM model_hour_rows FINAL
COMMENT 'Totals per hour and model';

ALTER TABLE model_day_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_day_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_day_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE model_day_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

CREATE OR REPLACE VIEW model_day
(
    bucket DateTime('UTC') COMMENT 'Start of the UTC day',
    source LowCardinality(String) COMMENT 'Name of the sender',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling'
)
AS WITH finalizeAggregation(latency_quantiles) AS latency
SELECT bucket, source, model, provider,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error
FROM model_day_rows FINAL
COMMENT 'Totals per UTC day and model';

ALTER TABLE model_month_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_month_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_month_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE model_month_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

CREATE OR REPLACE VIEW model_month
(
    bucket DateTime('UTC') COMMENT 'Start of the UTC month',
    source LowCardinality(String) COMMENT 'Name of the sender',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling'
)
AS WITH finalizeAggregation(latency_quantiles) AS latency
SELECT bucket, source, model, provider,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error
FROM model_month_rows FINAL
COMMENT 'Totals per UTC month and model';

ALTER TABLE user_minute_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_minute_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_minute_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE user_minute_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

CREATE OR REPLACE VIEW user_minute
(
    bucket DateTime('UTC') COMMENT 'Start of the minute, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender',
    user_id String COMMENT 'Who made the calls; empty when not said',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling'
)
AS WITH finalizeAggregation(latency_quantiles) AS latency
SELECT bucket, source, user_id, model,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error
FROM user_minute_rows FINAL
COMMENT 'Totals per minute, user and model, of the last clickhouse.retention.user_minute_days days';

ALTER TABLE user_hour_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_hour_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_hour_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE user_hour_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

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
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling'
)
AS WITH finalizeAggregation(latency_quantiles) AS latency
SELECT bucket, source, user_id, model,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error
FROM user_hour_rows FINAL
COMMENT 'Totals per hour, user and model';

ALTER TABLE user_day_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_day_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_day_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE user_day_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

CREATE OR REPLACE VIEW user_day
(
    bucket DateTime('UTC') COMMENT 'Start of the UTC day',
    source LowCardinality(String) COMMENT 'Name of the sender',
    user_id String COMMENT 'Who made the calls; empty when not said',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    requests UInt64 COMMENT 'LLM calls, each counted once, without tests',
    priced_requests UInt64 COMMENT 'Of these, how many have a cost: cost_usd covers priced_requests / requests of them',
    cost_usd Decimal(38, 12) COMMENT 'Sum of the known costs in USD',
    prompt_tokens UInt64 COMMENT 'Sum of the known prompt tokens',
    completion_tokens UInt64 COMMENT 'Sum of the known completion tokens',
    total_tokens UInt64 COMMENT 'Sum of the known total tokens',
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling'
)
AS WITH finalizeAggregation(latency_quantiles) AS latency
SELECT bucket, source, user_id, model,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error
FROM user_day_rows FINAL
COMMENT 'Totals per UTC day, user and model';

ALTER TABLE user_month_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_month_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_month_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_quantiles';

ALTER TABLE user_month_rows
    ADD COLUMN IF NOT EXISTS latency_quantiles AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

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
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
    cached_tokens UInt64 COMMENT 'Sum of the known cached tokens',
    latency_p50_ms Nullable(Float64) COMMENT 'Median latency in milliseconds, within 1 %; NULL when none is known',
    latency_p95_ms Nullable(Float64) COMMENT '95th percentile of latency in milliseconds, within 1 %',
    latency_p99_ms Nullable(Float64) COMMENT '99th percentile of latency in milliseconds, within 1 %',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    inefficient_requests UInt64 COMMENT 'Calls with a token ratio above limits.max_token_ratio',
    error_requests UInt64 COMMENT 'Calls that ended in an error',
    estimated_requests Float64 COMMENT 'Estimate of all the source''s calls, from the sample that it sent; equals requests without sampling',
    estimated_requests_standard_error Float64 COMMENT 'Standard error of estimated_requests; 0 without sampling',
    estimated_cost_usd Decimal(38, 12) COMMENT 'Estimate of the cost of all calls in USD; equals cost_usd without sampling, and covers priced calls only, as it does',
    estimated_cost_usd_standard_error Float64 COMMENT 'Standard error of estimated_cost_usd in USD; 0 without sampling',
    estimated_prompt_tokens Float64 COMMENT 'Estimate of the prompt tokens of all calls',
    estimated_completion_tokens Float64 COMMENT 'Estimate of the completion tokens of all calls',
    estimated_total_tokens Float64 COMMENT 'Estimate of the total tokens of all calls',
    estimated_total_tokens_standard_error Float64 COMMENT 'Standard error of estimated_total_tokens; 0 without sampling',
    limit_usd Nullable(Decimal(38, 12)) COMMENT 'The user''s monthly limit over all models; NULL without one',
    limit_used_ratio Nullable(Float64) COMMENT 'The user''s spend of the month over all models and sources / limit_usd'
)
AS WITH
    finalizeAggregation(latency_quantiles) AS latency,
    (SELECT toNullable(min(limit_usd)) FROM user_limit_rows FINAL WHERE is_default HAVING count() > 0) AS default_limit_usd,
    (SELECT groupArray((user_id, limit_usd)) FROM user_limit_rows FINAL WHERE NOT is_default) AS own_limits,
    mapFromArrays(own_limits.1, own_limits.2) AS own_limit_usd
SELECT bucket, source, user_id, model,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests,
    estimated_requests, sqrt(requests_variance) AS estimated_requests_standard_error,
    estimated_cost_usd, sqrt(cost_usd_variance) AS estimated_cost_usd_standard_error,
    estimated_prompt_tokens, estimated_completion_tokens, estimated_total_tokens,
    sqrt(total_tokens_variance) AS estimated_total_tokens_standard_error,
    if(mapContains(own_limit_usd, user_id), toNullable(own_limit_usd[user_id]), default_limit_usd) AS limit_usd,
    toFloat64(sum(cost_usd) OVER (PARTITION BY bucket, user_id)) / nullIf(toFloat64(limit_usd), 0) AS limit_used_ratio
FROM user_month_rows FINAL
COMMENT 'Totals per UTC month, user and model, against the user''s limit';
