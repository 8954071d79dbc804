//! How the server does over time: one sample per second of what it works on and of the machine, kept in memory for 15 minutes by the
//! second and for 7 days by the minute. Pages draw them, and `/metrics` has the same gauges.
//!
//! Samples are placed by the ticks of a clock that never jumps; only their distance from now is shown.

mod collect;
mod history;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

pub use collect::collect;
use history::History;
pub use history::{Span, Values};

/// What is sampled; the order is that of [`Values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Series {
    /// Tokens generated per second.
    Tokens,
    /// Requests that the engine processes.
    Running,
    /// Requests that wait for the engine.
    Waiting,
    /// Median time to the first token of the answers of the last minute, in seconds.
    TtftMedian,
    /// 95th percentile of it.
    TtftP95,
    /// Frames decoded per second.
    Frames,
    /// Memory in use on this machine, in bytes.
    Memory,
    /// Memory of this process, in bytes.
    Resident,
    /// Utilization of the busiest GPU, in percent.
    Gpu,
    /// Temperature of the hottest GPU, in degrees Celsius.
    GpuTemperature,
    /// Bytes in use on the library's disk.
    Disk,
}

impl Series {
    /// All series with their names in JSON.
    pub const ALL: [(Self, &'static str); history::SERIES] = [
        (Self::Tokens, "tokens_per_s"),
        (Self::Running, "requests_running"),
        (Self::Waiting, "requests_waiting"),
        (Self::TtftMedian, "ttft_median_s"),
        (Self::TtftP95, "ttft_p95_s"),
        (Self::Frames, "frames_decoded_per_s"),
        (Self::Memory, "memory_used_bytes"),
        (Self::Resident, "resident_bytes"),
        (Self::Gpu, "gpu_utilization_percent"),
        (Self::GpuTemperature, "gpu_temperature_celsius"),
        (Self::Disk, "disk_used_bytes"),
    ];
}

/// Sizes that lines are drawn against.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Capacity {
    /// Memory of the machine in bytes.
    pub memory_bytes: f64,
    /// Size of the library's disk in bytes.
    pub disk_bytes: f64,
}

/// The samples of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Samples {
    inner: Arc<Mutex<Kept>>,
    newest: broadcast::Sender<Values>,
}

#[derive(Debug, Default)]
struct Kept {
    history: History,
    capacity: Capacity,
}

impl Default for Samples {
    fn default() -> Self {
        Self { inner: Arc::default(), newest: broadcast::Sender::new(4) }
    }
}

impl Samples {
    /// Adds the sample of the next second.
    pub fn push(&self, values: Values, capacity: Capacity) {
        let mut kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        kept.history.push(values);
        kept.capacity = capacity;
        drop(kept);
        // Nobody may be listening.
        let _ = self.newest.send(values);
    }

    /// Returns at most 180 samples of the last `span`, oldest first, and the sizes that go with them. Each is the mean of an equal part of
    /// the span, the last one ends now; where there are fewer, the server runs for a shorter time.
    #[must_use]
    pub fn last(&self, span: Span) -> (Vec<Values>, Capacity) {
        let kept = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.history.last(span), kept.capacity)
    }

    /// Returns the samples from now on. A slow reader misses some.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Values> {
        self.newest.subscribe()
    }
}
