//! Change notifications for pages and `/api/events`.

use crate::jobs::job::{Job, Step};

/// A change.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Change {
    /// A video was added or changed.
    Video {
        /// Id of the video.
        id: String,
    },
    /// A video was deleted.
    VideoDeleted {
        /// Id of the video.
        id: String,
    },
    /// Many videos changed at once.
    Videos,
    /// An album was created, changed or deleted.
    Album {
        /// Id of the album.
        id: String,
    },
    /// A job changed its state or step.
    Job {
        /// The job after the change.
        job: Job,
    },
    /// Many jobs were queued at once.
    Jobs,
    /// The model's jobs were paused or resumed.
    Paused {
        /// Whether they are paused now.
        paused: bool,
    },
    /// A running job advanced within its step.
    Progress {
        /// Id of the job.
        job_id: String,
        /// Id of its video.
        video_id: String,
        /// The job's step.
        step: Step,
        /// The stage (`probe`, `decode`, `preprocess`, `vision`, `prefill`, `generate`, `listen`).
        stage: &'static str,
        /// Units done.
        done: usize,
        /// Units in total; 0 where that is not known.
        total: usize,
    },
}
