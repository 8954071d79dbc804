//! `homereel keys add|list|revoke`: on the library's file, beside a server that may run on it.

use std::io::{self, Write};

use anyhow::Context as _;
use homereel_library::{Auth, AuthError, AuthErrorKind};

use super::{KeysCommand, Usage, progress::warn};

/// Answers one command. A new key goes to standard output, alone, so that it can be piped.
pub(super) async fn run(command: KeysCommand) -> anyhow::Result<()> {
    let text = match command {
        KeysCommand::Add { name, role, data } => {
            let auth = Auth::open(&data.resolve()?).await?;
            let new = auth.add_key(&name, role).await.map_err(told)?;
            warn(&format!(
                "this key is shown once; programs send it as `Authorization: Bearer KEY` (role {})",
                role.as_str()
            ));
            new.token + "\n"
        }
        KeysCommand::List { json, data } => {
            let keys = Auth::open(&data.resolve()?).await?.keys().await?;
            if json {
                serde_json::to_string(&keys)? + "\n"
            } else {
                let line = |key: &homereel_library::ApiKey| {
                    let used = key
                        .last_used_ms
                        .map_or_else(|| "never used".into(), |ms| format!("used {}", day(ms)));
                    format!("{}  {}  made {}, {used}\n", key.name, key.role.as_str(), day(key.created_ms))
                };
                keys.iter().map(line).collect()
            }
        }
        KeysCommand::Revoke { name, data } => {
            Auth::open(&data.resolve()?).await?.revoke_key(&name).await.map_err(told)?;
            format!("{name} is revoked\n")
        }
    };
    io::stdout().write_all(text.as_bytes()).context("failed to write")
}

/// What was typed at fault is exit code 2.
fn told(error: AuthError) -> anyhow::Error {
    match error.kind() {
        AuthErrorKind::Invalid => Usage(error.into()).into(),
        _ => error.into(),
    }
}

fn day(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d").to_string())
}
