//! Why a price book cannot be used, with what to do about it.

use std::path::PathBuf;

use super::{Component, UnitPriceError};

/// A price book that would not be believed. Refused at start: a wrong price is worse than none.
#[derive(Debug, thiserror::Error)]
pub enum PricingError {
    /// A file or directory cannot be read.
    #[error("price book {}: {source}; see pricing.book_dir and pricing.overrides_files", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file larger than any price list.
    #[error("price book {}: larger than {limit_bytes} bytes; is it a price book?", path.display())]
    TooLarge {
        /// Which one.
        path: PathBuf,
        /// What is read at most.
        limit_bytes: u64,
    },
    /// `pricing.overrides_files` names nothing.
    #[error("pricing.overrides_files: `{0}` matches no file; correct or remove it")]
    NoSuchFiles(String),
    /// A key that the format does not have.
    #[error("{place}: unknown key `{key}`{suggestion}; known keys here: {known}")]
    UnknownKey {
        /// File and entry.
        place: String,
        /// The key.
        key: String,
        /// `, did you mean …?` or nothing.
        suggestion: String,
        /// Comma-separated.
        known: String,
    },
    /// Not TOML, or a value of a wrong kind.
    #[error("{place}: {message}")]
    Format {
        /// File and entry.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A price that is none.
    #[error("{place}: {key} = \"{text}\" {source}")]
    Price {
        /// File and entry.
        place: String,
        /// The key.
        key: &'static str,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        source: UnitPriceError,
    },
    /// `same` as a price that is not there.
    #[error("{place}: {} = \"same\" needs a price {}", component.key(), match component.same_as() {
        Some(of) => format!("for {}", of.key()),
        None => "of its own: it is like no other".to_owned(),
    })]
    Same {
        /// File and entry.
        place: String,
        /// What is said to be the same.
        component: Component,
    },
    /// A column for long prompts that forgets a price.
    #[error("{place}: {column} has no price for {}, though shorter prompts have one; write it down", component.key())]
    IncompleteColumn {
        /// File and entry.
        place: String,
        /// Which column.
        column: String,
        /// What it forgets.
        component: Component,
    },
    /// Two entries for one model at one time.
    #[error(
        "{first} and {second} both give a price for `{model}`; keep one, or make from and until exclude each other"
    )]
    Ambiguous {
        /// File and entry.
        first: String,
        /// File and entry.
        second: String,
        /// The name or glob.
        model: String,
    },
}
