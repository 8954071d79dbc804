//! Pages: one struct each, rendered by the template of the same name.

mod lists;

use std::collections::BTreeMap;

use askama::Template;

pub use lists::{AlbumPage, AlbumsPage, ArrangePage, LibraryPage, TrashPage};

use crate::{
    Words,
    chart::Chart,
    views::{
        AlbumChoice, AnswerView, ApiKeyView, BenchChange, BenchRow, Card, DocsFamily, EditedMoment, Fact,
        FactList, FoundView, JobProgress, JobView, Link, Made, ModelStatus, MomentView, Note, Person,
        RefusedUpload, SelectOption, Shell, StateKind, StateLabel, Time, TimeSpent, Trail, TranscriptView,
    },
};

/// `/add`: the form that adds videos, and the caller's refused uploads.
#[derive(Debug, Template)]
#[template(path = "add.html")]
pub struct AddPage {
    /// The frame.
    pub shell: Shell,
    /// Formatted size limit of uploads.
    pub upload_limit: String,
    /// Scheme and authority of the request, for the example command.
    pub base_url: String,
    /// Uploads that were refused within the last day, newest first.
    pub refused: Vec<RefusedUpload>,
}

/// `/videos/{id}`: the player, description and moments, questions and answers.
#[derive(Debug, Template)]
#[template(path = "video.html")]
pub struct VideoPage {
    /// The frame.
    pub shell: Shell,
    /// Id of the video.
    pub id: String,
    /// Name.
    pub name: String,
    /// URL that restores it, if it is in the trash.
    pub restore: Option<String>,
    /// State of its processing.
    pub state: StateLabel,
    /// Progress of its processing.
    pub step: Option<JobProgress>,
    /// URL that retries failed processing.
    pub retry: Option<String>,
    /// Last part of the URL to play: `file`, or `playback.mp4` if browsers cannot play the original; `None` if there is nothing to
    /// play yet.
    pub play_file: Option<&'static str>,
    /// Why there is nothing to play.
    pub why_not_played: String,
    /// Whether the browser may show the original meanwhile, outside of the page.
    pub offers_original: bool,
    /// Display width in pixels; 16 if unknown.
    pub width: u32,
    /// Display height in pixels; 9 if unknown.
    pub height: u32,
    /// There is a poster.
    pub has_poster: bool,
    /// There are thumbnails for scrubbing.
    pub has_sprites: bool,
    /// `#t=83` if the URL has a time, else empty.
    pub start_fragment: String,
    /// The second of the URL, else 0.
    pub second: String,
    /// Codec, for browsers that cannot play it.
    pub codec: String,
    /// Questions can be asked now.
    pub askable: bool,
    /// Reason why questions cannot be asked.
    pub why_not_askable: String,
    /// Questions that can be asked.
    pub suggestions: Vec<String>,
    /// A question can ask for the full budget of visual tokens.
    pub look_closer: bool,
    /// Sentence about the time until an answer begins; may be empty.
    pub answer_begins: String,
    /// Questions and answers, newest first.
    pub answers: Vec<AnswerView>,
    /// URL of the next page.
    pub older_answers: Option<String>,
    /// Description.
    pub description: Option<Made>,
    /// Text while there is no description.
    pub no_description: String,
    /// Tags with links to their videos.
    pub tags: Vec<Link>,
    /// The albums, those with the video first.
    pub albums: Vec<AlbumChoice>,
    /// Moments in order of time.
    pub moments: Vec<MomentView>,
    /// URL of the next page.
    pub more_moments: Option<String>,
    /// Text while there are no moments.
    pub no_moments: String,
    /// Videos that are like this one.
    pub similar: Vec<Card>,
    /// What is said; `None` where nothing transcribes.
    pub transcript: Option<TranscriptView>,
    /// URL and language of the captions of what is said, if there are any.
    pub captions: Option<(String, String)>,
    /// It is a favourite.
    pub favourite: bool,
    /// When it was taken; `None` if nobody knows.
    pub taken: Option<Time>,
    /// That date is a guess.
    pub guessed: bool,
    /// Place, as a user entered it; may be empty.
    pub place: String,
    /// The way back, and the neighbours.
    pub trail: Trail,
    /// Facts of the file; names are keys of messages.
    pub facts: Vec<Fact>,
    /// When it was added.
    pub added: Time,
    /// Warnings about the file.
    pub warnings: Vec<String>,
}

/// `/videos/{id}/edit`: what people can change about a video.
#[derive(Debug, Template)]
#[template(path = "edit.html")]
pub struct EditPage {
    /// The frame.
    pub shell: Shell,
    /// URL that the form is sent to.
    pub action: String,
    /// URL of the video's page.
    pub back: String,
    /// The video's present name.
    pub video: String,
    /// Problem with the input; may be empty.
    pub problem: String,
    /// Name.
    pub name: String,
    /// Day, time and zone at which it was taken.
    pub taken: [String; 3],
    /// Place.
    pub place: String,
    /// Description; `None` if it is too long for a page.
    pub description: Option<String>,
    /// Tags, separated by commas.
    pub tags: String,
    /// Moments, and empty rows for new ones; `None` if they are too many for a page.
    pub moments: Option<Vec<EditedMoment>>,
    /// Formatted length of the video; empty if unknown.
    pub length: String,
}

/// `/search`: query, filters and hits.
#[derive(Debug, Template)]
#[template(path = "search.html")]
pub struct SearchPage {
    /// The frame.
    pub shell: Shell,
    /// The query.
    pub q: String,
    /// First day, as entered.
    pub from: String,
    /// Last day, as entered.
    pub to: String,
    /// Tag, as entered.
    pub tag: String,
    /// Only favourites.
    pub favourite: bool,
    /// Selection of cameras.
    pub cameras: Vec<SelectOption>,
    /// Selection of lengths.
    pub lengths: Vec<SelectOption>,
    /// A filter is set, so that the filters are shown.
    pub filtered: bool,
    /// Says that a word was taken for a date; may be empty.
    pub dated: String,
    /// The query reads like a question.
    pub is_question: bool,
    /// A search was made.
    pub searched: bool,
    /// It was by meaning, too.
    pub by_meaning: bool,
    /// It should have been by meaning, too, but that is not available at present.
    pub meaning_failed: bool,
    /// Problem with the input; may be empty.
    pub problem: String,
    /// Formatted number of found videos.
    pub counts: String,
    /// The videos, best first.
    pub found: Vec<FoundView>,
    /// URL of the next page.
    pub more: Option<String>,
}

/// `/household`: the user's password, the other users, and API keys.
#[derive(Debug, Template)]
#[template(path = "household.html")]
pub struct HouseholdPage {
    /// The frame.
    pub shell: Shell,
    /// Problem with the input; may be empty.
    pub problem: String,
    /// Confirmation of the last change; may be empty.
    pub done: String,
    /// Name and secret of the new key, shown only once.
    pub new_key: Option<(String, String)>,
    /// The server requires no login.
    pub open: bool,
    /// Name and role of the user; empty without login.
    pub me: String,
    /// The user has a password.
    pub has_password: bool,
    /// The user is an administrator.
    pub admin: bool,
    /// Minimum length of a password.
    pub min_length: usize,
    /// Selection of roles for a new user.
    pub roles: Vec<SelectOption>,
    /// The users.
    pub people: Vec<Person>,
    /// API keys.
    pub keys: Vec<ApiKeyView>,
}

/// `/ask`: a question about all videos, answered from what is known about them.
#[derive(Debug, Template)]
#[template(path = "ask.html")]
pub struct AskPage {
    /// The frame.
    pub shell: Shell,
    /// Id of the question; empty before it is asked.
    pub id: String,
    /// The question; empty before it is asked.
    pub question: String,
    /// State of an answer that is not complete.
    pub state: Option<StateLabel>,
    /// The answer, split at the numbers of notes.
    pub parts: Vec<(String, Option<usize>)>,
    /// Id of the model; empty where none was needed.
    pub model: String,
    /// When it was asked.
    pub asked: Option<Time>,
    /// Sources of the answer.
    pub notes: Vec<Note>,
    /// Earlier questions, newest first.
    pub earlier: Vec<(Link, Time)>,
    /// URL of the next page of them.
    pub more: Option<String>,
}

/// `/system`: the model, the work, the machine.
#[derive(Debug, Template)]
#[template(path = "system.html")]
pub struct SystemPage {
    /// The frame.
    pub shell: Shell,
    /// Text and URL of each span, and whether it is shown.
    pub spans: Vec<(String, String, bool)>,
    /// Whether samples of each second are added to the charts.
    pub live: bool,
    /// Charts over that time.
    pub charts: Vec<Chart>,
    /// Where the time of the last answers went; `None` if there were none.
    pub spent: Option<TimeSpent>,
    /// Jobs that run, and numbers of those that wait and have failed.
    pub now_running: Vec<JobView>,
    /// Sentence about the other jobs.
    pub jobs: String,
    /// Recommendations, one sentence each.
    pub advice: Vec<String>,
    /// The lists.
    pub lists: Vec<FactList>,
    /// Time of these values.
    pub now: Time,
}

/// `/docs`: the API.
#[derive(Debug, Template)]
#[template(path = "docs.html")]
pub struct DocsPage<'a> {
    /// The frame.
    pub shell: Shell,
    /// Version of the API.
    pub version: &'static str,
    /// The operations.
    pub families: &'a [DocsFamily],
    /// What each status of an error means.
    pub errors: &'a BTreeMap<String, String>,
}

/// `/bench`: results of benchmarks.
#[derive(Debug, Template)]
#[template(path = "bench.html")]
pub struct BenchPage {
    /// The frame.
    pub shell: Shell,
    /// Directory of the results.
    pub directory: String,
    /// The results, oldest first.
    pub runs: Vec<BenchRow>,
    /// Name and title of each plot.
    pub plots: Vec<(String, String)>,
    /// The newest run beside the one before; `None` if no earlier one is comparable.
    pub change: Option<BenchChange>,
    /// Names of files that are not results.
    pub unread: Vec<String>,
}

/// `/jobs`: running, waiting and ended jobs.
#[derive(Debug, Template)]
#[template(path = "jobs.html")]
pub struct JobsPage {
    /// The frame.
    pub shell: Shell,
    /// Formatted counts by state.
    pub counts: String,
    /// The lane of the model is paused.
    pub paused: bool,
    /// What is left to watch, and how long that takes.
    pub left: Option<String>,
    /// Formatted number of videos that another model described, if there are any.
    pub of_other_models: Option<u64>,
    /// There are failed jobs that can be retried.
    pub any_failed: bool,
    /// Running jobs first, then waiting, then ended ones, newest first.
    pub jobs: Vec<JobView>,
    /// URL of the next page.
    pub more: Option<String>,
}

/// `/login`: asks for the password, or sets it. Reveals nothing else.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    /// Texts in the reader's language.
    pub words: &'static Words,
    /// Title.
    pub title: String,
    /// Token of a one-time link that sets the password.
    pub once: Option<String>,
    /// No password is set yet, and the URL has no token.
    pub nothing_set: bool,
    /// URL after the login.
    pub next: String,
    /// There are users besides the household, so that a name is needed.
    pub named: bool,
    /// The name, as entered.
    pub name: String,
    /// Minimum length of a password.
    pub min_length: usize,
    /// Error of the last attempt.
    pub error: Option<String>,
}

/// An error page.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// The frame; its title is the error.
    pub shell: Shell,
    /// Cause and remedy, one sentence each.
    pub lines: Vec<String>,
    /// The message of the API, in English; may be empty.
    pub detail: String,
    /// URL of the link back.
    pub back: String,
    /// Text of the link back.
    pub back_label: String,
}

#[cfg(test)]
mod tests;
