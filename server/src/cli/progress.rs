//! Progress on standard error: an animated line on a terminal, and nothing elsewhere, because a log needs no
//! animation.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::printable;

/// A progress line.
#[derive(Debug)]
pub(super) struct ProgressLine {
    bar: ProgressBar,
}

impl ProgressLine {
    /// Starts a progress line if standard error is a terminal.
    pub(super) fn start() -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Shows the progress of `what`; a total of 0 or 1 means unknown.
    pub(super) fn show(&self, what: &str, done: u64, total: u64) {
        let template = if total > 1 { "{spinner} {msg} [{bar:30}] {pos}/{len}" } else { "{spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(printable::line(what).into_owned());
    }

    /// Shows a stage of an answer, by its name in the events.
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

    /// Removes the line.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}
