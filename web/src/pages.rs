//! Whole pages: one struct each, rendered by its template.

use askama::Template;

use crate::views::{
    AlbumCard, Answer, Card, Choice, Fact, FactList, Found, Job, Key, Kind, Link, Made, Model, Moment, Note,
    Person, Run, Shell, State, Step, Time, Trashed,
};

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
    /// The video that was just thrown away, to take it back.
    pub trashed: Option<Link>,
    /// What the disk holds, in words.
    pub storage: String,
    /// Where the script finds the worker that hashes files.
    pub hasher: &'static str,
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
    /// URL that takes it out of the trash, where it lies in it.
    pub restore: Option<String>,
    /// Where its reading stands.
    pub state: State,
    /// How far the reading is.
    pub step: Option<Step>,
    /// URL that asks for a failed reading again.
    pub retry: Option<String>,
    /// There is a picture to play.
    pub playable: bool,
    /// Last part of the URL to play: `file`, or `playback.mp4` where browsers don't play the original.
    pub play_file: &'static str,
    /// Pixels per row as shown; 16 while unknown.
    pub width: u32,
    /// Rows as shown; 9 while unknown.
    pub height: u32,
    /// There is a poster.
    pub has_poster: bool,
    /// There are pictures to scrub by.
    pub has_sprites: bool,
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
    /// URL of the older ones.
    pub older_answers: Option<String>,
    /// What the model saw.
    pub description: Option<Made>,
    /// What to say while there is no description.
    pub no_description: String,
    /// Tags, each with its album.
    pub tags: Vec<Link>,
    /// Moments in order of time.
    pub moments: Vec<Moment>,
    /// URL of the later ones.
    pub more_moments: Option<String>,
    /// What to say while there are no moments.
    pub no_moments: String,
    /// Somebody likes it.
    pub favourite: bool,
    /// Where it was taken, by a person.
    pub place: String,
    /// The description as it can be changed.
    pub description_text: String,
    /// It is short enough to be changed on a page.
    pub description_fits: bool,
    /// The tags as they can be changed: words with commas.
    pub tags_text: String,
    /// URL of the video after this one.
    pub newer: Option<String>,
    /// URL of the video before this one.
    pub older: Option<String>,
    /// Facts of the file.
    pub facts: Vec<Fact>,
    /// When it was added.
    pub added: Time,
    /// What the reader should know of the file.
    pub warnings: Vec<String>,
}

/// `/search`: words and filters, and the places where they were found.
#[derive(Debug, Template)]
#[template(path = "search.html")]
pub struct SearchPage {
    /// The frame.
    pub shell: Shell,
    /// What was typed.
    pub q: String,
    /// First day, as typed.
    pub from: String,
    /// Last day, as typed.
    pub to: String,
    /// The tag, as typed.
    pub tag: String,
    /// Only favourites.
    pub favourite: bool,
    /// Cameras to choose from.
    pub cameras: Vec<Choice>,
    /// Lengths to choose from.
    pub lengths: Vec<Choice>,
    /// A filter is set: they are unfolded.
    pub filtered: bool,
    /// Something was asked for and looked up.
    pub searched: bool,
    /// What is wrong with what was typed; may be empty.
    pub problem: String,
    /// Number of videos found, in words.
    pub counts: String,
    /// The videos, best first.
    pub found: Vec<Found>,
    /// URL of further results.
    pub more: Option<String>,
}

/// `/albums`: the tags as albums.
#[derive(Debug, Template)]
#[template(path = "albums.html")]
pub struct AlbumsPage {
    /// The frame.
    pub shell: Shell,
    /// The albums, the largest first.
    pub albums: Vec<AlbumCard>,
    /// URL of the smaller ones.
    pub more: Option<String>,
}

/// `/albums/{tag}`: the videos of one album.
#[derive(Debug, Template)]
#[template(path = "album.html")]
pub struct AlbumPage {
    /// The frame.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// Number of videos in words.
    pub count: String,
    /// When the first of this page was taken.
    pub first: Option<Time>,
    /// When the last of this page was taken, if that was on another day.
    pub last: Option<Time>,
    /// URL of the search within it.
    pub search: String,
    /// The videos, in the order they were taken.
    pub videos: Vec<Card>,
    /// URL of the later ones.
    pub more: Option<String>,
}

/// `/household`: the reader's password, who else may come in, and the keys of programs.
#[derive(Debug, Template)]
#[template(path = "household.html")]
pub struct HouseholdPage {
    /// The frame.
    pub shell: Shell,
    /// What was wrong with what was sent; may be empty.
    pub problem: String,
    /// What was done just now; may be empty.
    pub done: &'static str,
    /// Name and secret of the key that was just made: shown this once.
    pub new_key: Option<(String, String)>,
    /// Nobody is asked who they are.
    pub open: bool,
    /// Who the reader is, and their role; empty where nobody is asked.
    pub me: String,
    /// The reader has a password to change.
    pub has_password: bool,
    /// The reader may let others in.
    pub admin: bool,
    /// Characters that a new password has at least.
    pub min_length: usize,
    /// The roles, for somebody new.
    pub roles: Vec<Choice>,
    /// Who may come in.
    pub people: Vec<Person>,
    /// Keys of programs.
    pub keys: Vec<Key>,
}

/// `/ask`: a question to all videos, and its answer from what is known of them.
#[derive(Debug, Template)]
#[template(path = "ask.html")]
pub struct AskPage {
    /// The frame.
    pub shell: Shell,
    /// What was asked; empty before that.
    pub question: String,
    /// The answer, cut at the numbers of notes in it.
    pub parts: Vec<(String, Option<usize>)>,
    /// Id of the model; empty where none answered.
    pub model: String,
    /// What the answer rests on.
    pub notes: Vec<Note>,
}

/// `/trash`: what was thrown away, and until when it can be taken back.
#[derive(Debug, Template)]
#[template(path = "trash.html")]
pub struct TrashPage {
    /// The frame.
    pub shell: Shell,
    /// Size of all of it, in words.
    pub size: String,
    /// The videos, the last thrown away first.
    pub videos: Vec<Trashed>,
    /// URL of those before.
    pub more: Option<String>,
}

/// `/system`: the model, the work, the machine.
#[derive(Debug, Template)]
#[template(path = "system.html")]
pub struct SystemPage {
    /// The frame.
    pub shell: Shell,
    /// What should be done, a sentence each.
    pub advice: Vec<String>,
    /// All there is to know.
    pub lists: Vec<FactList>,
    /// When it was looked at.
    pub now: Time,
    /// What the disk holds, in words.
    pub storage: String,
}

/// `/bench`: results of benchmarks.
#[derive(Debug, Template)]
#[template(path = "bench.html")]
pub struct BenchPage {
    /// The frame.
    pub shell: Shell,
    /// Where results are kept.
    pub directory: String,
    /// The results, oldest first.
    pub runs: Vec<Run>,
    /// Name and title of each plot.
    pub plots: Vec<(String, String)>,
    /// Files that are no results.
    pub unread: Vec<String>,
}

/// `/jobs`: what is being done, what waits, what failed.
#[derive(Debug, Template)]
#[template(path = "jobs.html")]
pub struct JobsPage {
    /// The frame.
    pub shell: Shell,
    /// Numbers by state in words.
    pub counts: String,
    /// All jobs are paused.
    pub paused: bool,
    /// Failed jobs can be tried again all at once.
    pub any_failed: bool,
    /// Running first, then waiting, then what ended, newest first.
    pub jobs: Vec<Job>,
    /// URL of the rest.
    pub more: Option<String>,
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
    /// There are users beside the household: their names are asked for.
    pub named: bool,
    /// The name as it was typed.
    pub name: String,
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
