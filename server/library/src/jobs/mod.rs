//! The durable queue of background jobs. Knows how jobs are leased and retried, not what they do.

mod board;
pub(crate) mod job;
mod queue;
pub(crate) mod rows;

pub use job::{Job, JobState, Step};
