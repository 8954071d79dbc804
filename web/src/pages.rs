//! Whole pages: one struct each, rendered by its template.

use askama::Template;

use crate::views::{Answer, Card, Fact, Job, Kind, Made, Model, Moment, Shell, State, Step, Time};

/// `/`: upload and the list of videos.
#[derive(Debug, Template)]
#[template(path = "library.html")]
pub struct LibraryPage {
    /// The frame.
    pub shell: Shell,
    /// Largest file that is taken, in words.
    pub upload_limit: String,
    /// Scheme and authority that the reader used, for the example command.
    pub base_url: String,
    /// Number of videos in words.
    pub count: String,
    /// The videos, newest first.
    pub videos: Vec<Card>,
    /// URL of the older ones.
    pub more: Option<String>,
}

/// `/videos/{id}`: the player, what the model says, questions and answers.
#[derive(Debug, Template)]
#[template(path = "video.html")]
pub struct VideoPage {
    /// The frame.
    pub shell: Shell,
    /// Id of the video.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its reading stands.
    pub state: State,
    /// How far the reading is.
    pub step: Option<Step>,
    /// URL that asks for a failed reading again.
    pub retry: Option<String>,
    /// There is a picture to play.
    pub playable: bool,
    /// Pixels per row as shown; 16 while unknown.
    pub width: u32,
    /// Rows as shown; 9 while unknown.
    pub height: u32,
    /// There is a poster.
    pub has_poster: bool,
    /// `#t=83` where the reader asked for a second, or nothing.
    pub start_fragment: String,
    /// Codec, for browsers that can't play it.
    pub codec: String,
    /// Questions are taken now.
    pub askable: bool,
    /// Why they are not.
    pub why_not_askable: String,
    /// A question that makes sense here, as an example.
    pub example: String,
    /// Questions and answers, newest first.
    pub answers: Vec<Answer>,
    /// What the model saw.
    pub description: Option<Made>,
    /// What to say while there is no description.
    pub no_description: String,
    /// Tags by the model.
    pub tags: Vec<String>,
    /// Moments in order of time.
    pub moments: Vec<Moment>,
    /// What to say while there are no moments.
    pub no_moments: String,
    /// Facts of the file.
    pub facts: Vec<Fact>,
    /// When it was added.
    pub added: Time,
    /// What the reader should know of the file.
    pub warnings: Vec<String>,
}

/// `/jobs`: what is being done, what waits, what failed.
#[derive(Debug, Template)]
#[template(path = "jobs.html")]
pub struct JobsPage {
    /// The frame.
    pub shell: Shell,
    /// Numbers by state in words.
    pub counts: String,
    /// Running first, then waiting, then what ended, newest first.
    pub jobs: Vec<Job>,
}

/// `/login`: asks for the household's password, or lets it be chosen. Tells strangers nothing else.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    /// What it is.
    pub title: &'static str,
    /// Token of a one-time link: the password is chosen now.
    pub once: Option<String>,
    /// Nobody chose a password yet, and there is no link here.
    pub nothing_set: bool,
    /// Where to go after it.
    pub next: String,
    /// Characters that a new password has at least.
    pub min_length: usize,
    /// What was wrong with the last try.
    pub error: Option<String>,
}

/// Any error that a person meets in a browser.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// The frame; its title says what is wrong.
    pub shell: Shell,
    /// What happened and what would help, a sentence each.
    pub lines: Vec<String>,
    /// HTTP status.
    pub status: u16,
    /// Where to go from here.
    pub back: String,
    /// Name of that place.
    pub back_label: String,
}

#[cfg(test)]
mod tests;
