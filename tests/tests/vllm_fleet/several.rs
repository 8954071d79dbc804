//! Several replicas: load balancing, failover, and their state in the API.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, bench, binary};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::stub::{Mode, StubVllm};
use super::{PATIENCE, about_clip, streamed, text};

async fn server_on(stubs: &[&StubVllm], more: &[&str]) -> anyhow::Result<Server> {
    let mut flags = vec!["--engine", "vllm", "--model", "demo", "--max-requests", "64"];
    for stub in stubs {
        flags.extend(["--vllm-url", &stub.url]);
    }
    flags.extend(more);
    let server = Server::start_with(&flags).await?;
    for (id, _) in stubs.iter().enumerate() {
        until(&server, id, "ready").await?;
    }
    Ok(server)
}

async fn upstream(server: &Server, id: usize) -> anyhow::Result<Value> {
    Ok(server.json("/api/system").await?["upstreams"][id].clone())
}

/// Waits until upstream `id` is in `state`.
async fn until(server: &Server, id: usize, state: &str) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let told = upstream(server, id).await?;
        if told["state"] == state {
            return Ok(());
        }
        ensure!(Instant::now() < end, "upstream {id} is not {state}: {told}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn asked(stub: &StubVllm) -> usize {
    stub.lock().requests.len()
}

#[tokio::test]
async fn the_least_loaded_is_asked_and_the_same_video_goes_where_it_is_known() -> anyhow::Result<()> {
    let (a, b) = (StubVllm::start().await?, StubVllm::start().await?);
    let server = server_on(&[&a, &b], &[]).await?;
    for _ in 0..6 {
        server.answer(&text()).await?;
    }
    // Equals take turns; an answer's reader may be faster than the end of its place.
    assert!(asked(&a) >= 2 && asked(&b) >= 2, "{} and {}", asked(&a), asked(&b));
    let clip = about_clip("What color is it?").await?;
    let before = (asked(&a), asked(&b));
    for _ in 0..4 {
        server.answer(&clip).await?;
        // In between, so that turns alone would send the next clip elsewhere.
        server.answer(&text()).await?;
    }
    let clips = |stub: &StubVllm| {
        let requests = &stub.lock().requests;
        requests.iter().filter(|request| request.to_string().contains("video_url")).count()
    };
    let seen = (clips(&a), clips(&b));
    assert!(seen == (4, 0) || seen == (0, 4), "{seen:?} after {before:?}");
    Ok(())
}

#[tokio::test]
async fn what_one_refuses_another_answers_and_a_bad_request_goes_nowhere_else() -> anyhow::Result<()> {
    let (a, b) = (StubVllm::start().await?, StubVllm::start().await?);
    let server = server_on(&[&a, &b], &[]).await?;
    for mode in [
        Mode::Status(429, None, String::new()),
        Mode::Status(500, None, "/etc/secret".into()),
        Mode::Status(503, None, "<html>".into()),
        Mode::Chunks(Vec::new()),
        Mode::Chunks(vec![r#"{"error": {"message": "/etc/secret", "code": 500}}"#.into()]),
    ] {
        a.set(mode.clone());
        for _ in 0..2 {
            assert_eq!(server.answer(&text()).await.with_context(|| format!("{mode:?}"))?, "Red.");
        }
        a.set(Mode::Answer);
        until(&server, 0, "ready").await?;
    }
    let told = upstream(&server, 0).await?;
    assert!(told["failovers_total"].as_u64() >= Some(5), "{told}");
    for stub in [&a, &b] {
        stub.set(Mode::Status(429, Some(7), String::new()));
    }
    let response = server.chat(&text()).await?;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"7".parse()?));
    for stub in [&a, &b] {
        stub.set(Mode::Status(400, None, "no".into()));
    }
    let before = asked(&a) + asked(&b);
    assert_eq!(server.chat(&text()).await?.status(), 400);
    assert_eq!(asked(&a) + asked(&b), before + 1);
    Ok(())
}

#[tokio::test]
async fn a_request_that_kills_is_not_sent_to_everybody() -> anyhow::Result<()> {
    let stubs = [StubVllm::start().await?, StubVllm::start().await?, StubVllm::start().await?];
    let server = server_on(&stubs.iter().collect::<Vec<_>>(), &[]).await?;
    for stub in &stubs {
        stub.set(Mode::Chunks(Vec::new()));
    }
    assert_eq!(server.chat(&text()).await?.status(), 500);
    assert_eq!(stubs.iter().map(asked).sum::<usize>(), 2);
    Ok(())
}

/// Reads a streamed answer to its end.
async fn read(response: Response) -> String {
    response.text().await.unwrap_or_default()
}

#[tokio::test]
async fn a_killed_replica_takes_only_its_own_streams_along_and_rejoins() -> anyhow::Result<()> {
    let (a, b) = (StubVllm::start().await?, StubVllm::start().await?);
    let server = server_on(&[&a, &b], &[]).await?;
    for stub in [&a, &b] {
        stub.set(Mode::Held);
    }
    let asking = |what: &str| {
        let body = streamed(json!({ "messages": [{ "role": "user", "content": what }] }));
        let (client, url) = (server.client().clone(), server.url("/v1/chat/completions"));
        tokio::spawn(async move { anyhow::Ok(client.post(url).json(&body).send().await?) })
    };
    let (mut begun, mut silent) = (Vec::new(), Vec::new());
    for at in 0..32 {
        let what = if at % 4 < 2 { "begun" } else { "silent" };
        (if at % 4 < 2 { &mut begun } else { &mut silent }).push(asking(what));
        // One after another, so that each replica gets half of each kind.
        let mut came = (a.came(), b.came());
        tokio::time::timeout(PATIENCE, async {
            loop {
                if *came.0.borrow_and_update() + *came.1.borrow_and_update() == at + 1 {
                    return;
                }
                tokio::select! { _ = came.0.changed() => {}, _ = came.1.changed() => {} }
            }
        })
        .await?;
    }
    let on_a = |what: &str| a.lock().requests.iter().filter(|sent| sent.to_string().contains(what)).count();
    let (begun_on_a, silent_on_a) = (on_a("begun"), on_a("silent"));
    ensure!(
        begun_on_a > 4 && silent_on_a > 4,
        "{begun_on_a} begun and {silent_on_a} silent streams on the first"
    );
    // The begun ones have got their first token once they have a head.
    let mut streams = Vec::new();
    for response in begun {
        let mut response = response.await??;
        let mut seen = String::new();
        while !seen.contains("\"Red\"") {
            seen += std::str::from_utf8(&response.chunk().await?.context("the stream ended")?)?;
        }
        streams.push(response);
    }

    let (address, before) = (a.address(), asked(&b));
    drop(a);
    let mut came = b.came();
    tokio::time::timeout(PATIENCE, came.wait_for(|count| *count == before + silent_on_a)).await??;
    until(&server, 0, "gone").await?;
    // Whoever asks meanwhile notices nothing.
    let meanwhile = asking("meanwhile");
    b.release();
    let (mut broken, mut whole) = (0, 0);
    for stream in streams {
        let rest = read(stream).await;
        if rest.contains("\"error\"") {
            ensure!(!rest.contains("[DONE]"), "{rest}");
            broken += 1;
        } else {
            ensure!(rest.contains("[DONE]"), "{rest}");
            whole += 1;
        }
    }
    assert_eq!((broken, whole), (begun_on_a, 16 - begun_on_a));
    for response in silent.into_iter().chain([meanwhile]) {
        let told = read(response.await??).await;
        ensure!(told.contains("\"Red\"") && told.contains("[DONE]") && !told.contains("\"error\""), "{told}");
    }

    let again = StubVllm::start_at(address).await?;
    until(&server, 0, "ready").await?;
    b.set(Mode::Answer);
    for _ in 0..4 {
        assert_eq!(server.answer(&text()).await?, "Red.");
    }
    assert!(asked(&again) > 0, "it rejoins");
    Ok(())
}

#[tokio::test]
async fn each_has_its_limit_and_is_drained_on_wish() -> anyhow::Result<()> {
    let (a, b) = (StubVllm::start().await?, StubVllm::start().await?);
    let server = server_on(&[&a, &b], &["--vllm-max-requests", "1"]).await?;
    for stub in [&a, &b] {
        stub.set(Mode::Held);
    }
    let body = streamed(text());
    let (first, second) = tokio::join!(server.chat(&body), server.chat(&body));
    let response = server.chat(&text()).await?;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    for stub in [&a, &b] {
        stub.release();
        stub.set(Mode::Answer);
    }
    for response in [first?, second?] {
        assert!(read(response).await.contains("[DONE]"));
    }

    let post = |path: &str| server.client().post(server.url(path)).send();
    let told: Value = post("/api/replicas/0/drain").await?.error_for_status()?.json().await?;
    assert_eq!(told["upstreams"][0]["state"], "draining");
    let page = server.get("/system").await?.text().await?;
    ensure!(page.contains(&a.url) && page.contains("Draining: finishing its requests"), "{page}");
    let before = asked(&a);
    for _ in 0..3 {
        server.answer(&text()).await?;
    }
    assert_eq!(asked(&a), before);
    assert_eq!(post("/api/replicas/2/drain").await?.status(), 404);
    post("/api/replicas/1/drain").await?.error_for_status()?;
    assert_eq!(server.get("/readyz").await?.status(), 503);
    assert_eq!(server.chat(&text()).await?.status(), 503);
    post("/api/replicas/0/resume").await?.error_for_status()?;
    server.answer(&text()).await?;
    assert_eq!(asked(&a), before + 1);
    Ok(())
}

#[tokio::test]
async fn only_what_answers_and_serves_the_same_is_used_and_all_is_told() -> anyhow::Result<()> {
    let (a, dead, other) = (StubVllm::start().await?, StubVllm::start().await?, StubVllm::start().await?);
    a.lock().metrics = "vllm:num_requests_waiting{engine=\"0\"} 3\nvllm:prefix_cache_hits_total 7\n";
    dead.lock().dead = true;
    other.lock().model = "something-else";
    let urls = [&a, &dead, &other].map(|stub| stub.url.as_str());
    let flags = ["--engine", "vllm", "--model", "demo", "--vllm-url", urls[0], "--vllm-url", urls[1]];
    let server = Server::start_with(&flags).await?;
    // Its list of models is all right; only a real question shows that it is dead.
    until(&server, 0, "ready").await?;
    let told = upstream(&server, 1).await?;
    assert_eq!(told["state"], "loading", "{told}");
    for _ in 0..3 {
        server.answer(&text()).await?;
    }
    assert_eq!(asked(&dead), 0);
    dead.lock().dead = false;
    until(&server, 1, "ready").await?;
    let told = server.json("/api/system").await?;
    assert!(!told.to_string().contains("secret"), "{told}");
    let told = &told["upstreams"][0];
    assert_eq!((&told["url"], &told["requests_total"]), (&json!(a.url), &json!(3)), "{told}");
    let end = Instant::now() + PATIENCE;
    loop {
        let metrics = server.get("/metrics").await?.text().await?;
        let lines: BTreeSet<&str> = metrics.lines().collect();
        let has = |name: &str, value: &str| {
            lines.contains(format!("{name}{{upstream=\"{}\"}} {value}", a.url).as_str())
        };
        if has("homereel_upstream_num_requests_waiting", "3")
            && has("homereel_upstream_prefix_cache_hits_total", "7")
            && has("homereel_upstream_up", "1")
            && has("homereel_upstream_requests_total", "3")
        {
            break;
        }
        ensure!(Instant::now() < end, "{metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let page = server.get("/system").await?.text().await?;
    ensure!(page.contains("0 running, 3 waiting") && page.contains("frames with their true times"), "{page}");

    // Another model beside: whoever comes first decides, and the other is told why it is not used.
    let flags = ["--engine", "vllm", "--vllm-url", urls[0], "--vllm-url", urls[2]];
    let server = Server::start_with(&flags).await?;
    let end = Instant::now() + PATIENCE;
    loop {
        let told = server.json("/api/system").await?;
        let unfit: Vec<&Value> = told["upstreams"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["state"] == "unfit")
            .collect();
        if let [one] = unfit[..] {
            assert!(one["reason"].as_str().is_some_and(|why| why.contains("serves the model")), "{one}");
            break;
        }
        ensure!(Instant::now() < end, "{told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.answer(&text()).await?, "Red.");
    Ok(())
}

/// `homereel-bench instant`, a backend that answers at once; killed when dropped.
struct InstantBackend {
    url: String,
    _child: Child,
}

impl InstantBackend {
    async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(binary().with_file_name("homereel-bench"))
            .arg("instant")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        Ok(Self { url: line.context("the backend printed no URL")?, _child: child })
    }
}

/// Runs `homereel-bench overhead` on a backend and a server in front of it; returns its result.
async fn overhead(backend: &InstantBackend, server: &Server, flags: &[&str]) -> anyhow::Result<Value> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("overhead.json");
    let (through, pid) = (server.url(""), server.pid().context("the server runs")?.to_string());
    let common = ["overhead", "--direct", &backend.url, "--through", &through, "--server-pid", &pid];
    let name = file.to_str().context("the path is UTF-8")?;
    bench(common.iter().chain(flags).chain(&["--result-filename", name])).await?.answer()?;
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// Memory that grows with every request would not stop growing. What is added to a token's time is measured by
/// `homereel-bench overhead` on a quiet machine.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_requests_leave_no_memory_behind() -> anyhow::Result<()> {
    let backend = InstantBackend::start().await?;
    let flags = ["--engine", "vllm", "--vllm-url", &backend.url, "--max-requests", "128"];
    let server = Server::start_with(&flags).await?;
    let throughput = ["--streams", "64", "--paced-seconds", "0", "--num-prompts"];
    // Warms up everything that is created once.
    overhead(&backend, &server, &[&throughput[..], &["1000"]].concat()).await?;
    let result = overhead(&backend, &server, &[&throughput[..], &["4000"]].concat()).await?;
    let sizes: Vec<f64> =
        result["through"]["rss_mib"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let grown = sizes.last().context("no sample")? - sizes.first().context("no sample")?;
    ensure!(grown < 48.0, "{grown} MiB more after {} requests: {sizes:?}", result["through"]["requests"]);
    Ok(())
}
