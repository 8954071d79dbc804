//! Reads vectors: page by page for the index in memory, by id to rank what it found, and those of one video.

use sqlx::{Row as _, sqlite::SqliteRow};

use super::EmbeddingModel;
use crate::{error::LibraryError, library::Library, values::to_json};

/// Vectors read of one video, which may have thousands.
const MAX_OF_VIDEO: i64 = 500;

/// A vector for the index.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVector {
    /// Its id, which grows with every vector stored.
    pub id: i64,
    /// The document, which is one video.
    pub document: i64,
    /// The vector.
    pub vector: Vec<f32>,
}

/// A vector with the piece that it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct PieceVector {
    /// The piece.
    pub piece: i64,
    /// The document, which is one video.
    pub document: i64,
    /// The vector.
    pub vector: Vec<f32>,
}

impl Library {
    /// Returns the vectors of a model with ids above `after`, in order of their ids, at most `limit`; none at the end.
    ///
    /// # Errors
    /// `Database`.
    pub async fn embeddings_after(
        &self,
        model: EmbeddingModel,
        after: i64,
        limit: usize,
    ) -> Result<Vec<StoredVector>, LibraryError> {
        let rows = sqlx::query(
            "SELECT e.id, d.id AS document, e.vector FROM embeddings e CROSS JOIN pieces p ON p.id = e.piece
                 CROSS JOIN documents d ON d.video_id = p.video_id
             WHERE e.model = ? AND e.id > ? ORDER BY e.id LIMIT ?",
        )
        .bind(model.id)
        .bind(after)
        .bind(limit as i64)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(stored).collect()
    }

    /// Returns those of the vectors `ids` that still exist, in no particular order.
    ///
    /// # Errors
    /// `Database`.
    pub async fn embeddings_by_id(
        &self,
        model: EmbeddingModel,
        ids: &[i64],
    ) -> Result<Vec<PieceVector>, LibraryError> {
        // SQLite has no list parameters, so the ids are passed as a JSON array.
        let rows = sqlx::query(
            "SELECT e.piece, d.id AS document, e.vector FROM json_each(?) v CROSS JOIN embeddings e ON e.id = v.value
                 CROSS JOIN pieces p ON p.id = e.piece CROSS JOIN documents d ON d.video_id = p.video_id
             WHERE e.model = ?",
        )
        .bind(to_json("embeddings", &ids)?)
        .bind(model.id)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let (piece, document) = (row.try_get("piece")?, row.try_get("document")?);
                Ok(PieceVector { piece, document, vector: vector(row)? })
            })
            .collect()
    }

    /// Returns vectors of what is seen and heard in a video: not of its name, and not of answers, which may be about something
    /// that is not in it.
    ///
    /// # Errors
    /// `Database`.
    pub async fn embeddings_of_video(
        &self,
        model: EmbeddingModel,
        video_id: &str,
    ) -> Result<Vec<StoredVector>, LibraryError> {
        let rows = sqlx::query(
            "SELECT e.id, d.id AS document, e.vector FROM documents d CROSS JOIN pieces p ON p.video_id = d.video_id
                 CROSS JOIN embeddings e ON e.piece = p.id AND e.model = ?
             WHERE d.video_id = ? AND p.kind NOT IN ('name', 'answer') ORDER BY p.id LIMIT ?",
        )
        .bind(model.id)
        .bind(video_id)
        .bind(MAX_OF_VIDEO)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(stored).collect()
    }

    /// Returns ids of deleted vectors, at most `limit`, which the index has to remove.
    ///
    /// # Errors
    /// `Database`.
    pub async fn removed_embeddings(&self, limit: usize) -> Result<Vec<i64>, LibraryError> {
        let sql = "SELECT id FROM embeddings_removed ORDER BY id LIMIT ?";
        Ok(sqlx::query_scalar(sql).bind(limit as i64).fetch_all(&self.pool).await?)
    }

    /// Records that the index has removed these vectors.
    ///
    /// # Errors
    /// `Database`.
    pub async fn confirm_removed_embeddings(&self, ids: &[i64]) -> Result<(), LibraryError> {
        sqlx::query("DELETE FROM embeddings_removed WHERE id IN (SELECT value FROM json_each(?))")
            .bind(to_json("embeddings", &ids)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn stored(row: &SqliteRow) -> Result<StoredVector, LibraryError> {
    Ok(StoredVector { id: row.try_get("id")?, document: row.try_get("document")?, vector: vector(row)? })
}

fn vector(row: &SqliteRow) -> Result<Vec<f32>, LibraryError> {
    let bytes: &[u8] = row.try_get("vector")?;
    let (values, _) = bytes.as_chunks::<4>();
    Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

/// Returns a vector as it is stored.
pub(super) fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}
