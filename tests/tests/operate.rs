//! What the one who runs the server does: checks settings, loads them again, and reads the audit log.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server, clips, homereel};
use reqwest::{Client, StatusCode, header, redirect::Policy};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PASSWORD: &str = "correct horse battery";

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

#[tokio::test]
async fn settings_are_checked_without_a_start() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let at = |name: &str| directory.path().join(name);
    let listen = ["--listen", "127.0.0.1:0"];
    let check = async |more: &[&str]| {
        let data = text(&data)?;
        homereel(["serve", "--check", "--data", data].iter().chain(&listen).chain(more)).await
    };
    let good = check(&[]).await?;
    ensure!(good.answer()?.contains("plain HTTP"), "{}", good.stdout);
    ensure!(!data.exists(), "a check makes no directory");

    fs::write(at("cert.pem"), "no certificate")?;
    fs::write(at("bad.toml"), "[server]\nmax_requests = 0\n")?;
    let (cert, toml, missing) = (at("cert.pem"), at("bad.toml"), at("no-model"));
    for (more, status, words) in [
        (["--tls-cert", text(&cert)?, "--tls-key", text(&cert)?].as_slice(), 1, "connections"),
        (&["--config", text(&toml)?], 2, "max_requests is 0"),
        (&["--model", text(&missing)?], 1, "model"),
    ] {
        let found = check(more).await?;
        ensure!(found.status == Some(status), "{more:?}: {:?} {}", found.status, found.stderr);
        ensure!(found.stderr.contains(words), "{more:?}: {} {}", found.stdout, found.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_signal_loads_the_limits_again() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("homereel.toml");
    fs::write(&file, "[server]\nquota = 1000\n")?;
    let server = Server::start_with(&["--config", text(&file)?]).await?;
    ensure!(server.json("/api/system").await?["limits"]["quota_bytes"] == 1000);
    let clip = fs::read(clips::simple(1)?.file)?;
    let upload = async || {
        let request = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4");
        Ok::<_, reqwest::Error>(request.body(clip.clone()).send().await?.status())
    };
    ensure!(upload().await? == StatusCode::INSUFFICIENT_STORAGE);

    fs::write(&file, "[server]\nquota = 100000000\nmax_body_bytes = 1000\nmax_requests = 7\njobs = 2\n")?;
    let pid = server.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("a process")?;
    kill_process(pid, Signal::HUP)?;
    let changed = async {
        while server.json("/api/system").await?["limits"]["quota_bytes"] == 1000 {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, changed).await??;
    ensure!(upload().await?.is_success());
    let large = server.chat(&serde_json::json!({ "messages": "x".repeat(2000) })).await?;
    ensure!(large.status() == StatusCode::PAYLOAD_TOO_LARGE, "{}", large.status());

    // Settings that do not fit change nothing, and the server goes on.
    fs::write(&file, "[server]\nquota = \"much\"\n")?;
    kill_process(pid, Signal::HUP)?;
    let told = async {
        while !server.log().contains("could not be loaded again") {
            server.json("/healthz").await.ok();
        }
    };
    tokio::time::timeout(PATIENCE, told).await?;
    ensure!(server.json("/api/system").await?["limits"]["requests"] == 7);
    ensure!(server.log().contains("take effect at the next start only"), "{}", server.log());
    Ok(())
}

#[tokio::test]
async fn logins_keys_and_deletions_are_in_the_audit_log() -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), PASSWORD)?;
    let server = Server::start_with(&["--password-file", text(file.path())?]).await?;
    let data = text(server.data())?.to_owned();
    let client = Client::builder().redirect(Policy::none()).build()?;
    let log_in =
        async |password: &str| client.post(server.url("/login")).form(&[("password", password)]).send().await;
    ensure!(log_in("a guess of mine").await?.status() == StatusCode::UNAUTHORIZED);
    let response = log_in(PASSWORD).await?;
    let cookie =
        response.headers()[header::SET_COOKIE].to_str()?.split(';').next().context("a cookie")?.to_owned();
    let key =
        homereel(["keys", "add", "tv", "--role", "viewer", "--data", &data]).await?.answer()?.to_owned();
    let upload = client.post(server.url("/api/videos")).header(header::COOKIE, &cookie);
    let upload = upload.header("content-type", "video/mp4").body(fs::read(clips::simple(1)?.file)?);
    let added: Value = upload.send().await?.error_for_status()?.json().await?;
    let url = format!("/api/videos/{}", added["videos"][0]["id"].as_str().context("an id")?);
    let refused = client.delete(server.url(&url)).bearer_auth(&key).send().await?;
    ensure!(refused.status() == StatusCode::FORBIDDEN, "{}", refused.status());
    let deleted = client.delete(server.url(&url)).header(header::COOKIE, &cookie);
    deleted.header("x-request-id", "the-deletion").send().await?.error_for_status()?;
    let made = client.post(server.url("/household/keys")).header(header::COOKIE, &cookie);
    made.form(&[("name", "phone"), ("role", "member")]).send().await?.error_for_status()?;

    client.post(server.url("/logout")).header(header::COOKIE, &cookie).send().await?.error_for_status()?;

    let log = fs::read_to_string(server.data().join("audit.jsonl"))?;
    let entries = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (entry["action"].as_str().unwrap_or_default(), &entry["by"], &entry["target"], &entry["done"])
        })
        .map(|(action, by, target, done)| format!("{action} {by} {target} {done}"))
        .collect();
    let owner = "\"user household\"";
    let expected = [
        "log_in null \"/login\" false".to_owned(),
        "log_in null \"household\" true".to_owned(),
        "add_key \"command line\" \"tv\" true".to_owned(),
        format!("delete_video \"key tv\" \"{url}\" false"),
        format!("delete_video {owner} \"{url}\" true"),
        format!("add_key {owner} \"phone\" true"),
        format!("log_out {owner} \"/logout\" true"),
    ];
    ensure!(told == expected, "{told:#?}");
    ensure!(
        entries[4]["request_id"] == "the-deletion" && entries[4]["from"] == "127.0.0.1",
        "{}",
        entries[4]
    );
    for secret in [PASSWORD, "a guess of mine", &key] {
        ensure!(!log.contains(secret) && !server.log().contains(secret), "a secret is in a log");
    }
    Ok(())
}
