//! The whole program from outside, on the real engine.

mod alerts;
