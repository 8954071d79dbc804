//! Combines the files that the parts of a GPU check wrote into one result and one table.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use homereel_engine::measure::network::{Parameters, Speed};
use homereel_engine::qwen3vl::Config;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::DeviceFacts;

/// Largest difference between logits or features of two implementations in bf16, as a share of the largest value.
/// Both round after each of some hundred operations; a wrong operation gives differences near 1.
const SPEED_TOLERANCE: f32 = 0.1;

/// The result of one GPU check.
#[derive(Serialize)]
pub(crate) struct CheckReport {
    schema: &'static str,
    /// `status.json` of the run: parts and their exit statuses, machine and driver.
    status: Status,
    facts: Option<DeviceFacts>,
    parity: Vec<Parity>,
    speed: Vec<SpeedComparison>,
}

/// The parts of a run.
#[derive(Serialize, Deserialize)]
struct Status {
    /// When the run started, in UTC.
    date: String,
    /// What `nvidia-smi` reports: card, driver, memory.
    nvidia_smi: String,
    /// In the order in which they ran.
    parts: Vec<PartResult>,
}

#[derive(Serialize, Deserialize)]
struct PartResult {
    name: String,
    /// Exit status; 124 means that the part's time limit ended it.
    exit: i32,
    seconds: u32,
}

/// bf16 on this device beside transformers in bf16 on the same device.
#[derive(Serialize, Deserialize)]
struct Parity {
    checkpoint: String,
    passed: bool,
    cases: Vec<ParityCase>,
}

#[derive(Serialize, Deserialize)]
struct ParityCase {
    name: String,
    ids_equal: bool,
    positions_equal: bool,
    /// Largest error of our logits against f32, as a share of the largest logit.
    error: f64,
    /// The same of transformers' logits.
    transformers_error: f64,
    /// Greedy tokens before the first that differs, of `greedy`.
    greedy_equal: usize,
    greedy: usize,
    /// Whether each of our tokens is the reference's best but for rounding.
    greedy_passed: bool,
    /// Whether rounding selected another expert, which the check allows in one case of a mixture of experts.
    switched: bool,
    passed: bool,
}

/// One shape: ours, transformers, and what the device allows.
#[derive(Serialize)]
struct SpeedComparison {
    shape: String,
    homereel: Option<Speed>,
    transformers: Option<Speed>,
    limit: Option<SpeedLimit>,
    /// Largest difference of logits and of features, as a share of the largest value; `None` without transformers.
    difference: Option<[f32; 2]>,
}

/// The fastest that bandwidth or matrix throughput allow.
#[derive(Serialize)]
struct SpeedLimit {
    vision_ms: f64,
    prefill_ms: f64,
    decode_tokens_per_s: f64,
    clip_ttft_ms: f64,
}

/// Reads the results below `dir`; parts that did not finish are missing.
pub(crate) fn read(dir: &Path, shapes: &Path) -> anyhow::Result<CheckReport> {
    let status = json(&dir.join("status.json"))?.context("status.json is missing; run.sh writes it")?;
    let facts: Option<DeviceFacts> = json(&dir.join("facts.json"))?;
    let mut files = std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    let named = |prefix: &str| {
        let stem = |file: &String| Some(file.strip_prefix(prefix)?.strip_suffix(".json")?.to_owned());
        files.iter().filter_map(stem).collect::<Vec<_>>()
    };
    let parity = named("compared-")
        .iter()
        .filter_map(|name| json(&dir.join(format!("compared-{name}.json"))).transpose())
        .collect::<anyhow::Result<_>>()?;
    let speed = named("speed-")
        .iter()
        .map(|shape| comparison(dir, shapes, shape, facts.as_ref()))
        .collect::<anyhow::Result<_>>()?;
    Ok(CheckReport { schema: "homereel.gpu-check/1", status, facts, parity, speed })
}

fn json<T: DeserializeOwned>(file: &Path) -> anyhow::Result<Option<T>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| file.display().to_string())?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

fn comparison(
    dir: &Path,
    shapes: &Path,
    shape: &str,
    facts: Option<&DeviceFacts>,
) -> anyhow::Result<SpeedComparison> {
    let mut homereel: Option<Speed> = json(&dir.join(format!("speed-{shape}.json")))?;
    let mut transformers: Option<Speed> = json(&dir.join(format!("transformers-{shape}.json")))?;
    let config = shapes.join(format!("{shape}.json"));
    let config =
        Config::from_json(shape, &std::fs::read(&config).with_context(|| config.display().to_string())?)?;
    let limit = facts.zip(homereel.as_ref()).map(|(facts, speed)| limit(facts, &config, speed));
    let difference = homereel.as_mut().zip(transformers.as_mut()).map(|(ours, theirs)| {
        if ours.sizes != theirs.sizes {
            // Other inputs: nothing can be compared.
            return [f32::INFINITY; 2];
        }
        let (ours, theirs) = (&mut ours.times, &mut theirs.times);
        [distance(&ours.logits, &theirs.logits), distance(&ours.features, &theirs.features)]
    });
    // A vocabulary of logits is of no use in a stored result.
    for speed in homereel.iter_mut().chain(&mut transformers) {
        speed.times.logits.clear();
        speed.times.features.clear();
    }
    Ok(SpeedComparison { shape: shape.into(), homereel, transformers, limit, difference })
}

/// Returns the largest difference as a share of the largest value; infinite where lengths differ or a value is no
/// number.
fn distance(ours: &[f32], theirs: &[f32]) -> f32 {
    let scale = theirs.iter().fold(0_f32, |most, value| most.max(value.abs()));
    if ours.len() != theirs.len() || ours.iter().chain(theirs).any(|value| !value.is_finite()) {
        return f32::INFINITY;
    }
    ours.iter().zip(theirs).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

fn limit(facts: &DeviceFacts, config: &Config, speed: &Speed) -> SpeedLimit {
    let count = Parameters::of(config);
    let value_bytes = if speed.dtype == "f32" { 4.0 } else { 2.0 };
    let tflop_ms = |parameters: u64, rows: f64| 2e3 * parameters as f64 * rows / (facts.matmul_tflops * 1e12);
    let merge = (config.vision.spatial_merge_size as f64).powi(2);
    let clip_patches = {
        let edge = (speed.sizes.clip_edge / config.vision.patch_size) as f64;
        speed.sizes.clip_frames.div_ceil(config.vision.temporal_patch_size) as f64 * edge * edge
    };
    SpeedLimit {
        vision_ms: tflop_ms(count.vision, homereel_engine::measure::network::PICTURE_TOKENS * merge),
        prefill_ms: tflop_ms(count.decoder, speed.sizes.prefill as f64),
        decode_tokens_per_s: facts.copy_gbs * 1e9 / ((count.decoder + count.head) as f64 * value_bytes),
        clip_ttft_ms: tflop_ms(count.vision, clip_patches)
            + tflop_ms(count.decoder, speed.times.clip_prompt_tokens as f64),
    }
}

impl SpeedComparison {
    fn passed(&self) -> bool {
        self.homereel.is_some()
            && self.difference.is_none_or(|parts| parts.iter().all(|&part| part <= SPEED_TOLERANCE))
    }
}

impl CheckReport {
    /// Returns whether every part ran to its end and every check passed.
    pub(crate) fn passed(&self) -> bool {
        self.facts.is_some()
            && self.status.parts.iter().all(|part| part.exit == 0)
            && !self.parity.is_empty()
            && self.parity.iter().all(|checkpoint| checkpoint.passed)
            && self.speed.iter().all(SpeedComparison::passed)
    }

    /// Returns the table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if let Some(DeviceFacts { device, copy_gbs, matmul_tflops, dtype }) = &self.facts {
            let capability = device.compute_capability.as_deref().unwrap_or("none");
            let gib = device.memory_bytes as f64 / f64::from(1 << 30);
            writeln!(out, "{} (compute capability {capability}, {gib:.0} GiB)", device.name)?;
            writeln!(out, "copy {copy_gbs:.0} GB/s, {dtype} matrix product {matmul_tflops:.2} TFLOP/s")?;
        }
        writeln!(out)?;
        for part in &self.status.parts {
            let verdict = if part.exit == 0 { "ok" } else { "FAILED" };
            writeln!(out, "{verdict:<7}{} ({} s, exit status {})", part.name, part.seconds, part.exit)?;
        }
        for checkpoint in &self.parity {
            writeln!(out)?;
            writeln!(out, "bf16 parity with transformers: {}", checkpoint.checkpoint)?;
            for case in &checkpoint.cases {
                writeln!(
                    out,
                    "  {:<7}{:<12} error {:.4} (transformers {:.4}), greedy {}/{}{}{}{}",
                    if case.passed { "ok" } else { "FAILED" },
                    case.name,
                    case.error,
                    case.transformers_error,
                    case.greedy_equal,
                    case.greedy,
                    if case.switched { ", another expert" } else { "" },
                    if case.ids_equal { "" } else { ", token ids differ" },
                    if case.positions_equal { "" } else { ", positions differ" },
                )?;
            }
        }
        for shape in &self.speed {
            writeln!(out)?;
            shape.write(out)?;
        }
        writeln!(out)?;
        writeln!(out, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}

impl SpeedComparison {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let sizes = self.homereel.as_ref().or(self.transformers.as_ref()).map(|speed| speed.sizes);
        let Some(sizes) = sizes else { return Ok(()) };
        writeln!(out, "{:<34}{:>12}{:>14}{:>10}", self.shape, "homereel", "transformers", "limit")?;
        let both = [self.homereel.as_ref(), self.transformers.as_ref()];
        let mut row = |label: String, value: &dyn Fn(&Speed) -> Option<f64>, limit: Option<f64>| {
            let cell = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
            let [ours, theirs] = both.map(|speed| cell(speed.and_then(value)));
            writeln!(out, "{label:<34}{ours:>12}{theirs:>14}{:>10}", cell(limit))
        };
        let limit = self.limit.as_ref();
        let seconds = sizes.clip_frames;
        row(
            "vision tower, ms per 265 tokens".into(),
            &|s| Some(s.times.vision_ms),
            limit.map(|l| l.vision_ms),
        )?;
        row(
            format!("prefill, ms at {} tokens", sizes.prefill),
            &|s| Some(s.times.prefill_ms),
            limit.map(|l| l.prefill_ms),
        )?;
        row(
            "decode, tokens/s at batch 1".into(),
            &|s| Some(s.times.decode_tokens_per_s),
            limit.map(|l| l.decode_tokens_per_s),
        )?;
        row("decode, tokens/s at batch 8".into(), &|s| s.times.decode_batch_8_tokens_per_s, None)?;
        row(format!("clip of {seconds} frames, patches, ms"), &|s| s.times.clip_preprocess_ms, None)?;
        row(
            format!("clip of {seconds} frames, TTFT, ms"),
            &|s| Some(s.times.clip_ttft_ms),
            limit.map(|l| l.clip_ttft_ms),
        )?;
        row("peak memory, GiB".into(), &|s| Some(s.peak_memory_bytes as f64 / f64::from(1 << 30)), None)?;
        if let Some([logits, features]) = self.difference {
            let verdict = if self.passed() { "ok" } else { "FAILED" };
            writeln!(out, "{verdict:<7}largest difference: logits {logits:.4}, features {features:.4}")?;
        }
        Ok(())
    }
}
