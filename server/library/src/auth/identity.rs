//! Who a caller is and what they may do.

/// The user whose password is the household's.
pub const HOUSEHOLD: &str = "household";

/// What somebody may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
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

    pub(super) fn of_row(text: &str) -> Self {
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
pub struct Identity {
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

/// A session that was just started.
#[derive(Debug)]
pub struct NewSession {
    /// The token for the cookie. Shown once.
    pub token: String,
}
