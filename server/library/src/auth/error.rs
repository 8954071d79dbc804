//! Errors of authentication.

use crate::error::LibraryError;

/// The class of an error, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthErrorKind {
    /// The credentials are wrong.
    Refused,
    /// The caller has to wait.
    Throttled,
    /// The request is at fault.
    Invalid,
    /// Not found.
    NotFound,
    /// It exists already.
    Conflict,
    /// The database or the machine failed.
    Failed,
}

/// An error of authentication. None of them contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong password.
    #[error("wrong password")]
    WrongPassword,
    /// No password has been set.
    #[error("no password is set yet; `homereel password link` prints a link that sets one")]
    NoPassword,
    /// The link was used, has expired, or never existed.
    #[error("this link was used or has expired; `homereel password link` prints a new one")]
    DeadLink,
    /// Too many failed tries from one address.
    #[error("too many failed tries; try again in {retry_after_s} s")]
    TooManyTries {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// An argument is invalid.
    #[error("{0}")]
    Invalid(String),
    /// No key with this name or id.
    #[error("there is no API key {0}; `homereel keys list` shows all")]
    NoKey(String),
    /// The name is taken.
    #[error("there is an API key {0} already; revoke it or choose another name")]
    KeyExists(String),
    /// No user with this id.
    #[error("there is no user {0}; perhaps somebody removed them")]
    NoUser(String),
    /// The name is taken.
    #[error("there is a user {0} already; choose another name")]
    UserExists(String),
    /// Hashing failed.
    #[error("hashing: {0}")]
    Hash(String),
    /// The database could not be opened, read or written.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl From<sqlx::Error> for AuthError {
    fn from(error: sqlx::Error) -> Self {
        Self::Library(error.into())
    }
}

impl AuthError {
    /// Returns the class of this error.
    #[must_use]
    pub fn kind(&self) -> AuthErrorKind {
        match self {
            Self::WrongPassword | Self::NoPassword | Self::DeadLink => AuthErrorKind::Refused,
            Self::TooManyTries { .. } => AuthErrorKind::Throttled,
            Self::Invalid(_) => AuthErrorKind::Invalid,
            Self::NoKey(_) | Self::NoUser(_) => AuthErrorKind::NotFound,
            Self::KeyExists(_) | Self::UserExists(_) => AuthErrorKind::Conflict,
            Self::Hash(_) | Self::Library(_) => AuthErrorKind::Failed,
        }
    }
}
