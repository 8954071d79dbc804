//! Holds the files of messages to what templates, scripts and the server show.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the files below `directory` whose names end with `ending`.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_file_parses_is_listed_and_has_no_key_twice() {
    let mut seen = BTreeSet::new();
    for (name, source) in ENGLISH {
        assert!(FluentResource::try_new(source.to_owned()).is_ok(), "{name}.ftl is no Fluent");
        for key in keys(source) {
            assert!(seen.insert(key), "{key} stands twice, the second time in {name}.ftl");
        }
    }
    let listed: BTreeSet<String> = ENGLISH.iter().map(|(name, _)| format!("{name}.ftl")).collect();
    let present: BTreeSet<String> = files(&root().join("web/words/en"), ".ftl")
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, present);
}

/// Returns the string literals of a source file, by a quotation mark of the language.
fn literals(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1)
}

#[test]
fn every_key_that_is_used_exists_and_every_message_is_used() {
    let (mut strings, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
    for (directory, ending, mark) in [
        ("web/templates", ".html", '"'),
        ("web/src", ".rs", '"'),
        ("server/src", ".rs", '"'),
        ("web/static", ".js", '\''),
    ] {
        for path in files(&root().join(directory), ending) {
            let text = fs::read_to_string(&path).unwrap();
            strings.extend(literals(&text, mark).map(str::to_owned));
            // Keys that are put together: `format!("span-{name}")`, and in scripts a template literal.
            for made in literals(&text, mark).chain(literals(&text, '`')) {
                let prefix = made.split(['{', '$']).next().unwrap_or_default();
                if made.len() > prefix.len() && prefix.ends_with('-') && prefix.len() < 20 {
                    prefixes.insert(prefix.to_owned());
                }
            }
            if path.ends_with("web/src/words_tests.rs") {
                continue;
            }
            // What is asked for by name.
            for call in ["words.t(\"", "words.n(\"", "words.with(\"", " t('"] {
                for key in text.split(call).skip(1).filter_map(|rest| rest.split(mark).next()) {
                    let plural = PLAIN.bundle.has_message(&format!("{key}-other"));
                    assert!(plural || PLAIN.bundle.has_message(key), "{} asks for {key}", path.display());
                }
            }
        }
    }
    for (name, source) in ENGLISH {
        for key in keys(source) {
            let whole = key.strip_suffix("-one").or_else(|| key.strip_suffix("-other")).unwrap_or(key);
            let made = prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()));
            assert!(
                made || strings.contains(key) || strings.contains(whole),
                "nothing shows {key} of {name}.ftl"
            );
        }
    }
}

#[test]
fn messages_have_plurals_and_values_and_can_be_marked() {
    let words = Words::of(Some("de-DE,de;q=0.9"));
    assert_eq!(words.n("count-videos", 1u64), "1 video");
    assert_eq!(words.n("count-videos", 2u64), "2 videos");
    let missing = "no-such-key";
    assert_eq!(words.t(missing), missing);
    let marked = Words::of(Some("en-XA,en;q=0.5"));
    assert_eq!(marked.n("count-videos", 3u64), "⟦3 videos⟧");
    assert_ne!(marked, words);
}

#[test]
fn scripts_get_their_messages_with_names_of_variables() {
    let json: serde_json::Value = serde_json::from_str(Words::english().script()).unwrap();
    assert_eq!(json["upload-waiting"], "Waiting");
    assert_eq!(json["upload-percent"], "Uploading, {percent} %");
    assert!(!Words::english().script().contains('<'));
}
