//! Logs in and checks credentials.

use std::{net::IpAddr, path::Path, sync::Arc};

use sqlx::SqlitePool;
use tokio::sync::{Semaphore, watch};

use super::{
    error::AuthError,
    identity::{Credential, HOUSEHOLD, Identity, NewSession},
    password,
    throttle::{Account, Throttle},
};
use crate::library;

/// Checks credentials and stores passwords, sessions and keys. Cheap to clone; clones share the database and the count
/// of tries.
#[derive(Debug, Clone)]
pub struct Auth {
    pub(super) pool: SqlitePool,
    pub(super) required: bool,
    /// Each hash takes 19 MiB and a core for a moment, so at most two are computed at once.
    pub(super) hashing: Arc<Semaphore>,
    pub(super) throttle: Arc<Throttle>,
    /// Notified of changes that may end or alter a credential.
    pub(super) changes: Arc<watch::Sender<()>>,
}

impl Auth {
    /// Creates the service on an open database. `required` sets whether a login is needed.
    #[must_use]
    pub fn new(pool: SqlitePool, required: bool) -> Self {
        Self {
            pool,
            required,
            hashing: Arc::new(Semaphore::new(2)),
            throttle: Arc::default(),
            changes: Arc::default(),
        }
    }

    /// Opens the database below `data`, also while a server has it open (`homereel keys`, `password`).
    ///
    /// # Errors
    /// `Library` when the database cannot be opened.
    pub async fn open(data: &Path) -> Result<Self, AuthError> {
        Ok(Self::new(library::connect(data).await?, true))
    }

    /// Returns whether a login is required.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// Returns the identity that a credential belongs to. `None` means that it is unknown or has expired.
    ///
    /// # Errors
    /// `Database`.
    pub async fn identify(&self, credential: Credential<'_>) -> Result<Option<Identity>, AuthError> {
        self.who(credential, true).await
    }

    /// The same. `used` counts this as a use, which renews a session.
    pub(super) async fn who(
        &self,
        credential: Credential<'_>,
        used: bool,
    ) -> Result<Option<Identity>, AuthError> {
        match credential {
            Credential::Session(token) => self.who_has_session(token, used).await,
            Credential::Key(token) => self.who_has_key(token, used).await,
        }
    }

    /// Checks `password` against that of `name` (`None` means the household's) and starts a session. Tries are counted per
    /// address `from` and per account.
    ///
    /// # Errors
    /// `WrongPassword`, `NoPassword`, `TooManyTries`, `Database`.
    pub async fn log_in(
        &self,
        name: Option<&str>,
        password: String,
        from: Option<IpAddr>,
    ) -> Result<NewSession, AuthError> {
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(HOUSEHOLD);
        // Before anything is awaited, so that concurrent tries cannot pass the limit together.
        let attempt = self.throttle.reserve(&Account::named(name), from)?;
        let household = self.named(HOUSEHOLD).await?.ok_or(AuthError::NoPassword)?;
        let known = self.named(name).await?;
        // An unknown name takes as long as a wrong password.
        let exists = known.is_some();
        let (user, hash) = known.unwrap_or(household);
        if !self.verify(password, hash).await? || !exists {
            return Err(AuthError::WrongPassword);
        }
        attempt.succeeded();
        self.start_session(&user).await
    }

    /// Uses a one-time link: sets the household's password and starts a session. Other sessions end.
    ///
    /// # Errors
    /// `DeadLink`, `TooManyTries`, `Invalid` when the password is not accepted (the link stays valid), `Database`.
    pub async fn log_in_first(
        &self,
        link: &str,
        password: String,
        from: Option<IpAddr>,
    ) -> Result<NewSession, AuthError> {
        password::fits(&password)?;
        let attempt = self.throttle.reserve(&Account::Link, from)?;
        if !self.spend_link(link).await? {
            return Err(AuthError::DeadLink);
        }
        attempt.succeeded();
        let user = self.set_password(password).await?;
        self.start_session(&user).await
    }
}
