//! The audit log: who logged in, changed users, keys or passwords, or deleted something, and from where. One JSON object per
//! line in a file of the data directory, which is bounded, and one line in the server's log.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

/// Name of the file in the data directory.
const FILE: &str = "audit.jsonl";

/// Name of the file before it.
const PREVIOUS: &str = "audit.1.jsonl";

/// Size from which a new file is begun.
const MAX_BYTES: u64 = 8 << 20;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// What was done, such as `log_in` or `delete_video`.
    pub action: &'static str,
    /// `user NAME` or `key NAME`; `None` where the caller is not known.
    pub by: Option<String>,
    /// Address of the client. `None` means the command line.
    pub from: Option<IpAddr>,
    /// What it was done to: a path, or a name.
    pub target: String,
    /// Whether it was done.
    pub done: bool,
    /// HTTP status of the response. `None` means the command line.
    pub status: Option<u16>,
    /// Id of the request. `None` means the command line.
    pub request_id: Option<String>,
}

impl AuditEntry {
    /// Returns the entry of a command that was run on this machine.
    #[must_use]
    pub fn of_command(action: &'static str, target: impl Into<String>) -> Self {
        let by = Some("command line".to_owned());
        Self { action, by, from: None, target: target.into(), done: true, status: None, request_id: None }
    }
}

/// Appends entries to the audit log of a data directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditLog {
    directory: Arc<PathBuf>,
    turn: Arc<Mutex<()>>,
}

impl AuditLog {
    /// Returns the audit log of a data directory. The file is created with the first entry.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { directory: Arc::new(data.to_owned()), turn: Arc::default() }
    }

    /// Appends an entry. A full disk does not stop what is recorded: the server's log has the entry in any case. Blocking.
    pub fn record(&self, entry: &AuditEntry) {
        let AuditEntry { action, by, from, target, done, .. } = entry;
        let from = from.map(|from| from.to_string());
        tracing::info!(target: "audit", action, by, from, on = target, done, "audit");
        if let Err(error) = self.append(entry) {
            tracing::error!(%error, file = FILE, "failed to write to the audit log; the entry is in this log only");
        }
    }

    fn append(&self, entry: &AuditEntry) -> io::Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            at: String,
            #[serde(flatten)]
            entry: &'a AuditEntry,
        }
        let mut line = serde_json::to_vec(&Line { at: Timestamp::now().to_string(), entry })?;
        line.push(b'\n');
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.directory.join(FILE);
        if fs::metadata(&path).is_ok_and(|found| found.len() >= MAX_BYTES) {
            fs::rename(&path, self.directory.join(PREVIOUS))?;
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn entries_are_lines_of_json_and_the_file_is_bounded() {
        let data = tempfile::tempdir().unwrap();
        let log = AuditLog::new(data.path());
        log.record(&AuditEntry::of_command("add_key", "a \"name\"\nof two lines"));
        let path = data.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let entry: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(entry["target"], "a \"name\"\nof two lines");
        assert!(entry["at"].as_str().unwrap().parse::<Timestamp>().is_ok());

        fs::File::options().write(true).open(&path).unwrap().set_len(MAX_BYTES).unwrap();
        log.record(&AuditEntry::of_command("revoke_key", "phone"));
        assert_eq!(fs::metadata(data.path().join(PREVIOUS)).unwrap().len(), MAX_BYTES);
        assert!(fs::read_to_string(&path).unwrap().contains("revoke_key"));
    }
}
