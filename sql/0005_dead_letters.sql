-- What was done with dead letters. A message stays a dead letter in `outcomes` whatever happens to it here: replaying it
-- appends it to the log once more, as a message with an outcome of its own.

CREATE TABLE IF NOT EXISTS dead_letter_handlings
(
    log_partition  UInt16 COMMENT 'Partition the message came in',
    log_offset     UInt64 COMMENT 'Offset within it',
    state          LowCardinality(String) COMMENT 'replayed or dropped',
    replayed_as    String COMMENT 'Where the message was appended again: topic/partition/offset; empty when dropped',
    at             DateTime64(3, 'UTC') COMMENT 'When that was done'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (log_partition, log_offset)
COMMENT 'Dead letters that were replayed or dropped; read the view dead_letters instead';

CREATE OR REPLACE VIEW dead_letters
(
    at DateTime64(3, 'UTC') COMMENT 'When it was given up, UTC',
    received_at DateTime64(3, 'UTC') COMMENT 'When the webhook was received, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender',
    reason LowCardinality(String) COMMENT 'bad_json or no_request_id',
    detail String COMMENT 'What is wrong, without quoting the message',
    body_bytes UInt64 COMMENT 'Size of the message',
    location String COMMENT 'Where the message is kept: topic/partition/offset',
    origin String COMMENT 'Where it came from: topic/partition/offset',
    state String COMMENT 'pending, replayed or dropped',
    replayed_as String COMMENT 'Where it was appended again when replayed: topic/partition/offset; else empty',
    handled_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was replayed or dropped, UTC; NULL while pending'
)
AS SELECT letters.at AS at, received_at, source, reason, detail, body_bytes,
    concat('dead-letter/', toString(dead_letter_partition), '/', toString(dead_letter_offset)) AS location,
    concat('webhooks/', toString(letters.log_partition), '/', toString(letters.log_offset)) AS origin,
    -- Without a handling the joined columns are empty, or NULL where join_use_nulls is set.
    coalesce(nullIf(toString(handlings.state), ''), 'pending') AS state,
    coalesce(handlings.replayed_as, '') AS replayed_as,
    if(state = 'pending', NULL, handlings.at) AS handled_at
FROM (SELECT * FROM dead_letter_rows FINAL) AS letters
LEFT JOIN (SELECT * FROM dead_letter_handlings FINAL) AS handlings
    ON letters.log_partition = handlings.log_partition AND letters.log_offset = handlings.log_offset
COMMENT 'Messages that could not be understood, where each is kept, and what was done with it';
