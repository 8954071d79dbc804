//! What is asked: drawn clips that nobody has seen, a folder of clips, or text alone. Knows nothing of servers.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use homereel_clips::{self as draw, Codec, Kind, Order};

/// Endings of files that a folder of clips is searched for.
const ENDINGS: [&str; 14] =
    ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mts", "m2ts", "ts", "3gp", "mpg", "mpeg", "wmv", "flv"];

/// Words of random prompts: short, common, so that each is a token or two in any vocabulary.
const WORDS: [&str; 16] = [
    "the", "red", "circle", "moves", "left", "and", "then", "stops", "a", "blue", "square", "is", "there",
    "from", "start", "white",
];

/// Questions asked of clips whose truth is not known.
const QUESTIONS: [&str; 3] =
    ["Describe the video.", "What happens first?", "List what can be seen, and say when it appears."];

/// One request's content.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// The question, or the whole text.
    pub text: String,
    /// The clip it is about.
    pub clip: Option<PathBuf>,
    /// Length of the clip in seconds, where it is known.
    pub video_s: f64,
    /// The true answer, where it is known.
    pub truth: Option<String>,
}

/// What clips to draw.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Seconds, each.
    pub seconds: Option<f64>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames per second.
    pub fps: Option<f64>,
    /// How they are coded.
    pub codec: Option<Codec>,
}

impl Prompt {
    /// Returns the message's `content`: the clip as a `data:` URL, then the question.
    ///
    /// # Errors
    /// When the clip can't be read.
    pub async fn content(&self) -> anyhow::Result<Value> {
        let Some(clip) = &self.clip else { return Ok(json!(self.text)) };
        let bytes = tokio::fs::read(clip).await.with_context(|| clip.display().to_string())?;
        let url = format!("data:{};base64,{}", mime(clip), STANDARD.encode(bytes));
        Ok(json!([
            { "type": "video_url", "video_url": { "url": url } },
            { "type": "text", "text": self.text },
        ]))
    }
}

/// Draws clips into `dir` and asks `per_clip` questions of each, `count` in all; the seeds from `seed` on are used
/// for nothing else, so that no cache has seen the clips.
///
/// # Errors
/// When ffmpeg is missing or fails, or the disk is full.
pub async fn drawn(
    dir: &Path,
    what: &Drawn,
    count: usize,
    per_clip: usize,
    seed: u64,
    told: impl Fn(usize, usize) + Send,
) -> anyhow::Result<Vec<Prompt>> {
    let mut prompts = Vec::with_capacity(count);
    let clips = count.div_ceil(per_clip);
    for n in 0..clips {
        told(n, clips);
        let seed = seed + n as u64;
        let order = Order {
            kind: Kind::Any,
            codec: what.codec,
            size: what.size,
            fps: what.fps,
            duration_s: what.seconds,
            ..Order::seeded(seed)
        };
        let dir = dir.to_owned();
        let clip = tokio::task::spawn_blocking(move || draw::draw(order, &dir)).await??;
        ensure!(!clip.questions.is_empty(), "clip {seed} has no questions");
        for k in 0..per_clip.min(count - prompts.len()) {
            let question = &clip.questions[(n + k) % clip.questions.len()];
            prompts.push(Prompt {
                text: question.question.clone(),
                clip: Some(clip.file.clone()),
                video_s: clip.duration_s,
                truth: Some(question.answer.clone()),
            });
        }
    }
    Ok(prompts)
}

/// Draws one plain clip of one still object, whose colour any model that sees should name: the question that is
/// answered before a clock runs.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub async fn sanity(dir: &Path, seed: u64) -> anyhow::Result<Prompt> {
    let order =
        Order { kind: Kind::Plain, codec: Some(Codec::H264), duration_s: Some(4.0), ..Order::seeded(seed) };
    let dir = dir.to_owned();
    let clip = tokio::task::spawn_blocking(move || draw::draw(order, &dir)).await??;
    let thing = clip.scene.things.first().context("a plain clip shows one object")?;
    Ok(Prompt {
        text: "What color is the object?".into(),
        clip: Some(clip.file.clone()),
        video_s: clip.duration_s,
        truth: Some(thing.colour.name().to_owned()),
    })
}

/// Asks about the clips of a folder, in the order of their names, `count` times in all. A clip that would have to be
/// asked about again, with a question that was already asked, is only allowed with `repeat`.
///
/// # Errors
/// When the folder has no clips, or too few for cold requests.
pub fn clips(dir: &Path, count: usize, per_clip: usize, repeat: bool) -> anyhow::Result<Vec<Prompt>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            path.is_file() && ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
        })
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "{} has no clips ({})", dir.display(), ENDINGS.join(", "));
    let fresh = files.len() * per_clip;
    ensure!(
        repeat || fresh >= count,
        "{} has {} clips, {fresh} requests with content that the server has not seen; {count} are asked for: \
         lower --num-prompts, raise --questions-per-clip, or say --repeat to measure a warm cache",
        dir.display(),
        files.len()
    );
    Ok((0..count)
        .map(|n| Prompt {
            text: QUESTIONS[n % per_clip % QUESTIONS.len()].to_owned(),
            clip: Some(files[n / per_clip % files.len()].clone()),
            video_s: 0.0,
            truth: None,
        })
        .collect())
}

/// Makes `count` texts of `words` random words each, no two alike from their first words on.
#[must_use]
pub fn random(words: usize, count: usize, seed: u64) -> Vec<Prompt> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| {
            let text: Vec<&str> = (0..words).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect();
            Prompt { text: text.join(" "), clip: None, video_s: 0.0, truth: None }
        })
        .collect()
}

/// Reads texts from `file`: JSON Lines with a `prompt` each, as `vllm bench serve --dataset-name custom` reads them.
///
/// # Errors
/// When it can't be read, a line has no prompt, or there are too few for cold requests and no `repeat`.
pub fn custom(file: &Path, count: usize, repeat: bool) -> anyhow::Result<Vec<Prompt>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| name.to_string())?;
    let mut texts = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("{name}:{} is no JSON", n + 1))?;
        let prompt = line["prompt"].as_str();
        texts.push(prompt.with_context(|| format!("{name}:{} has no \"prompt\"", n + 1))?.to_owned());
    }
    ensure!(!texts.is_empty(), "{name} has no prompts; a line like {{\"prompt\": \"…\"}} would fit");
    ensure!(
        repeat || texts.len() >= count,
        "{name} has {} prompts and {count} are asked for: lower --num-prompts, or say --repeat to measure a warm cache",
        texts.len()
    );
    let prompt =
        |n: usize| Prompt { text: texts[n % texts.len()].clone(), clip: None, video_s: 0.0, truth: None };
    Ok((0..count).map(prompt).collect())
}

fn mime(file: &Path) -> &'static str {
    match file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
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
    fn a_folder_is_never_asked_the_same_twice_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.mp4", "a.MOV", "notes.txt"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        let prompts = clips(dir.path(), 4, 2, false).unwrap();
        let asked: std::collections::HashSet<_> =
            prompts.iter().map(|p| (p.clip.clone(), p.text.clone())).collect();
        assert_eq!(asked.len(), 4);
        let told = clips(dir.path(), 5, 2, false).unwrap_err().to_string();
        assert!(told.contains("2 clips") && told.contains("--repeat"), "{told}");
        assert_eq!(clips(dir.path(), 5, 2, true).unwrap().len(), 5);
        let empty = tempfile::tempdir().unwrap();
        assert!(clips(empty.path(), 1, 1, true).unwrap_err().to_string().contains("has no clips"));
    }

    #[test]
    fn prompts_of_a_file_come_in_its_order_and_bad_lines_are_named() {
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
    fn random_texts_differ_and_repeat_by_seed() {
        let (one, again) = (random(50, 2, 1), random(50, 2, 1));
        assert_eq!(one[0].text, again[0].text);
        assert_ne!(one[0].text, one[1].text);
        assert_eq!(one[0].text.split(' ').count(), 50);
    }
}
