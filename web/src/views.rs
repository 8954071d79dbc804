//! View models: the data that page templates show, such as the frame of a page (`Shell`), cards of videos, jobs and answers.
//! Texts are already formatted; `StateKind` selects colour and icon.

mod lists;
mod search;
mod system;
mod transcript;
mod video;

use crate::{Words, times::Span};
pub use lists::{
    AlbumCard, AlbumHead, ArrangedVideo, BatchBar, CardGroup, DoneMessage, ListForm, PageLinks, RailEntry,
};
pub use search::{FoundView, HitView};
pub use system::{BenchChange, StageShare, TimeSpent};
pub use transcript::{LineView, TranscriptView};
pub use video::{AlbumChoice, EditedMoment, MomentView, Trail};

/// The model, as pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelStatus {
    /// A real model is loaded.
    Ready {
        /// Its id.
        id: String,
    },
    /// The embedded demo model is loaded; every page has a notice.
    Demo {
        /// Its id.
        id: String,
    },
    /// The model is loading.
    Loading,
    /// The model failed to load.
    Failed {
        /// The reason, for the person who runs the server.
        reason: String,
    },
}

/// The common frame of all pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// Texts in the reader's language.
    pub words: &'static Words,
    /// Title of the page.
    pub title: String,
    /// The active page: `videos`, `albums`, `search`, `ask`, `jobs`, `system`, `household`, `trash`, or empty.
    pub here: &'static str,
    /// The model.
    pub model: ModelStatus,
    /// The user is logged in.
    pub can_log_out: bool,
    /// The user may add, ask and edit.
    pub may_change: bool,
    /// The user may delete.
    pub may_delete: bool,
    /// Something on this page is in progress. Without JavaScript, the page reloads by itself.
    pub unfinished: bool,
    /// Number of changes of the library when the page was rendered. Scripts compare it with the first event of `/api/events`.
    pub changes: u64,
}

/// An upload that did not become a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedUpload {
    /// Id of the upload.
    pub id: String,
    /// Name of the file.
    pub name: String,
    /// Formatted size.
    pub size: String,
    /// Why it was refused.
    pub reason: String,
}

/// Kind of a state, which selects its colour and icon. The word beside them has the same meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// Waiting.
    Waiting,
    /// In progress.
    Working,
    /// Finished.
    Done,
    /// Stopped by a user.
    Stopped,
    /// Failed.
    Failed,
}

impl StateKind {
    /// Returns the class in the stylesheet.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Waiting => "wait",
            Self::Working => "work",
            Self::Done => "done",
            Self::Stopped => "stop",
            Self::Failed => "fail",
        }
    }

    /// Returns whether the state will change by itself.
    #[must_use]
    pub fn unfinished(&self) -> bool {
        matches!(self, Self::Waiting | Self::Working)
    }
}

/// A state in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateLabel {
    /// Colour and icon.
    pub kind: StateKind,
    /// One or two words: `ready`, `being read`, `failed`.
    pub word: String,
    /// Details such as the reason; may be empty.
    pub detail: String,
}

/// A point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// For `datetime=`. A moment in UTC (`…Z`), which the script shows in the user's time zone, or a day or local time, which
    /// everybody sees as it is.
    pub iso: String,
    /// The same as text with its time zone, without JavaScript.
    pub text: String,
}

/// Progress of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProgress {
    /// The current step: `describing, step 2 of 4`.
    pub name: String,
    /// Units done.
    pub done: u64,
    /// Total units, at least 1.
    pub total: u64,
    /// Events tell the progress within the step.
    pub has_events: bool,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Name: `Length`.
    pub name: &'static str,
    /// Value: `4.2 s`.
    pub value: String,
}

/// A list with a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactList {
    /// The title.
    pub title: &'static str,
    /// The lines.
    pub facts: Vec<Fact>,
}

/// A family of the API's operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocsFamily {
    /// Its name.
    pub title: String,
    /// What it is about.
    pub about: String,
    /// Its operations.
    pub operations: Vec<DocsOperation>,
}

/// An operation of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocsOperation {
    /// Its name, which is unique.
    pub id: String,
    /// The HTTP method.
    pub method: String,
    /// The path, with parameters in braces.
    pub path: String,
    /// The role that it requires.
    pub role: String,
    /// What it does.
    pub summary: String,
    /// Further details, or empty.
    pub about: String,
    /// Parameters and fields of the body.
    pub takes: Vec<DocsField>,
    /// Statuses of success with their content.
    pub returns: Vec<DocsField>,
    /// Statuses of errors.
    pub failures: String,
}

/// A parameter, a field of a body, or a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocsField {
    /// Its name.
    pub name: String,
    /// Where it is, and its type; or the content of an answer.
    pub kind: String,
    /// Whether it must be there.
    pub required: bool,
    /// What it means, or empty.
    pub about: String,
}

/// A benchmark result in the table of `/bench`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchRow {
    /// Name of the result file.
    pub name: String,
    /// Id of the model.
    pub model: String,
    /// Source of the content.
    pub content: String,
    /// Request rate and concurrency.
    pub load: String,
    /// Numbers of answered and failed requests.
    pub answered: String,
    /// Requests per second.
    pub requests: String,
    /// Output tokens per second.
    pub tokens: String,
    /// Time to first token, median and P99.
    pub ttft: String,
    /// Median time per further token.
    pub tpot: String,
    /// Time to the last token, median and P99.
    pub e2el: String,
}

/// A video in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Id, for links.
    pub id: String,
    /// Name of the uploaded file.
    pub name: String,
    /// What the card shows below the picture: a name that a person chose, else the beginning of the description, else the name.
    pub title: String,
    /// URL of the small poster, if there is one.
    pub poster: Option<String>,
    /// `srcset` of the poster; empty if there is only one size.
    pub posters: String,
    /// Formatted length; empty if unknown.
    pub length: String,
    /// Formatted size.
    pub size: String,
    /// The local time at which it was recorded, or when it was added if that is unknown.
    pub date: Time,
    /// What is not sure about the date: `a guess`, `added`, or empty.
    pub date_note: String,
    /// It is a favourite.
    pub favourite: bool,
    /// State of its processing.
    pub state: StateLabel,
    /// It is below what most screens show before scrolling: scripts load its picture shortly before it scrolls into view.
    pub later: bool,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Id, for links.
    pub id: String,
    /// Login name.
    pub name: String,
    /// The household's shared account, which cannot be removed.
    pub household: bool,
    /// Role.
    pub role: &'static str,
    /// All roles, with theirs selected.
    pub roles: Vec<SelectOption>,
    /// When the user was added.
    pub since: Time,
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyView {
    /// Id, for links.
    pub id: String,
    /// Name.
    pub name: String,
    /// Role.
    pub role: &'static str,
    /// When it was created.
    pub made: Time,
    /// When it was last used.
    pub used: Option<Time>,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Text.
    pub text: String,
    /// URL.
    pub url: String,
}

/// A video in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// The video.
    pub card: Card,
    /// When it will be deleted.
    pub gone: Time,
}

/// A source of an answer: something known about a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Number, from 1.
    pub number: usize,
    /// URL.
    pub url: String,
    /// Title of the video; empty where the text begins with it.
    pub video: String,
    /// Formatted time, if it is a moment.
    pub at: String,
    /// Text.
    pub text: String,
    /// URL of its picture.
    pub picture: Option<String>,
}

/// An option of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectOption {
    /// Value in the form.
    pub value: String,
    /// Label.
    pub label: String,
    /// Selected.
    pub chosen: bool,
}

/// Text by the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The text.
    pub text: String,
    /// Id of the model.
    pub model: String,
    /// A user has edited it.
    pub edited: bool,
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerView {
    /// Id, for links.
    pub id: String,
    /// The question.
    pub question: String,
    /// The answer so far, split at the times in it.
    pub text: Vec<Span>,
    /// State of the answer.
    pub state: StateLabel,
    /// Id of the model.
    pub model: String,
    /// When it was asked.
    pub asked: Time,
    /// Frames, tokens, stage times.
    pub facts: Vec<Fact>,
}

/// A job in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Id, for links.
    pub id: String,
    /// Id of its video.
    pub video_id: String,
    /// Name of its video.
    pub video: String,
    /// Name: `reading the video`.
    pub what: String,
    /// State.
    pub state: StateLabel,
    /// Progress, while it runs.
    pub step: Option<JobProgress>,
    /// Formatted time so far; may be empty.
    pub elapsed: String,
    /// When it last changed.
    pub since: Time,
    /// Why it failed; may be empty.
    pub reason: String,
    /// It can be retried.
    pub can_retry: bool,
    /// It can be cancelled.
    pub can_cancel: bool,
    /// It can be moved to the front of the queue.
    pub can_go_first: bool,
}
