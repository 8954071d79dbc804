//! A real server with its own port and data directory, both removed when the test ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary;

/// How long a server may take to listen and to be ready.
const START: Duration = Duration::from_secs(300);

/// A running `homereel serve`.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    url: String,
    data: TempDir,
    log: PathBuf,
    /// Holds the log: not on the disk of the data, which some tests fill.
    _logs: TempDir,
    arguments: Vec<String>,
    client: Client,
}

impl Server {
    /// Starts a server on the demo model and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; the message holds the end of its log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with more arguments for `homereel serve` and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; the message holds the end of its log.
    pub async fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(&std::env::temp_dir(), arguments).await
    }

    /// Does the same with the data folder below `parent`.
    ///
    /// # Errors
    /// When it does not start; the message holds the end of its log.
    pub async fn start_in(parent: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let data = tempfile::tempdir_in(parent)?;
        let logs = tempfile::tempdir()?;
        let log = logs.path().join("test.log");
        let arguments = arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>();
        let child = spawn(data.path(), &log, &arguments)?;
        let client = Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
        let mut server = Self { child, url: String::new(), data, log, _logs: logs, arguments, client };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Kills the server as a power cut would, and starts it again on the same data.
    ///
    /// # Errors
    /// When it does not start again.
    pub async fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.start_again().await
    }

    /// Kills the server as a power cut would. Its data stays.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts a killed server again on the same data.
    ///
    /// # Errors
    /// When it does not start; the message holds the end of its log.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(self.data.path(), &self.log, &self.arguments)?;
        self.wait_until_ready().await
    }

    /// Returns the full URL of `path`, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Returns the client that tests share.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the process id of the server.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the folder of the server's data.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Gets `path`.
    ///
    /// # Errors
    /// When there is no answer at all; an error status is an answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        Ok(self.client.get(self.url(path)).send().await?)
    }

    /// Gets the JSON at `path`.
    ///
    /// # Errors
    /// When the status is no success or the body no JSON.
    pub async fn json(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.get(path).await?.error_for_status()?.json().await?)
    }

    /// Posts `body` to `/v1/chat/completions`.
    ///
    /// # Errors
    /// When there is no answer at all; an error status is an answer.
    pub async fn chat(&self, body: &Value) -> anyhow::Result<Response> {
        Ok(self.client.post(self.url("/v1/chat/completions")).json(body).send().await?)
    }

    /// Posts `body` to `/v1/responses`.
    ///
    /// # Errors
    /// When there is no answer at all; an error status is an answer.
    pub async fn respond(&self, body: &Value) -> anyhow::Result<Response> {
        Ok(self.client.post(self.url("/v1/responses")).json(body).send().await?)
    }

    /// Asks by `/v1/chat/completions` and returns the answer's text.
    ///
    /// # Errors
    /// When the status is no success; the message holds the body.
    pub async fn answer(&self, body: &Value) -> anyhow::Result<String> {
        let response = self.chat(body).await?;
        let status = response.status();
        let body: Value = response.json().await?;
        ensure!(status.is_success(), "{status}: {body}");
        let text = body["choices"][0]["message"]["content"].as_str();
        Ok(text.with_context(|| format!("no answer in {body}"))?.to_owned())
    }

    /// Uploads a file's bytes as a raw body and returns the video's id.
    ///
    /// # Errors
    /// When it is not accepted; the message holds the body.
    pub async fn upload(&self, file: &Path) -> anyhow::Result<String> {
        let response = self
            .client
            .post(self.url("/api/videos"))
            .header("content-type", "video/mp4")
            .body(tokio::fs::read(file).await?)
            .send()
            .await?;
        let status = response.status();
        let body: Value = response.json().await?;
        ensure!(status.is_success(), "{status}: {body}");
        Ok(body["videos"][0]["id"].as_str().with_context(|| format!("no id in {body}"))?.to_owned())
    }

    /// Waits until the newest job of a video is done.
    ///
    /// # Errors
    /// When it fails, or takes longer than [`crate::PATIENCE`].
    pub async fn described(&self, video: &str) -> anyhow::Result<()> {
        let end = Instant::now() + crate::PATIENCE;
        loop {
            let job = self.json(&format!("/api/videos/{video}")).await?["jobs"][0].take();
            ensure!(job["state"] != "failed" && Instant::now() < end, "the video is not described: {job}");
            if job["state"] == "done" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the server's video workers: the children of its template process.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn workers(&self) -> anyhow::Result<Vec<u32>> {
        let pid = self.pid().context("the server is gone")?;
        let mut workers = Vec::new();
        for template in children(pid)? {
            // It may have ended meanwhile.
            workers.extend(children(template).unwrap_or_default());
        }
        Ok(workers)
    }

    /// Returns everything that the server wrote to its standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        self.url.clear();
        let end = Instant::now() + START;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}: {}", self.log());
            }
            if self.url.is_empty() {
                self.url = address(&self.log()).unwrap_or_default();
            } else if self.get("/readyz").await.is_ok_and(|r| r.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the server is not ready after {START:?}: {}", self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test is read by a person")]
            {
                eprintln!("--- log of the server\n{}", self.log());
            }
        }
    }
}

/// Returns the children of a process.
fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        let Ok(text) = std::fs::read_to_string(task?.path().join("children")) else { continue };
        children.extend(text.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
    }
    Ok(children)
}

fn spawn(data: &Path, log: &Path, arguments: &[String]) -> anyhow::Result<Child> {
    // Truncated: after a restart the address in it is the new one.
    let out = File::create(log)?;
    let program = binary();
    let told = arguments.iter().any(|argument| argument == "--listen");
    let listen: &[&str] = if told { &[] } else { &["--listen", "127.0.0.1:0"] };
    Command::new(&program)
        .arg("serve")
        .args(listen)
        .arg("--data")
        .arg(data)
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {}; build it first", program.display()))
}

/// Finds the address in the line `started the HTTP server url=http://ADDRESS`.
fn address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("started the HTTP server"))?;
    let url = &line[line.find("http://")?..];
    let end = url.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\u{1b}')).unwrap_or(url.len());
    Some(url[..end].trim_end_matches('/').to_owned())
}
