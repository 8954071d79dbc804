//! Flags that choose the requests, shared by `serve` and `compare`, and the prompts made from them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use homereel_bench::serve::client::{AnswerOptions, TargetServer};
use homereel_bench::serve::dataset::{self, BenchPrompt, ClipProperties};
use homereel_bench::serve::{self, READ_TIMEOUT};
use homereel_clips::{Codec, FIRST_TEST_SEED};
use homereel_web::bench_result::Dataset;

use super::output::progress_bar;
use super::parsers::{clip_seconds, frame_rate, frame_size, positive};

/// Lengths in words of the two texts that determine the tokens per word.
const PROBES: [usize; 2] = [50, 150];
/// Length in words of a warm-up text for the texts of a file.
const WARMUP_WORDS: usize = 50;
/// Frames per second that VSS samples of a chunk.
const VSS_FPS: f64 = 8.0;

/// A load with published figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Preset {
    /// NVIDIA VSS on a DGX Spark: chunks of 10 s, 80 frames each, 448x448, answers of 1 token
    Vss,
    /// The same with answers of 100 tokens
    VssOsl100,
    /// The same as `vss` for a file of 10 minutes: 60 chunks, --max-concurrency at a time; `duration` is the time for the file
    VssFile,
    /// The same with answers of 100 tokens
    VssFileOsl100,
}

/// Number of chunks of a file of 10 minutes.
const FILE_CHUNKS: u32 = 60;

impl Preset {
    fn output_len(self) -> u32 {
        match self {
            Self::Vss | Self::VssFile => 1,
            Self::VssOsl100 | Self::VssFileOsl100 => 100,
        }
    }

    fn is_file(self) -> bool {
        matches!(self, Self::VssFile | Self::VssFileOsl100)
    }
}

/// Flags that choose the requests.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WorkloadArgs {
    /// Model [default: the first that the server lists]
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Name of an environment variable with the server's key
    #[arg(long, value_name = "NAME")]
    pub(super) api_key_env: Option<String>,
    /// Number of requests
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) num_prompts: u32,
    /// Source of the content
    #[arg(long, default_value = "drawn")]
    pub(super) dataset_name: Dataset,
    /// Directory of clips, or file of prompts
    #[arg(long, required_if_eq_any([("dataset_name", "clips"), ("dataset_name", "custom")]))]
    pub(super) dataset_path: Option<PathBuf>,
    /// Prompt tokens of a random text, rounded to whole words
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) random_input_len: u32,
    /// Limit of tokens per answer
    #[arg(long, visible_alias = "max-tokens", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) random_output_len: u32,
    /// Length of a drawn clip in seconds [default: 2 to 20, by the seed]
    #[arg(long, value_parser = clip_seconds)]
    pub(super) clip_seconds: Option<f64>,
    /// Frame size of a drawn clip, such as 320x240 [default: by the seed]
    #[arg(long, value_parser = frame_size)]
    pub(super) clip_size: Option<(u32, u32)>,
    /// Frames per second of a drawn clip [default: by the seed]
    #[arg(long, value_parser = frame_rate)]
    pub(super) clip_fps: Option<f64>,
    /// Codec of drawn clips [default: by the seed]
    #[arg(long)]
    pub(super) clip_codec: Option<Codec>,
    /// Frames per second that the server samples of each clip [default: the model's own rate]
    #[arg(long, value_parser = positive)]
    pub(super) fps: Option<f64>,
    /// Load of published figures: sets the drawn clips, their sampling, and the length of answers
    #[arg(long, conflicts_with_all = ["clip_seconds", "clip_size", "clip_fps", "clip_codec", "fps", "random_output_len", "questions_per_clip", "repeat"])]
    pub(super) preset: Option<Preset>,
    /// Questions about each clip; with more than one, the server can use its caches
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) questions_per_clip: u32,
    /// Repeat content if there is too little; the result is then marked as warm
    #[arg(long)]
    pub(super) repeat: bool,
    /// Requests before the measurement, with different content
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(super) num_warmups: u32,
    /// Generate up to the limit, even after the end of the answer
    #[arg(long)]
    pub(super) ignore_eos: bool,
    /// Temperature
    #[arg(long, default_value_t = 0.0)]
    pub(super) temperature: f64,
    /// Seed of content and arrivals [default: from the clock, so that no run is warm by chance]
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Skip the sanity question
    #[arg(long)]
    pub(super) no_sanity: bool,
}

/// The requests of a run.
pub(super) struct Workload {
    /// Seed of content and arrivals.
    pub(super) seed: u64,
    /// Requests of the measurement.
    pub(super) prompts: Vec<BenchPrompt>,
    /// Requests before the measurement.
    pub(super) warmups: Vec<BenchPrompt>,
    /// Parameters of all requests.
    pub(super) options: AnswerOptions,
    /// Keeps the drawn clips until the run has ended.
    dir: tempfile::TempDir,
}

impl WorkloadArgs {
    /// Connects to the server at `base`.
    pub(super) async fn connect(&self, base: &url::Url) -> anyhow::Result<TargetServer> {
        let key = self.api_key_env.as_deref().map(|name| {
            std::env::var(name)
                .with_context(|| format!("--api-key-env: {name} is not set in the environment"))
        });
        TargetServer::connect(base.as_str(), self.model.as_deref(), key.transpose()?, READ_TIMEOUT).await
    }

    /// Draws or reads the content. `target` is only asked for the tokens per word.
    pub(super) async fn prepare(&self, target: &TargetServer) -> anyhow::Result<Workload> {
        let seed =
            self.seed.unwrap_or_else(|| u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()));
        let dir = tempfile::tempdir().context("failed to create a directory for drawn clips")?;
        let (count, warmups) = (self.count() as usize, self.num_warmups as usize);
        let per_clip = self.questions_per_clip as usize;
        let options = AnswerOptions {
            max_tokens: self.preset.map_or(self.random_output_len, Preset::output_len) as usize,
            ignore_eos: self.ignore_eos || self.preset.is_some(),
            temperature: self.temperature,
            fps: self.preset.map(|_| VSS_FPS).or(self.fps),
        };
        // Warm-up content comes after the run's own, so that the same seed gives the same run with any warm-up.
        let (prompts, warmups) = match self.dataset_name {
            Dataset::Drawn => {
                // Seeds that were never used in training.
                let first = FIRST_TEST_SEED + (seed % (1 << 40)) * 1_000_000;
                let prompts = self.draw(dir.path(), count, per_clip, first).await?;
                (prompts, self.draw(dir.path(), warmups, 1, first + 999_000).await?)
            }
            Dataset::Clips => {
                let directory =
                    self.dataset_path.as_deref().context("--dataset-name clips needs --dataset-path DIR")?;
                let prompts = dataset::clips(directory, count, per_clip, self.repeat)?;
                // A clip of the directory would be in the cache when its turn comes.
                (prompts, self.draw(dir.path(), warmups, 1, FIRST_TEST_SEED + seed % (1 << 40)).await?)
            }
            Dataset::Custom => {
                let file = self
                    .dataset_path
                    .as_deref()
                    .context("--dataset-name custom needs --dataset-path FILE")?;
                // A prompt of the file would be in the cache when its turn comes.
                (dataset::custom(file, count, self.repeat)?, dataset::random(WARMUP_WORDS, warmups, seed))
            }
            Dataset::Random => {
                let words = words_for(target, self.random_input_len, seed).await?;
                let mut prompts = dataset::random(words, count + warmups, seed);
                let warmups = prompts.split_off(count);
                (prompts, warmups)
            }
        };
        Ok(Workload { seed, prompts, warmups, options, dir })
    }

    fn count(&self) -> u32 {
        if self.preset.is_some_and(Preset::is_file) { FILE_CHUNKS } else { self.num_prompts }
    }

    async fn draw(
        &self,
        dir: &Path,
        count: usize,
        per_clip: usize,
        seed: u64,
    ) -> anyhow::Result<Vec<BenchPrompt>> {
        let mut properties = ClipProperties {
            seconds: self.clip_seconds,
            size: self.clip_size,
            fps: self.clip_fps,
            codec: self.clip_codec,
        };
        if self.preset.is_some() {
            properties = ClipProperties {
                seconds: Some(10.0),
                size: Some((448, 448)),
                fps: Some(30.0),
                codec: Some(Codec::H264),
            };
        }
        let bar = progress_bar("drawing clips", count.div_ceil(per_clip) as u64);
        let on_clip = |drawn: usize| bar.set_position(drawn as u64);
        let prompts = dataset::drawn(dir, &properties, count, per_clip, seed, on_clip).await;
        bar.finish_and_clear();
        prompts
    }

    /// Asks the sanity question, unless the user skips it or there is no video.
    pub(super) async fn check_sanity(
        &self,
        target: &TargetServer,
        workload: &Workload,
    ) -> anyhow::Result<Option<String>> {
        if self.no_sanity || !self.dataset_name.has_video() {
            return Ok(None);
        }
        let prompt =
            dataset::sanity(workload.dir.path(), FIRST_TEST_SEED + workload.seed % (1 << 40)).await?;
        serve::check_sanity(target, &prompt).await.map(Some)
    }
}

/// Returns the number of words of a prompt of `tokens` tokens, from the server's token counts of two short prompts.
async fn words_for(target: &TargetServer, tokens: u32, seed: u64) -> anyhow::Result<usize> {
    let options = AnswerOptions { max_tokens: 1, ..AnswerOptions::default() };
    let mut counted = [0.0; 2];
    for (words, counted) in PROBES.iter().zip(&mut counted) {
        let prompt = dataset::random(*words, 1, seed.wrapping_add(*words as u64)).remove(0);
        let record = target.send(target.body(&prompt, &options).await?).await;
        if let Some(error) = record.error {
            anyhow::bail!("failed to let the server count the tokens of a text: {error}");
        }
        *counted = record.prompt_tokens as f64;
    }
    let per_word = (counted[1] - counted[0]) / (PROBES[1] - PROBES[0]) as f64;
    anyhow::ensure!(
        per_word > 0.1,
        "the server counts {} and {} tokens in texts of {PROBES:?} words",
        counted[0],
        counted[1]
    );
    let overhead = counted[0] - per_word * PROBES[0] as f64;
    Ok((((f64::from(tokens) - overhead) / per_word).round() as usize).max(1))
}
