//! What is said in a video.

/// What is said in a video: one page of lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TranscriptView {
    /// How far it is, or why there are no lines; may be empty.
    pub note: String,
    /// It can be read as a file, and searched.
    pub has_lines: bool,
    /// The lines of this page, or those that were searched for.
    pub lines: Vec<LineView>,
    /// What was searched for; empty if all lines are shown.
    pub wanted: String,
    /// The second from which this page shows the lines, and that from which the next one does; empty for lines that were searched
    /// for.
    pub span: Option<(String, String)>,
    /// URL of the page with earlier lines.
    pub earlier: Option<String>,
    /// URL of the page with later lines.
    pub later: Option<String>,
    /// Part of the URL of this page, to come back to it: `lines=60`.
    pub here: String,
    /// The line that a person corrects.
    pub edited: Option<LineView>,
    /// Name of the model.
    pub model: String,
    /// It can be transcribed again.
    pub can_repeat: bool,
}

/// A line of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineView {
    /// Number of the line.
    pub index: u64,
    /// Start in seconds, as a decimal number for links.
    pub start: String,
    /// Formatted start: `1:04.2`.
    pub at: String,
    /// What is said.
    pub text: String,
    /// A person has corrected it.
    pub by_hand: bool,
}
