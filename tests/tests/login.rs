//! Authentication: the household's password, API keys, the one-time link; and `homereel doctor`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use homereel_clips::Skill;
use homereel_tests::{PATIENCE, Server, clips, homereel, homereel_within};
use reqwest::{Client, Response, StatusCode, header, redirect::Policy};
use serde_json::json;

const PASSWORD: &str = "correct horse battery";

fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().redirect(Policy::none()).build()?)
}

async fn log_in(server: &Server, form: &[(&str, &str)]) -> anyhow::Result<Response> {
    Ok(client()?.post(server.url("/login")).form(form).send().await?)
}

/// The cookie that a login gave.
fn cookie(response: &Response) -> anyhow::Result<String> {
    let value = response.headers().get(header::SET_COOKIE).context("no cookie")?.to_str()?;
    ensure!(value.contains("HttpOnly") && value.contains("SameSite=Lax"), "{value}");
    Ok(value.split(';').next().unwrap_or_default().to_owned())
}

async fn with_password() -> anyhow::Result<(Server, tempfile::NamedTempFile)> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), format!("{PASSWORD}\n"))?;
    let path = file.path().to_str().context("a path")?.to_owned();
    Ok((Server::start_with(&["--password-file", &path]).await?, file))
}

#[tokio::test]
async fn nothing_is_seen_without_the_password_and_everything_with_it() -> anyhow::Result<()> {
    let (server, _file) = with_password().await?;
    let stranger = client()?;
    for path in ["/api/videos", "/api/events", "/api/system", "/v1/models", "/metrics", "/", "/jobs"] {
        let response = stranger.get(server.url(path)).send().await?;
        ensure!(response.status() == StatusCode::UNAUTHORIZED, "{path}: {}", response.status());
        ensure!(response.headers()[header::WWW_AUTHENTICATE] == "Bearer", "{path}");
    }
    let openai: serde_json::Value = server.chat(&json!({})).await?.json().await?;
    ensure!(openai["error"]["code"] == "invalid_api_key", "{openai}");
    let page = stranger.get(server.url("/videos/1?t=2")).header(header::ACCEPT, "text/html").send().await?;
    ensure!(page.status() == StatusCode::SEE_OTHER, "{}", page.status());
    let there = page.headers()[header::LOCATION].to_str()?.to_owned();
    ensure!(there == "/login?next=%2Fvideos%2F1%3Ft%3D2", "{there}");
    let form = stranger.get(server.url(&there)).send().await?.text().await?;
    ensure!(form.contains("value=\"/videos/1?t=2\"") && !form.contains("homereel-demo"), "{form}");

    // A page that hides where it comes from could not post its own form: browsers send `Origin: null` then.
    ensure!(!form.contains("no-referrer"), "{form}");
    let wrong = log_in(&server, &[("password", "a guess"), ("next", "/jobs")]).await?;
    ensure!(wrong.status() == StatusCode::UNAUTHORIZED, "{}", wrong.status());
    ensure!(wrong.text().await?.contains("wrong password"));
    let right = log_in(&server, &[("password", PASSWORD), ("next", "//evil.example")]).await?;
    ensure!(right.status() == StatusCode::SEE_OTHER && right.headers()[header::LOCATION] == "/");
    let cookie = cookie(&right)?;
    let get = async |path: &str| stranger.get(server.url(path)).header(header::COOKIE, &cookie).send().await;
    let page = get("/").await?.text().await?;
    ensure!(page.contains("Sign out"), "{page}");
    ensure!(get("/api/videos").await?.status() == 200);

    let out = stranger.post(server.url("/logout")).header(header::COOKIE, &cookie).send().await?;
    ensure!(out.status() == StatusCode::SEE_OTHER);
    ensure!(get("/api/videos").await?.status() == StatusCode::UNAUTHORIZED);
    ensure!(!server.log().contains(PASSWORD), "{}", server.log());
    Ok(())
}

#[tokio::test]
async fn programs_come_in_with_keys_and_do_what_their_role_allows() -> anyhow::Result<()> {
    let (server, _file) = with_password().await?;
    let data = server.data().to_str().context("a path")?;
    // Beside the running server, as an operator would.
    let key = async |name: &str, role: &str| -> anyhow::Result<String> {
        Ok(homereel(["keys", "add", name, "--role", role, "--data", data]).await?.answer()?.to_owned())
    };
    let (viewer, member, admin) =
        (key("tv", "viewer").await?, key("phone", "member").await?, key("pc", "admin").await?);
    ensure!(admin.starts_with("hr_") && admin.len() > 40, "{admin}");
    let again = homereel(["keys", "add", "tv", "--data", data]).await?;
    ensure!(again.status == Some(1) && again.stderr.contains("already"), "{}", again.stderr);

    let clip = clips::simple(1)?;
    let upload = async |key: &str| {
        let request = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4");
        request.bearer_auth(key).body(std::fs::read(&clip.file).unwrap_or_default()).send().await
    };
    let refused = upload(&viewer).await?;
    ensure!(refused.status() == StatusCode::FORBIDDEN, "{}", refused.status());
    ensure!(refused.text().await?.contains("member"));
    let added: serde_json::Value = upload(&member).await?.error_for_status()?.json().await?;
    let id = added["videos"][0]["id"].as_str().context("an id")?;
    let url = server.url(&format!("/api/videos/{id}"));
    ensure!(server.client().get(&url).bearer_auth(&viewer).send().await?.status() == 200);
    ensure!(
        server.client().delete(&url).bearer_auth(&member).send().await?.status() == StatusCode::FORBIDDEN
    );

    // The command line asks a guarded server with the key of its environment.
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
    let asked = tokio::process::Command::new(homereel_tests::binary())
        .args([
            "ask",
            clip.file.to_str().context("a path")?,
            "What color is the object?",
            "--server",
            &server.url(""),
        ])
        .env("HOMEREEL_API_KEY", &member)
        .output()
        .await?;
    let answer = String::from_utf8_lossy(&asked.stdout);
    ensure!(answer.trim() == truth.answer, "{answer} {}", String::from_utf8_lossy(&asked.stderr));

    ensure!(server.client().delete(&url).bearer_auth(&admin).send().await?.status().is_success());
    homereel(["keys", "revoke", "pc", "--data", data]).await?.answer()?;
    let response = server.client().get(server.url("/api/videos")).bearer_auth(&admin).send().await?;
    ensure!(response.status() == StatusCode::UNAUTHORIZED);
    let list = homereel(["keys", "list", "--json", "--data", data]).await?.json()?;
    let names: Vec<_> =
        list.as_array().context("a list")?.iter().filter_map(|key| key["name"].as_str()).collect();
    ensure!(names == ["tv", "phone"], "{list}");
    ensure!(!list.to_string().contains(&member[3..]), "a secret is listed");
    Ok(())
}

#[tokio::test]
async fn the_first_who_opens_the_link_sets_the_password() -> anyhow::Result<()> {
    // Beyond this machine a password is needed from the start.
    let server = Server::start_with(&["--listen", "0.0.0.0:0"]).await?;
    let log = server.log();
    let token = log.split("/login?once=").nth(1).context("no link in the log")?;
    let token: String =
        token.chars().take_while(|&c| c.is_ascii_alphanumeric() || c == '-' || c == '_').collect();
    ensure!(server.get("/api/videos").await?.status() == StatusCode::UNAUTHORIZED);
    let page = server.get(&format!("/login?once={token}")).await?.text().await?;
    ensure!(page.contains("Choose a password") && page.contains(&token), "{page}");
    let set = async |password: &str, repeat: &str| {
        log_in(&server, &[("once", &token), ("password", password), ("repeat", repeat)]).await
    };
    ensure!(set(PASSWORD, "another").await?.status() == StatusCode::BAD_REQUEST);
    ensure!(set("short", "short").await?.status() == StatusCode::BAD_REQUEST);
    let cookie = cookie(&set(PASSWORD, PASSWORD).await?)?;
    let jobs = server.client().get(server.url("/jobs")).header(header::COOKIE, cookie).send().await?;
    ensure!(jobs.status() == 200);
    ensure!(set("my own password", "my own password").await?.status() == StatusCode::UNAUTHORIZED);
    ensure!(log_in(&server, &[("password", PASSWORD)]).await?.status() == StatusCode::SEE_OTHER);
    Ok(())
}

/// Reads a stream until it contains `text`, or to its end.
async fn read_until(stream: &mut Response, text: &str) -> anyhow::Result<String> {
    let mut read = String::new();
    let reading = async {
        while !read.contains(text) {
            let Some(chunk) = stream.chunk().await? else { break };
            read.push_str(&String::from_utf8_lossy(&chunk));
        }
        anyhow::Ok(())
    };
    // As a whole: comments that keep a stream alive arrive all the time.
    tokio::time::timeout(PATIENCE, reading).await.context("the stream goes on")??;
    Ok(read)
}

#[tokio::test]
async fn events_end_with_the_session_that_reads_them() -> anyhow::Result<()> {
    let (server, _file) = with_password().await?;
    let events = async |cookie: &str| {
        let request = client()?.get(server.url("/api/events")).header(header::COOKIE, cookie);
        anyhow::Ok(request.send().await?.error_for_status()?)
    };
    let leaving = cookie(&log_in(&server, &[("password", PASSWORD)]).await?)?;
    let staying = cookie(&log_in(&server, &[("password", PASSWORD)]).await?)?;
    let (mut ended, mut other) = (events(&leaving).await?, events(&staying).await?);
    let post = async |path: &str, cookie: &str| {
        anyhow::Ok(client()?.post(server.url(path)).header(header::COOKIE, cookie).send().await?)
    };
    post("/logout", &leaving).await?;
    // An event that nobody sends: only the end of the stream ends this.
    read_until(&mut ended, "event: none").await?;
    post("/api/jobs/pause", &staying).await?.error_for_status()?;
    let read = read_until(&mut other, "event: job").await?;
    ensure!(read.contains("event: job"), "{read}");

    // A program's events end when its key is revoked.
    let key = client()?.post(server.url("/household/keys")).header(header::COOKIE, &staying);
    let page = key.form(&[("name", "tv"), ("role", "admin")]).send().await?.text().await?;
    let at = page.find("hr_").context("no key on the page")?;
    let key = page[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c));
    let key: String = key.collect();
    let request = client()?.get(server.url("/api/events")).bearer_auth(&key);
    let mut by_key = request.send().await?.error_for_status()?;
    let keys: serde_json::Value =
        homereel(["keys", "list", "--json", "--data", &server.data().display().to_string()]).await?.json()?;
    let id = keys[0]["id"].as_str().context("an id")?;
    post(&format!("/household/keys/{id}/revoke"), &staying).await?;
    read_until(&mut by_key, "event: none").await?;
    Ok(())
}

#[tokio::test]
async fn unfinished_uploads_are_limited_per_key() -> anyhow::Result<()> {
    let (server, _file) = with_password().await?;
    let data = server.data().display().to_string();
    let key = async |name: &str| -> anyhow::Result<String> {
        Ok(homereel(["keys", "add", name, "--data", &data]).await?.answer()?.to_owned())
    };
    let (greedy, modest) = (key("greedy").await?, key("modest").await?);
    let create = async |key: &str| {
        let request = server.client().post(server.url("/api/uploads")).bearer_auth(key);
        request.header("tus-resumable", "1.0.0").header("upload-length", 9).send().await
    };
    for _ in 0..100 {
        create(&greedy).await?.error_for_status()?;
    }
    let refused = create(&greedy).await?;
    ensure!(refused.status() == StatusCode::CONFLICT, "{}", refused.status());
    let told = refused.text().await?;
    ensure!(told.contains("of your uploads are unfinished"), "{told}");
    ensure!(create(&modest).await?.status() == StatusCode::CREATED);
    Ok(())
}

#[tokio::test]
async fn guessing_is_answered_with_later() -> anyhow::Result<()> {
    let (server, _file) = with_password().await?;
    for n in 0..20 {
        let response = log_in(&server, &[("password", &format!("guess {n}"))]).await?;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            ensure!(response.headers().contains_key(header::RETRY_AFTER));
            return Ok(());
        }
        ensure!(response.status() == StatusCode::UNAUTHORIZED, "{}", response.status());
    }
    anyhow::bail!("20 guesses in a row were compared with the password")
}

#[tokio::test]
async fn the_doctor_tells_what_is_there_and_what_to_mend() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let path = data.path().to_str().context("a path")?;
    let within = Duration::from_secs(60);
    let arguments = ["doctor", "--json", "--data", path, "--listen", "127.0.0.1:0"];
    let findings = homereel_within(within, arguments).await?.json()?;
    ensure!(findings["ok"] == true, "{findings}");
    let find =
        |name: &str| findings["checks"].as_array()?.iter().find(|check| check["name"] == name).cloned();
    for name in [
        "architecture",
        "system",
        "kernel",
        "gpu",
        "memory",
        "disk",
        "clock",
        "port",
        "ffmpeg",
        "sandbox",
        "library",
        "password",
        "model",
    ] {
        ensure!(find(name).is_some(), "no {name} in {findings}");
    }
    ensure!(find("ffmpeg").context("ffmpeg")?["facts"]["libavcodec"].is_string(), "{findings}");

    let missing = ["doctor", "--model", "/nowhere", "--data", path, "--listen", "127.0.0.1:0"];
    let output = homereel_within(within, missing).await?;
    ensure!(output.status == Some(1), "{output:?}");
    ensure!(output.stdout.contains("FAIL  model") && output.stdout.contains("→"), "{}", output.stdout);
    ensure!(output.stderr.contains("not ready: model"), "{}", output.stderr);
    ensure!(std::fs::read_dir(path)?.next().is_none(), "a doctor changes nothing");

    std::fs::write(data.path().join("NOTES.md"), "# This machine\n")?;
    ensure!(homereel(["notes", "--data", path]).await?.answer()? == "# This machine");
    Ok(())
}
