-- Sketches of latencies for queries, made of their stored bytes.

ALTER TABLE model_minute_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

ALTER TABLE model_hour_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

ALTER TABLE model_day_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

ALTER TABLE model_month_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

ALTER TABLE user_minute_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

ALTER TABLE user_hour_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

ALTER TABLE user_day_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;

ALTER TABLE user_month_rows
    ADD COLUMN IF NOT EXISTS latency_state AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32) ALIAS CAST(latency_sketch AS AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt32)) COMMENT 'Sketch of the known latencies in milliseconds, for quantilesDDMerge and finalizeAggregation' AFTER latency_sketch;
