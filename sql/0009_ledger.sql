-- The ledger: proves that every message has its outcome, and remembers the proof, so that nothing old is counted again.
--
-- A checkpoint is one row per partition. It counts the outcomes of all offsets below `verified_offset`, and names the offsets
-- below it that had none (`missing`). The leader moves it on, see src/store/ledger/. Any older checkpoint of a partition is
-- true as well, it only says less: what it does not count is counted from outcome_rows. So the rows below it may be deleted.

CREATE TABLE IF NOT EXISTS ledger_checkpoints
(
    log_partition    UInt16 COMMENT 'Partition of the event log',
    verified_offset  UInt64 COMMENT 'Every smaller offset is in counted or in missing',
    counted          Array(Tuple(String, String, UInt64, UInt64, UInt64)) COMMENT 'What became of them: outcome, reason, messages, first and last offset',
    missing          Array(Tuple(UInt64, UInt64)) COMMENT 'Ranges of offsets, first and last, in order, that were committed and have no outcome; none of them is in counted',
    redecided        UInt64 COMMENT 'Messages that were seen to have two different outcomes, of which one counts',
    is_reset         Bool COMMENT 'The log ended before verified_offset: it was replaced, and its offsets begin anew',
    version          UInt64 COMMENT 'The highest version of a partition is the valid one',
    at               DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this was written'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY log_partition
COMMENT 'Up to where the outcomes of each partition are verified, and their counts; read the view outcomes instead';

-- The checkpoints are read once, as a value: read twice, they could have moved on in between. Rows that no checkpoint counts
-- are found by the primary key, in blocks of 65,536 offsets: from verified_offset to the log's end, and within missing.
CREATE OR REPLACE VIEW outcomes
(
    log_partition UInt16 COMMENT 'Partition of the event log',
    outcome String COMMENT 'received; stored, duplicate, test, dead_letter, in_flight, and missing if there are any: received is the sum of these',
    reason String COMMENT 'Why, for dead_letter; empty otherwise',
    messages Int64 COMMENT 'How many. in_flight: still to be worked off; missing: the log was committed, or its beginning deleted, and there is no outcome',
    first_offset Nullable(UInt64) COMMENT 'Smallest offset with this outcome',
    last_offset Nullable(UInt64) COMMENT 'Largest offset with this outcome'
)
AS WITH
    (
        SELECT groupArray((log_partition, end_offset, verified_offset, counted, missing))
        FROM
        (
            SELECT log_partition, max(end_offset) AS end_offset, max(verified_offset) AS verified_offset,
                   groupArrayArray(counted) AS counted, groupArrayArray(missing) AS missing
            FROM
            (
                SELECT log_partition, end_offset, toUInt64(0) AS verified_offset,
                       CAST([], 'Array(Tuple(String, String, UInt64, UInt64, UInt64))') AS counted,
                       CAST([], 'Array(Tuple(UInt64, UInt64))') AS missing
                FROM log_positions FINAL
                UNION ALL
                SELECT log_partition, toUInt64(0), verified_offset, counted, missing FROM ledger_checkpoints FINAL
            )
            GROUP BY log_partition
        )
    ) AS ledger,
    mapFromArrays(ledger.1, ledger.3) AS verified_of,
    mapFromArrays(ledger.1, ledger.5) AS missing_of,
    mapFromArrays(ledger.1, ledger.2) AS end_of
SELECT log_partition, line.1 AS outcome, line.2 AS reason, line.3 AS messages, line.4 AS first_offset, line.5 AS last_offset
FROM
(
    SELECT log_partition,
        groupArrayIf((outcome, reason, toInt64(messages), toNullable(first_offset), toNullable(last_offset)), outcome != '') AS decided,
        toInt64(sum(messages)) AS with_outcome,
        toInt64(greatest(end_of[log_partition], verified_of[log_partition], max(after_last))) AS received,
        missing_of[log_partition] AS gaps,
        toInt64(arraySum(gap -> gap.2 - gap.1 + 1, gaps)) - toInt64(sum(filled)) AS missing,
        arrayJoin(arrayConcat(
            decided,
            [('received', '', received, if(received > 0, toNullable(toUInt64(0)), NULL), if(received > 0, toNullable(toUInt64(received - 1)), NULL)),
             ('in_flight', '', received - with_outcome - missing, NULL, NULL)],
            if(missing > 0, [('missing', '', missing, toNullable(gaps[1].1), toNullable(gaps[-1].2))], []))) AS line
    FROM
    (
        SELECT log_partition, outcome, reason, sum(messages) AS messages, min(first_offset) AS first_offset,
               max(last_offset) AS last_offset, last_offset + 1 AS after_last, sum(filled) AS filled
        FROM
        (
            SELECT entry.1 AS log_partition, count.1 AS outcome, count.2 AS reason, count.3 AS messages,
                   count.4 AS first_offset, count.5 AS last_offset, toUInt64(0) AS filled
            FROM (SELECT arrayJoin(ledger) AS entry) ARRAY JOIN entry.4 AS count
            UNION ALL
            SELECT log_partition, toString(outcome), toString(reason), count(), min(log_offset), max(log_offset),
                   countIf(log_offset < verified_of[log_partition])
            FROM outcome_rows FINAL
            WHERE (log_partition, intDiv(log_offset, 65536)) IN
            (
                SELECT entry.1, arrayJoin(arrayConcat(
                    range(intDiv(entry.3, 65536), intDiv(greatest(entry.2, entry.3), 65536) + 2),
                    arrayFlatten(arrayMap(gap -> range(intDiv(gap.1, 65536), intDiv(gap.2, 65536) + 1), entry.5))))
                FROM (SELECT arrayJoin(ledger) AS entry)
            )
            AND (log_offset >= verified_of[log_partition]
                 OR arrayExists(gap -> log_offset BETWEEN gap.1 AND gap.2, missing_of[log_partition]))
            GROUP BY log_partition, outcome, reason
        )
        GROUP BY log_partition, outcome, reason
        UNION ALL
        -- Nothing, so that partitions without any outcome show up.
        SELECT entry.1, '', '', 0, 0, 0, 0, 0 FROM (SELECT arrayJoin(ledger) AS entry)
    )
    GROUP BY log_partition
)
COMMENT 'What became of every received message, per log partition. What is missing shows once the ledger has looked, within seconds';

CREATE TABLE IF NOT EXISTS log_layouts
(
    partitions  UInt32 COMMENT 'A number of partitions that the topic webhooks has, or had',
    at          DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When a consumer first found so many'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY partitions
COMMENT 'With more than one row, a request''s duplicates may be in other partitions than its first message';
