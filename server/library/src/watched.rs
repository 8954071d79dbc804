//! Rows of `watched`: files of the watched directory that were processed, with their size and modification time at that
//! point.

use crate::{error::LibraryError, library::Library};

impl Library {
    /// Returns whether a file was looked at already as it is now.
    ///
    /// # Errors
    /// `Database`.
    pub async fn is_watched(&self, path: &str, size: u64, modified_ms: i64) -> Result<bool, LibraryError> {
        let sql = "SELECT count(*) FROM watched WHERE path = ? AND size = ? AND modified_ms = ?";
        let count: i64 = sqlx::query_scalar(sql)
            .bind(path)
            .bind(i64::try_from(size).unwrap_or(i64::MAX))
            .bind(modified_ms)
            .fetch_one(&self.pool)
            .await?;
        Ok(count > 0)
    }

    /// Notes what became of a file.
    ///
    /// # Errors
    /// `Database`.
    pub async fn set_watched(
        &self,
        path: &str,
        size: u64,
        modified_ms: i64,
        outcome: &str,
    ) -> Result<(), LibraryError> {
        sqlx::query("INSERT OR REPLACE INTO watched (path, size, modified_ms, outcome) VALUES (?, ?, ?, ?)")
            .bind(path)
            .bind(i64::try_from(size).unwrap_or(i64::MAX))
            .bind(modified_ms)
            .bind(outcome)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
