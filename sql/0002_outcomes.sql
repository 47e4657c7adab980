-- What became of every message: exactly one outcome per (partition, offset) of the topic `webhooks`.
-- received = stored + duplicate + test + dead-lettered + in flight.

CREATE TABLE IF NOT EXISTS outcome_rows
(
    log_partition  UInt16 COMMENT 'Partition of the event log',
    log_offset     UInt64 COMMENT 'Offset within the partition',
    outcome        LowCardinality(String) COMMENT 'stored, duplicate, test or dead_letter',
    reason         LowCardinality(String) COMMENT 'Why, for dead_letter; empty otherwise',
    source         LowCardinality(String) COMMENT 'Name of the sender',
    received_at    DateTime64(3, 'UTC') COMMENT 'When the webhook was received',
    version        UInt64 COMMENT 'The highest version of a message''s outcome is the valid one'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(received_at)
ORDER BY (log_partition, log_offset)
COMMENT 'Outcome of every message; read the view outcomes instead';

CREATE TABLE IF NOT EXISTS log_positions
(
    log_partition     UInt16 COMMENT 'Partition of the event log',
    start_offset      UInt64 COMMENT 'The oldest offset still kept',
    end_offset        UInt64 COMMENT 'Messages ever received in this partition: the offset that will be written next',
    committed_offset  UInt64 COMMENT 'Every smaller offset has its outcome',
    at                DateTime64(3, 'UTC') COMMENT 'When this was observed'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY log_partition
COMMENT 'How far each partition of the event log has been written and worked off';

CREATE OR REPLACE VIEW outcomes
(
    log_partition UInt16 COMMENT 'Partition of the event log',
    outcome String COMMENT 'received, stored, duplicate, test, dead_letter or in_flight',
    reason String COMMENT 'Why, for dead_letter; empty otherwise',
    messages Int64 COMMENT 'How many; in_flight is received minus all that have an outcome, and zero when everything is worked off',
    first_offset Nullable(UInt64) COMMENT 'Smallest offset with this outcome',
    last_offset Nullable(UInt64) COMMENT 'Largest offset with this outcome'
)
AS WITH
    decided AS
    (
        SELECT log_partition, outcome, reason, toInt64(count()) AS messages, min(log_offset) AS first_offset, max(log_offset) AS last_offset
        FROM outcome_rows FINAL
        GROUP BY log_partition, outcome, reason
    ),
    totals AS
    (
        -- Positions are written once a second, so outcomes can be ahead of them.
        SELECT log_partition, toInt64(greatest(max(end_offset), max(after_last))) AS received, sum(messages) AS with_outcome
        FROM
        (
            SELECT log_partition, end_offset, 0 AS after_last, 0 AS messages FROM log_positions FINAL
            UNION ALL
            SELECT log_partition, 0, max(log_offset) + 1, toInt64(count()) FROM outcome_rows FINAL GROUP BY log_partition
        )
        GROUP BY log_partition
    )
SELECT log_partition, toString(outcome) AS outcome, toString(reason) AS reason, messages,
       toNullable(first_offset) AS first_offset, toNullable(last_offset) AS last_offset
FROM decided
UNION ALL
SELECT log_partition, 'received', '', received, if(received > 0, toNullable(toUInt64(0)), NULL), if(received > 0, toNullable(toUInt64(received - 1)), NULL)
FROM totals
UNION ALL
SELECT log_partition, 'in_flight', '', received - with_outcome, NULL, NULL
FROM totals
COMMENT 'What became of every received message, per log partition';

CREATE TABLE IF NOT EXISTS dead_letter_rows
(
    log_partition           UInt16 COMMENT 'Partition the message came in',
    log_offset              UInt64 COMMENT 'Offset within it',
    received_at             DateTime64(3, 'UTC') COMMENT 'When the webhook was received',
    at                      DateTime64(3, 'UTC') COMMENT 'When it was given up',
    source                  LowCardinality(String) COMMENT 'Name of the sender',
    reason                  LowCardinality(String) COMMENT 'bad_json or no_request_id',
    detail                  String COMMENT 'What is wrong, without quoting the message',
    body_bytes              UInt64 COMMENT 'Size of the message',
    dead_letter_partition   UInt16 COMMENT 'Where the message is kept: partition of the topic dead-letter',
    dead_letter_offset      UInt64 COMMENT 'Where the message is kept: offset in that partition'
)
ENGINE = ReplacingMergeTree(at)
PARTITION BY toYYYYMM(received_at)
ORDER BY (log_partition, log_offset)
COMMENT 'Messages that could not be understood; read the view dead_letters instead';

CREATE OR REPLACE VIEW dead_letters
(
    at DateTime64(3, 'UTC') COMMENT 'When it was given up, UTC',
    received_at DateTime64(3, 'UTC') COMMENT 'When the webhook was received, UTC',
    source LowCardinality(String) COMMENT 'Name of the sender',
    reason LowCardinality(String) COMMENT 'bad_json or no_request_id',
    detail String COMMENT 'What is wrong, without quoting the message',
    body_bytes UInt64 COMMENT 'Size of the message',
    location String COMMENT 'Where the message is kept: topic/partition/offset',
    origin String COMMENT 'Where it came from: topic/partition/offset'
)
AS SELECT at, received_at, source, reason, detail, body_bytes,
    concat('dead-letter/', toString(dead_letter_partition), '/', toString(dead_letter_offset)) AS location,
    concat('webhooks/', toString(log_partition), '/', toString(log_offset)) AS origin
FROM dead_letter_rows FINAL
COMMENT 'Messages that could not be understood, and where each is kept';
