-- One row per LLM call, and every version of it.
--
-- A message that is written twice gives the same sorting key, and what is fetched later arrives as a higher
-- `version` under that key, so the engine keeps one. Everything in the sorting key comes from the message
-- itself, never from the clock of whoever processed it. Query the view `requests`; it does the deduplication.

CREATE TABLE IF NOT EXISTS request_rows
(
    request_id          String COMMENT 'Helicone''s id of the LLM call, unique within a source',
    source              LowCardinality(String) COMMENT 'Name of the sender, as configured under [[sources]]',
    event_time          DateTime64(3, 'UTC') COMMENT 'When the call was made: the response body''s own time when that lies within 7 days before receipt, else the time of receipt',
    received_at         DateTime64(3, 'UTC') COMMENT 'When the webhook had been received in full',
    user_id             String COMMENT 'Who made the call; empty when the caller did not say',
    model               LowCardinality(String) COMMENT 'Model name as the provider reports it, usually dated; empty when unknown',
    provider            LowCardinality(String) COMMENT 'Provider in upper case, or a custom host; empty when unknown',
    prompt_tokens       Nullable(UInt64) COMMENT 'Input tokens without cached ones; NULL when not known',
    completion_tokens   Nullable(UInt64) COMMENT 'Output tokens; NULL when not known',
    total_tokens        Nullable(UInt64) COMMENT 'Prompt + completion tokens as reported; NULL when not known',
    cached_tokens       Nullable(UInt64) COMMENT 'Input tokens read from the provider''s cache, beside prompt_tokens; NULL when not known',
    cache_write_tokens  Nullable(UInt64) COMMENT 'Input tokens written to the provider''s cache, beside prompt_tokens; NULL when not known',
    reasoning_tokens    Nullable(UInt64) COMMENT 'Output tokens spent on reasoning, part of completion_tokens; NULL when not known',
    cost_usd            Nullable(Decimal(18, 12)) COMMENT 'Cost in USD; NULL = unpriced, which is never free',
    cost_source         LowCardinality(String) COMMENT 'Where cost_usd comes from: gateway (Helicone), provider (stated in the response), unpriced',
    gateway_cost_usd    Nullable(Decimal(18, 12)) COMMENT 'What the gateway reported, credible or not, so that drift shows',
    latency_ms          Nullable(UInt32) COMMENT 'Request to response in milliseconds; NULL when not known or not above zero',
    token_ratio         Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    is_inefficient      Bool COMMENT 'token_ratio was above limits.max_token_ratio when the row was written',
    status              LowCardinality(String) COMMENT 'success, error (the provider or gateway answered with an error) or unknown (no response body)',
    fetch_status        LowCardinality(String) COMMENT 'What became of request_response_url: fetched, none (no URL), disabled, not_found, expired, refused, failed, too_large, invalid, or test',
    is_test             Bool COMMENT 'Helicone''s test button; kept out of every total',
    log_partition       UInt16 COMMENT 'Partition of the event log the message came from',
    log_offset          UInt64 COMMENT 'Offset within that partition',
    version             UInt64 COMMENT 'The highest version of a key is the valid one',
    is_deleted          UInt8 COMMENT '1 = tombstone: the row was moved or withdrawn',
    inserted_at         DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') COMMENT 'When this version was written, one value per insert; rollups find what changed by it',
    INDEX inserted_at_range inserted_at TYPE minmax GRANULARITY 1,
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(event_time)
ORDER BY (source, toStartOfMinute(event_time), request_id)
COMMENT 'LLM calls in every version; read the view requests instead';

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
    reasoning_tokens Nullable(UInt64) COMMENT 'Output tokens spent on reasoning, part of completion_tokens; NULL when not known',
    cost_usd Nullable(Decimal(18, 12)) COMMENT 'Cost in USD; NULL = unpriced, which is never free',
    cost_source LowCardinality(String) COMMENT 'gateway, provider or unpriced',
    gateway_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the gateway reported, credible or not',
    latency_ms Nullable(UInt32) COMMENT 'Request to response in milliseconds; NULL when not known',
    token_ratio Nullable(Float64) COMMENT 'prompt_tokens / completion_tokens; NULL without completion tokens',
    is_inefficient Bool COMMENT 'token_ratio is above limits.max_token_ratio',
    status LowCardinality(String) COMMENT 'success, error or unknown',
    fetch_status LowCardinality(String) COMMENT 'What became of request_response_url',
    is_test Bool COMMENT 'Helicone''s test button; kept out of every total',
    log_partition UInt16 COMMENT 'Partition of the event log the message came from',
    log_offset UInt64 COMMENT 'Offset within that partition'
)
AS SELECT
    request_id, source, event_time, received_at, user_id, model, provider,
    prompt_tokens, completion_tokens, total_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
    cost_usd, cost_source, gateway_cost_usd, latency_ms, token_ratio, is_inefficient, status, fetch_status, is_test,
    log_partition, log_offset
FROM request_rows FINAL
COMMENT 'One row per LLM call, deduplicated. For totals over long ranges read model_minute, model_day, user_hour, user_month: they are small';
