//! What the commands print. Every text passes through here, and control characters in it are spelled out: file names, answers
//! and errors come from others.

use std::io::{self, Write as _};

use anyhow::Context as _;

use crate::printable;

/// Prints one line on standard output.
pub(super) fn print(line: &str) -> anyhow::Result<()> {
    write(&format!("{}\n", printable::line(line)))
}

/// Prints lines on standard output.
pub(super) fn print_lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> anyhow::Result<()> {
    write(
        &lines.into_iter().map(|line| printable::line(line.as_ref()).into_owned() + "\n").collect::<String>(),
    )
}

/// Prints a text, or a piece of one, whose line ends are its own.
pub(super) fn print_text(text: &str) -> anyhow::Result<()> {
    write(&printable::lines(text))
}

/// Writes a warning to standard error.
pub(super) fn warn(message: &str) {
    say("warning", message);
}

/// Writes an error to standard error.
pub(super) fn error(message: &str) {
    say("error", message);
}

/// Writes a text of several lines to standard error.
pub(super) fn explain(text: &str) {
    let _ = write!(io::stderr(), "{}", printable::lines(text));
}

fn say(kind: &str, message: &str) {
    // A closed standard error is not a failure.
    let _ = writeln!(io::stderr(), "{kind}: {}", printable::line(message));
}

/// The reader of standard output has closed it, as `head` does when it has enough.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct OutputClosed;

fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        written => written.context("failed to write"),
    }
}
