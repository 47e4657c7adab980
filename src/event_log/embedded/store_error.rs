//! What SQLite and the file system say, before it is known what the log was doing.

use std::{io, path::Path};

use rusqlite::ErrorCode;

use crate::event_log::EventLogError;

/// A failure of the storage under the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The files contradict each other or this release.
    #[error("{0}")]
    Layout(String),
}

impl StoreError {
    /// The public error of the log in `dir` that was `doing` this.
    pub(super) fn into_public(self, dir: &Path, doing: &'static str) -> EventLogError {
        let is_full = match &self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::Io(error) => matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            Self::Layout(_) => false,
        };
        if is_full {
            return EventLogError::DiskFull { path: dir.to_owned() };
        }
        EventLogError::Storage { doing, message: self.to_string() }
    }

    /// The file's content is damaged, as opposed to unreadable for the moment.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                matches!(
                    error.sqlite_error_code(),
                    // `Unknown` is SQLITE_ERROR: the partition's table is not there.
                    Some(
                        ErrorCode::DatabaseCorrupt
                            | ErrorCode::NotADatabase
                            | ErrorCode::TypeMismatch
                            | ErrorCode::Unknown
                    )
                ) || matches!(
                    error,
                    rusqlite::Error::InvalidColumnType(..)
                        | rusqlite::Error::FromSqlConversionFailure(..)
                        | rusqlite::Error::IntegralValueOutOfRange(..)
                )
            }
            Self::Io(_) | Self::Layout(_) => false,
        }
    }
}

/// SQLite's integers are signed; no offset comes near 2⁶³.
pub(super) fn to_sql(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// The inverse of [`to_sql`]; a negative number can only be damage and becomes 0.
pub(super) fn from_sql(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}
