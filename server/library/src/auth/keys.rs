//! API keys of programs: `hr_` and 43 characters, shown once.

use serde::Serialize;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{
    error::AuthError,
    identity::{Identity, Role},
    service::Auth,
    token,
};
use crate::values::{new_id, now_ms};

/// Minimum interval between updates of a key's last use.
const NOTE_MS: i64 = 60 * 1000;

/// Maximum characters of a name.
const MAX_NAME: usize = 64;

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Id.
    pub id: String,
    /// Name, as chosen by its owner.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// When it was created, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it was last used.
    pub last_used_ms: Option<i64>,
}

/// A key that was just created.
#[derive(Debug)]
pub struct NewKey {
    /// The secret. Shown once.
    pub token: String,
    /// The key without its secret.
    pub key: ApiKey,
}

fn key(row: &SqliteRow) -> Result<ApiKey, sqlx::Error> {
    Ok(ApiKey {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: Role::of_row(row.try_get("role")?),
        created_ms: row.try_get("created_ms")?,
        last_used_ms: row.try_get("last_used_ms")?,
    })
}

impl Auth {
    /// Creates a key.
    ///
    /// # Errors
    /// `Invalid` when the name does not fit, `KeyExists`, `Database`.
    pub async fn add_key(&self, name: &str, role: Role) -> Result<NewKey, AuthError> {
        let fits = !name.trim().is_empty()
            && name.chars().count() <= MAX_NAME
            && !name.chars().any(char::is_control);
        if !fits {
            return Err(AuthError::Invalid(format!(
                "a key's name has 1 to {MAX_NAME} characters, such as \"phone\""
            )));
        }
        let (token, kept) = token::make("hr_")?;
        let key = ApiKey { id: new_id(), name: name.into(), role, created_ms: now_ms(), last_used_ms: None };
        let made = sqlx::query(
            "INSERT INTO api_keys (id, name, role, token_hash, created_ms) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&key.id)
        .bind(name)
        .bind(role.as_str())
        .bind(kept)
        .bind(key.created_ms)
        .execute(&self.pool)
        .await?;
        if made.rows_affected() == 0 {
            return Err(AuthError::KeyExists(name.into()));
        }
        Ok(NewKey { token, key })
    }

    /// Returns all keys, oldest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, AuthError> {
        let rows =
            sqlx::query("SELECT * FROM api_keys ORDER BY created_ms, id").fetch_all(&self.pool).await?;
        Ok(rows.iter().map(key).collect::<Result<_, _>>()?)
    }

    /// Revokes a key, by its name or id.
    ///
    /// # Errors
    /// `NoKey`, `Database`.
    pub async fn revoke_key(&self, name_or_id: &str) -> Result<(), AuthError> {
        let gone = sqlx::query("DELETE FROM api_keys WHERE name = ? OR id = ?")
            .bind(name_or_id)
            .bind(name_or_id)
            .execute(&self.pool)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(AuthError::NoKey(name_or_id.into()));
        }
        self.announce();
        Ok(())
    }

    /// Returns the identity of a key. `used` notes its use.
    pub(super) async fn who_has_key(&self, shown: &str, used: bool) -> Result<Option<Identity>, AuthError> {
        let Some(kept) = token::kept(shown) else { return Ok(None) };
        let row = sqlx::query("SELECT * FROM api_keys WHERE token_hash = ?")
            .bind(kept)
            .fetch_optional(&self.pool)
            .await?;
        let Some(key) = row.as_ref().map(key).transpose()? else { return Ok(None) };
        let now = now_ms();
        if used && key.last_used_ms.is_none_or(|last| now.saturating_sub(last) > NOTE_MS) {
            sqlx::query("UPDATE api_keys SET last_used_ms = ? WHERE id = ?")
                .bind(now)
                .bind(&key.id)
                .execute(&self.pool)
                .await?;
        }
        Ok(Some(Identity { name: key.name, role: key.role, person: false }))
    }
}
