//! `homereel doctor`: what this machine has, what is missing, and how to mend it.
//!
//! Each check is a function that looks at one thing and never changes anything. Exit code 1 when something that the
//! server needs is missing.

mod gpu;
mod machine;
mod program;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;

use super::{DoctorArgs, Usage};
use crate::config;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing to do.
    Note,
    /// The server runs, but something would be better.
    Warn,
    /// The server can't do its work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What is there, in words.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
    /// The same in numbers, for programs; unknown ones are null.
    #[serde(skip_serializing_if = "Value::is_null")]
    facts: Value,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { name, state, found: found.into(), mend: None, facts: Value::Null }
    }

    fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }

    fn facts(self, facts: Value) -> Self {
        Self { facts, ..self }
    }
}

/// The one object of `--json`.
#[derive(Debug, Serialize)]
struct Findings {
    ok: bool,
    version: &'static str,
    checks: Vec<Check>,
}

/// Runs all checks and prints the results.
pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let (server, engine) =
        config::resolve(args.serve.config.as_ref(), args.serve.server, args.serve.engine).map_err(Usage)?;
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
    let ok = checks.iter().all(|check| check.state != State::Fail);
    let findings = Findings { ok, version: env!("CARGO_PKG_VERSION"), checks };
    let text = if args.json { serde_json::to_string(&findings)? + "\n" } else { in_words(&findings.checks) };
    io::stdout().write_all(text.as_bytes()).context("failed to write")?;
    if !ok {
        let missing = findings.checks.iter().filter(|check| check.state == State::Fail);
        bail!("not ready: {}", missing.map(|check| check.name).collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

fn in_words(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let sign = match check.state {
            State::Ok => "ok  ",
            State::Note => "note",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{sign}  {:width$}  {}", check.name, check.found);
        if let Some(mend) = &check.mend {
            let _ = writeln!(text, "      {:width$}  → {mend}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_was_found() {
        let checks = [
            Check::new("disk", State::Fail, "1 MB is free").mend("free some"),
            Check::new("clock", State::Ok, "synchronized"),
        ];
        assert_eq!(
            in_words(&checks),
            "FAIL  disk   1 MB is free\n             → free some\nok    clock  synchronized\n"
        );
    }
}
