//! `homereel keys add|list|revoke`: works on the library's database, also while a server uses it.

use homereel_library::{Auth, AuthError, AuthErrorKind};

use super::{
    KeysCommand, UsageError,
    terminal::{print_lines, warn},
};
use crate::audit::{AuditEntry, AuditLog};

/// Runs one subcommand. A new key is the only output on stdout, so that it can be piped.
pub(super) async fn run(command: KeysCommand) -> anyhow::Result<()> {
    let lines = match command {
        KeysCommand::Add { name, role, data } => {
            let data = data.resolve()?;
            let new = Auth::open(&data).await?.add_key(&name, role).await.map_err(told)?;
            AuditLog::new(&data).record(&AuditEntry::of_command("add_key", &name));
            warn(&format!(
                "this key is shown once; programs send it as `Authorization: Bearer KEY` (role {})",
                role.as_str()
            ));
            vec![new.token]
        }
        KeysCommand::List { json, data } => {
            let keys = Auth::open(&data.resolve()?).await?.keys().await?;
            if json {
                vec![serde_json::to_string(&keys)?]
            } else {
                let line = |key: &homereel_library::ApiKey| {
                    let used = key
                        .last_used_ms
                        .map_or_else(|| "never used".into(), |ms| format!("used {}", day(ms)));
                    format!("{}  {}  created {}, {used}", key.name, key.role.as_str(), day(key.created_ms))
                };
                keys.iter().map(line).collect()
            }
        }
        KeysCommand::Revoke { name, data } => {
            let data = data.resolve()?;
            Auth::open(&data).await?.revoke_key(&name).await.map_err(told)?;
            AuditLog::new(&data).record(&AuditEntry::of_command("revoke_key", &name));
            vec![format!("{name} is revoked")]
        }
    };
    print_lines(lines)
}

/// Maps errors of the arguments to exit code 2.
fn told(error: AuthError) -> anyhow::Error {
    match error.kind() {
        AuthErrorKind::Invalid => UsageError(error.into()).into(),
        _ => error.into(),
    }
}

fn day(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d").to_string())
}
