-- Sketches of latencies are stored as their bytes: making one takes some microseconds, also where its row is only looked at and
-- left out, as most are when a day or a month is computed for the users who made calls just now. The next file adds
-- latency_state, which makes a sketch of the bytes when a query asks for it. Two files, since each must be repeatable.
-- What is stored is converted, some million rows a second.

ALTER TABLE model_minute_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_minute_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_minute_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';

ALTER TABLE model_hour_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_hour_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_hour_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';

ALTER TABLE model_day_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_day_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_day_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';

ALTER TABLE model_month_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE model_month_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE model_month_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';

ALTER TABLE user_minute_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_minute_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_minute_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';

ALTER TABLE user_hour_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_hour_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_hour_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';

ALTER TABLE user_day_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_day_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_day_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';

ALTER TABLE user_month_rows
    MODIFY COLUMN IF EXISTS latency_state String;

ALTER TABLE user_month_rows
    RENAME COLUMN IF EXISTS latency_state TO latency_sketch;

ALTER TABLE user_month_rows
    COMMENT COLUMN latency_sketch 'Sketch of the known latencies in milliseconds, as its bytes; queries use latency_state';
