//! Users besides the household itself, each with a name, a role and a password.
//!
//! **Invariant:** the household's own user always exists as an admin, so that no page can lock everybody out.

use serde::Serialize;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{
    error::AuthError,
    identity::{HOUSEHOLD, Role},
    password,
    service::Auth,
    throttle::Account,
    token,
};
use crate::values::{new_id, now_ms};

/// Maximum characters of a name.
const MAX_NAME: usize = 64;

/// Maximum number of users.
const MAX_USERS: i64 = 100;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Id.
    pub id: String,
    /// Name, as typed at login.
    pub name: String,
    /// The user's role.
    pub role: Role,
    /// When the user was added, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When the password was set.
    pub changed_ms: i64,
    /// Whether this is the household's own user, whose login has no name.
    pub household: bool,
}

fn user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    let name: String = row.try_get("name")?;
    Ok(User {
        id: row.try_get("id")?,
        household: name == HOUSEHOLD,
        name,
        role: Role::of_row(row.try_get("role")?),
        created_ms: row.try_get("created_ms")?,
        changed_ms: row.try_get("changed_ms")?,
    })
}

/// Returns the name without surrounding spaces, or why it is not accepted.
fn fitting(name: &str) -> Result<&str, AuthError> {
    let name = name.trim();
    let fits = !name.is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    if fits { Ok(name) } else { Err(AuthError::Invalid(format!("a name has 1 to {MAX_NAME} characters"))) }
}

impl Auth {
    /// Returns all users, the household first, then in the order in which they were added.
    ///
    /// # Errors
    /// `Database`.
    pub async fn users(&self) -> Result<Vec<User>, AuthError> {
        let rows = sqlx::query("SELECT * FROM users ORDER BY name <> ?, created_ms, id")
            .bind(HOUSEHOLD)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(user).collect::<Result<_, _>>()?)
    }

    /// Returns whether there is a user besides the household.
    ///
    /// # Errors
    /// `Database`.
    pub async fn has_users(&self) -> Result<bool, AuthError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM users WHERE name <> ? LIMIT 1")
            .bind(HOUSEHOLD)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// Adds a user.
    ///
    /// # Errors
    /// `Invalid` when the name or password is not accepted, or there are too many users; `UserExists`, `Database`.
    pub async fn add_user(&self, name: &str, role: Role, password: String) -> Result<User, AuthError> {
        let name = fitting(name)?;
        password::fits(&password)?;
        let hash = self.hashed(password).await?;
        let now = now_ms();
        let id = new_id();
        let mut transaction = self.pool.begin().await?;
        // Names that differ only in case would be confused at login.
        let made = sqlx::query(
            "INSERT INTO users (id, name, role, password_hash, created_ms, changed_ms) SELECT ?, ?, ?, ?, ?, ? \
             WHERE NOT EXISTS (SELECT 1 FROM users WHERE name = ? COLLATE NOCASE)",
        )
        .bind(&id)
        .bind(name)
        .bind(role.as_str())
        .bind(hash)
        .bind(now)
        .bind(now)
        .bind(name)
        .execute(&mut *transaction)
        .await?;
        // The household's name is reserved before it has a row.
        if made.rows_affected() == 0 || name.eq_ignore_ascii_case(HOUSEHOLD) {
            return Err(AuthError::UserExists(name.into()));
        }
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut *transaction).await?;
        if count > MAX_USERS {
            return Err(AuthError::Invalid(format!("a household has at most {MAX_USERS} users")));
        }
        transaction.commit().await?;
        Ok(User { id, name: name.into(), role, created_ms: now, changed_ms: now, household: false })
    }

    /// Changes the role of a user.
    ///
    /// # Errors
    /// `NoUser`, `Invalid` for the household's user, `Database`.
    pub async fn set_role(&self, id: &str, role: Role) -> Result<(), AuthError> {
        self.only_others(id).await?;
        sqlx::query("UPDATE users SET role = ? WHERE id = ?")
            .bind(role.as_str())
            .bind(id)
            .execute(&self.pool)
            .await?;
        self.announce();
        Ok(())
    }

    /// Removes a user and ends their sessions.
    ///
    /// # Errors
    /// `NoUser`, `Invalid` for the household's user, `Database`.
    pub async fn remove_user(&self, id: &str) -> Result<(), AuthError> {
        self.only_others(id).await?;
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM sessions WHERE user_id = ?").bind(id).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM users WHERE id = ?").bind(id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.announce();
        Ok(())
    }

    /// Sets a user's password on behalf of an admin and ends their sessions.
    ///
    /// # Errors
    /// `NoUser`, `Invalid` for the household's user or a password that is not accepted, `Database`.
    pub async fn reset_password(&self, id: &str, password: String) -> Result<(), AuthError> {
        self.only_others(id).await?;
        self.put_password(id, password, None).await
    }

    /// Changes the password of the session's user, who confirms the present one; their other sessions end.
    ///
    /// # Errors
    /// `WrongPassword`, `NoUser` when the session has ended, `TooManyTries`, `Invalid` when the new password is not accepted,
    /// `Database`.
    pub async fn change_password(
        &self,
        session: &str,
        present: String,
        new: String,
        from: Option<std::net::IpAddr>,
    ) -> Result<(), AuthError> {
        let row = sqlx::query(
            "SELECT users.id, users.name, users.password_hash FROM sessions JOIN users ON users.id = user_id \
             WHERE token_hash = ? AND expires_ms > ?",
        )
        .bind(token::kept(session))
        .bind(now_ms())
        .fetch_optional(&self.pool)
        .await?;
        let row = row.ok_or_else(|| AuthError::NoUser("you".into()))?;
        let attempt = self.throttle.reserve(&Account::named(row.try_get("name")?), from)?;
        let (id, hash): (String, String) = (row.try_get("id")?, row.try_get("password_hash")?);
        if !self.verify(present, hash).await? {
            return Err(AuthError::WrongPassword);
        }
        attempt.succeeded();
        self.put_password(&id, new, Some(session)).await
    }

    /// Returns the id and password hash of the user with this name.
    pub(super) async fn named(&self, name: &str) -> Result<Option<(String, String)>, AuthError> {
        let row = sqlx::query("SELECT id, password_hash FROM users WHERE name = ? COLLATE NOCASE")
            .bind(name.trim())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Ok((row.try_get("id")?, row.try_get("password_hash")?))).transpose()
    }

    async fn put_password(&self, id: &str, password: String, session: Option<&str>) -> Result<(), AuthError> {
        password::fits(&password)?;
        let hash = self.hashed(password).await?;
        let mut transaction = self.pool.begin().await?;
        sqlx::query("UPDATE users SET password_hash = ?, changed_ms = ? WHERE id = ?")
            .bind(hash)
            .bind(now_ms())
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE user_id = ? AND token_hash IS NOT ?")
            .bind(id)
            .bind(session.and_then(token::kept))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.announce();
        Ok(())
    }

    async fn only_others(&self, id: &str) -> Result<(), AuthError> {
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM users WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        match name.as_deref() {
            None => Err(AuthError::NoUser(id.chars().take(64).collect())),
            Some(HOUSEHOLD) => Err(AuthError::Invalid(
                "the household itself stays an admin, so that nobody is locked out".into(),
            )),
            Some(_) => Ok(()),
        }
    }
}
