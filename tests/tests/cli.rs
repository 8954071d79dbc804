//! The command line: answers on stdout, progress on stderr, exit codes, JSON.

use std::process::Command;

use anyhow::{Context as _, ensure};
use homereel_clips::{Clip, Skill};
use homereel_tests::{binary, clips, homereel};
use serde_json::Value;

/// The plain question about the colour of a clip's one object, and the true answer.
const COLOUR: &str = "What color is the object?";

fn colour(clip: &Clip) -> anyhow::Result<String> {
    let question = clip.questions.iter().find(|q| q.skill == Skill::Colour);
    Ok(question.context("a clip of one object has a colour")?.answer.clone())
}

fn path(clip: &Clip) -> anyhow::Result<&str> {
    clip.file.to_str().context("a path of ours is text")
}

#[tokio::test]
async fn ask_prints_nothing_but_the_answer_on_stdout() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let output = homereel(["ask", path(&clip)?, COLOUR]).await?;
    assert_eq!(output.answer()?, colour(&clip)?, "{}", output.stderr);
    Ok(())
}

#[tokio::test]
async fn ask_shows_progress_on_a_terminal_and_only_on_stderr() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let answer = tempfile::NamedTempFile::new()?;
    // `script` gives the command a terminal; stdout goes to a file, so what the terminal shows is stderr.
    let command =
        format!("{} ask {} '{COLOUR}' >{}", binary().display(), path(&clip)?, answer.path().display());
    let output = Command::new("script").args(["-qec", &command, "/dev/null"]).output()?;
    let shown = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{shown}");
    assert_eq!(std::fs::read_to_string(answer.path())?.trim_end(), colour(&clip)?);
    assert!(shown.contains("decod") || shown.contains("frames"), "no progress on the terminal: {shown:?}");
    Ok(())
}

#[tokio::test]
async fn ask_json_tells_answer_usage_model_stages_and_media() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let told = homereel(["ask", path(&clip)?, COLOUR, "--json"]).await?.json()?;
    assert_eq!(told["answer"], colour(&clip)?.as_str());
    for stage in ["queue", "probe", "decode", "preprocess", "vision", "prefill", "ttft", "generate", "total"]
    {
        assert!(told["stages_ms"][stage].as_f64().is_some_and(|ms| ms >= 0.0), "{stage} in {told}");
    }
    assert!(told["stages_ms"]["total"].as_f64() > told["stages_ms"]["vision"].as_f64(), "{told}");
    assert!(told["usage"]["prompt_tokens"].as_u64() > Some(50), "{told}");
    assert!(told["usage"]["completion_tokens"].as_u64() > Some(0), "{told}");
    assert!(told["model"].is_string(), "{told}");
    let media = if told["media"].is_array() { &told["media"][0] } else { &told["media"] };
    // 4 s at 2 frames per second.
    assert_eq!(numbers(&media["timestamps"]).len(), 8, "{told}");
    assert_eq!(numbers(&media["timestamps"])[0], 0.0, "{told}");
    assert!(media["warnings"].is_array(), "{told}");
    Ok(())
}

#[tokio::test]
async fn ask_takes_sampling_flags() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let stamps = async |flags: &[&str]| {
        let told = homereel([&["ask", path(&clip)?, COLOUR, "--json"], flags].concat()).await?.json()?;
        let media = if told["media"].is_array() { &told["media"][0] } else { &told["media"] };
        anyhow::Ok(numbers(&media["timestamps"]))
    };
    assert_eq!(stamps(&["--num-frames", "6"]).await?.len(), 6);
    assert_eq!(stamps(&["--fps", "4"]).await?.len(), 16);
    let part = stamps(&["--start", "1", "--end", "3"]).await?;
    assert!(part.iter().all(|t| (0.9..=3.1).contains(t)), "{part:?}");
    Ok(())
}

#[tokio::test]
async fn ask_stops_at_max_tokens() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let told = homereel(["ask", path(&clip)?, "Describe the video.", "--max-tokens", "3", "--json"])
        .await?
        .json()?;
    assert_eq!(told["usage"]["completion_tokens"], 3, "{told}");
    Ok(())
}

#[tokio::test]
async fn probe_tells_what_is_in_a_file() -> anyhow::Result<()> {
    let file = clips::test_pattern(3)?;
    let told = homereel(["probe".as_ref(), file.as_os_str(), "--json".as_ref()]).await?.json()?;
    assert_eq!(told["video"]["codec"], "h264");
    assert_eq!((told["video"]["width"].as_u64(), told["video"]["height"].as_u64()), (Some(320), Some(240)));
    assert_eq!(told["video"]["frame_count"], 75);
    assert!((told["duration_s"].as_f64().unwrap_or(0.0) - 3.0).abs() < 0.01, "{told}");
    let text = homereel(["probe".as_ref(), file.as_os_str()]).await?;
    assert!(text.answer()?.contains("320") && text.stdout.contains("h264"), "{}", text.stdout);
    Ok(())
}

#[tokio::test]
async fn probe_turns_a_clip_upright() -> anyhow::Result<()> {
    let flat = clips::test_pattern(1)?;
    let flat = flat.to_str().context("text")?;
    let turned = clips::ffmpeg("turned.mp4", &["-display_rotation", "90", "-i", flat, "-c", "copy"])
        .or_else(|_| {
            clips::ffmpeg("turned.mp4", &["-i", flat, "-c", "copy", "-metadata:s:v", "rotate=90"])
        })?;
    let told = homereel(["probe".as_ref(), turned.as_os_str(), "--json".as_ref()]).await?.json()?;
    assert_eq!(
        (told["video"]["width"].as_u64(), told["video"]["height"].as_u64()),
        (Some(240), Some(320)),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn frames_writes_pictures_with_their_times() -> anyhow::Result<()> {
    let file = clips::ffmpeg(
        "red.mp4",
        &["-f", "lavfi", "-i", "color=red:size=320x240:rate=10:duration=2", "-pix_fmt", "yuv420p"],
    )?;
    let out = tempfile::tempdir()?;
    let run =
        homereel(["frames".as_ref(), file.as_os_str(), "--out".as_ref(), out.path().as_os_str()]).await?;
    run.answer()?;
    let list: Value = serde_json::from_slice(&std::fs::read(out.path().join("frames.json"))?)?;
    let frames = list["frames"].as_array().context("frames")?;
    assert_eq!(frames.len(), 4, "{list}");
    // Frames 0, 6, 13, 19 of 20: evenly spaced, first and last among them.
    let times: Vec<f64> = frames.iter().filter_map(|f| f["pts_s"].as_f64()).collect();
    assert_eq!(times, [0.0, 0.6, 1.3, 1.9]);
    for frame in frames {
        let picture = image::open(out.path().join(frame["file"].as_str().context("file")?))?.to_rgb8();
        assert_eq!(picture.dimensions(), (320, 240));
        let [r, g, b] = picture.get_pixel(160, 120).0;
        assert!(r > 240 && g < 15 && b < 15, "red is {r},{g},{b}");
    }
    Ok(())
}

#[tokio::test]
async fn every_frame_shows_what_was_shown_at_its_time() -> anyhow::Result<()> {
    // A second each of red, green, blue and white: swapped channels, frames out of order or times that are off
    // by a second show here, whatever a model makes of them.
    let colours = [("red", [255, 0, 0]), ("lime", [0, 255, 0]), ("blue", [0, 0, 255]), ("white", [255; 3])];
    let sources = colours.map(|(name, _)| format!("color={name}:size=160x120:rate=24:duration=1"));
    let mut inputs: Vec<&str> = sources.iter().flat_map(|source| ["-f", "lavfi", "-i", source]).collect();
    inputs.extend(["-filter_complex", "concat=n=4", "-pix_fmt", "yuv420p"]);
    for (name, codec) in [("h264.mp4", "libx264"), ("hevc.mp4", "libx265"), ("vp9.webm", "libvpx-vp9")] {
        let file = clips::ffmpeg(name, &[&inputs[..], &["-c:v", codec]].concat())?;
        let out = tempfile::tempdir()?;
        let flags = ["--fps", "8"].map(AsRef::<std::ffi::OsStr>::as_ref);
        let run = ["frames".as_ref(), file.as_os_str(), "--out".as_ref(), out.path().as_os_str()];
        homereel(run.into_iter().chain(flags)).await?.answer()?;
        let list: Value = serde_json::from_slice(&std::fs::read(out.path().join("frames.json"))?)?;
        let frames = list["frames"].as_array().context("frames")?;
        assert_eq!(frames.len(), 32, "{name}: {list}");
        for frame in frames {
            let at = frame["pts_s"].as_f64().context("pts_s")?;
            let (colour, rgb) = colours[at as usize];
            let picture = image::open(out.path().join(frame["file"].as_str().context("file")?))?.to_rgb8();
            let seen = picture.get_pixel(80, 60).0;
            let off = seen.iter().zip(rgb).map(|(&a, b)| i32::from(a).abs_diff(b)).max();
            assert!(off < Some(30), "{name} at {at} s: {seen:?} is not {colour}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn frames_resizes_on_demand() -> anyhow::Result<()> {
    let file = clips::test_pattern(1)?;
    let out = tempfile::tempdir()?;
    let size = ["--width", "64", "--height", "48", "--num-frames", "5"].map(AsRef::<std::ffi::OsStr>::as_ref);
    let mut arguments = vec!["frames".as_ref(), file.as_os_str(), "--out".as_ref(), out.path().as_os_str()];
    arguments.extend(size);
    homereel(arguments).await?.answer()?;
    let list: Value = serde_json::from_slice(&std::fs::read(out.path().join("frames.json"))?)?;
    let frames = list["frames"].as_array().context("frames")?;
    assert_eq!(frames.len(), 5, "{list}");
    let first = image::open(out.path().join(frames[0]["file"].as_str().context("file")?))?;
    assert_eq!((first.width(), first.height()), (64, 48));
    Ok(())
}

#[tokio::test]
async fn a_missing_decoder_chip_is_told_once_and_the_processor_decodes() -> anyhow::Result<()> {
    let file = clips::test_pattern(1)?;
    let there = std::path::Path::new("/dev/nvidiactl").exists();
    let mut pictures = Vec::new();
    for decoder in ["cpu", "nvdec"] {
        let out = tempfile::tempdir()?;
        let flags =
            ["--num-frames", "2", "--decoder", decoder, "--out"].map(AsRef::<std::ffi::OsStr>::as_ref);
        let mut arguments = vec!["frames".as_ref(), file.as_os_str()];
        arguments.extend(flags);
        arguments.push(out.path().as_os_str());
        let run = homereel(arguments).await?;
        run.answer()?;
        let missed = run.stderr.matches("(NVDEC)").count();
        if there {
            return Ok(());
        }
        assert_eq!(missed, usize::from(decoder == "nvdec"), "{}", run.stderr);
        pictures.push(image::open(out.path().join("frame-0000000.png"))?.to_rgb8());
    }
    assert!(pictures[0] == pictures[1]);
    Ok(())
}

#[tokio::test]
async fn model_info_says_that_the_demo_model_is_one() -> anyhow::Result<()> {
    let list = homereel(["model", "list"]).await?;
    assert!(list.answer()?.contains("demo"), "{}", list.stdout);
    let info = homereel(["model", "info", "demo"]).await?;
    assert!(info.answer()?.contains("shapes"), "{}", info.stdout);
    Ok(())
}

#[tokio::test]
async fn check_passes_on_the_known_answer_and_fails_on_any_other() -> anyhow::Result<()> {
    let server = homereel_tests::Server::start().await?;
    let url = server.url("");
    let passed = homereel(["check", &url, "--model", "homereel-demo", "--json"]).await?;
    let object = passed.json()?;
    ensure!(
        object["passed"] == true && object["answer"].as_str().is_some_and(|text| !text.is_empty()),
        "{object}"
    );
    let failed = homereel(["check", &url, "--expect", "octopus"]).await?;
    assert_eq!((failed.status, failed.stdout.as_str()), (Some(1), ""));
    assert!(failed.stderr.contains("\"octopus\" was expected"), "{}", failed.stderr);
    assert_eq!(failed.stderr.trim_end().lines().count(), 1, "{}", failed.stderr);
    let other = homereel(["check", &url, "--model", "another", "--json"]).await?;
    assert_eq!(other.status, Some(1));
    let object: Value = serde_json::from_str(&other.stdout)?;
    ensure!(object["error"].as_str().is_some_and(|error| error.contains("another was expected")), "{object}");
    Ok(())
}

#[tokio::test]
async fn check_of_a_server_that_is_not_there_names_it() -> anyhow::Result<()> {
    let output = homereel(["check", "http://127.0.0.1:1", "--wait", "1"]).await?;
    assert_eq!(output.status, Some(1));
    assert!(output.stderr.contains("http://127.0.0.1:1/ is not ready after 1 s"), "{}", output.stderr);
    assert_eq!(homereel(["check", "nowhere"]).await?.status, Some(2));
    Ok(())
}

#[tokio::test]
async fn completions_name_the_commands() -> anyhow::Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = homereel(["completions", shell]).await?;
        assert!(script.answer()?.contains("check"), "{shell}: {}", script.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn version_and_help_succeed() -> anyhow::Result<()> {
    assert!(homereel(["--version"]).await?.answer()?.starts_with("homereel 0."));
    let help = homereel(["--help"]).await?;
    for command in ["serve", "ask", "frames", "probe", "model"] {
        assert!(help.answer()?.contains(command), "{}", help.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn usage_errors_exit_2_and_name_the_flag() -> anyhow::Result<()> {
    for arguments in [
        &["ask", "clip.mp4", COLOUR, "--frobnicate"][..],
        &["ask", "clip.mp4", COLOUR, "--fps", "fast"],
        &["ask", "clip.mp4", COLOUR, "--fps", "1", "--num-frames", "4"],
        &["ask", "clip.mp4"],
        &["frobnicate"],
    ] {
        let output = homereel(arguments).await?;
        assert_eq!(output.status, Some(2), "{arguments:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(output.stderr.contains("Usage") || output.stderr.contains("error"), "{}", output.stderr);
    }
    assert!(homereel(["probe", "--frobnicate"]).await?.stderr.contains("--frobnicate"));
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_there_exits_1_and_is_named() -> anyhow::Result<()> {
    for command in [&["ask", "no-such-clip.mp4", COLOUR][..], &["probe", "no-such-clip.mp4"]] {
        let output = homereel(command).await?;
        assert_eq!(output.status, Some(1), "{command:?}: {}", output.stderr);
        assert!(output.stderr.contains("no-such-clip.mp4"), "{}", output.stderr);
    }
    Ok(())
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

#[tokio::test]
async fn a_library_is_backed_up_while_it_is_served_and_brought_back() -> anyhow::Result<()> {
    let server = homereel_tests::Server::start().await?;
    let clip = clips::simple(4)?;
    let id = server.upload(&clip.file).await?;
    let renamed = server.client().patch(server.url(&format!("/api/videos/{id}")));
    renamed
        .json(&serde_json::json!({"name": "Ömas \"80.\".mp4", "place": "Lübeck", "favourite": true}))
        .send()
        .await?;
    let dir = tempfile::tempdir()?;
    let (data, file) =
        (server.data().display().to_string(), dir.path().join("copy.db").display().to_string());
    homereel(["keys", "add", "phone", "--data", &data]).await?.answer()?;
    let said = homereel(["backup", &file, "--data", &data]).await?;
    ensure!(said.answer()?.contains("holds 1 videos"), "{}", said.stdout);
    let refused = homereel(["backup", &file, "--data", &data]).await?;
    ensure!(refused.status == Some(1) && refused.stderr.contains("exists"), "{}", refused.stderr);
    let refused = homereel(["restore", &file, "--data", &data]).await?;
    ensure!(refused.status == Some(1) && refused.stderr.contains("in use"), "{}", refused.stderr);

    // Elsewhere, with the originals copied beside it, as after a fire.
    let other = dir.path().join("new");
    let copied = other.join("originals");
    std::fs::create_dir_all(&copied)?;
    for entry in std::fs::read_dir(server.data().join("originals"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), copied.join(entry.file_name()))?;
    }
    let other = other.display().to_string();
    let said = homereel(["restore", &file, "--data", &other]).await?;
    ensure!(said.answer()?.contains("1 API keys were not restored"), "{}", said.stdout);
    let keys = homereel(["keys", "list", "--json", "--data", &other]).await?.json()?;
    ensure!(keys == serde_json::json!([]), "{keys}");
    let out = dir.path().join("out").display().to_string();
    homereel(["export", &out, "--data", &other]).await?.answer()?;
    let mut names: Vec<String> = std::fs::read_dir(&out)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<_>>()?;
    names.sort();
    ensure!(names.iter().any(|name| name.ends_with("Ömas _80._.mp4")), "{names:?}");
    let video = names.iter().find(|name| name.ends_with(".mp4")).context("a video")?;
    ensure!(
        std::fs::read(std::path::Path::new(&out).join(video))? == std::fs::read(&clip.file)?,
        "the same bytes"
    );
    let told: Value = serde_json::from_slice(&std::fs::read(format!("{out}/{video}.json"))?)?;
    ensure!(told["place"] == "Lübeck" && told["favourite"] == true, "{told}");
    Ok(())
}

#[tokio::test]
async fn file_names_cannot_control_the_terminal() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("\x1b]0;evil\x07\nfake line.mp4");
    std::fs::write(&file, "no video")?;
    let name = file.to_str().context("a path of ours is text")?;
    for arguments in [&["ask", name, COLOUR][..], &["probe", name], &["probe", "clip.mp4", name]] {
        let output = homereel(arguments).await?;
        let shown = output.stderr;
        assert!(shown.contains("fake line.mp4"), "{shown:?}");
        assert!(!shown.contains(['\x1b', '\x07']), "{shown:?}");
    }
    // An error is one line.
    let shown = homereel(["probe", name]).await?.stderr;
    assert_eq!(shown.trim_end().lines().count(), 1, "{shown:?}");
    Ok(())
}

/// As `homereel … | head -0` leaves it.
#[tokio::test]
async fn a_closed_output_ends_the_program_quietly() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let bench = binary().with_file_name("homereel-bench");
    let media = clip.file.parent().and_then(|folder| folder.to_str()).context("a folder of ours is text")?;
    for (program, arguments) in [(binary(), ["probe", path(&clip)?]), (bench, ["media", media])] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = Command::new(&program).args(arguments).stdout(writer).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""), "{}", program.display());
    }
    Ok(())
}
