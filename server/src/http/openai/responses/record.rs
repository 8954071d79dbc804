//! What is read of kept responses before a request is converted, and what is kept of its own.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use homereel_library::{Library, LibraryError, NewResponse, ResponseMedia, StoredResponse};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::sync::OwnedSemaphorePermit;

use super::super::body::{ChatBody, SpooledFile, overloaded};
use super::super::parameters::Parameters;
use super::{PREFIX, canonical::ItemIds};
use crate::http::error::{Failure, shown};
use crate::media::Source;
use crate::state::AppState;

/// Maximum number of responses that the references of a request lead to.
const MAX_REFERENCED: usize = 256;

/// The response that a request continues.
#[derive(Debug)]
pub(super) struct Previous {
    /// Its id in the API.
    pub(super) id: String,
    pub(super) stored: StoredResponse,
    /// The files of its media.
    paths: Vec<PathBuf>,
}

/// The kept responses that a request names.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) previous: Option<Previous>,
    /// Objects of responses whose items are referred to, by their bare ids.
    pub(super) referenced: HashMap<String, String>,
}

/// The ids in a request.
#[derive(Debug, Default)]
struct Named {
    previous: Option<String>,
    referenced: BTreeSet<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Identified<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<std::borrow::Cow<'a, str>>,
}

impl Known {
    /// Reads the responses that a body names, and returns the body as well.
    ///
    /// # Errors
    /// When the body is no JSON object, or the response that it continues is not kept.
    pub(super) async fn of(
        state: &AppState,
        owner: Option<&str>,
        body: ChatBody,
    ) -> Result<(ChatBody, Self), Failure> {
        let named = tokio::task::spawn_blocking(move || (Named::of(&body.json), body));
        let (named, mut body) = named.await.map_err(Failure::internal)?;
        let named = named?;
        let mut known = Self::default();
        let mut bytes = body.json.len();
        if let Some(id) = named.previous {
            let missing = || not_kept(&id);
            let bare = id.strip_prefix(PREFIX).ok_or_else(missing)?;
            let stored = state.library.response(bare, owner).await.map_err(|error| match error {
                LibraryError::NotFound { .. } => missing(),
                error => error.into(),
            })?;
            bytes += stored.items.len() + stored.object.len();
            let path = |media: &ResponseMedia| state.library.response_media_path(&media.sha256);
            let paths = stored.media.iter().map(path).collect::<Result<_, _>>()?;
            known.previous = Some(Previous { id, stored, paths });
        }
        for id in named.referenced {
            match state.library.response_object(&id, owner).await {
                Ok(object) => {
                    bytes += object.len();
                    known.referenced.insert(id, object);
                }
                // The reference is refused where it stands.
                Err(LibraryError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !state.bodies.cover(bytes, &mut body.permits) {
            return Err(overloaded());
        }
        Ok((body, known))
    }
}

impl Named {
    fn of(json: &[u8]) -> Result<Self, Failure> {
        let mut parameters = Parameters::parse(json)?;
        let mut named =
            Self { previous: parameters.take("previous_response_id")?, referenced: BTreeSet::new() };
        let input = parameters.take::<&RawValue>("input")?.map_or("[]", RawValue::get);
        // Items of other forms are refused when they are converted.
        let items: Vec<&RawValue> = serde_json::from_str(input).unwrap_or_default();
        for item in items {
            let Ok(item) = serde_json::from_str::<Identified<'_>>(item.get()) else { continue };
            if item.kind.is_none_or(|kind| kind == "item_reference")
                && let Some(id) = item.id.as_deref().and_then(ItemIds::response_of)
            {
                named.referenced.insert(id.to_owned());
            }
        }
        if named.referenced.len() > MAX_REFERENCED {
            let message = format!(
                "the item_references of input lead to {} responses; at most {MAX_REFERENCED} would fit",
                named.referenced.len()
            );
            return Err(Failure::invalid("input", message));
        }
        Ok(named)
    }
}

impl Previous {
    /// Returns the media as files of this request in `scratch`: they stay readable when the response is deleted meanwhile.
    ///
    /// # Errors
    /// When the response was deleted just now.
    pub(super) fn media(&self, scratch: &Path) -> Result<Vec<SpooledFile>, Failure> {
        let file = |(media, path): (&ResponseMedia, &PathBuf)| {
            let lent = tempfile::Builder::new().make_in(scratch, |link| {
                // File systems without hard links get a copy.
                fs::hard_link(path, link).or_else(|_| fs::copy(path, link).map(|_| ()))
            });
            let lent = lent.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => not_kept(&self.id),
                _ => Failure::internal(format!("failed to read a file of a kept response: {error}")),
            })?;
            let source = Source::scratch(lent.into_temp_path(), Some(media.sha256.clone()));
            Ok(SpooledFile { source, size: media.size })
        };
        self.stored.media.iter().zip(&self.paths).map(file).collect()
    }
}

/// A response is not kept, or another caller has it.
fn not_kept(id: &str) -> Failure {
    let message = format!(
        "no response {} is kept; responses are kept for 24 hours, unless the request says \"store\": false",
        shown(id)
    );
    Failure { code: "previous_response_not_found", ..Failure::invalid("previous_response_id", message) }
}

/// What a follow-up needs of a request.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The conversation before the answer.
    pub(super) items: Vec<Box<RawValue>>,
    /// The media that the items refer to.
    pub(super) media: Vec<SpooledFile>,
    /// The memory of the items.
    pub(super) _permits: Vec<OwnedSemaphorePermit>,
}

/// A response that will be kept.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) library: Library,
    /// Bare id.
    pub(super) id: String,
    pub(super) owner: Option<String>,
    pub(super) kept: Kept,
}

impl Record {
    /// Keeps the response; when this returns, it is durable.
    ///
    /// # Errors
    /// As [`Library::store_response`].
    pub(super) async fn store(self, object: &Value) -> Result<(), LibraryError> {
        let object = object.to_string();
        // In a task of its own, because it must not stop halfway when the client leaves.
        let stored = tokio::spawn(async move {
            let Self { library, id, owner, kept } = self;
            let items = serde_json::to_string(&kept.items).map_err(io::Error::other)?;
            let media = kept.media.iter().filter_map(|file| {
                let sha256 = file.source.sha256()?.to_owned();
                Some((ResponseMedia { sha256, size: file.size }, file.source.path().to_owned()))
            });
            let new = NewResponse { id, owner, object, items, media: media.collect() };
            library.store_response(new).await
        });
        stored.await.map_err(io::Error::other)?
    }
}
