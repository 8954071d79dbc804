//! Pages and files over plain HTTP: security and cache headers, validators, exports of moments, server-sent events, the
//! upload limit, search, and edits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use homereel_clips::Skill;
use homereel_tests::{PATIENCE, Server, clips, model};
use reqwest::{Response, header};
use serde_json::{Value, json};

const QUESTION: &str = "What color is the object?";

/// Waits until the video `id` has its moments, and returns it.
async fn read(server: &Server, id: &str) -> anyhow::Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let video = server.json(&format!("/api/videos/{id}")).await?;
        if video["jobs"][0]["state"] == "done" {
            return Ok(video);
        }
        ensure!(Instant::now() < end, "never read: {video}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn header_of(response: &Response, name: header::HeaderName) -> anyhow::Result<String> {
    Ok(response.headers().get(&name).with_context(|| format!("no {name}"))?.to_str()?.to_owned())
}

#[tokio::test]
async fn pages_are_small_strict_and_never_kept_by_proxies() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clips::simple(1)?.file).await?;
    let runs = server.data().join("bench");
    std::fs::create_dir(&runs)?;
    for (name, cap) in [("1-a", 1), ("2-b", 4)] {
        let mut result: Value = serde_json::from_str(include_str!(
            "../../bench/runs/2026-11-26-x86_64-2cores/demo-candle-f32.json"
        ))?;
        result["model_id"] = json!("<b>demo");
        result["max_concurrency"] = json!(cap);
        result["median_ttft_ms"] = json!(12.5 * f64::from(cap));
        std::fs::write(runs.join(format!("{name}.json")), result.to_string())?;
    }
    let fixed = ["/", "/jobs", "/search", "/search?q=x", "/trash", "/system", "/bench"].map(str::to_owned);
    for path in fixed.into_iter().chain([format!("/videos/{id}"), format!("/videos/{id}?t=abc")]) {
        let page = server.get(&path).await?;
        ensure!(page.status() == 200, "{path}: {}", page.status());
        ensure!(
            header_of(&page, header::CONTENT_SECURITY_POLICY)?.starts_with("default-src 'self'"),
            "{path}"
        );
        ensure!(header_of(&page, header::CACHE_CONTROL)?.contains("private"), "{path}");
        let html = page.text().await?;
        ensure!(html.len() < 100_000, "{path} has {} bytes", html.len());
        for link in html.split("/static/").skip(1).filter_map(|rest| rest.split('"').next()) {
            let file = server.get(&format!("/static/{link}")).await?;
            ensure!(file.status() == 200, "{link}");
            ensure!(header_of(&file, header::CACHE_CONTROL)?.contains("immutable"), "{link}");
            let etag = header_of(&file, header::ETAG)?;
            let again = server.client().get(server.url(&format!("/static/{link}")));
            ensure!(again.header(header::IF_NONE_MATCH, etag).send().await?.status() == 304, "{link}");
        }
    }
    let plot = server.get("/bench/latency.svg").await?;
    ensure!(header_of(&plot, header::CONTENT_TYPE)? == "image/svg+xml", "a plot is drawn");
    ensure!(
        server.get("/bench").await?.text().await?.contains("&#60;b&#62;demo"),
        "a result is data, not markup"
    );
    ensure!(server.get("/bench/x.svg").await?.status() == 404, "no other plot");
    let system = server.json("/api/system").await?;
    ensure!(system["machine"]["memory_bytes"].as_u64() > Some(0), "{system}");
    ensure!(system["storage"]["free_bytes"].is_u64(), "{system}");
    let missing =
        server.client().get(server.url("/nowhere")).header(header::ACCEPT, "text/html").send().await?;
    ensure!(
        missing.status() == 404 && missing.text().await?.contains("<h1>Not found</h1>"),
        "a page says so"
    );
    ensure!(server.get("/static/x/..%2FCargo.toml").await?.status() == 404, "only what is embedded");
    Ok(())
}

#[tokio::test]
async fn an_original_is_served_by_its_validator_and_never_as_a_page() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(2)?;
    let bytes = std::fs::read(&clip.file)?;
    let post =
        server.client().post(server.url("/api/videos?name=%22%3Cb%3E%0D%0Aé.html")).body(bytes.clone());
    let told: Value = post.header(header::CONTENT_TYPE, "video/html").send().await?.json().await?;
    let id = told["videos"][0]["id"].as_str().context("an id")?;
    let path = server.url(&format!("/api/videos/{id}/file"));

    let head = server.client().head(&path).send().await?;
    ensure!(head.status() == 200, "HEAD answers {}", head.status());
    assert_eq!(header_of(&head, header::CONTENT_LENGTH)?, bytes.len().to_string());
    assert_eq!(header_of(&head, header::CONTENT_TYPE)?, "video/mp4", "the type is what the probe says");
    assert_eq!(header_of(&head, header::X_CONTENT_TYPE_OPTIONS)?, "nosniff");
    assert_eq!(header_of(&head, header::ACCEPT_RANGES)?, "bytes");
    let disposition = header_of(&head, header::CONTENT_DISPOSITION)?;
    assert_eq!(disposition, "inline; filename=\"__b__.mp4\"; filename*=UTF-8''%22%3Cb%3E%C3%A9.mp4");

    let etag = header_of(&head, header::ETAG)?;
    let get = |range: &'static str| server.client().get(&path).header(header::RANGE, range);
    let known = server.client().get(&path).header(header::IF_NONE_MATCH, &etag).send().await?;
    assert_eq!(known.status(), 304);
    let same = get("bytes=5-9").header(header::IF_RANGE, &etag).send().await?;
    assert_eq!(same.status(), 206);
    assert_eq!(same.bytes().await?, bytes[5..10]);
    let other = get("bytes=5-9").header(header::IF_RANGE, "\"another\"").send().await?;
    assert_eq!(other.status(), 200);
    assert_eq!(other.bytes().await?.len(), bytes.len());
    Ok(())
}

#[tokio::test]
async fn moments_and_poster_are_files_of_other_programs() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clips::simple(3)?.file).await?;
    let video = read(&server, &id).await?;
    let count = video["moments"]["content"].as_array().with_context(|| format!("moments in {video}"))?.len();
    let file = async |name: &str| -> anyhow::Result<(String, String)> {
        let response = server.get(&format!("/api/videos/{id}/{name}")).await?.error_for_status()?;
        Ok((header_of(&response, header::CONTENT_TYPE)?, response.text().await?))
    };
    let (_, text) = file("moments.json").await?;
    let told: Value = serde_json::from_str(&text)?;
    assert_eq!(told["video"], id.as_str());
    assert_eq!(told["model"], video["moments"]["model"]);
    assert_eq!(told["moments"], video["moments"]["content"]);
    let (kind, text) = file("moments.vtt").await?;
    assert!(kind.starts_with("text/vtt") && text.starts_with("WEBVTT\n"), "{kind} {text}");
    assert_eq!(text.matches(" --> ").count(), count);
    assert_eq!(file("moments.srt").await?.1.matches(" --> ").count(), count);
    assert_eq!(file("moments.md").await?.1.lines().filter(|line| line.starts_with("- ")).count(), count);
    let picture = async |name| {
        let picture = server.get(&format!("/api/videos/{id}/{name}.jpg")).await?.error_for_status()?;
        assert_eq!(header_of(&picture, header::CONTENT_TYPE)?, "image/jpeg");
        anyhow::Ok(picture.bytes().await?)
    };
    let poster = picture("poster").await?;
    assert!(poster.starts_with(&[0xff, 0xd8, 0xff]), "a JPEG");
    let card = picture("card").await?;
    assert!(card.starts_with(&[0xff, 0xd8, 0xff]) && card.len() < poster.len(), "a lighter one");
    // Posters of earlier releases have no small one.
    let sha256 = video["sha256"].as_str().context("a hash")?;
    std::fs::remove_file(server.data().join("posters").join(format!("{sha256}-card.jpg")))?;
    assert_eq!(picture("card").await?, poster);
    Ok(())
}

#[tokio::test]
async fn a_question_is_answered_in_events_and_one_that_nobody_reads_is_cancelled() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(4)?;
    let id = server.upload(&clip.file).await?;
    read(&server, &id).await?;
    let path = server.url(&format!("/api/videos/{id}/ask"));
    let ask = |body: Value| server.client().post(&path).json(&body).send();

    let text = ask(json!({"question": QUESTION})).await?.error_for_status()?.text().await?;
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names.first(), Some(&"asked"), "{text}");
    assert_eq!(names.last(), Some(&"done"), "{text}");
    assert!(names.contains(&"media") && names.contains(&"token"), "{text}");
    let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).context("data")?;
    let done: Value = serde_json::from_str(data)?;
    for stage in ["decode", "vision", "prefill", "ttft", "generate", "total"] {
        assert!(done["stages_ms"][stage].is_number(), "{stage} in {done}");
    }
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
    let stored = server.json(&format!("/api/videos/{id}")).await?["answers"][0].clone();
    assert_eq!((&stored["status"], &stored["answer"]), (&json!("done"), &json!(truth.answer)), "{stored}");

    for (body, word) in [
        (json!({"question": " "}), "question"),
        (json!({"question": "x".repeat(5000)}), "5000"),
        (json!({"question": QUESTION, "frames": 3}), "frames"),
        (json!({"question": QUESTION, "num_frames": 100_000}), "num_frames"),
    ] {
        let refused = ask(body).await?;
        let status = refused.status();
        let told = refused.text().await?;
        // What only the decoder knows comes as the last event of a stream.
        assert!(
            (status.is_client_error() || told.contains("event: error")) && told.contains(word),
            "{status} {told}"
        );
    }

    // A reader who leaves after the first event: the answer says so in the library.
    let body = json!({"question": "Describe the video.", "fps": 8});
    let mut stream = ask(body).await?.error_for_status()?.bytes_stream();
    stream.next().await.context("a first event")??;
    drop(stream);
    let end = Instant::now() + PATIENCE;
    loop {
        let answers = server.json(&format!("/api/videos/{id}")).await?["answers"].clone();
        if answers[0]["question"] == "Describe the video." && answers[0]["status"] != "running" {
            assert_eq!(answers[0]["status"], "cancelled", "{}", answers[0]);
            return Ok(());
        }
        ensure!(Instant::now() < end, "still {}", answers[0]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn on_a_cpu_pages_ask_with_the_reading_budget_and_offer_a_closer_look() -> anyhow::Result<()> {
    let clip = clips::large_pattern()?;
    let roomy = model::demo_with_video_budget(4 << 20)?;
    let roomy = roomy.path().to_str().context("a path in UTF-8")?;
    // (arguments of the server, offered, heights of the frames: usual and closer)
    for (arguments, offered, heights) in [
        (vec!["--model", roomy], true, [640, 704]),
        (vec!["--model", roomy, "--reading-budget", "full"], false, [704, 704]),
        (vec![], false, [224, 224]),
    ] {
        let server = Server::start_with(&arguments).await?;
        let id = server.upload(&clip).await?;
        read(&server, &id).await?;
        let page = server.get(&format!("/videos/{id}")).await?.text().await?;
        assert_eq!(page.contains("name=\"cap_pixels_per_frame\""), offered, "{arguments:?}");
        let ask = server.url(&format!("/api/videos/{id}/ask"));
        let height = async || {
            let video = server.json(&format!("/api/videos/{id}")).await?;
            anyhow::Ok(video["answers"][0]["media"]["height"].clone())
        };
        let usual = json!({"question": QUESTION, "max_tokens": 1});
        server.client().post(&ask).json(&usual).send().await?.error_for_status()?.text().await?;
        assert_eq!(height().await?, json!(heights[0]), "{arguments:?}");
        let closer = [("question", QUESTION), ("max_tokens", "1"), ("cap_pixels_per_frame", "false")];
        server.client().post(&ask).form(&closer).send().await?.error_for_status()?;
        assert_eq!(height().await?, json!(heights[1]), "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn changes_are_told_as_they_happen() -> anyhow::Result<()> {
    let server = Server::start().await?;
    // The number of changes that a page shows, and the number that the stream begins with.
    let shown = async || {
        let page = server.get("/jobs").await?.text().await?;
        let number = page.split_once("data-changes=\"").and_then(|(_, rest)| rest.split('"').next());
        number.context("the page has no number")?.parse::<u64>().context("a number")
    };
    let first = async || {
        let mut stream = server.get("/api/events").await?.error_for_status()?.bytes_stream();
        let chunk = stream.next().await.context("the stream ended")??;
        let rest = std::str::from_utf8(&chunk)?.strip_prefix("event: changes\ndata: ");
        let number = rest.and_then(|rest| rest.lines().next()).context("the first event is another")?;
        number.parse::<u64>().context("a number")
    };
    let before = shown().await?;
    let mut stream = server.get("/api/events").await?.error_for_status()?.bytes_stream();
    let id = server.upload(&clips::simple(5)?.file).await?;
    let mut text = String::new();
    let heard = |text: &str| {
        let lines = text.lines().any(|line| line.contains("\"state\":\"done\"") && line.contains(&id));
        lines && text.contains("event: video") && text.contains("event: job")
    };
    while !heard(&text) {
        let chunk = tokio::time::timeout(PATIENCE, stream.next()).await;
        let chunk = chunk.with_context(|| format!("silence after {text}"))?.context("the stream ended")??;
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    // A page that was rendered before the upload can tell that it missed changes.
    let after = shown().await?;
    assert!(after > before, "{after} changes are no more than {before}");
    let told = first().await?;
    assert!(told >= after && told <= shown().await?, "{told} is not the number of a page, {after}");
    Ok(())
}

#[tokio::test]
async fn an_upload_beyond_the_limit_names_it_and_leaves_nothing() -> anyhow::Result<()> {
    let server = Server::start_with(&["--max-upload-bytes", "100000"]).await?;
    let post = |body: Vec<u8>| {
        let post = server.client().post(server.url("/api/videos")).header(header::CONTENT_TYPE, "video/mp4");
        post.body(body).send()
    };
    let refused = post(vec![0; 200_000]).await?;
    assert_eq!(refused.status(), 413);
    assert!(refused.text().await?.contains("100000 bytes"));
    let form = server.client().post(server.url("/api/videos")).body("x");
    assert_eq!(form.header(header::CONTENT_TYPE, "text/plain").send().await?.status(), 415);
    // Who stops in the middle leaves no half file behind.
    let half = futures_util::stream::iter([Ok(vec![0_u8; 1000]), Err(std::io::Error::other("cut"))]);
    let post = server.client().post(server.url("/api/videos")).header(header::CONTENT_TYPE, "video/mp4");
    assert!(post.body(reqwest::Body::wrap_stream(half)).send().await.is_err(), "the client gave up");
    let end = Instant::now() + PATIENCE;
    while std::fs::read_dir(server.data().join("incoming"))?.next().is_some() {
        ensure!(Instant::now() < end, "a half file stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.json("/api/videos").await?["total"], 0);
    Ok(())
}

#[tokio::test]
async fn what_the_model_saw_is_found_with_its_second() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(6)?;
    let id = server.upload(&clip.file).await?;
    let video = read(&server, &id).await?;
    let moment = &video["moments"]["content"][0];
    let text = moment["text"].as_str().with_context(|| format!("no moment in {video}"))?;
    let word = text.split_whitespace().max_by_key(|word| word.len()).context("a word")?;
    let found = server.json(&format!("/api/search?q={word}")).await?;
    assert_eq!((&found["total"], &found["videos"][0]["id"]), (&json!(1), &json!(id)), "{found}");
    let places = found["videos"][0]["places"].as_array().context("places")?;
    let start = moment["start"].as_f64().context("a start")?;
    let url = format!("/videos/{id}?t={start:.1}");
    assert!(places.iter().any(|place| place["kind"] == "moment" && place["url"] == url.as_str()), "{found}");
    let page = server.get(&format!("/search?q={word}")).await?.text().await?;
    assert!(page.contains(&format!("href=\"{url}&#38;in=search")) && page.contains("<mark>"), "{page}");
    let nothing = server.get("/search?q=%3Cscript%3Ealert(1)%3C/script%3E").await?.text().await?;
    assert!(nothing.contains("No results") && !nothing.contains("<script>alert"), "{nothing}");
    for bad in ["from=yesterday", "length=long", "limit=-1", "q=-only"] {
        let refused = server.get(&format!("/api/search?q=x&{bad}").replace("q=x&q", "q")).await?;
        assert_eq!(refused.status(), 400, "{bad}");
    }
    let page =
        server.client().get(server.url("/search?q=x&from=yesterday")).header(header::ACCEPT, "text/html");
    assert!(page.send().await?.text().await?.contains("from is yesterday"), "the form says what is wrong");
    Ok(())
}

#[tokio::test]
async fn what_a_person_changes_stays_and_is_found() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clips::simple(12)?.file).await?;
    read(&server, &id).await?;
    let path = server.url(&format!("/api/videos/{id}"));
    let patch = |body: Value| server.client().patch(&path).json(&body).send();
    let body = json!({"place": "Lübeck", "favourite": true, "description": "Oma tanzt.", "tags": ["#Fest", "fest", "Oma"]});
    let told: Value = patch(body).await?.error_for_status()?.json().await?;
    assert_eq!((&told["place"], &told["favourite"]), (&json!("Lübeck"), &json!(true)));
    assert_eq!(told["tags"]["content"], json!(["Fest", "Oma"]));
    assert!(told["description"]["edited_ms"].is_i64() && told["description"]["model"] != "", "{told}");
    for query in ["q=lubeck", "q=tanzt", "tag=FEST", "favourite=1", "q=oma&favourite=1"] {
        assert_eq!(server.json(&format!("/api/search?{query}")).await?["total"], 1, "{query}");
    }
    for (bad, word) in [
        (json!({"name": ""}), "name"),
        (json!({"place": "a\nb"}), "place"),
        (json!({"tags": ["x".repeat(100)]}), "tag"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let refused = patch(bad).await?;
        assert!(refused.status().is_client_error());
        assert!(refused.text().await?.contains(word), "{word}");
    }
    // A question to all videos: with the demo model the places that share its words, each with its second.
    let asked =
        server.client().post(server.url("/api/ask")).json(&json!({"question": "Who tanzt?"})).send().await?;
    let text = asked.error_for_status()?.text().await?;
    assert!(
        text.contains("event: notes") && text.contains("Oma tanzt.") && text.contains("event: done"),
        "{text}"
    );
    let form = server.client().post(server.url("/ask")).form(&[("question", "Who tanzt?")]).send().await?;
    assert!(form.text().await?.contains(&format!("href=\"/videos/{id}\"")), "a note leads to its video");
    // Pausing holds back the model, and only that.
    let post = |path: String| server.client().post(server.url(&path)).send();
    post("/api/jobs/pause".into()).await?.error_for_status()?;
    let other = server.upload(&clips::simple(13)?.file).await?;
    let began = Instant::now();
    let jobs = loop {
        let jobs = server.json("/api/jobs").await?;
        if (&jobs["jobs"][0]["state"], &jobs["jobs"][0]["step"]) == (&json!("queued"), &json!("describe")) {
            break jobs;
        }
        ensure!(began.elapsed() < PATIENCE, "{jobs}");
    };
    assert_eq!(jobs["paused"], true, "{jobs}");
    assert_eq!(server.json(&format!("/api/videos/{other}")).await?["poster"], "ready");
    let first = format!("/api/jobs/{}/first", jobs["jobs"][0]["id"].as_str().context("an id")?);
    assert_eq!(post(first).await?.json::<Value>().await?["priority"], 1);
    post("/api/jobs/resume".into()).await?.error_for_status()?;
    read(&server, &other).await?;
    Ok(())
}
