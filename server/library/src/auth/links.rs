//! One-time links: whoever opens one first sets the household's password.

use std::time::Duration;

use super::{error::AuthError, service::Auth, token};
use crate::values::now_ms;

/// Lifetime of a link.
pub const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);

impl Auth {
    /// Creates a link's token. Earlier links become invalid.
    ///
    /// # Errors
    /// `Database`.
    pub async fn make_link(&self) -> Result<String, AuthError> {
        let (token, kept) = token::make("")?;
        let life = i64::try_from(LINK_LIFE.as_millis()).unwrap_or(i64::MAX);
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM login_links").execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO login_links (token_hash, expires_ms) VALUES (?, ?)")
            .bind(kept)
            .bind(now_ms().saturating_add(life))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(token)
    }

    /// Returns whether a link is valid.
    ///
    /// # Errors
    /// `Database`.
    pub async fn link_lives(&self, shown: &str) -> Result<bool, AuthError> {
        let Some(kept) = token::kept(shown) else { return Ok(false) };
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM login_links WHERE token_hash = ? AND expires_ms > ?")
                .bind(kept)
                .bind(now_ms())
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.is_some())
    }

    pub(super) async fn spend_link(&self, shown: &str) -> Result<bool, AuthError> {
        let Some(kept) = token::kept(shown) else { return Ok(false) };
        let spent = sqlx::query("DELETE FROM login_links WHERE token_hash = ? AND expires_ms > ?")
            .bind(kept)
            .bind(now_ms())
            .execute(&self.pool)
            .await?;
        Ok(spent.rows_affected() == 1)
    }
}
