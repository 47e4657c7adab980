-- Totals at every grain, by model and by user: minutes are computed from the rows, hours from minutes, days from hours, months
-- from days. Old hours are computed from the rows, because minutes by user are kept for a few days only.
-- A source may send a sample of its calls (sources.sample_rate_percent). What was counted and what is estimated from it
-- stand side by side and are never mixed; without sampling they are equal and the standard errors zero.
-- How long each table is kept is set by clickhouse.retention, which `migrate` and `serve` apply as TTLs.

ALTER TABLE request_rows
    ADD COLUMN IF NOT EXISTS sample_rate_percent Decimal(9, 6) DEFAULT 100 COMMENT 'Percent of its calls that the source sent when this one was received; 100 = all' AFTER is_test;

CREATE OR REPLACE VIEW requests
(
    request_id String COMMENT 'Helicone''s id of the LLM call, unique within a source',
    source LowCardinality(String) COMMENT 'Name of the sender',
    event_time DateTime64(3, 'UTC') COMMENT 'When the call was made, UTC',
    received_at DateTime64(3, 'UTC') COMMENT 'When the webhook was received, UTC',
    user_id String COMMENT 'Who made the call; empty when not said',
    model LowCardinality(String) COMMENT 'Model name as the provider reports it; empty when unknown',
    provider LowCardinality(String) COMMENT 'Provider in upper case, or a custom host; empty when unknown',
    prompt_tokens Nullable(UInt64) COMMENT 'Input tokens without cached ones; NULL when not known',
    completion_tokens Nullable(UInt64) COMMENT 'Output tokens; NULL when not known',
    total_tokens Nullable(UInt64) COMMENT 'Prompt + completion tokens as reported; NULL when not known',
    cached_tokens Nullable(UInt64) COMMENT 'Input tokens read from the provider''s cache; NULL when not known',
    cache_write_tokens Nullable(UInt64) COMMENT 'Input tokens written to the provider''s cache; NULL when not known',
    cache_write_1h_tokens Nullable(UInt64) COMMENT 'Of cache_write_tokens, those kept for an hour, the others for 5 minutes; NULL when not known',
    reasoning_tokens Nullable(UInt64) COMMENT 'Output tokens spent on reasoning, part of completion_tokens; NULL when not known',
    prompt_audio_tokens Nullable(UInt64) COMMENT 'Of prompt_tokens, audio; NULL when not known',
    prompt_image_tokens Nullable(UInt64) COMMENT 'Of prompt_tokens, images; NULL when not known',
    completion_audio_tokens Nullable(UInt64) COMMENT 'Of completion_tokens, audio; NULL when not known',
    completion_image_tokens Nullable(UInt64) COMMENT 'Of completion_tokens, images; NULL when not known',
    cached_audio_tokens Nullable(UInt64) COMMENT 'Of cached_tokens, audio; NULL when not known',
    generated_images Nullable(UInt64) COMMENT 'Images made, where they are not counted in tokens; NULL when not known',
    web_search_requests Nullable(UInt64) COMMENT 'Searches that the provider made and charges; NULL when not known',
    service_tier LowCardinality(String) COMMENT 'Tier of service as far as it changes prices: default, flex, priority, batch, fast or other; empty when not told',
    usage_source LowCardinality(String) COMMENT 'Whose prompt_tokens and completion_tokens these are: gateway, body (the response, inline or stored), both (the gateway''s, completed by what the response tells of caches, reasoning, audio and images) or none',
    cost_usd Nullable(Decimal(18, 12)) COMMENT 'Cost in USD; NULL = unpriced, which is never free',
    cost_source LowCardinality(String) COMMENT 'Whose word cost_usd is: gateway (Helicone), provider (stated in the response), book (the price book) or unpriced',
    gateway_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the gateway reported, credible or not',
    provider_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the provider states in the response, in USD',
    book_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the price book makes of the usage in the response, in USD, whether it decided or not, so that drift shows; NULL when it cannot tell',
    price_entry LowCardinality(String) COMMENT 'Entry of the price book that book_cost_usd comes from',
    unpriced_reason LowCardinality(String) COMMENT 'Why the price book could not tell; empty when it could',
    latency_ms Nullable(UInt32) COMMENT 'Request to response in milliseconds; NULL when not known',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    is_inefficient Bool COMMENT 'token_ratio is above limits.max_token_ratio',
    status LowCardinality(String) COMMENT 'success, error or unknown',
    fetch_status LowCardinality(String) COMMENT 'What became of request_response_url: fetched, pending (asked for again later), helicone_api (the bodies came from Helicone''s API instead), none (no URL), disabled, not_found, expired, refused, failed, too_large, invalid, or test',
    is_test Bool COMMENT 'Helicone''s test button; kept out of every total',
    sample_rate_percent Decimal(9, 6) COMMENT 'Percent of its calls that the source sent when this one was received: this row stands for 100 / sample_rate_percent calls',
    log_partition UInt16 COMMENT 'Partition of the event log the message came from',
    log_offset UInt64 COMMENT 'Offset within that partition'
)
AS SELECT
    request_id, source, event_time, received_at, user_id, model, provider,
    prompt_tokens, completion_tokens, total_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens,
    reasoning_tokens, prompt_audio_tokens, prompt_image_tokens, completion_audio_tokens, completion_image_tokens,
    cached_audio_tokens, generated_images, web_search_requests, service_tier, usage_source,
    cost_usd, cost_source, gateway_cost_usd, provider_cost_usd, book_cost_usd, price_entry, unpriced_reason,
    latency_ms, token_ratio, is_inefficient, status, fetch_status, is_test, sample_rate_percent,
    log_partition, log_offset
FROM request_rows FINAL
COMMENT 'One row per LLM call, deduplicated. For totals over long ranges read model_minute, model_day, user_hour, user_month: they are small';

ALTER TABLE model_minute_rows
    ADD COLUMN IF NOT EXISTS estimated_requests Float64 DEFAULT 0 COMMENT 'Estimate of all the source''s calls, from the sample that it sent: sum of 100 / sample_rate_percent' AFTER error_requests,
    ADD COLUMN IF NOT EXISTS estimated_cost_usd Decimal(38, 12) DEFAULT 0 COMMENT 'Estimate of the cost of all calls in USD: sum of cost_usd * 100 / sample_rate_percent, over the priced ones' AFTER estimated_requests,
    ADD COLUMN IF NOT EXISTS estimated_prompt_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the prompt tokens of all calls' AFTER estimated_cost_usd,
    ADD COLUMN IF NOT EXISTS estimated_completion_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the completion tokens of all calls' AFTER estimated_prompt_tokens,
    ADD COLUMN IF NOT EXISTS estimated_total_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the total tokens of all calls' AFTER estimated_completion_tokens,
    ADD COLUMN IF NOT EXISTS requests_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_requests (Horvitz-Thompson, each call sampled by itself): sum of (1 - p) / p², where p = sample_rate_percent / 100' AFTER estimated_total_tokens,
    ADD COLUMN IF NOT EXISTS cost_usd_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_cost_usd: sum of (1 - p) / p² * cost_usd²' AFTER requests_variance,
    ADD COLUMN IF NOT EXISTS total_tokens_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_total_tokens: sum of (1 - p) / p² * total_tokens²' AFTER cost_usd_variance;

ALTER TABLE model_day_rows
    ADD COLUMN IF NOT EXISTS estimated_requests Float64 DEFAULT 0 COMMENT 'Estimate of all the source''s calls, from the sample that it sent: sum of 100 / sample_rate_percent' AFTER error_requests,
    ADD COLUMN IF NOT EXISTS estimated_cost_usd Decimal(38, 12) DEFAULT 0 COMMENT 'Estimate of the cost of all calls in USD: sum of cost_usd * 100 / sample_rate_percent, over the priced ones' AFTER estimated_requests,
    ADD COLUMN IF NOT EXISTS estimated_prompt_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the prompt tokens of all calls' AFTER estimated_cost_usd,
    ADD COLUMN IF NOT EXISTS estimated_completion_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the completion tokens of all calls' AFTER estimated_prompt_tokens,
    ADD COLUMN IF NOT EXISTS estimated_total_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the total tokens of all calls' AFTER estimated_completion_tokens,
    ADD COLUMN IF NOT EXISTS requests_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_requests (Horvitz-Thompson, each call sampled by itself): sum of (1 - p) / p², where p = sample_rate_percent / 100' AFTER estimated_total_tokens,
    ADD COLUMN IF NOT EXISTS cost_usd_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_cost_usd: sum of (1 - p) / p² * cost_usd²' AFTER requests_variance,
    ADD COLUMN IF NOT EXISTS total_tokens_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_total_tokens: sum of (1 - p) / p² * total_tokens²' AFTER cost_usd_variance;

ALTER TABLE user_hour_rows
    ADD COLUMN IF NOT EXISTS estimated_requests Float64 DEFAULT 0 COMMENT 'Estimate of all the source''s calls, from the sample that it sent: sum of 100 / sample_rate_percent' AFTER error_requests,
    ADD COLUMN IF NOT EXISTS estimated_cost_usd Decimal(38, 12) DEFAULT 0 COMMENT 'Estimate of the cost of all calls in USD: sum of cost_usd * 100 / sample_rate_percent, over the priced ones' AFTER estimated_requests,
    ADD COLUMN IF NOT EXISTS estimated_prompt_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the prompt tokens of all calls' AFTER estimated_cost_usd,
    ADD COLUMN IF NOT EXISTS estimated_completion_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the completion tokens of all calls' AFTER estimated_prompt_tokens,
    ADD COLUMN IF NOT EXISTS estimated_total_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the total tokens of all calls' AFTER estimated_completion_tokens,
    ADD COLUMN IF NOT EXISTS requests_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_requests (Horvitz-Thompson, each call sampled by itself): sum of (1 - p) / p², where p = sample_rate_percent / 100' AFTER estimated_total_tokens,
    ADD COLUMN IF NOT EXISTS cost_usd_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_cost_usd: sum of (1 - p) / p² * cost_usd²' AFTER requests_variance,
    ADD COLUMN IF NOT EXISTS total_tokens_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_total_tokens: sum of (1 - p) / p² * total_tokens²' AFTER cost_usd_variance;

ALTER TABLE user_month_rows
    ADD COLUMN IF NOT EXISTS estimated_requests Float64 DEFAULT 0 COMMENT 'Estimate of all the source''s calls, from the sample that it sent: sum of 100 / sample_rate_percent' AFTER error_requests,
    ADD COLUMN IF NOT EXISTS estimated_cost_usd Decimal(38, 12) DEFAULT 0 COMMENT 'Estimate of the cost of all calls in USD: sum of cost_usd * 100 / sample_rate_percent, over the priced ones' AFTER estimated_requests,
    ADD COLUMN IF NOT EXISTS estimated_prompt_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the prompt tokens of all calls' AFTER estimated_cost_usd,
    ADD COLUMN IF NOT EXISTS estimated_completion_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the completion tokens of all calls' AFTER estimated_prompt_tokens,
    ADD COLUMN IF NOT EXISTS estimated_total_tokens Float64 DEFAULT 0 COMMENT 'Estimate of the total tokens of all calls' AFTER estimated_completion_tokens,
    ADD COLUMN IF NOT EXISTS requests_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_requests (Horvitz-Thompson, each call sampled by itself): sum of (1 - p) / p², where p = sample_rate_percent / 100' AFTER estimated_total_tokens,
    ADD COLUMN IF NOT EXISTS cost_usd_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_cost_usd: sum of (1 - p) / p² * cost_usd²' AFTER requests_variance,
    ADD COLUMN IF NOT EXISTS total_tokens_variance Float64 DEFAULT 0 COMMENT 'Variance of estimated_total_tokens: sum of (1 - p) / p² * total_tokens²' AFTER cost_usd_variance;

CREATE TABLE IF NOT EXISTS model_hour_rows AS model_minute_rows
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, source, model, provider)
COMMENT 'Totals per hour and model; read the view model_hour instead';

CREATE TABLE IF NOT EXISTS model_month_rows AS model_minute_rows
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYear(bucket)
ORDER BY (bucket, source, model, provider)
COMMENT 'Totals per UTC month and model; read the view model_month instead';

CREATE TABLE IF NOT EXISTS user_minute_rows AS user_hour_rows
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toDate(bucket)
ORDER BY (bucket, source, user_id, model)
COMMENT 'Totals per minute, user and model, of the last days; read the view user_minute instead';

-- By user first, since a month is computed for some users from all of its days.
CREATE TABLE IF NOT EXISTS user_day_rows AS user_hour_rows
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(bucket)
ORDER BY (source, user_id, model, bucket)
SETTINGS index_granularity = 512
COMMENT 'Totals per UTC day, user and model; read the view user_day instead';

ALTER TABLE model_hour_rows
    COMMENT COLUMN bucket 'Start of the hour';

ALTER TABLE model_day_rows
    COMMENT COLUMN bucket 'Start of the UTC day';

ALTER TABLE model_month_rows
    COMMENT COLUMN bucket 'Start of the UTC month';

ALTER TABLE user_minute_rows
    COMMENT COLUMN bucket 'Start of the minute';

ALTER TABLE user_day_rows
    COMMENT COLUMN bucket 'Start of the UTC day';

ALTER TABLE user_month_rows
    COMMENT COLUMN bucket 'Start of the UTC month';

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
AS WITH finalizeAggregation(latency_state) AS latency
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
AS WITH finalizeAggregation(latency_state) AS latency
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
AS WITH finalizeAggregation(latency_state) AS latency
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
AS WITH finalizeAggregation(latency_state) AS latency
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
AS WITH finalizeAggregation(latency_state) AS latency
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
AS WITH finalizeAggregation(latency_state) AS latency
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
AS WITH finalizeAggregation(latency_state) AS latency
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
    finalizeAggregation(latency_state) AS latency,
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

-- Minutes that somebody asked to be computed again: `heliometer verify --fix`.
CREATE TABLE IF NOT EXISTS recompute_requests
(
    source       LowCardinality(String) COMMENT 'Name of the sender',
    bucket       DateTime('UTC') COMMENT 'Start of the minute; its hour, day and month are computed again too',
    inserted_at  DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') COMMENT 'When it was asked for; rollups find it by this'
)
ENGINE = MergeTree
ORDER BY inserted_at
TTL toDateTime(inserted_at) + INTERVAL 7 DAY
COMMENT 'Minutes whose totals are to be computed again';

-- Older rows may have been removed. A horizon only moves forward, also when a longer retention is set later: what is before
-- it is not recomputed any more, since that would count what is left.
CREATE TABLE IF NOT EXISTS retention_horizons
(
    name     LowCardinality(String) COMMENT 'Table',
    horizon  DateTime64(3, 'UTC') COMMENT 'Rows before this may have been removed'
)
ENGINE = ReplacingMergeTree(horizon)
ORDER BY name
COMMENT 'How far back each table is complete';
