-- What a call is made of, and what it cost by whose word: the gateway's and the price book's amounts stand side by side, so
-- that drift shows, and a call without a price says why. Totals say of how many tokens their money speaks.
-- Defaults are spelled out so that consumers of the version before can go on inserting while they are replaced one by one.

ALTER TABLE request_rows
    ADD COLUMN IF NOT EXISTS cache_write_1h_tokens Nullable(UInt64) DEFAULT NULL COMMENT 'Of cache_write_tokens, those kept for an hour, the others for 5 minutes; NULL when not known' AFTER cache_write_tokens,
    ADD COLUMN IF NOT EXISTS prompt_audio_tokens Nullable(UInt64) DEFAULT NULL COMMENT 'Of prompt_tokens, audio; NULL when not known' AFTER reasoning_tokens,
    ADD COLUMN IF NOT EXISTS prompt_image_tokens Nullable(UInt64) DEFAULT NULL COMMENT 'Of prompt_tokens, images; NULL when not known' AFTER prompt_audio_tokens,
    ADD COLUMN IF NOT EXISTS completion_audio_tokens Nullable(UInt64) DEFAULT NULL COMMENT 'Of completion_tokens, audio; NULL when not known' AFTER prompt_image_tokens,
    ADD COLUMN IF NOT EXISTS completion_image_tokens Nullable(UInt64) DEFAULT NULL COMMENT 'Of completion_tokens, images; NULL when not known' AFTER completion_audio_tokens,
    ADD COLUMN IF NOT EXISTS cached_audio_tokens Nullable(UInt64) DEFAULT NULL COMMENT 'Of cached_tokens, audio; NULL when not known' AFTER completion_image_tokens,
    ADD COLUMN IF NOT EXISTS generated_images Nullable(UInt64) DEFAULT NULL COMMENT 'Images made, where they are not counted in tokens; NULL when not known' AFTER cached_audio_tokens,
    ADD COLUMN IF NOT EXISTS web_search_requests Nullable(UInt64) DEFAULT NULL COMMENT 'Searches that the provider made and charges; NULL when not known' AFTER generated_images,
    ADD COLUMN IF NOT EXISTS service_tier LowCardinality(String) DEFAULT '' COMMENT 'Tier of service as far as it changes prices: default, flex, priority, batch, fast or other; empty when not told' AFTER web_search_requests,
    ADD COLUMN IF NOT EXISTS usage_source LowCardinality(String) DEFAULT '' COMMENT 'Whose prompt_tokens and completion_tokens these are: gateway, body (the response, inline or stored), both (the gateway''s, completed by what the response tells of caches, reasoning, audio and images) or none' AFTER service_tier,
    ADD COLUMN IF NOT EXISTS provider_cost_usd Nullable(Decimal(18, 12)) DEFAULT NULL COMMENT 'What the provider states in the response, in USD' AFTER gateway_cost_usd,
    ADD COLUMN IF NOT EXISTS book_cost_usd Nullable(Decimal(18, 12)) DEFAULT NULL COMMENT 'What the price book makes of the usage in the response, in USD, whether it decided or not, so that drift shows; NULL when it cannot tell' AFTER provider_cost_usd,
    ADD COLUMN IF NOT EXISTS price_entry LowCardinality(String) DEFAULT '' COMMENT 'Entry of the price book that book_cost_usd comes from' AFTER book_cost_usd,
    ADD COLUMN IF NOT EXISTS unpriced_reason LowCardinality(String) DEFAULT '' COMMENT 'Why the price book could not tell; empty when it could' AFTER price_entry,
    COMMENT COLUMN cost_source 'Whose word cost_usd is: gateway (Helicone), provider (stated in the response), book (the price book) or unpriced',
    COMMENT COLUMN fetch_status 'What became of request_response_url: fetched, pending (asked for again later), helicone_api (the bodies came from Helicone''s API instead), none (no URL), disabled, not_found, expired, refused, failed, too_large, invalid, or test';

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
    log_partition UInt16 COMMENT 'Partition of the event log the message came from',
    log_offset UInt64 COMMENT 'Offset within that partition'
)
AS SELECT
    request_id, source, event_time, received_at, user_id, model, provider,
    prompt_tokens, completion_tokens, total_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens,
    reasoning_tokens, prompt_audio_tokens, prompt_image_tokens, completion_audio_tokens, completion_image_tokens,
    cached_audio_tokens, generated_images, web_search_requests, service_tier, usage_source,
    cost_usd, cost_source, gateway_cost_usd, provider_cost_usd, book_cost_usd, price_entry, unpriced_reason, latency_ms, token_ratio, is_inefficient, status, fetch_status, is_test,
    log_partition, log_offset
FROM request_rows FINAL
COMMENT 'One row per LLM call, deduplicated. For totals over long ranges read model_minute, model_day, user_hour, user_month: they are small';

ALTER TABLE model_minute_rows
    ADD COLUMN IF NOT EXISTS priced_tokens UInt64 DEFAULT 0 COMMENT 'Sum of the known total tokens of the priced requests' AFTER total_tokens;

ALTER TABLE model_day_rows
    ADD COLUMN IF NOT EXISTS priced_tokens UInt64 DEFAULT 0 COMMENT 'Sum of the known total tokens of the priced requests' AFTER total_tokens;

ALTER TABLE user_hour_rows
    ADD COLUMN IF NOT EXISTS priced_tokens UInt64 DEFAULT 0 COMMENT 'Sum of the known total tokens of the priced requests' AFTER total_tokens;

ALTER TABLE user_month_rows
    ADD COLUMN IF NOT EXISTS priced_tokens UInt64 DEFAULT 0 COMMENT 'Sum of the known total tokens of the priced requests' AFTER total_tokens;

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
    error_requests UInt64 COMMENT 'Calls that ended in an error'
)
AS WITH finalizeAggregation(latency_state) AS latency
SELECT bucket, source, model, provider,
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
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
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
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
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
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
    priced_tokens UInt64 COMMENT 'Sum of the known total tokens of the priced requests: cost_usd covers priced_tokens / total_tokens of the tokens',
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
    requests, priced_requests, cost_usd, prompt_tokens, completion_tokens, total_tokens, priced_tokens, cached_tokens,
    if(isNaN(latency[1]), NULL, round(latency[1], 1)) AS latency_p50_ms,
    if(isNaN(latency[2]), NULL, round(latency[2], 1)) AS latency_p95_ms,
    if(isNaN(latency[3]), NULL, round(latency[3], 1)) AS latency_p99_ms,
    if(completion_tokens = 0, NULL, prompt_tokens / completion_tokens) AS token_ratio,
    inefficient_requests, error_requests
FROM user_hour_rows FINAL
COMMENT 'Totals per hour and user and model';

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
    if(mapContains(own_limit_usd, user_id), toNullable(own_limit_usd[user_id]), default_limit_usd) AS limit_usd,
    toFloat64(sum(cost_usd) OVER (PARTITION BY bucket, user_id)) / nullIf(toFloat64(limit_usd), 0) AS limit_used_ratio
FROM user_month_rows FINAL
COMMENT 'Totals per UTC month, user and model, against the user''s limit';

CREATE OR REPLACE VIEW price_drift
(
    bucket DateTime('UTC') COMMENT 'Start of the UTC day',
    source LowCardinality(String) COMMENT 'Name of the sender',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    requests UInt64 COMMENT 'LLM calls for which both the gateway and the price book name an amount',
    gateway_cost_usd Decimal(38, 12) COMMENT 'Sum of the gateway''s amounts of these calls, in USD',
    book_cost_usd Decimal(38, 12) COMMENT 'Sum of the price book''s amounts of these calls, in USD',
    drift_usd Decimal(38, 12) COMMENT 'book_cost_usd - gateway_cost_usd',
    drift_ratio Nullable(Float64) COMMENT 'drift_usd / gateway_cost_usd',
    differing_requests UInt64 COMMENT 'Of these calls, those whose amounts differ by more than a millionth of a USD'
)
AS SELECT toStartOfDay(r.event_time, 'UTC') AS bucket, r.source AS source, r.provider AS provider, r.model AS model,
    count() AS requests,
    sum(toDecimal128(assumeNotNull(r.gateway_cost_usd), 12)) AS gateway_cost_usd,
    sum(toDecimal128(assumeNotNull(r.book_cost_usd), 12)) AS book_cost_usd,
    sum(toDecimal128(assumeNotNull(r.book_cost_usd), 12)) - sum(toDecimal128(assumeNotNull(r.gateway_cost_usd), 12)) AS drift_usd,
    toFloat64(sum(toDecimal128(assumeNotNull(r.book_cost_usd), 12)) - sum(toDecimal128(assumeNotNull(r.gateway_cost_usd), 12)))
        / nullIf(toFloat64(sum(toDecimal128(assumeNotNull(r.gateway_cost_usd), 12))), 0) AS drift_ratio,
    countIf(abs(assumeNotNull(r.book_cost_usd) - assumeNotNull(r.gateway_cost_usd)) > toDecimal64('0.000001', 12)) AS differing_requests
FROM request_rows AS r FINAL
WHERE NOT r.is_test AND r.gateway_cost_usd > 0 AND r.book_cost_usd IS NOT NULL
GROUP BY bucket, source, provider, model
COMMENT 'Where the gateway and the price book disagree, by day and model: read from the calls, so give it a range of time';

CREATE OR REPLACE VIEW unpriced_models
(
    bucket DateTime('UTC') COMMENT 'Start of the UTC day',
    source LowCardinality(String) COMMENT 'Name of the sender',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    reason LowCardinality(String) COMMENT 'Why the price book could not tell',
    requests UInt64 COMMENT 'Calls without a price',
    total_tokens UInt64 COMMENT 'Sum of their known total tokens'
)
AS SELECT toStartOfDay(r.event_time, 'UTC') AS bucket, r.source AS source, r.provider AS provider, r.model AS model,
    r.unpriced_reason AS reason, count() AS requests, ifNull(sum(r.total_tokens), 0) AS total_tokens
FROM request_rows AS r FINAL
WHERE NOT r.is_test AND r.cost_usd IS NULL
GROUP BY bucket, source, provider, model, reason
COMMENT 'Calls whose cost nobody knows, by day and model, and why: read from the calls, so give it a range of time';
