//! Progress on standard error: a line that moves on a terminal, nothing elsewhere (a log needs no frames).

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// A line of progress.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts a line, unless standard error is no terminal.
    pub(super) fn start() -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Shows how far `what` is; without a total only that it goes on.
    pub(super) fn show(&self, what: &str, done: u64, total: u64) {
        let template = if total > 1 { "{spinner} {msg} [{bar:30}] {pos}/{len}" } else { "{spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(what.to_owned());
    }

    /// Shows a stage of an answer by the words of its events.
    pub(super) fn stage(&self, stage: &str, done: u64, total: u64) {
        let what = match stage {
            "queued" => return self.show("waiting in the queue", 0, 0),
            "probe" => "reading the file",
            "decode" => "decoding frames",
            "preprocess" => "preparing",
            "vision" => "looking",
            "prefill" => "reading the question",
            other => other,
        };
        self.show(what, done, total);
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes a warning to standard error.
pub(super) fn warn(message: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "warning: {message}");
}
