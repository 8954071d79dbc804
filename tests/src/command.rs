//! Runs `homereel` and collects its output.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// How long one command may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(600);

/// What a command left behind.
#[derive(Debug)]
pub struct CommandOutput {
    /// Exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl CommandOutput {
    /// Returns the answer (standard output without the line's end) of a command that succeeded.
    ///
    /// # Errors
    /// When it failed; the message holds what it said.
    pub fn answer(&self) -> anyhow::Result<&str> {
        ensure!(self.status == Some(0), "exit {:?}: {}{}", self.status, self.stdout, self.stderr);
        Ok(self.stdout.trim_end_matches('\n'))
    }

    /// Parses standard output of a command that succeeded as JSON.
    ///
    /// # Errors
    /// When it failed or printed something else.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(self.answer()?).with_context(|| format!("no JSON: {}", self.stdout))
    }
}

/// Returns the program under test: `$HOMEREEL_BIN`, or the one beside this test's own folder.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("HOMEREEL_BIN").map_or_else(|| target_dir().join("homereel"), PathBuf::from)
}

/// The folder of this build's programs: `target/ci` for `target/ci/deps/cli-…`.
pub(crate) fn target_dir() -> PathBuf {
    let mut path = std::env::current_exe().unwrap_or_default();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path
}

/// Runs `homereel` with `arguments`, on the demo model unless they name another.
///
/// # Errors
/// When the program can't be started or does not end within two minutes (it is killed then).
pub async fn homereel<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
) -> anyhow::Result<CommandOutput> {
    homereel_within(DEADLINE, arguments).await
}

/// Like [`homereel`], with a deadline of its own.
///
/// # Errors
/// When the program can't be started or does not end in time (it is killed then).
pub async fn homereel_within<S: AsRef<OsStr>>(
    deadline: Duration,
    arguments: impl IntoIterator<Item = S>,
) -> anyhow::Result<CommandOutput> {
    run(binary(), deadline, arguments).await
}

/// Runs `homereel-bench` with `arguments`.
///
/// # Errors
/// When the program can't be started or does not end within two minutes (it is killed then).
pub async fn bench<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> anyhow::Result<CommandOutput> {
    run(target_dir().join("homereel-bench"), DEADLINE, arguments).await
}

async fn run<S: AsRef<OsStr>>(
    program: PathBuf,
    deadline: Duration,
    arguments: impl IntoIterator<Item = S>,
) -> anyhow::Result<CommandOutput> {
    let child = tokio::process::Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {}; build it first", program.display()))?;
    let output = tokio::time::timeout(deadline, child.wait_with_output())
        .await
        .with_context(|| format!("no end after {deadline:?}"))??;
    Ok(CommandOutput {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
