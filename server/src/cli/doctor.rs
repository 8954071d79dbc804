//! `homereel doctor`: checks this machine for everything the server needs, and suggests fixes.
//!
//! Each check is one function that only reads. The exit code is 1 if a check fails.

mod gpu;
mod machine;
mod program;

use std::fmt::Write as _;

use anyhow::ensure;
use homereel_engine::EngineConfig;
use serde::Serialize;
use serde_json::Value;

use super::{DoctorArgs, UsageError, terminal::print_text};
use crate::{
    config::{self, ServerConfig},
    printable,
    serve::net_config,
};

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckState {
    /// As it should be.
    Ok,
    /// For information only.
    Note,
    /// The server works, but not at its best.
    Warn,
    /// The server does not work.
    Fail,
}

/// A finished check.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Check {
    name: &'static str,
    state: CheckState,
    /// What was found, in words.
    found: String,
    /// Suggested fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
    /// The finding for programs; unknown values are null.
    #[serde(skip_serializing_if = "Value::is_null")]
    facts: Value,
}

impl Check {
    fn new(name: &'static str, state: CheckState, found: impl Into<String>) -> Self {
        Self { name, state, found: found.into(), mend: None, facts: Value::Null }
    }

    fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }

    fn facts(self, facts: Value) -> Self {
        Self { facts, ..self }
    }
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Findings {
    ok: bool,
    version: &'static str,
    checks: Vec<Check>,
}

/// Runs all checks and prints the results.
pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let (server, engine) = config::resolve(args.serve.config.as_ref(), args.serve.server, args.serve.engine)
        .map_err(UsageError)?;
    let gpu = gpu::look().await;
    let mut checks = vec![machine::architecture(), machine::system(), machine::kernel()];
    checks.extend(gpu::checks(gpu.as_ref(), engine.device));
    checks.extend([
        machine::memory(gpu.as_ref()),
        machine::disk(&server.data),
        machine::clock().await,
        machine::port(server.listen).await,
        program::ffmpeg(),
        program::sandbox().await,
        program::data(&server.data),
        program::password(&server).await,
        program::model(&engine).await,
    ]);
    let ok = checks.iter().all(|check| check.state != CheckState::Fail);
    let findings = Findings { ok, version: env!("CARGO_PKG_VERSION"), checks };
    let text = match (args.json, args.markdown) {
        (true, _) => serde_json::to_string(&findings)? + "\n",
        (_, true) => markdown(&findings.checks),
        _ => table(&findings.checks),
    };
    print_text(&text)?;
    outcome(&findings.checks)
}

/// Checks what `serve` would start with, and prints the results. Starts nothing and writes nothing.
pub(super) async fn check_settings(server: &ServerConfig, engine: &EngineConfig) -> anyhow::Result<()> {
    let connections = match net_config(server) {
        Ok(config) if config.tls.is_some() => {
            Check::new("connections", CheckState::Ok, "HTTPS; the certificate and its key fit together")
        }
        Ok(_) => Check::new("connections", CheckState::Ok, "plain HTTP"),
        Err(error) => Check::new("connections", CheckState::Fail, format!("{error:#}")),
    };
    let checks = [
        Check::new("settings", CheckState::Ok, "valid"),
        connections,
        machine::port(server.listen).await,
        program::data(&server.data),
        program::password(server).await,
        program::model(engine).await,
    ];
    print_text(&table(&checks))?;
    outcome(&checks)
}

fn outcome(checks: &[Check]) -> anyhow::Result<()> {
    let failed: Vec<&str> =
        checks.iter().filter(|check| check.state == CheckState::Fail).map(|check| check.name).collect();
    ensure!(failed.is_empty(), "not ready: {}", failed.join(", "));
    Ok(())
}

fn table(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let sign = match check.state {
            CheckState::Ok => "ok  ",
            CheckState::Note => "note",
            CheckState::Warn => "warn",
            CheckState::Fail => "FAIL",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{sign}  {:width$}  {}", check.name, printable::line(&check.found));
        if let Some(mend) = &check.mend {
            let _ = writeln!(text, "      {:width$}  → {}", "", printable::line(mend));
        }
    }
    text
}

/// Formats the checks as a Markdown list, for the report of a deploy.
fn markdown(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let state = match check.state {
            CheckState::Ok => "ok",
            CheckState::Note => "note",
            CheckState::Warn => "warn",
            CheckState::Fail => "**fail**",
        };
        let _ = write!(text, "- {}: {state}, {}", check.name, printable::line(&check.found));
        if let Some(mend) = &check.mend {
            let _ = write!(text, " → {}", printable::line(mend));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suggested_fix_follows_the_finding() {
        let checks = [
            Check::new("disk", CheckState::Fail, "1 MB is free").mend("free some"),
            Check::new("clock", CheckState::Ok, "synchronized"),
        ];
        assert_eq!(
            table(&checks),
            "FAIL  disk   1 MB is free\n             → free some\nok    clock  synchronized\n"
        );
        assert_eq!(
            markdown(&checks),
            "- disk: **fail**, 1 MB is free → free some\n- clock: ok, synchronized\n"
        );
    }
}
