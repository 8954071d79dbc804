//! The durable job queue: how jobs are leased and retried. What they do is the server's task.

mod board;
pub(crate) mod job;
mod queue;
mod reread;
pub(crate) mod rows;

pub use job::{Job, JobState, Lane, Step};
