//! The answer that `ask` and `check` receive, and the output that prints it while it arrives.

use serde_json::{Value, json};

use super::{
    progress::ProgressLine,
    terminal::{print, print_text, warn},
};

/// An answer and its metadata, in the shapes of `--json`.
#[derive(Debug, Default)]
pub(super) struct CompletedAnswer {
    pub(super) answer: String,
    pub(super) model: String,
    pub(super) finish_reason: Value,
    pub(super) usage: Value,
    pub(super) stages_ms: Value,
    pub(super) media: Value,
    pub(super) warnings: Vec<String>,
}

/// Prints an answer as it is generated.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) progress: ProgressLine,
    quiet: bool,
}

impl Output {
    /// Shows progress on standard error. If `quiet`, the answer is not printed piece by piece.
    pub(super) fn start(quiet: bool) -> Self {
        Self { progress: ProgressLine::start(), quiet }
    }

    /// Prints a piece of the answer, unless this output is quiet.
    pub(super) fn piece(&self, text: &str) -> anyhow::Result<()> {
        if self.quiet || text.is_empty() {
            return Ok(());
        }
        self.progress.clear();
        print_text(text)
    }

    /// Ends the answer: with one JSON object if this output is quiet, otherwise with a line end and the warnings.
    pub(super) fn end(&self, outcome: CompletedAnswer) -> anyhow::Result<()> {
        self.progress.clear();
        let CompletedAnswer { answer, model, finish_reason, usage, stages_ms, media, warnings } = outcome;
        let text = if self.quiet {
            json!({
                "answer": answer, "finish_reason": finish_reason, "usage": usage, "model": model,
                "stages_ms": stages_ms, "media": media,
            })
            .to_string()
        } else {
            warnings.iter().for_each(|warning| warn(warning));
            String::new()
        };
        print(&text)
    }
}
