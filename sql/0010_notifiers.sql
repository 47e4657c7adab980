-- Receivers beside Slack's webhook: threads, digests, and messages sent again by hand.

ALTER TABLE alert_deliveries
    ADD COLUMN IF NOT EXISTS thread String DEFAULT '' COMMENT 'What later messages about the alert answer: ts of Slack, Message-ID of an email',
    ADD COLUMN IF NOT EXISTS digest String DEFAULT '' COMMENT 'The digest that it was sent in, after an outage of the receiver. Empty: a message of its own',
    ADD COLUMN IF NOT EXISTS resend_at Nullable(DateTime64(3, 'UTC')) DEFAULT NULL COMMENT 'When somebody last asked for it to be sent again',
    COMMENT COLUMN notifier 'Name of the receiver in the settings';

CREATE OR REPLACE VIEW notifications
(
    at DateTime64(3, 'UTC') COMMENT 'When the last attempt ended, UTC; before the first one, when it was decided',
    fingerprint String COMMENT 'Names the alert: alerts.fingerprint',
    rule String COMMENT 'Name of the rule in the settings',
    notifier LowCardinality(String) COMMENT 'Name of the receiver in the settings',
    state LowCardinality(String) COMMENT 'pending (will be tried, or tried again), sent, or failed (given up)',
    attempts UInt32 COMMENT 'Attempts so far',
    error String COMMENT 'What went wrong at the last attempt',
    transition_id String COMMENT 'Which step of the alert',
    digest String COMMENT 'The digest that it was sent in, after an outage of the receiver. Empty: a message of its own',
    resend_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When somebody last asked for it to be sent again'
)
AS SELECT at, fingerprint, rule, notifier, state, attempts, error, transition_id, digest, resend_at
FROM alert_deliveries FINAL
UNION ALL
SELECT at, fingerprint, rule, receiver AS notifier, 'pending' AS state, toUInt32(0) AS attempts, '' AS error, transition_id,
    '' AS digest, CAST(NULL, 'Nullable(DateTime64(3, \'UTC\'))') AS resend_at
FROM alert_transitions
ARRAY JOIN notifiers AS receiver
WHERE notify AND (transition_id, receiver) NOT IN (SELECT transition_id, notifier FROM alert_deliveries)
LIMIT 1 BY transition_id, receiver
COMMENT 'One row per message and receiver';
