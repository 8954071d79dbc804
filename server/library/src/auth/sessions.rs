//! Browser sessions: a token in a cookie, valid for a month after its last use.

use std::time::Duration;

use sqlx::Row as _;

use super::{
    error::AuthError,
    identity::{Identity, NewSession, Role},
    service::Auth,
    token,
};
use crate::values::now_ms;

/// Lifetime of a session after its last use.
pub const SESSION_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Minimum interval between updates of a session's expiry, so that most requests need no write.
const RENEWAL_MS: i64 = 3600 * 1000;

/// Maximum sessions per user; the oldest end first.
const MAX_SESSIONS: i64 = 200;

fn life_ms() -> i64 {
    i64::try_from(SESSION_LIFE.as_millis()).unwrap_or(i64::MAX)
}

impl Auth {
    pub(super) async fn start_session(&self, user: &str) -> Result<NewSession, AuthError> {
        let (token, kept) = token::make("")?;
        let now = now_ms();
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT INTO sessions (token_hash, user_id, created_ms, expires_ms) VALUES (?, ?, ?, ?)")
            .bind(kept)
            .bind(user)
            .bind(now)
            .bind(now.saturating_add(life_ms()))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "DELETE FROM sessions WHERE expires_ms <= ? OR user_id = ? AND token_hash NOT IN \
             (SELECT token_hash FROM sessions WHERE user_id = ? ORDER BY expires_ms DESC, created_ms DESC LIMIT ?)",
        )
        .bind(now)
        .bind(user)
        .bind(user)
        .bind(MAX_SESSIONS)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        // The oldest session may have ended.
        self.announce();
        Ok(NewSession { token })
    }

    /// Returns the identity of a session. `used` renews its lifetime.
    pub(super) async fn who_has_session(
        &self,
        shown: &str,
        used: bool,
    ) -> Result<Option<Identity>, AuthError> {
        let Some(kept) = token::kept(shown) else { return Ok(None) };
        let now = now_ms();
        let row = sqlx::query(
            "SELECT users.name, users.role, sessions.expires_ms FROM sessions JOIN users ON users.id = user_id \
             WHERE token_hash = ? AND expires_ms > ?",
        )
        .bind(&kept)
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let ends = now.saturating_add(life_ms());
        if used && ends.saturating_sub(row.try_get("expires_ms")?) > RENEWAL_MS {
            sqlx::query("UPDATE sessions SET expires_ms = ? WHERE token_hash = ?")
                .bind(ends)
                .bind(&kept)
                .execute(&self.pool)
                .await?;
        }
        let (name, role) = (row.try_get("name")?, Role::of_row(row.try_get("role")?));
        Ok(Some(Identity { name, role, person: true }))
    }

    /// Ends a session, if it exists.
    ///
    /// # Errors
    /// `Database`.
    pub async fn log_out(&self, shown: &str) -> Result<(), AuthError> {
        let Some(kept) = token::kept(shown) else { return Ok(()) };
        sqlx::query("DELETE FROM sessions WHERE token_hash = ?").bind(kept).execute(&self.pool).await?;
        self.announce();
        Ok(())
    }
}
