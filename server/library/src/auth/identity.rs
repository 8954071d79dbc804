//! The identity of a caller: who it is and which role it has.

/// The user whose password is the household's.
pub const HOUSEHOLD: &str = "household";

/// A role; each includes the permissions of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Views videos.
    Viewer,
    /// Also uploads, asks and edits.
    Member,
    /// Also deletes, and manages users and keys.
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
        // The column's constraint allows no other value.
        match text {
            "admin" => Self::Admin,
            "member" => Self::Member,
            _ => Self::Viewer,
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the user or of the key.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Whether it is a person with a password rather than a program with a key.
    pub person: bool,
}

impl Identity {
    /// Returns the name under which the limits of one caller are counted; a user and a key may have the same name.
    #[must_use]
    pub fn account(&self) -> String {
        format!("{} {}", if self.person { "user" } else { "key" }, self.name)
    }
}

/// A credential as presented by a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Token of a browser's session.
    Session(&'a str),
    /// API key of a program.
    Key(&'a str),
}

/// A session that was just created.
#[derive(Debug)]
pub struct NewSession {
    /// The token for the cookie. Shown once.
    pub token: String,
}
