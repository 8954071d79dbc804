//! Invalid and borderline input by command line and HTTP: it is refused with a message that names what is wrong, its value
//! and what would fit, or answered with a warning, and the next valid request works.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use homereel_clips::Skill;
use homereel_tests::{CommandOutput, Server, clips, homereel, model::changed_demo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const QUESTION: &str = "What color is the object?";

async fn ask(file: &Path) -> anyhow::Result<CommandOutput> {
    homereel(["ask".as_ref(), file.as_os_str(), QUESTION.as_ref()]).await
}

/// Asserts that `output` is a refusal that names all of `words`, in one clean line.
fn refused(output: &CommandOutput, status: i32, words: &[&str]) {
    assert_eq!(output.status, Some(status), "{}{}", output.stdout, output.stderr);
    assert_eq!(output.stdout, "", "an error is no answer");
    for word in words {
        assert!(output.stderr.contains(word), "'{word}' is not in: {}", output.stderr);
    }
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
}

/// Files that hold no picture at all: (name, file, word that the message must hold).
fn hopeless() -> anyhow::Result<Vec<(&'static str, PathBuf, &'static str)>> {
    let whole = std::fs::read(clips::test_pattern(2)?)?;
    let tone = ["-f", "lavfi", "-i", "sine=duration=1"];
    Ok(vec![
        ("no video", clips::file("notes.mp4", b"Dear diary, today the cat moved left.\n")?, "not a video"),
        ("audio", clips::ffmpeg("tone.m4a", &tone)?, "sound"),
        ("audio in WAV", clips::ffmpeg("tone.wav", &tone)?, "sound"),
        // The index of this MP4 comes last, so half of it is a box without contents.
        ("truncated", clips::file("half.mp4", &whole[..whole.len() / 2])?, "not a video"),
        ("zero bytes", clips::file("empty.mp4", b"")?, "empty"),
        ("zeros", clips::file("zeros.mp4", &[0; 100_000])?, "not a video"),
    ])
}

#[tokio::test]
async fn files_without_a_picture_are_refused() -> anyhow::Result<()> {
    for (name, file, word) in hopeless()? {
        let output = ask(&file).await.with_context(|| name)?;
        refused(&output, 1, &[word]);
        let output = homereel(["probe".as_ref(), file.as_os_str()]).await?;
        refused(&output, 1, &[word]);
    }
    Ok(())
}

#[tokio::test]
async fn a_truncated_clip_with_its_index_in_front_is_answered_and_its_loss_told() -> anyhow::Result<()> {
    let whole = clips::simple(3)?;
    let bytes = std::fs::read(&whole.file)?;
    let cut = clips::file("cut.mp4", &bytes[..bytes.len() * 3 / 4])?;
    let told =
        homereel(["ask".as_ref(), cut.as_os_str(), QUESTION.as_ref(), "--json".as_ref()]).await?.json()?;
    let truth = whole.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
    assert_eq!(told["answer"], truth.answer.as_str(), "{told}");
    let media = if told["media"].is_array() { &told["media"][0] } else { &told["media"] };
    assert!(media["warnings"].as_array().is_some_and(|w| !w.is_empty()), "no warning in {told}");
    Ok(())
}

#[tokio::test]
async fn the_shortest_clips_are_answered() -> anyhow::Result<()> {
    let clip = |frames: &str| {
        // A red square on grey.
        let filter = "drawbox=x=120:y=80:w=80:h=80:color=red:t=fill";
        let arguments =
            ["-f", "lavfi", "-i", "color=gray:size=320x240:rate=20", "-vf", filter, "-frames:v", frames];
        clips::ffmpeg("short.mp4", &[&arguments[..], &["-pix_fmt", "yuv420p"]].concat())
    };
    for frames in ["1", "2", "10"] {
        let output = ask(&clip(frames)?).await?;
        assert_eq!(output.answer()?, "Red.", "{frames} frames");
    }
    Ok(())
}

#[tokio::test]
async fn a_clip_10000_pixels_wide_is_refused_by_its_size() -> anyhow::Result<()> {
    // Refused by its size before a frame of it is decoded, and what would fit is said.
    for size in ["10000x6000", "10000x100"] {
        let source = format!("color=red:size={size}:rate=5");
        let arguments = ["-f", "lavfi", "-i", &source, "-frames:v", "3", "-c:v", "mjpeg"];
        refused(&ask(&clips::ffmpeg("wide.mkv", &arguments)?).await?, 1, &[size, "limit", "8192"]);
    }
    let wide = clips::ffmpeg(
        "fits.mkv",
        &["-f", "lavfi", "-i", "color=red:size=8192x128:rate=5", "-frames:v", "10", "-c:v", "mjpeg"],
    )?;
    ask(&wide).await?.answer()?;
    Ok(())
}

#[tokio::test]
async fn model_directories_that_do_not_fit_are_refused() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let ask_with = async |model: &Path| {
        let arguments = ["ask".as_ref(), clip.file.as_os_str(), QUESTION.as_ref(), "--model".as_ref()];
        homereel(arguments.into_iter().chain([model.as_os_str()])).await
    };
    let whole = changed_demo(|_| Ok(()))?;
    let answer = ask_with(whole.path()).await?;
    assert_eq!(answer.answer()?, ask_with(Path::new("demo")).await?.answer()?, "the copy is the demo model");

    let nothing = tempfile::tempdir()?;
    refused(&ask_with(nothing.path()).await?, 1, &["config.json"]);
    refused(&ask_with(Path::new("./no-such-model")).await?, 1, &["no-such-model", "no such directory"]);

    let other = changed_demo(|dir| edit(dir, |config| config["model_type"] = json!("qwen9_vl")))?;
    refused(&ask_with(other.path()).await?, 1, &["qwen9_vl", "qwen3_vl"]);

    let shard = "model-00002-of-00002.safetensors";
    let missing = changed_demo(|dir| {
        std::fs::rename(dir.join("model.safetensors"), dir.join("model-00001-of-00002.safetensors"))?;
        let map = json!({"a": "model-00001-of-00002.safetensors", "b": shard});
        let index = json!({"metadata": {}, "weight_map": map});
        Ok(std::fs::write(dir.join("model.safetensors.index.json"), index.to_string())?)
    })?;
    refused(&ask_with(missing.path()).await?, 1, &[shard]);

    let turned = changed_demo(turn_a_tensor)?;
    refused(&ask_with(turned.path()).await?, 1, &["shape", "model."]);

    let cut = changed_demo(|dir| {
        let bytes = std::fs::read(dir.join("model.safetensors"))?;
        Ok(std::fs::write(dir.join("model.safetensors"), &bytes[..bytes.len() / 2])?)
    })?;
    refused(&ask_with(cut.path()).await?, 1, &["model.safetensors"]);

    let bad = changed_demo(|dir| Ok(std::fs::write(dir.join("config.json"), "{")?))?;
    refused(&ask_with(bad.path()).await?, 1, &["config.json"]);
    Ok(())
}

fn edit(dir: &Path, change: impl Fn(&mut Value)) -> anyhow::Result<()> {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    change(&mut config);
    Ok(std::fs::write(path, config.to_string())?)
}

/// Writes a matrix's shape the other way round into the header of the weights.
fn turn_a_tensor(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path)?;
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into()?))?;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length])?;
    let tensors = header.as_object_mut().context("a header is an object")?;
    let shape = tensors
        .iter_mut()
        .filter(|(name, _)| name.ends_with("proj.weight"))
        .find_map(|(_, tensor)| {
            let shape = tensor["shape"].as_array_mut()?;
            (shape.len() == 2 && shape[0] != shape[1]).then_some(shape)
        })
        .context("a matrix that is not square")?;
    shape.reverse();
    let header = serde_json::to_vec(&header)?;
    let mut out = u64::try_from(header.len())?.to_le_bytes().to_vec();
    out.extend(header);
    out.extend(&bytes[8 + length..]);
    Ok(std::fs::write(path, out)?)
}

#[tokio::test]
async fn a_question_longer_than_the_context_is_refused() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let long = "What color is the object? ".repeat(3000);
    let output = homereel(["ask".as_ref(), clip.file.as_os_str(), long.as_ref()]).await?;
    refused(&output, 1, &["tokens", "8192"]);
    Ok(())
}

fn video_url(url: &str) -> Value {
    json!({"type": "video_url", "video_url": {"url": url}})
}

fn question(content: Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

fn text() -> Value {
    json!({"type": "text", "text": QUESTION})
}

#[tokio::test]
async fn the_endpoint_refuses_in_the_shape_of_openai_and_goes_on() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(1)?;
    let bytes = std::fs::read(&clip.file)?;
    let good =
        question(json!([video_url(&format!("data:video/mp4;base64,{}", BASE64.encode(&bytes))), text()]));
    let truth = server.answer(&good).await?;

    let mut bad: Vec<(String, Value, &str)> = Vec::new();
    for (name, file, word) in hopeless()? {
        let url = format!("data:video/mp4;base64,{}", BASE64.encode(std::fs::read(file)?));
        bad.push((name.to_owned(), question(json!([video_url(&url), text()])), word));
    }
    let urls = [
        ("text that claims to be a video", "data:video/mp4;base64,SGVsbG8gd29ybGQ=", "not a video"),
        ("no base64", "data:video/mp4;base64,!!!!", "base64"),
        ("no data", "data:video/mp4;base64,", "empty"),
        ("text that claims to be a picture", "data:image/png;base64,SGVsbG8=", "not a video"),
        ("a file", "file:///etc/passwd", "file"),
        ("no such video", "homereel:no-such-id", "no-such-id"),
        ("a scheme that nobody knows", "gopher://example.org/clip", "gopher"),
        ("no URL", "clip.mp4", "clip.mp4"),
    ];
    for (name, url, word) in urls {
        bad.push((name.to_owned(), question(json!([video_url(url), text()])), word));
    }
    let many = vec![video_url("homereel:no-such-id"); 1000];
    let long = "What color is the object? ".repeat(3000);
    let mut two = good.clone();
    two["temperature"] = json!("hot");
    let mut negative = good.clone();
    negative["max_tokens"] = json!(-2);
    bad.extend([
        ("1,000 videos".into(), question(json!(many)), "1000"),
        ("a prompt longer than the context".into(), question(json!(long)), "8192"),
        ("no messages".into(), json!({"messages": []}), "messages"),
        ("messages left out".into(), json!({}), "messages"),
        ("an unknown part".into(), question(json!([{"type": "smell", "smell": "rose"}])), "smell"),
        ("an unknown role".into(), json!({"messages": [{"role": "king", "content": "x"}]}), "king"),
        (
            "an unknown model".into(),
            json!({"model": "gpt-9", "messages": [{"role": "user", "content": "x"}]}),
            "gpt-9",
        ),
        ("a temperature that is no number".into(), two, "temperature"),
        ("less than no tokens".into(), negative, "max_tokens"),
    ]);
    for (name, body, word) in bad {
        let response = server.chat(&body).await.with_context(|| name.clone())?;
        let status = response.status().as_u16();
        let told: Value = response.json().await.with_context(|| name.clone())?;
        ensure!((400..500).contains(&status), "{name}: {status} {told}");
        let message = told["error"]["message"].as_str().with_context(|| format!("{name}: {told}"))?;
        ensure!(message.contains(word), "{name}: '{word}' is not in '{message}'");
        ensure!(told["error"]["type"].is_string(), "{name}: {told}");
        ensure!(!message.contains("/tmp") && message.len() < 1000, "{name}: {message}");
        ensure!(server.answer(&good).await? == truth, "{name} left a trace");
    }
    for body in ["{", "[]", "null", "", "{\"messages\": \"\u{0}\"}"] {
        let post = server.client().post(server.url("/v1/chat/completions")).body(body);
        let response = post.header("content-type", "application/json").send().await?;
        let status = response.status().as_u16();
        let told: Value = response.json().await.with_context(|| format!("'{body}'"))?;
        ensure!(status == 400 && told["error"]["message"].is_string(), "'{body}': {status} {told}");
    }
    assert_eq!(server.answer(&good).await?, truth);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    Ok(())
}

#[tokio::test]
async fn uploads_that_are_no_video_do_no_harm() -> anyhow::Result<()> {
    let server = Server::start().await?;
    for (name, file, _) in hopeless()? {
        let post = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4");
        let response = post.body(std::fs::read(file)?).send().await?;
        let status = response.status().as_u16();
        let told: Value = response.json().await.with_context(|| name)?;
        ensure!((400..500).contains(&status) && told["detail"].is_string(), "{name}: {status} {told}");
    }
    let clip = clips::simple(1)?;
    let id = server.upload(&clip.file).await?;
    let list = server.json("/api/videos").await?;
    assert_eq!(list["videos"].as_array().map(Vec::len), Some(1), "only the good one is kept: {list}");
    let body = question(json!([video_url(&format!("homereel:{id}")), text()]));
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
    assert_eq!(server.answer(&body).await?, truth.answer);
    Ok(())
}

/// Headers that are right, and pictures of noise.
#[tokio::test]
async fn an_upload_that_cannot_be_decoded_is_refused_with_its_reason() -> anyhow::Result<()> {
    let mut bytes = std::fs::read(clips::test_pattern(2)?)?;
    let at = bytes.windows(4).position(|window| window == b"mdat").context("no mdat")? + 4;
    let size = u32::from_be_bytes(bytes[at - 8..at - 4].try_into()?) as usize - 8;
    for (i, byte) in bytes[at..at + size].iter_mut().enumerate() {
        *byte = (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    }
    let server = Server::start().await?;
    let post = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4");
    let response = post.body(bytes).send().await?;
    let status = response.status().as_u16();
    let told: Value = response.json().await?;
    let detail = told["detail"].as_str().unwrap_or_default();
    ensure!((400..500).contains(&status) && detail.contains("no frame could be decoded"), "{status} {told}");
    let videos: Value = server.json("/api/videos").await?;
    assert_eq!(videos["videos"].as_array().map(Vec::len), Some(0), "{videos}");
    Ok(())
}

#[tokio::test]
async fn a_form_larger_than_the_disk_is_refused_before_it_is_sent() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let address = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut line = TcpStream::connect(&address).await?;
    let head = format!(
        "POST /api/videos HTTP/1.1\r\nHost: {address}\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n--b\r\n",
        1_u64 << 60
    );
    line.write_all(head.as_bytes()).await?;
    let mut reply = String::new();
    line.read_to_string(&mut reply).await?;
    ensure!(reply.starts_with("HTTP/1.1 507 "), "{reply}");
    ensure!(reply.contains("free"), "both numbers are told: {reply}");
    server.get("/readyz").await?.error_for_status()?;
    Ok(())
}
