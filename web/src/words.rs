//! The texts of pages in one language: Fluent messages of `words/{language}/*.ftl`, one file per page.
//!
//! `common.ftl` has what several pages show, `script.ftl` what scripts show; the latter goes into each page as JSON. To translate
//! Homereel, add a directory and name it in [`Words::of`]. The language `en-XA` is a pseudo-locale for tests: English with each
//! message in `⟦…⟧`, so that a text which no message has can be found.

use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::LazyLock};

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use unic_langid::langid;

/// Name and source of each file, in English.
const ENGLISH: [(&str, &str); 18] = [
    ("add", include_str!("../words/en/add.ftl")),
    ("albums", include_str!("../words/en/albums.ftl")),
    ("ask", include_str!("../words/en/ask.ftl")),
    ("bench", include_str!("../words/en/bench.ftl")),
    ("common", include_str!("../words/en/common.ftl")),
    ("docs", include_str!("../words/en/docs.ftl")),
    ("error", include_str!("../words/en/error.ftl")),
    ("household", include_str!("../words/en/household.ftl")),
    ("jobs", include_str!("../words/en/jobs.ftl")),
    ("library", include_str!("../words/en/library.ftl")),
    ("login", include_str!("../words/en/login.ftl")),
    ("script", include_str!("../words/en/script.ftl")),
    ("search", include_str!("../words/en/search.ftl")),
    ("shell", include_str!("../words/en/shell.ftl")),
    ("system", include_str!("../words/en/system.ftl")),
    ("transcript", include_str!("../words/en/transcript.ftl")),
    ("trash", include_str!("../words/en/trash.ftl")),
    ("video", include_str!("../words/en/video.ftl")),
];

/// The messages of one language.
pub struct Words {
    /// Tag of the language, for the attribute `lang`.
    pub language: &'static str,
    bundle: FluentBundle<FluentResource>,
    pseudo: bool,
    script: String,
}

static PLAIN: LazyLock<Words> = LazyLock::new(|| Words::new("en", false));
static PSEUDO: LazyLock<Words> = LazyLock::new(|| Words::new("en", true));

impl Words {
    /// Returns the texts in the language that a browser prefers. `accept` is the value of its header `Accept-Language`.
    #[must_use]
    pub fn of(accept: Option<&str>) -> &'static Self {
        if accept.is_some_and(|tags| tags.trim_start().starts_with("en-XA")) { &PSEUDO } else { &PLAIN }
    }

    /// Returns the texts in English.
    #[must_use]
    pub fn english() -> &'static Self {
        &PLAIN
    }

    fn new(language: &'static str, pseudo: bool) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![langid!("en")]);
        // The marks that isolate values of another direction would stand in attributes, too; elements with `dir` do this.
        bundle.set_use_isolating(false);
        for (_, source) in ENGLISH {
            // A test holds that each file parses.
            let resource =
                FluentResource::try_new(source.to_owned()).unwrap_or_else(|(resource, _)| resource);
            bundle.add_resource_overriding(resource);
        }
        let mut words = Self { language, bundle, pseudo, script: String::new() };
        words.script = words.for_scripts();
        words
    }

    /// Returns the message `key`, or the key if there is none.
    #[must_use]
    pub fn t(&self, key: &str) -> String {
        self.format(key, None)
    }

    /// Returns the message `key` for the number `$count`. Templates pass references.
    #[must_use]
    pub fn n(&self, key: &str, count: impl Borrow<u64>) -> String {
        let mut args = FluentArgs::new();
        args.set("count", *count.borrow());
        self.format(key, Some(&args))
    }

    /// Returns the message `key` with the values of its variables.
    #[must_use]
    pub fn with(&self, key: &str, values: &[(&str, &str)]) -> String {
        self.format(
            key,
            Some(&values.iter().map(|&(name, value)| (name, FluentValue::from(value))).collect()),
        )
    }

    fn format(&self, key: &str, args: Option<&FluentArgs<'_>>) -> String {
        let Some(pattern) = self.bundle.get_message(key).and_then(|message| message.value()) else {
            return key.to_owned();
        };
        // A missing variable is written as its name.
        let text = self.bundle.format_pattern(pattern, args, &mut Vec::new());
        if self.pseudo { format!("⟦{text}⟧") } else { text.into_owned() }
    }

    /// Returns the messages of scripts as a JSON object, which may stand inside `<script>`. Variables are written as `{name}`.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.script
    }

    fn for_scripts(&self) -> String {
        let source = ENGLISH.iter().find(|(name, _)| *name == "script").map_or("", |(_, source)| source);
        let names = source.split('$').skip(1).filter_map(|rest| rest.split([' ', '}', ')']).next());
        let args = names.map(|name| (name, FluentValue::from(format!("{{{name}}}")))).collect();
        let messages: BTreeMap<&str, String> =
            keys(source).map(|key| (key, self.format(key, Some(&args)))).collect();
        serde_json::to_string(&messages).unwrap_or_default().replace('<', "\\u003c")
    }
}

/// Returns the keys of the messages of a file.
fn keys(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| line.split_once(" =").map(|(key, _)| key))
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({}{})", self.language, if self.pseudo { ", pseudo" } else { "" })
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        (self.language, self.pseudo) == (other.language, other.pseudo)
    }
}

impl Eq for Words {}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
