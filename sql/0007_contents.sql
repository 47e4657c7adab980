-- Request and response bodies, what was found in them, and scores for Helicone. Nothing is written here unless the section
-- `contents` of the settings says so.
--
-- content_rows holds what people said. It has rights of its own: the reader may not read it, nor the view `contents`, which
-- reads with the rights of whoever asks. inspection_rows and score_rows hold no text, so that everybody who may read
-- `requests` may read them too. Keys and versions are those of request_rows, hence writing a row again changes nothing.

CREATE TABLE IF NOT EXISTS content_rows
(
    request_id         String COMMENT 'requests.request_id',
    source             LowCardinality(String) COMMENT 'Name of the sender, requests.source',
    event_time         DateTime64(3, 'UTC') COMMENT 'When the call was made, requests.event_time',
    request_body       String COMMENT 'The request as JSON or plain text, after redaction and cutting; empty when there was none' CODEC(ZSTD(3)),
    response_body      String COMMENT 'The response as JSON or plain text, after redaction and cutting; empty when there was none' CODEC(ZSTD(3)),
    request_bytes      UInt64 COMMENT 'Size of the whole request before redaction and cutting',
    response_bytes     UInt64 COMMENT 'Size of the whole response before redaction and cutting',
    request_origin     LowCardinality(String) COMMENT 'Where the request is from: stored (the object at request_response_url), inline (the webhook), too_large (left out by Helicone) or missing',
    response_origin    LowCardinality(String) COMMENT 'Where the response is from, likewise',
    is_truncated       Bool COMMENT 'One of the two is not whole',
    redacted           Array(LowCardinality(String)) COMMENT 'Types that were looked for and replaced before storage: email, phone, card, iban, ssn, api_key',
    expires_at         DateTime('UTC') COMMENT 'The row is removed after this: receipt plus contents.retention_days when it was written',
    version            UInt64 COMMENT 'The highest version of a key is the valid one',
    is_deleted         UInt8 COMMENT '1 = tombstone: the row was withdrawn',
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(event_time)
ORDER BY (source, toStartOfMinute(event_time), request_id)
TTL expires_at
COMMENT 'Bodies of calls; only for users with rights of their own. Read the view contents instead';

CREATE OR REPLACE VIEW contents
(
    request_id String COMMENT 'requests.request_id',
    source LowCardinality(String) COMMENT 'Name of the sender',
    event_time DateTime64(3, 'UTC') COMMENT 'When the call was made, UTC',
    request_body String COMMENT 'The request as JSON or plain text, after redaction and cutting; empty when there was none',
    response_body String COMMENT 'The response as JSON or plain text, after redaction and cutting; empty when there was none',
    request_bytes UInt64 COMMENT 'Size of the whole request before redaction and cutting',
    response_bytes UInt64 COMMENT 'Size of the whole response before redaction and cutting',
    request_origin LowCardinality(String) COMMENT 'stored, inline, too_large or missing',
    response_origin LowCardinality(String) COMMENT 'stored, inline, too_large or missing',
    is_truncated Bool COMMENT 'One of the two is not whole',
    redacted Array(LowCardinality(String)) COMMENT 'Types that were looked for and replaced before storage',
    expires_at DateTime('UTC') COMMENT 'The row is removed after this'
)
AS SELECT
    request_id, source, event_time, request_body, response_body, request_bytes, response_bytes,
    request_origin, response_origin, is_truncated, redacted, expires_at
FROM content_rows FINAL
WHERE expires_at > now()
COMMENT 'Bodies of calls, one row per call. Needs rights of its own';

CREATE TABLE IF NOT EXISTS inspection_rows
(
    request_id   String COMMENT 'requests.request_id',
    source       LowCardinality(String) COMMENT 'Name of the sender, requests.source',
    event_time   DateTime64(3, 'UTC') COMMENT 'When the call was made, requests.event_time',
    user_id      String COMMENT 'Who made the call; empty when not said',
    model        LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider     LowCardinality(String) COMMENT 'Provider; empty when unknown',
    pii_email    Nullable(UInt16) COMMENT 'E-mail addresses in request and response; NULL = not looked for',
    pii_phone    Nullable(UInt16) COMMENT 'Telephone numbers; NULL = not looked for',
    pii_card     Nullable(UInt16) COMMENT 'Payment card numbers; NULL = not looked for',
    pii_iban     Nullable(UInt16) COMMENT 'Bank account numbers (IBAN); NULL = not looked for',
    pii_ssn      Nullable(UInt16) COMMENT 'US social security numbers; NULL = not looked for',
    pii_api_key  Nullable(UInt16) COMMENT 'API keys, tokens and private keys; NULL = not looked for',
    flags        Array(LowCardinality(String)) COMMENT 'Policies with action flag that matched',
    matches      Array(LowCardinality(String)) COMMENT 'All policies that matched',
    version      UInt64 COMMENT 'The highest version of a key is the valid one',
    is_deleted   UInt8 COMMENT '1 = tombstone: the row was withdrawn',
    inserted_at  DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') COMMENT 'When this version was written; alerts count by it',
    INDEX inserted_at_range inserted_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(event_time)
ORDER BY (source, toStartOfMinute(event_time), request_id)
COMMENT 'What was found in calls, without any of their text; read the view inspections instead';

CREATE OR REPLACE VIEW inspections
(
    request_id String COMMENT 'requests.request_id',
    source LowCardinality(String) COMMENT 'Name of the sender',
    event_time DateTime64(3, 'UTC') COMMENT 'When the call was made, UTC',
    user_id String COMMENT 'Who made the call; empty when not said',
    model LowCardinality(String) COMMENT 'Model name; empty when unknown',
    provider LowCardinality(String) COMMENT 'Provider; empty when unknown',
    pii_email Nullable(UInt16) COMMENT 'E-mail addresses in request and response; NULL = not looked for',
    pii_phone Nullable(UInt16) COMMENT 'Telephone numbers; NULL = not looked for',
    pii_card Nullable(UInt16) COMMENT 'Payment card numbers; NULL = not looked for',
    pii_iban Nullable(UInt16) COMMENT 'Bank account numbers (IBAN); NULL = not looked for',
    pii_ssn Nullable(UInt16) COMMENT 'US social security numbers; NULL = not looked for',
    pii_api_key Nullable(UInt16) COMMENT 'API keys, tokens and private keys; NULL = not looked for',
    flags Array(LowCardinality(String)) COMMENT 'Policies with action flag that matched',
    matches Array(LowCardinality(String)) COMMENT 'All policies that matched'
)
AS SELECT
    request_id, source, event_time, user_id, model, provider,
    pii_email, pii_phone, pii_card, pii_iban, pii_ssn, pii_api_key, flags, matches
FROM inspection_rows FINAL
COMMENT 'What was found in each call: personal data by type, and policies that matched. Never a piece of the text';

-- The outbox of scores. The consumer writes pending rows in the version of the call's row; the sender writes what came of
-- them one version higher.
CREATE TABLE IF NOT EXISTS score_rows
(
    request_id  String COMMENT 'requests.request_id',
    source      LowCardinality(String) COMMENT 'Name of the sender, requests.source',
    event_time  DateTime64(3, 'UTC') COMMENT 'When the call was made, requests.event_time',
    name        LowCardinality(String) COMMENT 'Name of the score at Helicone',
    value       Int64 COMMENT 'The score; 0 or 1 when is_boolean',
    is_boolean  Bool COMMENT 'The score is false or true',
    queued_at   DateTime64(3, 'UTC') COMMENT 'When the call was judged, UTC',
    state       LowCardinality(String) COMMENT 'pending, sent, or failed (given up)',
    attempts    UInt32 COMMENT 'Attempts at sending it so far',
    error       String COMMENT 'What went wrong at the last attempt; never a URL',
    at          DateTime64(3, 'UTC') COMMENT 'When this version was written, UTC',
    version     UInt64 COMMENT 'The highest version of a key is the valid one'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(event_time)
ORDER BY (source, toStartOfMinute(event_time), request_id, name)
TTL toDateTime(event_time) + INTERVAL 90 DAY
COMMENT 'Scores for Helicone; read the view scores instead';

CREATE OR REPLACE VIEW scores
(
    request_id String COMMENT 'requests.request_id',
    source LowCardinality(String) COMMENT 'Name of the sender',
    event_time DateTime64(3, 'UTC') COMMENT 'When the call was made, UTC',
    name LowCardinality(String) COMMENT 'Name of the score at Helicone',
    value Int64 COMMENT 'The score; 0 or 1 when is_boolean',
    is_boolean Bool COMMENT 'The score is false or true',
    queued_at DateTime64(3, 'UTC') COMMENT 'When the call was judged, UTC',
    state LowCardinality(String) COMMENT 'pending, sent, or failed (given up)',
    attempts UInt32 COMMENT 'Attempts at sending it so far',
    error String COMMENT 'What went wrong at the last attempt',
    at DateTime64(3, 'UTC') COMMENT 'When the last attempt ended, or the score was queued, UTC'
)
AS SELECT request_id, source, event_time, name, value, is_boolean, queued_at, state, attempts, error, at
FROM score_rows FINAL
COMMENT 'Scores of calls, and whether Helicone has them';
