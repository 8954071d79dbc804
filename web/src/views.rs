//! The parts of pages: strings that are ready to be shown, and the few kinds that choose a colour.

use crate::times::Span;

/// What the pages say of the model at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// A real model answers.
    Ready {
        /// Its id.
        id: String,
    },
    /// The embedded demo model answers: every page says so.
    Demo {
        /// Its id.
        id: String,
    },
    /// Weights are on their way.
    Loading,
    /// There is none.
    Failed {
        /// Why, in words for the person who runs the server.
        reason: String,
    },
}

/// What every page has: its title, the tab that is lit, the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// Title of the page.
    pub title: String,
    /// The lit tab: `videos`, `albums`, `search`, `ask`, `jobs`, `system`, `household`, or nothing.
    pub here: &'static str,
    /// The model at work.
    pub model: Model,
    /// The reader came in with a password, and may leave.
    pub can_log_out: bool,
    /// The reader may add, ask and edit.
    pub may_change: bool,
    /// The reader may throw away.
    pub may_delete: bool,
    /// Something on this page is still being worked on: without JavaScript it reloads by itself.
    pub unfinished: bool,
}

/// Kind of a state; chooses its colour and sign, never the only carrier of the meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Waits for its turn.
    Waiting,
    /// Is being worked on.
    Working,
    /// Came to its end.
    Done,
    /// Was stopped by a person.
    Stopped,
    /// Failed.
    Failed,
}

impl Kind {
    /// Class in the stylesheet.
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

    /// Tells whether more is to come without anybody's doing.
    #[must_use]
    pub fn unfinished(&self) -> bool {
        matches!(self, Self::Waiting | Self::Working)
    }
}

/// A state in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Colour and sign.
    pub kind: Kind,
    /// One or two words: `ready`, `being read`, `failed`.
    pub word: String,
    /// What else there is to say: the reason, the next step; may be empty.
    pub detail: String,
}

/// A point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// RFC 3339, for `datetime=`; the script shows it in the viewer's zone.
    pub iso: String,
    /// The same in words, with its zone, for readers without JavaScript.
    pub text: String,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is being done, with its numbers: `describing, step 2 of 4`.
    pub name: String,
    /// Units done.
    pub done: u64,
    /// Units in all, at least 1.
    pub total: u64,
}

/// One line of a list of facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is: `Length`.
    pub name: &'static str,
    /// Its value: `4.2 s`.
    pub value: String,
}

/// Facts under one title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactList {
    /// The title.
    pub title: &'static str,
    /// The facts.
    pub facts: Vec<Fact>,
}

/// A result of a benchmark, as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Name of its file.
    pub name: String,
    /// Id of the model.
    pub model: String,
    /// What was asked about.
    pub content: String,
    /// How many requests came at once.
    pub load: String,
    /// Requests that were answered, and that failed.
    pub answered: String,
    /// Requests per second.
    pub requests: String,
    /// Output tokens per second.
    pub tokens: String,
    /// To the first token.
    pub ttft: String,
    /// For each further token.
    pub tpot: String,
    /// To the last token.
    pub e2el: String,
}

/// A video in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Id, for links.
    pub id: String,
    /// Name of the file as it was given.
    pub name: String,
    /// URL of the poster, once there is one.
    pub poster: Option<String>,
    /// Length in words; empty while unknown.
    pub length: String,
    /// Size in words.
    pub size: String,
    /// When it was taken, or else added.
    pub date: Time,
    /// Where its reading stands.
    pub state: State,
}

/// An album in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlbumCard {
    /// Its name: the tag.
    pub name: String,
    /// Where it is shown.
    pub url: String,
    /// URL of its picture, if there is one.
    pub cover: Option<String>,
    /// Number of videos in words.
    pub count: String,
}

/// Somebody who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Id, for links.
    pub id: String,
    /// Name, as it is typed at the login.
    pub name: String,
    /// The household's own: it stays.
    pub household: bool,
    /// What they may do, in a word.
    pub role: &'static str,
    /// All roles, theirs chosen.
    pub roles: Vec<Choice>,
    /// When they were added.
    pub since: Time,
}

/// A key of a program, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Id, for links.
    pub id: String,
    /// Name that its owner gave it.
    pub name: String,
    /// What it may do, in a word.
    pub role: &'static str,
    /// When it was made.
    pub made: Time,
    /// When it was last used.
    pub used: Option<Time>,
}

/// A video that a search found, with the places in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The video.
    pub card: Card,
    /// Where, best first.
    pub places: Vec<Place>,
}

/// A place that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it is shown, at its second if it has one.
    pub url: String,
    /// The second, or what kind of text it is.
    pub at: String,
    /// The words, and whether they are those that were looked for.
    pub parts: Vec<(String, bool)>,
}

/// A word that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The word.
    pub text: String,
    /// Where to.
    pub url: String,
}

/// A video in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// The video.
    pub card: Card,
    /// When it will be gone.
    pub gone: Time,
}

/// Something known of a video that an answer may rest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Counted from 1.
    pub number: usize,
    /// Where it is shown.
    pub url: String,
    /// Name of the video.
    pub video: String,
    /// The second in words, of a moment.
    pub at: String,
    /// What is known.
    pub text: String,
}

/// One option of a list to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the form sends.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// It is the one chosen.
    pub chosen: bool,
}

/// Words that the model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The words.
    pub text: String,
    /// Id of the model.
    pub model: String,
    /// A person changed them.
    pub edited: bool,
}

/// A stretch of a clip in which something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Seconds from the start, as a decimal number for links.
    pub start: String,
    /// From and to in words: `0:04.2–0:05.0`.
    pub at: String,
    /// What happens, by the model.
    pub text: String,
}

/// A question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Id, for links.
    pub id: String,
    /// The question as it was typed.
    pub question: String,
    /// The answer as far as it came, cut at the times in it.
    pub text: Vec<Span>,
    /// Whether it is whole, stopped, failed or still coming.
    pub state: State,
    /// Id of the model that made it.
    pub model: String,
    /// When it was asked.
    pub asked: Time,
    /// Frames, tokens, stage times.
    pub facts: Vec<Fact>,
}

/// A job in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Id, for links.
    pub id: String,
    /// Id of its video.
    pub video_id: String,
    /// Name of its video.
    pub video: String,
    /// What it does: `reading the video`.
    pub what: String,
    /// Where it stands.
    pub state: State,
    /// How far it is, while it runs.
    pub step: Option<Step>,
    /// Time it took so far, in words; may be empty.
    pub elapsed: String,
    /// When it was last touched.
    pub since: Time,
    /// Why it failed; may be empty.
    pub reason: String,
    /// Whether it can be asked for again.
    pub can_retry: bool,
    /// Whether it can be stopped.
    pub can_cancel: bool,
    /// Whether it can be put before others.
    pub can_go_first: bool,
}
