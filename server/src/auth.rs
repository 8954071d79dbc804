//! Who may come in, and what they may do: the household's password, users with their own, sessions of browsers, API
//! keys of programs.
//!
//! Knows no HTTP. **Invariant:** no secret is stored or logged: passwords are kept as argon2id hashes, tokens (32
//! random bytes) as SHA-256. The household's password belongs to the user `household`; further users are rows of
//! the same table.

mod error;
mod keys;
mod links;
mod password;
mod sessions;
mod throttle;
mod token;
mod users;

use std::{net::IpAddr, path::Path, sync::Arc};

use sqlx::SqlitePool;
use tokio::sync::Semaphore;

pub use error::{AuthError, AuthErrorKind};
pub use keys::{ApiKey, NewKey};
pub use links::LINK_LIFE;
pub use password::{MAX_PASSWORD, MIN_PASSWORD};
pub use sessions::{NewSession, SESSION_LIFE};
pub use users::User;

use crate::library;
use throttle::Throttle;

/// The user whose password is the household's.
pub const HOUSEHOLD: &str = "household";

/// What somebody may do; each role may do what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watches and reads.
    Viewer,
    /// Adds videos, asks, renames.
    Member,
    /// Deletes.
    Admin,
}

impl Role {
    /// Returns the word used in rows, JSON and flags.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    fn of_row(text: &str) -> Self {
        // The column's own check allows no fourth word.
        match text {
            "admin" => Self::Admin,
            "member" => Self::Member,
            _ => Self::Viewer,
        }
    }
}

/// Somebody who came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Name of the user or of the key.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// A person with a password, not a program with a key.
    pub person: bool,
}

/// What a caller shows to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Token of a browser's session.
    Session(&'a str),
    /// API key of a program.
    Key(&'a str),
}

/// The door. Cheap to clone; clones share the database, and count failed tries together.
#[derive(Debug, Clone)]
pub struct Auth {
    pool: SqlitePool,
    required: bool,
    /// Each hash takes 19 MiB and a core for a moment: two at once, whatever is asked.
    hashing: Arc<Semaphore>,
    throttle: Arc<Throttle>,
}

impl Auth {
    /// Puts a door before the library: it is open to everybody unless `required`.
    #[must_use]
    pub fn new(pool: SqlitePool, required: bool) -> Self {
        Self { pool, required, hashing: Arc::new(Semaphore::new(2)), throttle: Arc::default() }
    }

    /// Opens the door's tables below `data` beside a server that may run on them (`homereel keys`, `password`).
    ///
    /// # Errors
    /// `Library` when the database cannot be opened.
    pub async fn open(data: &Path) -> Result<Self, AuthError> {
        Ok(Self::new(library::connect(data).await?, true))
    }

    /// Tells whether callers have to show who they are.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// Returns whom a credential belongs to, or `None`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn identify(&self, credential: Credential<'_>) -> Result<Option<Who>, AuthError> {
        match credential {
            Credential::Session(token) => self.who_has_session(token).await,
            Credential::Key(token) => self.who_has_key(token).await,
        }
    }

    /// Compares `password` with that of `name` (the household's, without one) and starts a session. `from` is whose
    /// tries are counted.
    ///
    /// # Errors
    /// `WrongPassword`, `NoPassword`, `TooManyTries`, `Database`.
    pub async fn log_in(
        &self,
        name: Option<&str>,
        password: String,
        from: Option<IpAddr>,
    ) -> Result<NewSession, AuthError> {
        self.throttle.check(from)?;
        let household = self.household().await?.ok_or(AuthError::NoPassword)?;
        let known = match name.filter(|name| !name.trim().is_empty()) {
            Some(name) => self.named(name).await?,
            None => Some(household.clone()),
        };
        // A name that nobody has takes as long as a wrong password.
        let exists = known.is_some();
        let (user, hash) = known.unwrap_or(household);
        // Counted before it is known, so that many tries at once are as slow as one after the other.
        self.throttle.failed(from);
        if !self.verify(password, hash).await? || !exists {
            return Err(AuthError::WrongPassword);
        }
        self.throttle.succeeded(from);
        self.start_session(&user).await
    }

    /// Spends a one-time link: sets the household's password and starts a session. Other sessions end.
    ///
    /// # Errors
    /// `DeadLink`, `Invalid` when the password does not fit (the link stays alive then), `Database`.
    pub async fn log_in_first(
        &self,
        link: &str,
        password: String,
        from: Option<IpAddr>,
    ) -> Result<NewSession, AuthError> {
        self.throttle.check(from)?;
        password::fits(&password)?;
        if !self.spend_link(link).await? {
            self.throttle.failed(from);
            return Err(AuthError::DeadLink);
        }
        let user = self.set_password(password).await?;
        self.start_session(&user).await
    }
}

#[cfg(test)]
mod tests;
