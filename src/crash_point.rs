//! Places where the chaos tests let the program kill itself, as hard as `kill -9` does and at exactly the wrong moment.
//!
//! Only with the feature `crash-points`; else [`crash_point!`] is nothing at all. `HELIOMETER_CRASH_POINTS` says how likely
//! each place is to be the end whenever it is reached (`consumer-inserted=0.01,rollup-statement=0.005`), and
//! `HELIOMETER_CRASH_SEED` begins the random numbers.

#[cfg(feature = "crash-points")]
mod active;

#[cfg(feature = "crash-points")]
pub(crate) use active::{Point, reached};

/// May be the end of this process. The name is a variant of `active::Point`.
macro_rules! crash_point {
    ($name:ident) => {
        #[cfg(feature = "crash-points")]
        $crate::crash_point::reached($crate::crash_point::Point::$name);
    };
}

pub(crate) use crash_point;
