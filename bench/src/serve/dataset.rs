//! The prompts of a run: drawn clips that no server has seen, a directory of clips, random text, or a file of texts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use homereel_clips::{self as clips, ClipSpec, Codec, SceneKind};

/// File extensions of clips in a directory.
const EXTENSIONS: [&str; 14] =
    ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mts", "m2ts", "ts", "3gp", "mpg", "mpeg", "wmv", "flv"];

/// Words of random prompts. Short and common, so that each is one or two tokens in any vocabulary.
const WORDS: [&str; 16] = [
    "the", "red", "circle", "moves", "left", "and", "then", "stops", "a", "blue", "square", "is", "there",
    "from", "start", "white",
];

/// Questions about clips with unknown content.
const QUESTIONS: [&str; 3] =
    ["Describe the video.", "What happens first?", "List what can be seen, and say when it appears."];

/// The content of one request.
#[derive(Debug, Clone)]
pub struct BenchPrompt {
    /// The question, or the entire text.
    pub text: String,
    /// The clip that the question is about.
    pub clip: Option<PathBuf>,
    /// Length of the clip in seconds; 0 if it is unknown.
    pub video_s: f64,
    /// The correct answer, if it is known.
    pub expected: Option<String>,
}

/// Properties of drawn clips. `None` leaves a property to the seed.
#[derive(Debug, Clone)]
pub struct ClipProperties {
    /// Length in seconds.
    pub seconds: Option<f64>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames per second.
    pub fps: Option<f64>,
    /// Codec and container.
    pub codec: Option<Codec>,
}

impl BenchPrompt {
    /// Returns the message's `content`: the clip as a `data:` URL, then the question.
    ///
    /// # Errors
    /// When reading the clip fails.
    pub async fn content(&self) -> anyhow::Result<Value> {
        let Some(clip) = &self.clip else { return Ok(json!(self.text)) };
        Ok(about(&data_url(clip).await?, &self.text))
    }
}

/// Returns a message's `content`: the video with this URL, then the question.
pub(crate) fn about(url: &str, question: &str) -> Value {
    json!([
        { "type": "video_url", "video_url": { "url": url } },
        { "type": "text", "text": question },
    ])
}

/// Reads `clip` and returns it as a `data:` URL.
pub(crate) async fn data_url(clip: &Path) -> anyhow::Result<String> {
    let bytes = tokio::fs::read(clip).await.with_context(|| clip.display().to_string())?;
    Ok(format!("data:{};base64,{}", mime(clip), STANDARD.encode(bytes)))
}

/// Draws clips into `dir`, with `per_clip` questions about each and `count` in total. The seeds from `seed` on are used for
/// nothing else, so that no cache has seen the clips. `on_clip` is called with the number of clips drawn so far.
///
/// # Errors
/// When ffmpeg is missing or fails, or the disk is full.
pub async fn drawn(
    dir: &Path,
    properties: &ClipProperties,
    count: usize,
    per_clip: usize,
    seed: u64,
    on_clip: impl Fn(usize) + Send,
) -> anyhow::Result<Vec<BenchPrompt>> {
    let mut prompts = Vec::with_capacity(count);
    for n in 0..count.div_ceil(per_clip) {
        on_clip(n);
        let seed = seed + n as u64;
        let order = ClipSpec {
            kind: SceneKind::Any,
            codec: properties.codec,
            size: properties.size,
            fps: properties.fps,
            duration_s: properties.seconds,
            ..ClipSpec::seeded(seed)
        };
        let dir = dir.to_owned();
        let clip = tokio::task::spawn_blocking(move || clips::draw(order, &dir)).await??;
        ensure!(!clip.questions.is_empty(), "clip {seed} has no questions");
        for k in 0..per_clip.min(count - prompts.len()) {
            let question = &clip.questions[(n + k) % clip.questions.len()];
            prompts.push(BenchPrompt {
                text: question.question.clone(),
                clip: Some(clip.file.clone()),
                video_s: clip.duration_s,
                expected: Some(question.answer.clone()),
            });
        }
    }
    Ok(prompts)
}

/// Draws a clip of one object on a plain background and asks for its colour: any model that sees can answer, so that a broken
/// server is noticed before it is timed.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub async fn sanity(dir: &Path, seed: u64) -> anyhow::Result<BenchPrompt> {
    let order = ClipSpec {
        kind: SceneKind::Plain,
        codec: Some(Codec::H264),
        duration_s: Some(4.0),
        ..ClipSpec::seeded(seed)
    };
    let dir = dir.to_owned();
    let clip = tokio::task::spawn_blocking(move || clips::draw(order, &dir)).await??;
    let thing = clip.scene.things.first().context("a plain clip shows one object")?;
    Ok(BenchPrompt {
        text: "What color is the object?".into(),
        clip: Some(clip.file.clone()),
        video_s: clip.duration_s,
        expected: Some(thing.colour.name().to_owned()),
    })
}

/// Returns the clips of a directory, in the order of their names.
///
/// # Errors
/// When reading the directory fails, or it has no clips.
pub(crate) fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|name| name.to_str()).unwrap_or_default();
            path.is_file() && EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
        })
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "{} has no clips ({})", dir.display(), EXTENSIONS.join(", "));
    Ok(files)
}

/// Asks about the clips of a directory, in the order of their names, `count` times in total. The same question about the same clip
/// is asked again only with `repeat`.
///
/// # Errors
/// When the directory has no clips, or too few without `repeat`.
pub fn clips(dir: &Path, count: usize, per_clip: usize, repeat: bool) -> anyhow::Result<Vec<BenchPrompt>> {
    let files = files(dir)?;
    let fresh = files.len() * per_clip;
    ensure!(
        repeat || fresh >= count,
        "{} has {} clips, enough for {fresh} requests with new content, but --num-prompts is {count}: lower it, raise \
         --questions-per-clip, or add --repeat to measure a warm cache",
        dir.display(),
        files.len()
    );
    Ok((0..count)
        .map(|n| BenchPrompt {
            text: QUESTIONS[n % per_clip % QUESTIONS.len()].to_owned(),
            clip: Some(files[n / per_clip % files.len()].clone()),
            video_s: 0.0,
            expected: None,
        })
        .collect())
}

/// Returns `count` texts of `words` random words each. No two texts have a common prefix of more than a few words.
#[must_use]
pub fn random(words: usize, count: usize, seed: u64) -> Vec<BenchPrompt> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| {
            let text: Vec<&str> = (0..words).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect();
            BenchPrompt { text: text.join(" "), clip: None, video_s: 0.0, expected: None }
        })
        .collect()
}

/// Reads texts from `file`: JSON Lines with a `prompt` each, the format of `vllm bench serve --dataset-name custom`.
///
/// # Errors
/// When reading fails, a line has no prompt, or there are too few without `repeat`.
pub fn custom(file: &Path, count: usize, repeat: bool) -> anyhow::Result<Vec<BenchPrompt>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| name.to_string())?;
    let mut texts = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("{name}:{} is not JSON", n + 1))?;
        let prompt = line["prompt"].as_str();
        texts.push(prompt.with_context(|| format!("{name}:{} has no \"prompt\"", n + 1))?.to_owned());
    }
    ensure!(!texts.is_empty(), "{name} has no prompts; a line like {{\"prompt\": \"…\"}} would fit");
    ensure!(
        repeat || texts.len() >= count,
        "{name} has {} prompts, but --num-prompts is {count}: lower it, or add --repeat to measure a warm cache",
        texts.len()
    );
    let prompt = |n: usize| BenchPrompt {
        text: texts[n % texts.len()].clone(),
        clip: None,
        video_s: 0.0,
        expected: None,
    };
    Ok((0..count).map(prompt).collect())
}

/// Returns the media type of a clip by its extension.
pub(crate) fn mime(file: &Path) -> &'static str {
    match file.extension().and_then(|name| name.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("webm") => "video/webm",
        Some("mkv") => "video/x-matroska",
        Some("mov") => "video/quicktime",
        Some("avi") => "video/x-msvideo",
        _ => "video/mp4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_repeat_only_if_permitted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.mp4", "a.MOV", "notes.txt"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        let prompts = clips(dir.path(), 4, 2, false).unwrap();
        let asked: std::collections::HashSet<_> =
            prompts.iter().map(|p| (p.clip.clone(), p.text.clone())).collect();
        assert_eq!(asked.len(), 4);
        let error = clips(dir.path(), 5, 2, false).unwrap_err().to_string();
        assert!(error.contains("2 clips") && error.contains("--repeat"), "{error}");
        assert_eq!(clips(dir.path(), 5, 2, true).unwrap().len(), 5);
        let empty = tempfile::tempdir().unwrap();
        assert!(clips(empty.path(), 1, 1, true).unwrap_err().to_string().contains("has no clips"));
    }

    #[test]
    fn prompts_keep_the_order_of_the_file_and_bad_lines_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.jsonl");
        std::fs::write(&file, "{\"prompt\": \"a\"}\n\n{\"prompt\": \"b\", \"output_tokens\": 3}\n").unwrap();
        let texts = |count, repeat| -> anyhow::Result<Vec<String>> {
            Ok(custom(&file, count, repeat)?.into_iter().map(|one| one.text).collect())
        };
        assert_eq!(texts(2, false).unwrap(), ["a", "b"]);
        assert_eq!(texts(3, true).unwrap(), ["a", "b", "a"]);
        assert!(texts(3, false).unwrap_err().to_string().contains("--repeat"));
        std::fs::write(&file, "{\"prompt\": \"a\"}\n{\"text\": 1}").unwrap();
        assert!(texts(1, false).unwrap_err().to_string().contains("p.jsonl:2 has no \"prompt\""));
    }

    #[test]
    fn random_texts_differ_and_depend_on_the_seed() {
        let (one, again) = (random(50, 2, 1), random(50, 2, 1));
        assert_eq!(one[0].text, again[0].text);
        assert_ne!(one[0].text, one[1].text);
        assert_eq!(one[0].text.split(' ').count(), 50);
    }
}
