//! Where a model comes from (embedded, a directory, or the hub), and reading its small files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{demo, hub};

/// Limit of a JSON or template file; published tokenizers have 7 MB.
const MAX_FILE: u64 = 64 << 20;

/// A parsed `--model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The embedded demo model.
    Demo,
    /// A checkpoint directory in the Hugging Face layout.
    Dir(PathBuf),
    /// A repository of the hub.
    Hub {
        /// `owner/name`.
        id: String,
        /// Branch, tag or commit; `None` means `main`.
        revision: Option<String>,
    },
}

/// A `--model` that is neither a known name, a directory nor a hub id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no model; \"demo\", a directory, or a hub id such as Qwen/Qwen3-VL-4B-Instruct \
     (optionally @revision) would fit"
)]
pub struct BadModelSource(String);

impl FromStr for ModelSource {
    type Err = BadModelSource;

    /// Parses `demo`, a directory (`./x`, `/x`, or any that exists), or `owner/name[@revision]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "demo" {
            return Ok(Self::Demo);
        }
        let path = Path::new(text);
        if text.starts_with(['/', '.']) || (!text.is_empty() && path.is_dir()) {
            return Ok(Self::Dir(path.to_owned()));
        }
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        if !hub::is_id(id) || revision.is_some_and(|revision| !hub::is_revision(revision)) {
            return Err(BadModelSource(text.to_owned()));
        }
        Ok(Self::Hub { id: id.to_owned(), revision: revision.map(str::to_owned) })
    }
}

impl fmt::Display for ModelSource {
    /// Formats what [`ModelSource::from_str`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::Dir(path) => path.display().fmt(f),
            Self::Hub { id, revision: None } => f.write_str(id),
            Self::Hub { id, revision: Some(revision) } => write!(f, "{id}@{revision}"),
        }
    }
}

impl ModelSource {
    /// Returns the id under which requests name this model; it contains no path.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Demo => demo::ID.to_owned(),
            Self::Dir(path) => path
                .canonicalize()
                .unwrap_or_else(|_| path.clone())
                .file_name()
                .map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned()),
            Self::Hub { id, .. } => id.clone(),
        }
    }
}

/// The files of a model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelFiles {
    /// Embedded in the program.
    Demo,
    /// In a directory.
    Dir(PathBuf),
}

impl ModelFiles {
    /// Returns the bytes of a small file; `None` means that it does not exist.
    #[must_use]
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::Demo => demo::file(name).map(<[u8]>::to_vec),
            Self::Dir(directory) => {
                let path = directory.join(name);
                let len = path.metadata().ok()?.len();
                if len > MAX_FILE {
                    tracing::warn!(
                        path = %path.display(),
                        bytes = len,
                        limit_bytes = MAX_FILE,
                        "ignored a file of the checkpoint, because it is larger than the limit; the model is loaded without it"
                    );
                    return None;
                }
                std::fs::read(path).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_to_name_a_model() {
        let parse = |text: &str| text.parse::<ModelSource>();
        assert_eq!(parse("demo"), Ok(ModelSource::Demo));
        assert_eq!(parse("/models/x"), Ok(ModelSource::Dir("/models/x".into())));
        assert_eq!(parse("./x"), Ok(ModelSource::Dir("./x".into())));
        assert_eq!(parse("src"), Ok(ModelSource::Dir("src".into())), "a directory that exists");
        let hub = |id: &str, revision: Option<&str>| ModelSource::Hub {
            id: id.into(),
            revision: revision.map(str::to_owned),
        };
        assert_eq!(parse("Qwen/Qwen3-VL-8B-Instruct"), Ok(hub("Qwen/Qwen3-VL-8B-Instruct", None)));
        assert_eq!(parse("a/b@refs-pr-1"), Ok(hub("a/b", Some("refs-pr-1"))));
        for bad in ["", "nothing-here", "a/b/c", "../..", "a/..", "a b/c", "a/b@", "a/b@../x"] {
            if !bad.starts_with('.') {
                assert!(parse(bad).is_err(), "{bad:?}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["demo", "/models/x", "a/b", "a/b@v1"] {
            assert_eq!(text.parse::<ModelSource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn ids_leak_no_path() {
        assert_eq!(ModelSource::Dir("/home/eve/models/Qwen3-VL-2B".into()).id(), "Qwen3-VL-2B");
    }
}
