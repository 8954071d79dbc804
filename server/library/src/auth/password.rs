//! Passwords: argon2id, with at most two hashes computed at once.

use argon2::{
    Argon2, PasswordHasher as _, PasswordVerifier as _,
    password_hash::{PasswordHash, SaltString},
};

use super::{
    error::AuthError,
    identity::{HOUSEHOLD, Role},
    service::Auth,
    token,
};
use crate::values::{new_id, now_ms};

/// Minimum characters of a password.
pub const MIN_PASSWORD: usize = 8;

/// Maximum bytes of a password.
pub const MAX_PASSWORD: usize = 1024;

/// Returns why a password is not accepted; `None` means that it is.
pub(super) fn fits(password: &str) -> Result<(), AuthError> {
    let characters = password.chars().count();
    if characters < MIN_PASSWORD {
        return Err(AuthError::Invalid(format!(
            "the password has {characters} characters; {MIN_PASSWORD} or more would fit"
        )));
    }
    if password.len() > MAX_PASSWORD {
        return Err(AuthError::Invalid(format!(
            "the password has {} bytes; {MAX_PASSWORD} or fewer would fit",
            password.len()
        )));
    }
    Ok(())
}

impl Auth {
    /// Returns whether the household has a password.
    ///
    /// # Errors
    /// `Database`.
    pub async fn has_password(&self) -> Result<bool, AuthError> {
        Ok(self.named(HOUSEHOLD).await?.is_some())
    }

    /// Sets the household's password and ends all its sessions.
    ///
    /// # Errors
    /// `Invalid` when it is too short or too long, `Database`.
    pub async fn set_password(&self, password: String) -> Result<String, AuthError> {
        fits(&password)?;
        let hash = self.hashed(password).await?;
        let now = now_ms();
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO users (id, name, role, password_hash, created_ms, changed_ms) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash, changed_ms = excluded.changed_ms",
        )
        .bind(new_id())
        .bind(HOUSEHOLD)
        .bind(Role::Admin.as_str())
        .bind(hash)
        .bind(now)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        let user: String = sqlx::query_scalar("SELECT id FROM users WHERE name = ?")
            .bind(HOUSEHOLD)
            .fetch_one(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE user_id = ?").bind(&user).execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.announce();
        Ok(user)
    }

    /// Sets the household's password unless it is `password` already, so that a file can declare it and a restart ends no session.
    ///
    /// # Errors
    /// As [`Auth::set_password`].
    pub async fn declare_password(&self, password: String) -> Result<(), AuthError> {
        fits(&password)?;
        if let Some((_, hash)) = self.named(HOUSEHOLD).await?
            && self.verify(password.clone(), hash).await?
        {
            return Ok(());
        }
        self.set_password(password).await?;
        tracing::info!(
            "set the household password to the one in the password file; all earlier logins have ended"
        );
        Ok(())
    }

    pub(super) async fn hashed(&self, password: String) -> Result<String, AuthError> {
        let salt = SaltString::encode_b64(&token::random::<16>()?)
            .map_err(|error| AuthError::Hash(error.to_string()))?;
        self.computing(move || {
            Argon2::default()
                .hash_password(password.as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(|error| AuthError::Hash(error.to_string()))
        })
        .await
    }

    pub(super) async fn verify(&self, password: String, hash: String) -> Result<bool, AuthError> {
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        self.computing(move || {
            let hash = PasswordHash::new(&hash).map_err(|error| AuthError::Hash(error.to_string()))?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
    }

    async fn computing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let failed = |error: String| AuthError::Hash(error);
        let _turn = self.hashing.acquire().await.map_err(|error| failed(error.to_string()))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))?
    }
}
