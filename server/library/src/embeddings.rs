//! Vectors of texts, for search by meaning: which texts wait for one, and the vectors themselves, per model.
//!
//! Triggers queue each new or changed piece, and delete the vectors of a piece with it. The index in memory, which is the
//! server's, reads what is new by the ids of the rows, which only grow, and what was deleted from `embeddings_removed`.

mod rows;

use sqlx::Row as _;

pub use rows::{PieceVector, StoredVector};

use crate::{error::LibraryError, library::Library};

/// Deleted at once of other models, so that the write lock is not held for long.
const FORGOTTEN_AT_ONCE: i64 = 2000;

/// The model of vectors, as [`Library::embedding_model`] returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EmbeddingModel {
    pub(crate) id: i64,
    dimension: usize,
}

/// A text that waits for its vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingText {
    piece: i64,
    /// The text.
    pub text: String,
    /// Failed tries.
    pub tries: u32,
}

/// How many texts have a vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmbeddingCounts {
    /// Texts with a vector of the model.
    pub embedded: u64,
    /// Texts that wait for one.
    pub pending: u64,
}

impl EmbeddingModel {
    /// Returns the numbers per vector.
    #[must_use]
    pub fn dimension(self) -> usize {
        self.dimension
    }
}

impl Library {
    /// Makes this the model of the vectors. Where it was another one, all texts without a vector of this one are queued; those of
    /// the other stay until [`Library::forget_other_models`].
    ///
    /// # Errors
    /// `Database`.
    pub async fn embedding_model(
        &self,
        name: &str,
        dimension: usize,
    ) -> Result<EmbeddingModel, LibraryError> {
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO embedding_models (name, dimension) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(dimension as i64)
            .execute(&mut *transaction)
            .await?;
        let id: i64 = sqlx::query_scalar("SELECT id FROM embedding_models WHERE name = ? AND dimension = ?")
            .bind(name)
            .bind(dimension as i64)
            .fetch_one(&mut *transaction)
            .await?;
        let sql = "SELECT value FROM settings WHERE name = 'embedding_model'";
        let previous: Option<String> = sqlx::query_scalar(sql).fetch_optional(&mut *transaction).await?;
        if previous != Some(id.to_string()) {
            sqlx::query("DELETE FROM embedding_queue").execute(&mut *transaction).await?;
            // The kinds that the triggers queue.
            sqlx::query(
                "INSERT INTO embedding_queue (piece) SELECT id FROM pieces p
                 WHERE kind NOT IN ('camera', 'tag') AND trim(text) <> ''
                     AND NOT EXISTS (SELECT 1 FROM embeddings WHERE piece = p.id AND model = ?)",
            )
            .bind(id)
            .execute(&mut *transaction)
            .await?;
            sqlx::query("INSERT OR REPLACE INTO settings (name, value) VALUES ('embedding_model', ?)")
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(EmbeddingModel { id, dimension })
    }

    /// Returns the next texts to embed, the newest first, and at last those that failed before.
    ///
    /// # Errors
    /// `Database`.
    pub async fn pending_texts(&self, limit: usize) -> Result<Vec<PendingText>, LibraryError> {
        let sql =
            "SELECT q.piece, p.text, q.tries FROM embedding_queue q CROSS JOIN pieces p ON p.id = q.piece
                   ORDER BY q.tries, q.piece DESC LIMIT ?";
        let rows: Vec<(i64, String, u32)> =
            sqlx::query_as(sql).bind(limit as i64).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(piece, text, tries)| PendingText { piece, text, tries }).collect())
    }

    /// Stores the vectors of texts, and returns how many. Texts that have changed or vanished meanwhile are left out.
    ///
    /// # Errors
    /// `Invalid` for a vector of another dimension, or with values that are no numbers; `Database`.
    pub async fn store_embeddings(
        &self,
        model: EmbeddingModel,
        embedded: &[(PendingText, Vec<f32>)],
    ) -> Result<usize, LibraryError> {
        for (_, vector) in embedded {
            let (is, fits) = (vector.len(), model.dimension);
            if is != fits || !vector.iter().all(|value| value.is_finite()) {
                let message = format!("a vector has {is} values; {fits} numbers would fit");
                return Err(LibraryError::Invalid(message));
            }
        }
        let mut stored = 0;
        let mut transaction = self.begin().await?;
        for (text, vector) in embedded {
            // An id may be that of another piece by now, hence the comparison of texts.
            let inserted = sqlx::query(
                "INSERT INTO embeddings (piece, model, vector) SELECT id, ?, ? FROM pieces WHERE id = ? AND text = ?
                 ON CONFLICT DO NOTHING",
            )
            .bind(model.id)
            .bind(rows::bytes(vector))
            .bind(text.piece)
            .bind(&text.text)
            .execute(&mut *transaction)
            .await?;
            stored += usize::try_from(inserted.rows_affected()).unwrap_or_default();
            sqlx::query(
                "DELETE FROM embedding_queue WHERE piece = ?1
                 AND EXISTS (SELECT 1 FROM embeddings WHERE piece = ?1 AND model = ?2)",
            )
            .bind(text.piece)
            .bind(model.id)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(stored)
    }

    /// Puts texts that could not be embedded behind all others.
    ///
    /// # Errors
    /// `Database`.
    pub async fn postpone_texts(&self, texts: &[PendingText]) -> Result<(), LibraryError> {
        let mut transaction = self.begin().await?;
        for text in texts {
            sqlx::query("UPDATE embedding_queue SET tries = tries + 1 WHERE piece = ?")
                .bind(text.piece)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Returns how many texts have a vector of the model, and how many wait for one.
    ///
    /// # Errors
    /// `Database`.
    pub async fn embedding_counts(&self, model: EmbeddingModel) -> Result<EmbeddingCounts, LibraryError> {
        let sql = "SELECT (SELECT count(*) FROM embeddings WHERE model = ?), (SELECT count(*) FROM embedding_queue)";
        let row = sqlx::query(sql).bind(model.id).fetch_one(&self.pool).await?;
        let count = |column| row.try_get(column).map(|count: i64| u64::try_from(count).unwrap_or_default());
        Ok(EmbeddingCounts { embedded: count(0)?, pending: count(1)? })
    }

    /// Deletes some of the vectors of other models, and returns whether there are no more of them.
    ///
    /// # Errors
    /// `Database`.
    pub async fn forget_other_models(&self, model: EmbeddingModel) -> Result<bool, LibraryError> {
        let mut transaction = self.begin().await?;
        let deleted = sqlx::query(
            "DELETE FROM embeddings WHERE id IN (SELECT id FROM embeddings WHERE model < ?1
                 UNION ALL SELECT id FROM embeddings WHERE model > ?1 LIMIT ?2)",
        )
        .bind(model.id)
        .bind(FORGOTTEN_AT_ONCE)
        .execute(&mut *transaction)
        .await?;
        let last = deleted.rows_affected() < FORGOTTEN_AT_ONCE.unsigned_abs();
        if last {
            sqlx::query("DELETE FROM embedding_models WHERE id <> ?")
                .bind(model.id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(last)
    }
}

#[cfg(test)]
mod tests;
