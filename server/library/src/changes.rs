//! Change notifications for pages and `/api/events`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::broadcast;

use crate::jobs::job::{Job, Step};

/// Changes buffered for a slow listener before it gets [`broadcast::error::RecvError::Lagged`].
const BUFFERED: usize = 256;

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

/// The channel of changes, and their number. Clones share both.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    sender: broadcast::Sender<Change>,
    count: Arc<AtomicU64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BUFFERED), count: Arc::default() }
    }
}

impl Changes {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.sender.subscribe()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts a change, then sends it: a listener that subscribes and then reads the count misses none.
    pub(crate) fn announce(&self, change: Change) {
        if !matches!(change, Change::Progress { .. }) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        // Fails only if there are no listeners.
        let _ = self.sender.send(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_without_listeners_and_progress_is_not() {
        let changes = Changes::default();
        changes.announce(Change::Videos);
        let mut listener = changes.subscribe();
        let progress = Change::Progress {
            job_id: "1".into(),
            video_id: "2".into(),
            step: Step::Probe,
            stage: "probe",
            done: 0,
            total: 0,
        };
        changes.clone().announce(progress.clone());
        assert_eq!(changes.count(), 1);
        assert_eq!(listener.try_recv().unwrap(), progress);
        changes.clone().announce(Change::Jobs);
        assert_eq!(changes.count(), 2);
    }
}
