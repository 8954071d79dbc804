//! The list of jobs for pages: running, queued, failed and finished ones, page by page.

use super::job::Job;
use crate::{error::LibraryError, library::Library};

impl Library {
    /// Returns at most `limit` jobs after `offset`: running jobs, queued jobs in the order in which they will run, failed jobs,
    /// and finished jobs, the latest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn job_board(&self, limit: u32, offset: u32) -> Result<Vec<Job>, LibraryError> {
        let sql = "SELECT * FROM jobs ORDER BY
                   CASE state WHEN 'running' THEN 0 WHEN 'queued' THEN 1 WHEN 'failed' THEN 2
                              WHEN 'cancelled' THEN 3 ELSE 4 END,
                   CASE state WHEN 'queued' THEN -priority END, CASE state WHEN 'queued' THEN run_after_ms END,
                   CASE state WHEN 'queued' THEN id END, updated_ms DESC, id DESC LIMIT ? OFFSET ?";
        Ok(sqlx::query_as(sql).bind(limit).bind(offset).fetch_all(&self.pool).await?)
    }
}
