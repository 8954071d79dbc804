//! Embeddings of texts: vectors whose cosine says how alike two texts are in meaning.
//!
//! A sentence model of the BERT family runs in this process (`worker.rs`), or another server computes the vectors
//! (`remote.rs`); [`Embedder`] is the interface to both. Vectors of one model equal those of sentence-transformers within
//! 10⁻⁴. Vectors of different models can't be compared, so everything that is stored carries [`Identity::model_id`].

mod config;
mod encoder;
mod model;
mod pooling;
mod queue;
mod remote;
mod tokens;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use crate::source::ModelSource;
use crate::{EngineError, hub};

/// Files that a sentence model has besides those of every model.
const FILES: [&str; 2] = ["modules.json", "1_Pooling/config.json"];

/// Texts per call; a job passes its texts in several calls.
pub const MAX_TEXTS: usize = 2048;

/// What texts are embedded for. Some models put different words in front of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To search with; a person waits.
    Query,
    /// To be found.
    Passage,
    /// For a program that puts in front what the model expects.
    Plain,
}

/// Which model computes the vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedSource {
    /// A sentence model in this process: a directory or a hub id.
    Model(ModelSource),
    /// Another server's `/v1/embeddings`.
    Server {
        /// Its address, with or without `/v1`.
        url: Url,
        /// The model that it is asked for; `None` means the first of its list.
        model: Option<String>,
    },
}

/// The words that a model expects in front of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    /// In front of queries.
    pub query: String,
    /// In front of passages.
    pub passage: String,
}

impl Prompts {
    /// Returns the text as the model wants it.
    fn apply(&self, purpose: Purpose, text: &str) -> String {
        let prompt = match purpose {
            Purpose::Query => self.query.as_str(),
            Purpose::Passage => &self.passage,
            Purpose::Plain => "",
        };
        format!("{prompt}{text}")
    }
}

/// Configuration of an [`Embedder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedConfig {
    /// Which model computes the vectors.
    pub source: EmbedSource,
    /// Prompts; `None` means those of the model's files, and none for another server.
    pub prompts: Option<Prompts>,
    /// How long a model in this process stays loaded after its last use.
    pub idle: Duration,
}

impl EmbedConfig {
    /// Returns the defaults for `source`: the model's own prompts, and five minutes until it is unloaded.
    #[must_use]
    pub fn new(source: EmbedSource) -> Self {
        Self { source, prompts: None, idle: Duration::from_secs(300) }
    }
}

/// What has to be known of a model to store its vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name for people and requests: the hub id, or the directory's name.
    pub name: String,
    /// Identifies the vectors: the name, for a model in this process also a digest of its weights, pooling and prompts.
    pub model_id: String,
    /// Numbers per vector.
    pub dimension: usize,
}

/// The vectors of texts, and what they cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embedded {
    /// One per text, in the same order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, special tokens included; 0 where another server does not report them.
    pub tokens: usize,
}

/// Computes vectors of texts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Embedder(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Local(Arc<worker::Worker>),
    Remote(Arc<remote::Server>),
}

impl Embedder {
    /// Opens a model, which is loaded, and downloaded from the hub, when it is first needed.
    ///
    /// # Errors
    /// `Model` for the demo model, which embeds no text; `Failed` when the system gives no thread or no HTTP client.
    pub fn open(config: EmbedConfig) -> Result<Self, EngineError> {
        let EmbedConfig { source, prompts, idle } = config;
        let source = match source {
            EmbedSource::Server { url, model } => {
                let server = remote::Server::new(&url, model, prompts.unwrap_or_default())?;
                return Ok(Self(Backend::Remote(Arc::new(server))));
            }
            EmbedSource::Model(source) => source,
        };
        let name = source.id();
        if source == ModelSource::Demo {
            return Err(EngineError::Model {
                model: name,
                message: "it embeds no text; a directory or hub id of a sentence model would fit".into(),
            });
        }
        let load = move || {
            let directory = match &source {
                ModelSource::Hub { id, revision } => hub::locate_with(id, revision.as_deref(), &FILES)?,
                ModelSource::Dir(directory) if directory.is_dir() => directory.clone(),
                // The path is omitted, because errors are shown in browsers.
                _ => {
                    return Err(EngineError::Model {
                        model: source.id(),
                        message: "there is no such directory; a directory or a hub id would fit".into(),
                    });
                }
            };
            model::SentenceModel::from_dir(&source.id(), &directory, prompts.clone())
        };
        let worker = worker::Worker::spawn(name, idle, load)
            .map_err(|error| EngineError::Failed(format!("no thread for the sentence model: {error}")))?;
        Ok(Self(Backend::Local(Arc::new(worker))))
    }

    /// Returns one vector per text, in the same order. Queries overtake passages. A text is cut at the model's limit of
    /// tokens; an empty text has a vector as well.
    ///
    /// # Errors
    /// `Invalid` for more than [`MAX_TEXTS`] texts, `Overloaded` when too many calls wait, `Cancelled`, `Unavailable` when the
    /// server is out of reach, `Model` when the files or the server's answer are not as they should be.
    pub async fn embed(
        &self,
        texts: Vec<String>,
        purpose: Purpose,
        cancel: &CancellationToken,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        Ok(self.embed_counted(texts, purpose, cancel).await?.vectors)
    }

    /// Does what [`Embedder::embed`] does, and counts tokens.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn embed_counted(
        &self,
        texts: Vec<String>,
        purpose: Purpose,
        cancel: &CancellationToken,
    ) -> Result<Embedded, EngineError> {
        if texts.len() > MAX_TEXTS {
            let message = format!("there are {} texts; at most {MAX_TEXTS} would fit", texts.len());
            return Err(EngineError::invalid("input", message));
        }
        if texts.is_empty() {
            return Ok(Embedded::default());
        }
        match &self.0 {
            Backend::Local(worker) => worker.embed(texts, purpose, cancel).await,
            Backend::Remote(server) => server.embed(texts, purpose, cancel).await,
        }
    }

    /// Returns what has to be known of the model, which is loaded or asked for it if necessary.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn identify(&self, cancel: &CancellationToken) -> Result<Identity, EngineError> {
        if let Some(identity) = self.identity() {
            return Ok(identity);
        }
        self.embed(vec![String::new()], Purpose::Passage, cancel).await?;
        self.identity().ok_or_else(|| EngineError::Failed("the embedded model has no identity".into()))
    }

    /// Returns what has to be known of the model; `None` until it was used once.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        match &self.0 {
            Backend::Local(worker) => worker.identity(),
            Backend::Remote(server) => server.identity(),
        }
    }

    /// Returns the numbers per vector; `None` until the model was used once.
    #[must_use]
    pub fn dimension(&self) -> Option<usize> {
        self.identity().map(|identity| identity.dimension)
    }

    /// Returns the id that stored vectors carry; `None` until the model was used once.
    #[must_use]
    pub fn model_id(&self) -> Option<String> {
        self.identity().map(|identity| identity.model_id)
    }

    /// Returns whether the model is in memory; another server's always counts as loaded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        match &self.0 {
            Backend::Local(worker) => worker.is_loaded(),
            Backend::Remote(_) => true,
        }
    }
}
