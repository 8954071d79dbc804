//! Takes the samples.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::gauge;

use super::{Capacity, Series, Values, history::SERIES};
use crate::{
    machine::{self, Gpu},
    state::AppState,
};

/// Between two samples.
const STEP: Duration = Duration::from_secs(1);
/// Between two looks at the GPU and the disk, which take longer.
const SLOW_STEP: Duration = Duration::from_secs(5);
/// Answers whose times to the first token count.
const RECENT: Duration = Duration::from_secs(60);

/// What is looked at less often.
#[derive(Debug, Default, Clone)]
struct Slow {
    gpus: Vec<Gpu>,
    disk: (f64, f64),
}

/// Takes a sample every second, until the server drains.
pub async fn collect(state: AppState) {
    let slow = Arc::new(tokio::sync::watch::Sender::new(Slow::default()));
    let looking = Arc::new(AtomicBool::new(false));
    let mut beat = tokio::time::interval(STEP);
    // After a suspension of the machine, missed seconds are left out, not made up for.
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut tokens, mut frames) = counters(&state);
    let mut until_slow = Duration::ZERO;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = state.lifecycle.soft().cancelled() => return,
        }
        if until_slow.is_zero() && !looking.swap(true, Ordering::Relaxed) {
            until_slow = SLOW_STEP;
            let (state, slow, looking) = (state.clone(), Arc::clone(&slow), Arc::clone(&looking));
            tokio::spawn(async move {
                slow.send_replace(look(&state).await);
                looking.store(false, Ordering::Relaxed);
            });
        }
        until_slow = until_slow.saturating_sub(STEP);
        let before = (tokens, frames);
        (tokens, frames) = counters(&state);
        let machine = machine::memory();
        let seen = slow.borrow().clone();
        let mut values = [f32::NAN; SERIES];
        let mut set = |series: Series, value: f64| values[series as usize] = value as f32;
        set(Series::Tokens, tokens.saturating_sub(before.0) as f64);
        set(Series::Frames, frames.saturating_sub(before.1) as f64);
        let (running, waiting) = match state.answers.engine().batch() {
            Some(batch) => (batch.num_requests_running, batch.num_requests_waiting),
            None => (state.answers.in_flight(), 0),
        };
        set(Series::Running, running as f64);
        set(Series::Waiting, waiting as f64);
        if let Some((median, p95)) = state.answers.activity().ttft(RECENT) {
            set(Series::TtftMedian, median / 1e3);
            set(Series::TtftP95, p95 / 1e3);
        }
        let memory = machine.total_bytes.zip(machine.available_bytes);
        if let Some((total, available)) = memory {
            set(Series::Memory, total.saturating_sub(available) as f64);
        }
        if let Some(resident) = machine.resident_bytes {
            set(Series::Resident, resident as f64);
        }
        let most = |of: fn(&Gpu) -> Option<f64>| seen.gpus.iter().filter_map(of).reduce(f64::max);
        if let Some(percent) = most(|gpu| gpu.utilization) {
            set(Series::Gpu, percent);
        }
        if let Some(degrees) = most(|gpu| gpu.temperature_c) {
            set(Series::GpuTemperature, degrees);
        }
        let (disk_used, disk_bytes) = seen.disk;
        if disk_bytes > 0.0 {
            set(Series::Disk, disk_used);
        }
        let memory_bytes = memory.map_or(0.0, |(total, _)| total as f64);
        record(&values, &seen.gpus, memory_bytes, disk_bytes);
        state.samples.push(values, Capacity { memory_bytes, disk_bytes });
    }
}

/// Returns how many tokens were generated and frames decoded since the start.
fn counters(state: &AppState) -> (u64, u64) {
    (state.answers.activity().tokens(), state.answers.media().frames_decoded())
}

async fn look(state: &AppState) -> Slow {
    let disk =
        state.library.disk().map_or((0.0, 0.0), |(free, all)| (all.saturating_sub(free) as f64, all as f64));
    Slow { gpus: machine::gpus().await, disk }
}

/// Sets the gauges of `/metrics`.
fn record(values: &Values, gpus: &[Gpu], memory_bytes: f64, disk_bytes: f64) {
    let value = |series: Series| f64::from(values[series as usize]);
    gauge!("homereel_memory_bytes").set(memory_bytes);
    gauge!("homereel_memory_used_bytes").set(value(Series::Memory));
    gauge!("homereel_resident_bytes").set(value(Series::Resident));
    gauge!("homereel_disk_bytes").set(disk_bytes);
    gauge!("homereel_disk_used_bytes").set(value(Series::Disk));
    for (index, gpu) in gpus.iter().enumerate() {
        let label = index.to_string();
        let set = |name: &'static str, value: Option<f64>| {
            if let Some(value) = value {
                gauge!(name, "gpu" => label.clone()).set(value);
            }
        };
        set("homereel_gpu_utilization_percent", gpu.utilization);
        set("homereel_gpu_memory_used_bytes", gpu.memory_used_bytes.map(|bytes| bytes as f64));
        set("homereel_gpu_temperature_celsius", gpu.temperature_c);
        set("homereel_gpu_power_watts", gpu.power_w);
    }
}
