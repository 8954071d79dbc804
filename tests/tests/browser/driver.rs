//! A headless Chromium driven by tests: starts chromedriver on a free port and a browser with a new profile, waits for page
//! contents, drags files, and reads the browser's console and network log.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use homereel_tests::PATIENCE;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Without these, Chromium phones its maker, or does not start as root in a container.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--lang=en-GB",
];

/// A browser window of its own.
#[derive(Debug)]
pub(crate) struct Browser {
    pub(crate) client: Client,
    javascript: bool,
    _driver: Child,
    _profile: TempDir,
}

/// How to start a browser.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) javascript: bool,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { javascript: true, width: 1280, height: 900, dark: false }
    }
}

impl Browser {
    /// Starts a browser.
    pub(crate) async fn start(settings: Settings) -> anyhow::Result<Self> {
        let (driver, port) = start_driver().await?;
        let profile = tempfile::tempdir()?;
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        flags.push(format!("--window-size={},{}", settings.width, settings.height));
        let javascript = if settings.javascript { 1 } else { 2 };
        let capabilities = json!({
            "goog:chromeOptions": {
                "args": flags,
                "prefs": {"profile.managed_default_content_settings.javascript": javascript},
            },
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let Value::Object(capabilities) = capabilities else { bail!("capabilities are an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .context("chromedriver could not start chromium (Debian's package chromium)")?;
        let browser = Self { client, javascript: settings.javascript, _driver: driver, _profile: profile };
        browser.show_as(settings.width, settings.height, settings.dark).await?;
        Ok(browser)
    }

    /// Takes another size (a real window can't be as narrow as a phone) and another theme.
    pub(crate) async fn show_as(&self, width: u32, height: u32, dark: bool) -> anyhow::Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await?;
        let theme = if dark { "dark" } else { "light" };
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.devtools("Emulation.setEmulatedMedia", features).await?;
        Ok(())
    }

    /// Sends a command of the DevTools protocol.
    pub(crate) async fn devtools(&self, command: &'static str, params: Value) -> anyhow::Result<Value> {
        let answer = self.client.issue_cmd(DevTools { command, params }).await;
        answer.with_context(|| format!("the browser refused {command}"))
    }

    /// Drags files from the desktop over the first element of `css` and lets them go there.
    pub(crate) async fn drop_files(&self, css: &str, files: &[&Path]) -> anyhow::Result<()> {
        let script = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); \
                      return [box.x + box.width / 2, box.y + box.height / 2];";
        let place = self.client.execute(script, vec![json!(css)]).await?;
        let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        for step in ["dragEnter", "dragOver", "drop"] {
            let params = json!({
                "type": step, "x": place[0], "y": place[1],
                "data": {"items": [], "files": files, "dragOperationsMask": 1},
            });
            self.devtools("Input.dispatchDragEvent", params).await?;
        }
        Ok(())
    }

    /// What went over the network since the last look: URL and bytes of each request as far as they are known.
    pub(crate) async fn traffic(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let log = self.client.issue_cmd(Log("performance")).await?;
        let mut requests: Vec<(String, String, u64)> = Vec::new();
        for entry in log.as_array().context("the performance log is a list")? {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())?;
            let (method, params) = (&message["message"]["method"], &message["message"]["params"]);
            let id = params["requestId"].as_str().unwrap_or_default();
            match method.as_str() {
                Some("Network.requestWillBeSent") => {
                    let url = params["request"]["url"].as_str().unwrap_or_default();
                    requests.push((id.to_owned(), url.to_owned(), 0));
                }
                Some("Network.loadingFinished") => {
                    let bytes = params["encodedDataLength"].as_f64().unwrap_or_default() as u64;
                    if let Some(request) = requests.iter_mut().rev().find(|request| request.0 == id) {
                        request.2 = bytes;
                    }
                }
                _ => {}
            }
        }
        // The browser's own first page is no page of ours.
        let sent = requests.into_iter().filter(|(_, url, _)| !url.starts_with("chrome"));
        Ok(sent.map(|(_, url, bytes)| (url, bytes)).collect())
    }

    /// Opens a page and waits until it is loaded with its stylesheet: on a busy machine, chromedriver may return earlier.
    pub(crate) async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.client.goto(url).await?;
        self.wait_until("loaded page", async |browser| {
            // Scripts are modules, which are loaded after the page. Where JavaScript is disabled, they never start.
            let script = match browser.javascript {
                true => {
                    "return (document.readyState === 'complete' && (!document.querySelector('script[type=module]') \
                     || 'started' in document.documentElement.dataset)) || null"
                }
                false => "return document.readyState === 'complete' || null",
            };
            let loaded = browser.run(script).await;
            Ok(loaded.unwrap_or(Value::Bool(true)).as_bool())
        })
        .await?;
        Ok(())
    }

    /// Waits until the first element of `css` is there and its text holds `words`; returns the text.
    pub(crate) async fn wait_for(&self, css: &str, words: &str) -> anyhow::Result<String> {
        self.wait_until(&format!("{css} says {words:?}"), async |browser| {
            Ok(browser.text(css).await?.filter(|text| text.contains(words)))
        })
        .await
    }

    /// Waits until `look` finds something.
    pub(crate) async fn wait_until<T>(
        &self,
        what: &str,
        look: impl AsyncFn(&Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self).await? {
                return Ok(found);
            }
            if Instant::now() > end {
                let page = self.client.source().await.unwrap_or_default();
                bail!("no {what} after {PATIENCE:?}; the page is\n{page}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a script is true.
    pub(crate) async fn holds(&self, what: &str, script: &str) -> anyhow::Result<()> {
        let script = format!("return ({script}) || null");
        self.wait_until(what, async |b| Ok(b.run(&script).await?.as_bool().map(|_| ()))).await
    }

    /// The text that the first element of `css` shows; none when there is no such element.
    pub(crate) async fn text(&self, css: &str) -> anyhow::Result<Option<String>> {
        // One script, not find + text: live pages swap elements between two commands.
        let text = self
            .client
            .execute("return document.querySelector(arguments[0])?.innerText ?? null", vec![json!(css)]);
        Ok(text.await?.as_str().map(str::to_owned))
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str) -> anyhow::Result<Value> {
        Ok(self.client.execute(script, vec![]).await?)
    }

    /// Clicks the first element of `css`.
    pub(crate) async fn click(&self, css: &str) -> anyhow::Result<()> {
        self.wait_until(&format!("click on {css}"), async |browser| {
            let element =
                browser.client.find(Locator::Css(css)).await.with_context(|| format!("no {css}"))?;
            match element.click().await {
                Ok(()) => Ok(Some(())),
                // A live page swapped the element between the two commands.
                Err(error) if error.is_stale_element_reference() => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Types into (or, for a file input, chooses the files of) the first element of `css`.
    pub(crate) async fn type_into(&self, css: &str, text: &str) -> anyhow::Result<()> {
        let element = self.client.find(Locator::Css(css)).await.with_context(|| format!("no {css}"))?;
        Ok(element.send_keys(text).await?)
    }

    /// Fails when the browser's console holds an error or a warning: script errors, violations of the
    /// content security policy, failed requests. `known` are those that the test provoked.
    pub(crate) async fn assert_console_is_clean(&self, known: &[&str]) -> anyhow::Result<()> {
        let log = self.client.issue_cmd(Log("browser")).await?;
        let bad: Vec<&Value> = log
            .as_array()
            .context("the console log is a list")?
            .iter()
            .filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")))
            .filter(|entry| {
                !known.iter().any(|&known| entry["message"].as_str().is_some_and(|m| m.contains(known)))
            })
            .collect();
        ensure!(bad.is_empty(), "the console says {bad:#?}");
        Ok(())
    }

    /// Fails when the page is wider than the window.
    pub(crate) async fn assert_no_sideways_scroll(&self) -> anyhow::Result<()> {
        let script = "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]";
        let widths = self.run(script).await?;
        let (page, window) = (widths[0].as_u64(), widths[1].as_u64());
        if page > window {
            // Without its stylesheet, every page is too wide.
            let loaded = "return performance.getEntriesByType('resource').map((e) => [e.name, e.responseStatus, e.duration])";
            let (loaded, console) = (self.run(loaded).await?, self.client.issue_cmd(Log("browser")).await?);
            bail!(
                "the page is {page:?} wide, the window {window:?}; loaded: {loaded}; the console: {console}"
            );
        }
        Ok(())
    }

    /// Writes the page from its top, `height` pixels of it at most, as PNG.
    pub(crate) async fn photograph(&self, file: &Path, height: u32) -> anyhow::Result<()> {
        // Its bar would stand over the page's right edge.
        self.devtools("Emulation.setScrollbarsHidden", json!({"hidden": true})).await?;
        let script = "const page = document.documentElement; return [innerWidth, page.scrollHeight]";
        let size = self.run(script).await?;
        let (width, whole) = (size[0].as_f64(), size[1].as_f64());
        let height = whole.unwrap_or_default().min(f64::from(height));
        let params = json!({
            "format": "png", "captureBeyondViewport": true,
            "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
        });
        let shot = self.devtools("Page.captureScreenshot", params).await?;
        self.devtools("Emulation.setScrollbarsHidden", json!({"hidden": false})).await?;
        let base64 = base64::engine::general_purpose::STANDARD;
        let png = base64::Engine::decode(&base64, shot["data"].as_str().context("a picture")?)?;
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(file, png)?)
    }

    /// Runs axe-core (its script's text) on the page and fails on what harms somebody seriously.
    pub(crate) async fn assert_accessible(&self, axe: &str) -> anyhow::Result<()> {
        // Evaluated by the driver, which the page's policy does not bind.
        self.client.execute(axe, vec![]).await?;
        let script = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then( \
            (result) => done(result.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map( \
            (v) => [v.id, v.help, v.nodes.map((n) => n.html).slice(0, 3)])), (error) => done([String(error)]));";
        let found = self.client.execute_async(script, vec![]).await?;
        ensure!(found == json!([]), "axe-core finds {found:#}");
        Ok(())
    }

    /// Ends the browser.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        Ok(self.client.close().await?)
    }
}

/// Starts chromedriver on a port that the system chooses, and returns it.
/// Starts chromedriver on a free port; again if another program took the port just before.
async fn start_driver() -> anyhow::Result<(Child, u16)> {
    for _ in 0..3 {
        if let Some(started) = try_to_start_driver().await? {
            return Ok(started);
        }
    }
    bail!("chromedriver ended before it listened, three times")
}

async fn try_to_start_driver() -> anyhow::Result<Option<(Child, u16)>> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start chromedriver; install Debian's packages chromium and chromium-driver")?;
    let out = driver.stdout.take().context("chromedriver's output is piped")?;
    let mut lines = BufReader::new(out).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(port) = line
            .split("successfully on port ")
            .nth(1)
            .and_then(|rest| rest.trim_end_matches('.').parse().ok())
        {
            // Read on, or the driver blocks on a full pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(Some((driver, port)));
        }
    }
    Ok(None)
}

/// Chromedriver's own command that sends one of the DevTools protocol.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"cmd": self.command, "params": self.params}).to_string()))
    }
}

/// Chromedriver's own command that returns and empties a log: `browser` (the console) or `performance`.
#[derive(Debug)]
struct Log(&'static str);

impl WebDriverCompatibleCommand for Log {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"type": self.0}).to_string()))
    }
}
