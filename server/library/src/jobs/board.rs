//! The list of jobs for pages: running, queued, failed and finished ones, page by page.

use super::job::Job;
use crate::{error::LibraryError, library::Library};

/// The parts of the board, each a state with the order of its jobs, which an index has.
const PARTS: [(&str, &str); 5] = [
    ("running", "updated_ms DESC, id DESC"),
    ("queued", "priority DESC, run_after_ms, id"),
    ("failed", "updated_ms DESC, id DESC"),
    ("cancelled", "updated_ms DESC, id DESC"),
    ("done", "updated_ms DESC, id DESC"),
];

impl Library {
    /// Returns at most `limit` jobs after `offset`: running jobs, queued jobs in the order in which they will run, failed jobs,
    /// and finished jobs, the latest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn job_board(&self, limit: u32, offset: u32) -> Result<Vec<Job>, LibraryError> {
        let totals = self.job_counts().await?;
        let mut skipped = u64::from(offset);
        let mut board = Vec::new();
        for (state, order) in PARTS {
            let missing = limit as usize - board.len();
            let jobs = totals.iter().find(|(known, _)| known.as_str() == state).map_or(0, |(_, jobs)| *jobs);
            if missing == 0 || skipped >= jobs {
                skipped = skipped.saturating_sub(jobs);
                continue;
            }
            let sql = format!("SELECT * FROM jobs WHERE state = '{state}' ORDER BY {order} LIMIT ? OFFSET ?");
            let jobs: Vec<Job> = sqlx::query_as(&sql)
                .bind(missing as i64)
                .bind(i64::try_from(skipped).unwrap_or(i64::MAX))
                .fetch_all(&self.pool)
                .await?;
            board.extend(jobs);
            skipped = 0;
        }
        Ok(board)
    }
}
