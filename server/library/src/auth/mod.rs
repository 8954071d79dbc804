//! Authentication and roles: the household's password, users with their own passwords, browser sessions, and API keys of
//! programs.
//!
//! **Invariant:** no secret is stored or logged: passwords are stored as argon2id hashes, tokens (32 random bytes) as
//! SHA-256. The household's password belongs to the user `household`; other users are rows of the same table.

mod ended;
mod error;
mod identity;
mod keys;
mod links;
mod password;
mod service;
mod sessions;
mod tally;
mod throttle;
mod token;
mod users;

pub use error::{AuthError, AuthErrorKind};
pub use identity::{Credential, HOUSEHOLD, Identity, NewSession, Role};
pub use keys::{ApiKey, NewKey};
pub use links::LINK_LIFE;
pub use password::{MAX_PASSWORD, MIN_PASSWORD};
pub use service::Auth;
pub use sessions::SESSION_LIFE;
pub use users::User;

#[cfg(test)]
mod tests;
