//! Flags that say which server is asked, and what; shared by `serve` and `compare`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use homereel_bench::serve::client::{Sampling, Target};
use homereel_bench::serve::dataset::{self, Drawn, Prompt};
use homereel_bench::serve::{self, SILENCE};
use homereel_clips::{Codec, FIRST_TEST_SEED};
use indicatif::{ProgressBar, ProgressStyle};

use super::draw;

/// Words of the two texts that tell how many tokens a word has.
const PROBES: [usize; 2] = [50, 150];
/// Words of a text before the clock runs, where the texts are somebody's.
const WARMUP_WORDS: usize = 50;
/// Frames a second that VSS takes of a chunk.
const VSS_FPS: f64 = 8.0;

/// Where requests get their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dataset {
    /// Clips drawn for this run: nobody has seen them, and the truth is known
    Drawn,
    /// The clips of a folder (`--dataset-path`)
    Clips,
    /// Text alone, of `--random-input-len` tokens
    Random,
    /// The texts of a file (`--dataset-path`): JSON Lines with a "prompt" each
    Custom,
}

/// A shape of load that others have published figures for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preset {
    /// NVIDIA VSS on a DGX Spark: 10 s chunks, 80 frames each, 448x448, one token of answer
    Vss,
    /// The same with 100 tokens of answer
    VssOsl100,
    /// The same as `vss`, for a file of 10 minutes: its 60 chunks one after another; `duration` is the file's time
    VssFile,
    /// The same with 100 tokens of answer
    VssFileOsl100,
}

/// Chunks of a file of 10 minutes.
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

/// What is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Questions {
    /// Model to ask for [default: the first that the server lists]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Name of an environment variable that holds the server's key
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
    /// Requests to send
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) num_prompts: u32,
    /// Where the content comes from
    #[arg(long, default_value = "drawn")]
    pub(crate) dataset_name: Dataset,
    /// Folder of clips, or file of prompts
    #[arg(long, required_if_eq_any([("dataset_name", "clips"), ("dataset_name", "custom")]))]
    pub(crate) dataset_path: Option<PathBuf>,
    /// Prompt tokens of a random text, as near as whole words get
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) random_input_len: u32,
    /// Tokens of an answer, at most
    #[arg(long, visible_alias = "max-tokens", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) random_output_len: u32,
    /// Seconds of a drawn clip [default: 2 to 20, by the seed]
    #[arg(long, value_parser = draw::seconds)]
    pub(crate) clip_seconds: Option<f64>,
    /// Frame size of a drawn clip, as 320x240 [default: by the seed]
    #[arg(long, value_parser = draw::size)]
    pub(crate) clip_size: Option<(u32, u32)>,
    /// Frames per second of a drawn clip [default: by the seed]
    #[arg(long, value_parser = rate)]
    pub(crate) clip_fps: Option<f64>,
    /// How drawn clips are coded [default: by the seed]
    #[arg(long)]
    pub(crate) clip_codec: Option<Codec>,
    /// Frames a second that the server is to take of each clip [default: the model's own rate]
    #[arg(long, value_parser = super::serve::positive)]
    pub(crate) fps: Option<f64>,
    /// Shape of published figures: sets what clips are drawn, how they are sampled, and how long answers are
    #[arg(long, conflicts_with_all = ["clip_seconds", "clip_size", "clip_fps", "clip_codec", "fps", "random_output_len", "questions_per_clip", "repeat"])]
    pub(crate) preset: Option<Preset>,
    /// Questions to each clip; more than one lets the server use what it kept of the clip
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) questions_per_clip: u32,
    /// Send content again where there is too little: a warm cache, and the result says so
    #[arg(long)]
    pub(crate) repeat: bool,
    /// Requests before the clock runs, with content of their own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) num_warmups: u32,
    /// Generate up to the limit, whatever the model says
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Temperature
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Seed of content and arrivals [default: by the clock, so that no run is warm by chance]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Do not ask the sanity question first
    #[arg(long)]
    pub(crate) no_sanity: bool,
}

/// What is sent, ready.
pub(crate) struct Ready {
    /// The seed that made it.
    pub(crate) seed: u64,
    /// Requests of the run.
    pub(crate) prompts: Vec<Prompt>,
    /// Requests before it.
    pub(crate) warmups: Vec<Prompt>,
    /// How answers are made.
    pub(crate) sampling: Sampling,
    /// Holds drawn clips until the run is over.
    dir: tempfile::TempDir,
}

impl Questions {
    /// Connects to `base`.
    pub(crate) async fn connect(&self, base: &url::Url) -> anyhow::Result<Target> {
        let key = self.api_key_env.as_deref().map(|name| {
            std::env::var(name)
                .with_context(|| format!("--api-key-env: {name} is not set in the environment"))
        });
        Target::connect(base.as_str(), self.model.as_deref(), key.transpose()?, SILENCE).await
    }

    /// Draws or gathers what is sent. `target` only tells how many tokens a word has.
    pub(crate) async fn ready(&self, target: &Target) -> anyhow::Result<Ready> {
        let seed =
            self.seed.unwrap_or_else(|| u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()));
        let dir = tempfile::tempdir().context("failed to make a folder for drawn clips")?;
        let (count, warmups) = (self.count() as usize, self.num_warmups as usize);
        let per_clip = self.questions_per_clip as usize;
        let sampling = Sampling {
            max_tokens: self.preset.map_or(self.random_output_len, Preset::output_len) as usize,
            ignore_eos: self.ignore_eos || self.preset.is_some(),
            temperature: self.temperature,
            fps: self.preset.map(|_| VSS_FPS).or(self.fps),
        };
        // Warm-up content comes after the run's own, so that the same seed gives the same run with any warm-up.
        let (prompts, warmups) = match self.dataset_name {
            Dataset::Drawn => {
                // Seeds that training never used.
                let first = FIRST_TEST_SEED + (seed % (1 << 40)) * 1_000_000;
                let prompts = self.draw(dir.path(), count, per_clip, first).await?;
                (prompts, self.draw(dir.path(), warmups, 1, first + 999_000).await?)
            }
            Dataset::Clips => {
                let folder =
                    self.dataset_path.as_deref().context("--dataset-name clips needs --dataset-path DIR")?;
                let prompts = dataset::clips(folder, count, per_clip, self.repeat)?;
                // A clip of the folder would be warm when its turn comes.
                (prompts, self.draw(dir.path(), warmups, 1, FIRST_TEST_SEED + seed % (1 << 40)).await?)
            }
            Dataset::Custom => {
                let file = self
                    .dataset_path
                    .as_deref()
                    .context("--dataset-name custom needs --dataset-path FILE")?;
                // A prompt of the file would be warm when its turn comes.
                (dataset::custom(file, count, self.repeat)?, dataset::random(WARMUP_WORDS, warmups, seed))
            }
            Dataset::Random => {
                let words = words_for(target, self.random_input_len, seed).await?;
                let mut prompts = dataset::random(words, count + warmups, seed);
                let warmups = prompts.split_off(count);
                (prompts, warmups)
            }
        };
        Ok(Ready { seed, prompts, warmups, sampling, dir })
    }

    /// Requests to send.
    pub(crate) fn count(&self) -> u32 {
        if self.preset.is_some_and(Preset::is_file) { FILE_CHUNKS } else { self.num_prompts }
    }

    async fn draw(
        &self,
        dir: &Path,
        count: usize,
        per_clip: usize,
        seed: u64,
    ) -> anyhow::Result<Vec<Prompt>> {
        let mut what = Drawn {
            seconds: self.clip_seconds,
            size: self.clip_size,
            fps: self.clip_fps,
            codec: self.clip_codec,
        };
        if self.preset.is_some() {
            what = Drawn {
                seconds: Some(10.0),
                size: Some((448, 448)),
                fps: Some(30.0),
                codec: Some(Codec::H264),
            };
        }
        let bar = bar("drawing clips", count.div_ceil(per_clip) as u64);
        let told = |done: usize, _: usize| bar.set_position(done as u64);
        let prompts = dataset::drawn(dir, &what, count, per_clip, seed, told).await;
        bar.finish_and_clear();
        prompts
    }

    /// Asks the sanity question, unless told not to or there is nothing to see.
    pub(crate) async fn check(&self, target: &Target, ready: &Ready) -> anyhow::Result<Option<String>> {
        if self.no_sanity || matches!(self.dataset_name, Dataset::Random | Dataset::Custom) {
            return Ok(None);
        }
        let prompt = dataset::sanity(ready.dir.path(), FIRST_TEST_SEED + ready.seed % (1 << 40)).await?;
        serve::check_sanity(target, &prompt).await.map(Some)
    }
}

/// How many words make a prompt of `tokens` tokens, by what the server counts in two short ones.
async fn words_for(target: &Target, tokens: u32, seed: u64) -> anyhow::Result<usize> {
    let sampling = Sampling { max_tokens: 1, ..Sampling::default() };
    let mut counted = [0.0; 2];
    for (words, counted) in PROBES.iter().zip(&mut counted) {
        let prompt = dataset::random(*words, 1, seed.wrapping_add(*words as u64)).remove(0);
        let taken = target.send(target.body(&prompt, &sampling).await?).await;
        if let Some(error) = taken.error {
            anyhow::bail!("the server did not count the tokens of a text: {error}");
        }
        *counted = taken.prompt_tokens as f64;
    }
    let per_word = (counted[1] - counted[0]) / (PROBES[1] - PROBES[0]) as f64;
    anyhow::ensure!(
        per_word > 0.1,
        "the server counts {} and {} tokens in texts of {PROBES:?} words",
        counted[0],
        counted[1]
    );
    let around = counted[0] - per_word * PROBES[0] as f64;
    Ok((((f64::from(tokens) - around) / per_word).round() as usize).max(1))
}

/// A progress bar on stderr; nothing where that is no terminal.
pub(crate) fn bar(what: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed} (eta {eta})") {
        bar.set_style(style);
    }
    bar
}

fn rate(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|rate| (1.0..=240.0).contains(rate));
    parsed.ok_or_else(|| format!("'{text}' is no frame rate; give 1 to 240"))
}
