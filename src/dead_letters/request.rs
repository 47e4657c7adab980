//! What is to be done with which dead letters, as the command asks `serve` and as `serve` answers.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    event_log::{Position, Topic},
    store::PendingDeadLetter,
};

/// Bounds a request to the admin listener.
const MAX_LOCATIONS: usize = 1_000;

/// What is done with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Through the pipeline once more.
    Replay,
    /// No longer listed.
    Drop,
}

impl Action {
    /// The value of `dead_letters.state` afterwards.
    #[must_use]
    pub const fn state(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Drop => "dropped",
        }
    }

    /// The last part of the route `/dead-letters/…`.
    #[must_use]
    pub const fn route(self) -> &'static str {
        match self {
            Self::Replay => "/dead-letters/replay",
            Self::Drop => "/dead-letters/drop",
        }
    }
}

/// Where a dead letter is kept or came in, as the view `dead_letters` writes it in `location` and in `origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location(Position);

/// Why a text is no [`Location`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a location is topic/partition/offset, as `heliometer dead-letters list` shows it: dead-letter/0/7 or webhooks/0/12"
)]
pub struct LocationError;

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let position: Position = text.parse().map_err(|_| LocationError)?;
        match position.topic {
            Topic::Webhooks | Topic::DeadLetter => Ok(Self(position)),
            Topic::FetchRetry | Topic::Control => Err(LocationError),
        }
    }
}

impl TryFrom<String> for Location {
    type Error = LocationError;

    fn try_from(text: String) -> Result<Self, LocationError> {
        text.parse()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

/// Which pending dead letters are meant: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Only those given up for this reason.
    pub reason: Option<String>,
    /// Only those of this source.
    pub source: Option<String>,
    /// Only those that are kept, or came in, at one of these places.
    pub locations: Vec<Location>,
    /// Every one. Without any other part, this must be said.
    pub all: bool,
}

impl Selector {
    /// Whether it says clearly what it means: a forgotten option must not mean everything.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_narrowed = self.reason.is_some() || self.source.is_some() || !self.locations.is_empty();
        if self.all == is_narrowed {
            return Err("say which dead letters: by reason, source or locations, or all of them, but not both");
        }
        if self.locations.len() > MAX_LOCATIONS {
            return Err("at most 1000 locations at once");
        }
        Ok(())
    }

    /// Whether this dead letter is meant.
    #[must_use]
    pub fn matches(&self, letter: &PendingDeadLetter) -> bool {
        let is_at = |Location(at): &Location| match at.topic {
            Topic::Webhooks => (at.partition.0, at.offset.0) == (letter.log_partition, letter.log_offset),
            _ => (at.partition.0, at.offset.0) == (letter.dead_letter_partition, letter.dead_letter_offset),
        };
        self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && self.source.as_ref().is_none_or(|source| *source == letter.source)
            && (self.locations.is_empty() || self.locations.iter().any(is_at))
    }
}

/// The body of `POST /dead-letters/replay` and `/dead-letters/drop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlingRequest {
    /// Which ones.
    pub selector: Selector,
    /// Only count them.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    /// Dead letters that were meant.
    pub matched: u64,
    /// Of these, replayed or dropped now; 0 in a dry run.
    pub handled: u64,
    /// Of these, not replayed since the log no longer keeps them. They stay pending.
    pub no_longer_kept: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> PendingDeadLetter {
        PendingDeadLetter {
            log_partition: 1,
            log_offset: 20,
            source: "default".to_owned(),
            reason: "bad_json".to_owned(),
            dead_letter_partition: 0,
            dead_letter_offset: 3,
        }
    }

    fn read(json: &str) -> Selector {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn everything_given_must_fit() {
        for (json, expected) in [
            (r#"{"all":true}"#, true),
            (r#"{"reason":"bad_json"}"#, true),
            (r#"{"reason":"no_request_id"}"#, false),
            (r#"{"reason":"bad_json","source":"default"}"#, true),
            (r#"{"reason":"bad_json","source":"other"}"#, false),
            (r#"{"locations":["dead-letter/0/3"]}"#, true),
            (r#"{"locations":["webhooks/1/20","dead-letter/9/9"]}"#, true),
            (r#"{"locations":["dead-letter/1/20","webhooks/0/3"]}"#, false),
            (r#"{"locations":["dead-letter/0/3"],"source":"other"}"#, false),
        ] {
            assert_eq!(read(json).check(), Ok(()), "{json}");
            assert_eq!(read(json).matches(&letter()), expected, "{json}");
        }
    }

    #[test]
    fn a_forgotten_option_never_means_everything() {
        assert!(read("{}").check().is_err());
        assert!(read(r#"{"all":true,"reason":"bad_json"}"#).check().is_err());
        assert!(serde_json::from_str::<Selector>(r#"{"raeson":"bad_json","all":true}"#).is_err());
        let location: Location = "webhooks/0/0".parse().expect("a location");
        let many = Selector { locations: vec![location; MAX_LOCATIONS + 1], ..Selector::default() };
        assert!(many.check().is_err());
    }

    #[test]
    fn locations_are_read_as_they_are_written() {
        for text in ["dead-letter/0/7", "webhooks/65535/18446744073709551615"] {
            assert_eq!(text.parse::<Location>().expect(text).to_string(), text);
        }
        for text in ["", "dead-letter", "dead-letter/0", "dead-letter/0/7/1", "fetch-retry/0/1", "webhooks/-1/0"] {
            assert_eq!(text.parse::<Location>(), Err(LocationError), "{text}");
        }
    }
}
