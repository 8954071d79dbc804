//! The vectors of one model in memory. They are read from the library page by page, and follow its changes.

use std::sync::{Arc, Mutex, PoisonError};

use homereel_library::{Documents, EmbeddingModel, Library, LibraryError, Near};
use tokio::sync::Semaphore;

use super::{
    blocks::Blocks,
    floor::floor,
    scan::{Allowed, scan},
    vectors::{product, quantize},
};

/// Vectors read at once.
const PAGE: usize = 2048;

/// Scans at once; each takes two threads, and all that the memory delivers.
const SCANS: usize = 1;

/// Vectors that a scan finds, which are ranked again by their exact values.
const NEAREST: usize = 200;

/// The vectors of one model.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) model: EmbeddingModel,
    /// Vectors of texts that have nothing to do with most queries.
    background: Vec<Vec<f32>>,
    blocks: Mutex<Blocks>,
    /// The last id that was read. Held while vectors are read.
    last: tokio::sync::Mutex<i64>,
    scans: Arc<Semaphore>,
}

/// Why a search by meaning found nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NearError {
    /// The library failed.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The thread of the scan ended early.
    #[error("the scan of the vectors failed: {0}")]
    Scan(tokio::task::JoinError),
}

impl Index {
    /// Creates an empty index. `background` has vectors of length 1 of [`super::background::BACKGROUND`].
    pub(super) fn new(model: EmbeddingModel, background: Vec<Vec<f32>>) -> Self {
        Self {
            model,
            background,
            blocks: Mutex::new(Blocks::new(model.dimension())),
            last: tokio::sync::Mutex::new(0),
            scans: Arc::new(Semaphore::new(SCANS)),
        }
    }

    /// Reads the vectors that are new, and removes those that were deleted. Returns whether there were any.
    pub(super) async fn refresh(&self, library: &Library) -> Result<bool, LibraryError> {
        let mut last = self.last.lock().await;
        let mut changed = false;
        loop {
            let page = library.embeddings_after(self.model, *last, PAGE).await?;
            let Some(end) = page.last().map(|stored| stored.id) else { break };
            let mut blocks = self.lock();
            for stored in page.iter().filter(|stored| stored.vector.len() == self.model.dimension()) {
                blocks.push(stored.id, stored.document, &quantize(&stored.vector));
            }
            (*last, changed) = (end, true);
        }
        // After the new ones: what is deleted between the two is not missed.
        loop {
            let removed = library.removed_embeddings(PAGE).await?;
            if removed.is_empty() {
                return Ok(changed);
            }
            {
                let mut blocks = self.lock();
                removed.iter().for_each(|id| blocks.remove(*id));
            }
            library.confirm_removed_embeddings(&removed).await?;
            changed = true;
        }
    }

    /// Returns the pieces of `documents` that are related to a vector of length 1, the nearest first.
    pub(super) async fn nearest(
        &self,
        library: &Library,
        vector: &[f32],
        documents: &Documents,
    ) -> Result<Vec<Near>, NearError> {
        if *documents == Documents::Only(Vec::new()) {
            return Ok(Vec::new());
        }
        let query = quantize(vector);
        let allowed = Allowed::new(documents);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.scans).acquire_owned().await.ok();
        let blocks = self.lock().snapshot();
        let started = std::time::Instant::now();
        let scanned = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            scan(&blocks, &query, &allowed, NEAREST)
        });
        let scanned = scanned.await.map_err(NearError::Scan)?;
        metrics::histogram!("homereel_meaning_scan_seconds").record(started.elapsed().as_secs_f64());
        let ids: Vec<i64> = scanned.iter().map(|(_, id)| *id).collect();
        // Vectors that were deleted meanwhile are not among these.
        let rows = library.embeddings_by_id(self.model, &ids).await?;
        let mut near: Vec<Near> = rows
            .into_iter()
            .map(|row| Near {
                piece: row.piece,
                document: row.document,
                cosine: product(&row.vector, vector),
            })
            .collect();
        near.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(b.piece.cmp(&a.piece)));
        let background = self.background.iter().map(|unrelated| product(unrelated, vector)).collect();
        let floor = near.first().map_or(0.0, |best| floor(background, best.cosine));
        near.retain(|near| near.cosine >= floor);
        Ok(near)
    }

    /// Returns the number of vectors, and the bytes that they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let blocks = self.lock();
        (blocks.len(), blocks.bytes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
