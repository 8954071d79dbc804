//! A real vLLM as the backend (`scripts/test.sh vllm` starts it and sets `HOMEREEL_TEST_VLLM_URL`): on the demo model, its
//! token counts and answers equal those of our own engine.
//!
//! Two sets by name: `trusting` for a vLLM with `--trust-request-mm-kwargs`, `wary` for one without.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homereel_clips::{Clip, ClipSpec, Codec, SceneKind};
use homereel_tests::{PATIENCE, Server, clips};
use serde_json::{Value, json};

/// Drawn clips that are asked about.
const CLIPS: u64 = 20;
/// The first of their seeds, apart from those of `truth`.
const SEEDS: u64 = 5000;
/// Log-probabilities this close decide by the order of floating-point sums.
const TIE: f64 = 0.02;

/// Ours on candle, and ours on vLLM.
struct Pair {
    candle: Server,
    vllm: Server,
}

impl Pair {
    async fn start() -> anyhow::Result<Self> {
        let url = std::env::var("HOMEREEL_TEST_VLLM_URL").context(
            "HOMEREEL_TEST_VLLM_URL is not set; run `scripts/test.sh vllm`, which starts a vLLM and sets it",
        )?;
        let candle = Server::start().await?;
        let vllm = Server::start_with(&["--engine", "vllm", "--vllm-url", &url, "--model", "demo"]).await?;
        Ok(Self { candle, vllm })
    }

    /// Asks both; checks that vLLM counted what we expected of it, and (`alike`) that both saw and said the same.
    /// Returns what both said, and whether a tie parted them.
    #[expect(clippy::print_stdout, reason = "what was compared is what a person runs this test for")]
    async fn ask(&self, name: &str, content: Value, alike: bool) -> anyhow::Result<Outcome> {
        let mut body = json!({ "messages": [{ "role": "user", "content": content }], "temperature": 0, "max_tokens": 64 });
        body["logprobs"] = true.into();
        body["top_logprobs"] = 2.into();
        let (candle, vllm) = (whole(&self.candle, &body).await?, whole(&self.vllm, &body).await?);
        let warnings = vllm["homereel"]["warnings"].to_string();
        ensure!(!warnings.contains("counted"), "{name}: {warnings}");
        let tokens = |told: &Value| told["usage"]["prompt_tokens"].as_u64();
        let text =
            |told: &Value| told["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        let outcome = Outcome {
            tokens: (tokens(&candle).unwrap_or(0), tokens(&vllm).unwrap_or(0)),
            same: text(&candle) == text(&vllm),
            tie: tie(&candle, &vllm),
            warned: warnings.contains("other times"),
        };
        println!("{name}: {outcome:?} {:?} {:?}", text(&candle), text(&vllm));
        if alike {
            ensure!(outcome.tokens.0 == outcome.tokens.1, "{name}: {:?} prompt tokens", outcome.tokens);
            ensure!(
                outcome.same || outcome.tie.is_some(),
                "{name}: {:?} is not {:?}",
                text(&vllm),
                text(&candle)
            );
        }
        Ok(outcome)
    }
}

#[derive(Debug)]
struct Outcome {
    /// Prompt tokens of ours and of vLLM.
    tokens: (u64, u64),
    same: bool,
    /// How far apart the two tokens were where the answers part, if that was next to nothing.
    tie: Option<f64>,
    /// We said that the model is shown other times.
    warned: bool,
}

async fn whole(server: &Server, body: &Value) -> anyhow::Result<Value> {
    let response = server.chat(body).await?;
    let status = response.status();
    let told: Value = response.json().await?;
    ensure!(status.is_success(), "{status}: {told}");
    Ok(told)
}

/// Tells how little our own engine preferred its token to vLLM's where the two answers part.
fn tie(candle: &Value, vllm: &Value) -> Option<f64> {
    let entries =
        |told: &Value| told["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default();
    let (ours, theirs) = (entries(candle), entries(vllm));
    let parts = ours.iter().zip(&theirs).find(|(a, b)| a["token"] != b["token"])?.0;
    let top = parts["top_logprobs"].as_array()?;
    let margin = top.first()?["logprob"].as_f64()? - top.get(1)?["logprob"].as_f64()?;
    (margin.abs() < TIE).then_some(margin)
}

async fn drawn(index: u64) -> anyhow::Result<Clip> {
    let seed = SEEDS + index;
    let kind = if index % 7 == 6 { SceneKind::None } else { SceneKind::Any };
    let order = ClipSpec { kind, codec: Some(Codec::ALL[index as usize % 3]), ..ClipSpec::seeded(seed) };
    tokio::task::spawn_blocking(move || clips::drawn(order)).await?
}

async fn video(file: &Path) -> anyhow::Result<Value> {
    let bytes = STANDARD.encode(tokio::fs::read(file).await?);
    Ok(json!({ "type": "video_url", "video_url": { "url": format!("data:video/mp4;base64,{bytes}") } }))
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn question(clip: &Clip, index: u64) -> &str {
    let questions = &clip.questions;
    &questions[index as usize % questions.len()].question
}

#[tokio::test]
async fn trusting_drawn_clips_get_the_same_tokens_and_answers() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let (mut same, mut ties) = (0, 0);
    for index in 0..CLIPS {
        let clip = drawn(index).await?;
        let content = json!([video(&clip.file).await?, text(question(&clip, index))]);
        let outcome = pair.ask(&format!("clip {index}"), content, true).await?;
        same += usize::from(outcome.same);
        ties += usize::from(!outcome.same);
    }
    println!("{same} of {CLIPS} answers are the same to the letter, {ties} differ by a tie");
    ensure!(ties <= 2, "{ties} ties of {CLIPS} are no accident");
    Ok(())
}

#[tokio::test]
async fn trusting_pictures_several_videos_and_text_alone() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let (first, second) = (drawn(0).await?, drawn(1).await?);
    let picture = clips::ffmpeg(
        "square.png",
        &["-f", "lavfi", "-i", "color=blue:size=320x240,drawbox=60:60:80:80:red:fill", "-frames:v", "1"],
    )?;
    let picture = STANDARD.encode(tokio::fs::read(picture).await?);
    let picture =
        json!({ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{picture}") } });
    let (a, b) = (video(&first.file).await?, video(&second.file).await?);
    let what = text("What color is the object?");
    for (name, content) in [
        ("text alone", json!("What color is the sky?")),
        ("a picture", json!([picture, what])),
        ("two videos", json!([a, b, what])),
        ("the same video twice", json!([a, a, what])),
        ("video, picture, video", json!([a, text("and"), picture, b, what])),
        ("a control token", json!([a, text("Say <|im_end|> now.")])),
    ] {
        // Text with control tokens is altered for vLLM: only its own count can be compared.
        pair.ask(name, content, name != "a control token").await?;
    }
    Ok(())
}

#[tokio::test]
async fn trusting_times_of_a_part_and_of_other_rates() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let clip = drawn(2).await?;
    let wavering = clips::ffmpeg(
        "wavering.mkv",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=320x240:rate=24:duration=6,select='not(mod(n\\,3))+gt(n\\,60)'",
            "-fps_mode",
            "vfr",
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
        ],
    )?;
    for (name, file, settings) in [
        ("a part", &clip.file, json!({ "start": 0.5, "end": 1.9 })),
        ("5 frames a second", &clip.file, json!({ "fps": 5 })),
        ("seven frames", &clip.file, json!({ "num_frames": 7 })),
        ("one frame", &clip.file, json!({ "num_frames": 1 })),
        ("variable rate", &wavering, json!({})),
    ] {
        let content = json!([video(file).await?, text("What happens?")]);
        let mut told = Vec::new();
        for server in [&pair.candle, &pair.vllm] {
            let body = json!({ "messages": [{ "role": "user", "content": content }], "temperature": 0,
                "max_tokens": 32, "media_io_kwargs": { "video": settings } });
            let reply = whole(server, &body).await?;
            let warnings = reply["homereel"]["warnings"].to_string();
            ensure!(!warnings.contains("counted") && !warnings.contains("other times"), "{name}: {warnings}");
            told.push((
                reply["usage"]["prompt_tokens"].clone(),
                reply["choices"][0]["message"]["content"].clone(),
            ));
        }
        println!("{name}: {told:?}");
        ensure!(told[0].0 == told[1].0, "{name}: {told:?}");
    }
    Ok(())
}

/// Clips of a folder (`HOMEREEL_TEST_VIDEOS`), where there is one: what people film, not what is drawn. Ours, on candle and on
/// vLLM, must count the same tokens.
#[expect(clippy::print_stdout, reason = "what was compared is what a person runs this test for")]
async fn folder(trusting: bool) -> anyhow::Result<()> {
    let Some(folder) = std::env::var_os("HOMEREEL_TEST_VIDEOS") else {
        println!("HOMEREEL_TEST_VIDEOS names no folder of clips: nothing to compare");
        return Ok(());
    };
    let pair = Pair::start().await?;
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.sort();
    for file in files {
        let content = json!([video(&file).await?, text("What happens?")]);
        let name = file.display().to_string();
        let outcome = pair.ask(&name, content, false).await?;
        ensure!(outcome.tokens.0 == outcome.tokens.1 || (!trusting && outcome.warned), "{name}: {outcome:?}");
    }
    Ok(())
}

#[tokio::test]
async fn trusting_clips_of_a_folder_count_the_same() -> anyhow::Result<()> {
    folder(true).await
}

#[tokio::test]
async fn wary_clips_of_a_folder_count_the_same() -> anyhow::Result<()> {
    folder(false).await
}

/// Turns the picture of an MP4 by a quarter, as a phone's header does: in the matrix of its first track.
fn turned(mut file: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let track = file.windows(4).position(|window| window == b"tkhd").context("no track")?;
    let matrix: [u32; 9] = [0, 1 << 16, 0, 0xffff_0000, 0, 0, 0, 0, 1 << 30];
    let bytes: Vec<u8> = matrix.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    // After the type: version, times, number, length, and what is reserved.
    file.get_mut(track + 44..track + 80).context("a short track")?.copy_from_slice(&bytes);
    Ok(file)
}

/// Odd clips answer through us, whatever vLLM makes of the file itself (0.32 refuses the one without a length); what our
/// jail has no decoder for is refused by us.
#[tokio::test]
async fn trusting_odd_clips_answer_through_us() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let url = std::env::var("HOMEREEL_TEST_VLLM_URL")?;
    let source = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=24:duration=3"];
    let coded = |name: &str, more: &[&str]| clips::ffmpeg(name, &[&source[..], more].concat());
    let deep = coded(
        "deep.mp4",
        &["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=none", "-tag:v", "hvc1"],
    )?;
    let turned = clips::file("turned.mp4", &turned(tokio::fs::read(deep).await?)?)?;
    let whole = coded(
        "whole.mp4",
        &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-movflags", "+faststart"],
    )?;
    let whole = tokio::fs::read(whole).await?;
    let cut = clips::file("cut.mp4", &whole[..whole.len() / 2])?;
    let endless = coded("endless.webm", &["-c:v", "libvpx", "-live", "1"])?;
    let magic = coded("magic.avi", &["-c:v", "magicyuv", "-pix_fmt", "yuv420p"])?;
    for (name, file, answers) in [
        ("10-bit HEVC, turned", turned, true),
        ("cut in half", cut, true),
        ("without a length", endless, true),
        ("MagicYUV", magic, false),
    ] {
        let content = json!([video(&file).await?, text("What happens?")]);
        let body = json!({ "model": "homereel-demo", "temperature": 0, "max_tokens": 16,
            "messages": [{ "role": "user", "content": content }] });
        let direct = pair.vllm.client().post(format!("{url}/v1/chat/completions")).json(&body).send().await?;
        println!("{name}: vLLM itself answers {}", direct.status());
        let through = pair.vllm.chat(&body).await?;
        let status = through.status();
        let told: Value = through.json().await?;
        ensure!(status.is_success() == answers, "{name}: {status}: {told}");
        if answers {
            ensure!(told["usage"]["prompt_tokens"].as_u64() > Some(0), "{told}");
            ensure!(!told["homereel"]["warnings"].to_string().contains("counted"), "{told}");
        }
    }
    Ok(())
}

/// An answer that nobody reads any more is aborted in vLLM too, whose count of tokens stands still. (It does not count such
/// an answer as `finished_reason="abort"`, nor with its own clients.)
#[tokio::test]
async fn trusting_whoever_leaves_stops_vllm() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let url = format!("{}/metrics", std::env::var("HOMEREEL_TEST_VLLM_URL")?);
    let generated = || async {
        let text = pair.vllm.client().get(&url).send().await?.text().await?;
        let line = text.lines().find(|line| line.starts_with("vllm:generation_tokens_total"));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        count.with_context(|| format!("no count of tokens in {text}"))
    };
    let before = generated().await?;
    let body = json!({ "messages": [{ "role": "user", "content": "Go on." }], "stream": true, "ignore_eos": true,
        "max_tokens": 3900 });
    let mut response = pair.vllm.chat(&body).await?;
    let mut seen = String::new();
    while seen.matches("chat.completion.chunk").count() < 3 {
        seen += &String::from_utf8_lossy(&response.chunk().await?.context("the stream ended")?);
    }
    drop(response);
    let end = Instant::now() + PATIENCE;
    let mut last = generated().await?;
    let told = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = generated().await?;
        if now == last && now > before {
            break now - before;
        }
        ensure!(Instant::now() < end, "vLLM goes on: {now} tokens");
        last = now;
    };
    ensure!(told < 3500.0, "vLLM made {told} tokens of 3900 that nobody read");
    // And what it tells of itself is told by us.
    let told = pair.vllm.json("/api/system").await?;
    ensure!(told["upstreams"][0]["metrics"]["kv_cache_usage_perc"].is_number(), "{told}");
    Ok(())
}

/// A schema that the answer must fit is vLLM's to keep: ours passes it on.
#[tokio::test]
async fn trusting_forms_are_kept_by_vllm() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let schema = json!({ "enum": ["red", "blue"] });
    let form = json!({ "type": "json_schema", "json_schema": { "name": "color", "schema": schema } });
    for (field, value, quoted) in
        [("response_format", form, true), ("structured_outputs", json!({ "choice": ["red", "blue"] }), false)]
    {
        let mut body = json!({ "messages": [{ "role": "user", "content": "What is it?" }], "temperature": 0, "max_tokens": 16 });
        body[field] = value;
        let reply = whole(&pair.vllm, &body).await?;
        let text = reply["choices"][0]["message"]["content"].as_str().unwrap_or_default().trim();
        let color = if quoted { text.trim_matches('"') } else { text };
        ensure!(["red", "blue"].contains(&color), "{field}: {reply}");
    }
    Ok(())
}

#[tokio::test]
async fn wary_drawn_clips_are_answered_through_the_fall_back() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let backend = pair.vllm.json("/api/system").await?["model"]["backend"].to_string();
    ensure!(backend.contains("constant rate"), "{backend}");
    let (mut same, mut counted, mut warned) = (0, 0, 0);
    for index in 0..CLIPS {
        let clip = drawn(index).await?;
        let content = json!([video(&clip.file).await?, text(question(&clip, index))]);
        let outcome = pair.ask(&format!("clip {index}"), content, false).await?;
        same += usize::from(outcome.same || outcome.tie.is_some());
        counted += usize::from(outcome.tokens.0 == outcome.tokens.1);
        warned += usize::from(outcome.warned);
    }
    println!("{counted} of {CLIPS} counts and {same} answers as ours; {warned} were warned of other times");
    // Where the times fit a constant rate, nothing tells the fall-back from the file's own frames.
    ensure!(counted + warned >= CLIPS as usize, "{counted} equal counts and {warned} warnings of {CLIPS}");
    Ok(())
}

/// Parameters that both engines know change the answer in the same way.
#[tokio::test]
async fn trusting_parameters_mean_the_same_on_both_engines() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let clip = clips::simple(1)?;
    let content = json!([video(&clip.file).await?, text("What happens in the video?")]);
    let question = json!({ "role": "user", "content": content });
    let begun = json!({ "role": "assistant", "content": "A" });
    for (more, goes_on) in [
        (json!({}), false),
        (json!({ "bad_words": ["moves", "appears"] }), false),
        (json!({ "min_tokens": 20, "max_tokens": 24 }), false),
        (json!({ "stop": [" moves"], "include_stop_str_in_output": true }), false),
        (json!({ "stop": [" moves"] }), false),
        (json!({ "structured_outputs": { "choice": ["yes", "no", "never"] } }), false),
        (json!({ "guided_regex": "[0-9]{4}" }), false),
        (json!({ "n": 2 }), false),
        (json!({ "continue_final_message": true, "add_generation_prompt": false }), true),
        (json!({ "repetition_penalty": 1.3, "frequency_penalty": 0.5 }), false),
    ] {
        let messages = if goes_on { json!([question, begun]) } else { json!([question]) };
        let mut body = json!({ "messages": messages, "temperature": 0, "max_tokens": 40, "logprobs": true, "top_logprobs": 2 });
        body.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let (candle, vllm) = (whole(&pair.candle, &body).await?, whole(&pair.vllm, &body).await?);
        let texts = |told: &Value| -> Vec<String> {
            let choices = told["choices"].as_array().into_iter().flatten();
            choices
                .map(|choice| choice["message"]["content"].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        let (ours, theirs) = (texts(&candle), texts(&vllm));
        ensure!(
            !ours.is_empty() && (ours == theirs || tie(&candle, &vllm).is_some()),
            "{more}: {ours:?} is not {theirs:?}"
        );
        assert_eq!(candle["choices"][0]["finish_reason"], vllm["choices"][0]["finish_reason"], "{more}");
        assert_eq!(vllm["homereel"]["warnings"], json!([]), "{more}");
    }
    Ok(())
}
