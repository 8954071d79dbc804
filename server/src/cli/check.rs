//! `homereel check URL`: a smoke test that asks a running server about a short clip and compares the answer with the
//! known one.
//!
//! A Homereel server gets the whole file, as `homereel ask --server` sends it. Any other OpenAI-compatible endpoint,
//! such as vLLM, gets the clip as the engine `vllm` sends it.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use homereel_engine::flags::{EngineFlags, EngineName};
use homereel_video::Decoder;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    args::{AskArgs, CheckArgs, FrameSamplingArgs},
    ask, cancel_on_ctrl_c,
    outcome::{CompletedAnswer, Output},
    terminal::print,
};

/// The built-in clip: one coloured shape, which even the demo model recognizes.
const CLIP: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/share/check.mp4"));
const QUESTION: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/share/check.question"));
const EXPECTED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/share/check.expect"));

/// Timeout of one request for the server's state.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between two of them.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum bytes of a list of models, or of a reason for not being ready.
const MAX_BODY: usize = 1 << 20;

/// The answer is short; a model that rambles must not hold up a deploy.
const MAX_TOKENS: u32 = 64;

/// Waits until the server is ready, asks, and compares. Fails unless the answer is correct.
pub(super) async fn run(args: CheckArgs) -> anyhow::Result<()> {
    let began = Instant::now();
    let cancel = cancel_on_ctrl_c();
    let question = args.question.as_deref().unwrap_or(QUESTION.trim_end());
    let expected = args.expect.as_deref().unwrap_or(EXPECTED.trim_end());
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => bail!("cancelled"),
        result = answer(&args, question, began, &cancel) => result,
    };
    let result = result.and_then(|outcome| verdict(&args.url, question, expected, outcome));
    let seconds = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    if args.json {
        let mut object = json!({
            "url": args.url.as_str(), "question": question, "expected": expected, "passed": result.is_ok(), "seconds": seconds,
        });
        match &result {
            Ok(outcome) => {
                object["answer"] = json!(outcome.answer);
                object["model"] = json!(outcome.model);
                object["stages_ms"] = outcome.stages_ms.clone();
            }
            Err(error) => object["error"] = json!(format!("{error:#}")),
        }
        print(&object.to_string())?;
    } else if let Ok(outcome) = &result {
        let CompletedAnswer { answer, model, .. } = outcome;
        print(&format!("{model} at {} answers correctly after {seconds:.1} s: {answer:?}", args.url))?;
    }
    result.map(drop)
}

/// Passes the outcome on if the answer contains the expected text, in any case.
fn verdict(
    url: &Url,
    question: &str,
    expected: &str,
    outcome: CompletedAnswer,
) -> anyhow::Result<CompletedAnswer> {
    ensure!(
        outcome.answer.to_lowercase().contains(&expected.to_lowercase()),
        "{url} was asked {question:?} and answered {:?}; an answer that contains {expected:?} was expected",
        outcome.answer.chars().take(300).collect::<String>(),
    );
    Ok(outcome)
}

async fn answer(
    args: &CheckArgs,
    question: &str,
    began: Instant,
    cancel: &CancellationToken,
) -> anyhow::Result<CompletedAnswer> {
    let output = Output::start(true);
    output.progress.show("waiting for the server", 0, 0);
    let served = wait_until_ready(args, began).await?;
    let model = match &args.model {
        None => served.first().with_context(|| format!("{} serves no model", args.url))?,
        Some(wanted) => served.iter().find(|model| model.id == *wanted).with_context(|| {
            let ids = served.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", ");
            format!("{} serves {ids}; {wanted} was expected (does another server use the port?)", args.url)
        })?,
    };
    // The client commands read a file; the built-in clip becomes one for as long as the check runs.
    let mut built_in =
        tempfile::Builder::new().suffix(".mp4").tempfile().context("failed to create a file")?;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => {
            built_in.write_all(CLIP).context("failed to write the check clip")?;
            built_in.path().to_owned()
        }
    };
    let engine = EngineFlags {
        engine: Some(EngineName::Vllm),
        vllm_url: vec![args.url.to_string()],
        ..EngineFlags::default()
    };
    let request = AskArgs {
        file,
        question: question.to_owned(),
        sampling: FrameSamplingArgs::default(),
        max_tokens: MAX_TOKENS,
        temperature: Some(0.0),
        seed: None,
        json: true,
        decoder: Decoder::Auto,
        server: model.is_homereel().then(|| args.url.clone()),
        engine,
        config: None,
    };
    let asked = ask::answer(&request, &output, cancel);
    let outcome = tokio::time::timeout(Duration::from_secs(args.timeout), asked).await;
    let doing = || format!("{} was asked {question:?}", args.url);
    let mut outcome = outcome
        .with_context(|| format!("no answer within {} s", args.timeout))
        .flatten()
        .with_context(doing)?;
    // A vLLM endpoint's answer does not name the model.
    outcome.model.clone_from(&model.id);
    Ok(outcome)
}

/// An entry of `/v1/models`.
#[derive(Debug, Deserialize)]
struct Served {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
}

impl Served {
    fn is_homereel(&self) -> bool {
        self.owned_by.as_deref() == Some("homereel")
    }
}

#[derive(Debug, Deserialize)]
struct ServedList {
    data: Vec<Served>,
}

/// Why a server cannot be asked.
#[derive(Debug)]
enum NotReady {
    /// It may become ready.
    Yet(anyhow::Error),
    /// Waiting does not help.
    Ever(anyhow::Error),
}

/// Retries until the server is ready, `--wait` is over, or the process of `--pid` has exited.
async fn wait_until_ready(args: &CheckArgs, began: Instant) -> anyhow::Result<Vec<Served>> {
    let client = Client::builder().timeout(PROBE_TIMEOUT).build()?;
    loop {
        let error = match probe(&client, &args.url).await {
            Ok(served) => return Ok(served),
            Err(NotReady::Ever(error)) => return Err(error),
            Err(NotReady::Yet(error)) => error,
        };
        if let Some(pid) = args.pid
            && !runs(pid)
        {
            return Err(error.context(format!("process {pid} exited before {} was ready", args.url)));
        }
        if began.elapsed() >= Duration::from_secs(args.wait) {
            return Err(error.context(format!(
                "{} is not ready after {} s",
                args.url,
                began.elapsed().as_secs()
            )));
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Returns the models of a server that is ready.
async fn probe(client: &Client, url: &Url) -> Result<Vec<Served>, NotReady> {
    let join = |path| url.join(path).context("URL is not a base URL").map_err(NotReady::Ever);
    let mut request = client.get(join("v1/models")?);
    if let Some(key) = super::remote::api_key() {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.map_err(|error| NotReady::Yet(error.without_url().into()))?;
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let words = format!("{url} answers {status}; HOMEREEL_API_KEY must hold an API key of this server");
        return Err(NotReady::Ever(anyhow::Error::msg(words)));
    }
    let failure = || anyhow::anyhow!("{url}v1/models answers {status}");
    if status.is_server_error() {
        return Err(NotReady::Yet(failure()));
    }
    if !status.is_success() {
        return Err(NotReady::Ever(failure()));
    }
    let body = read_body(response).await.map_err(NotReady::Yet)?;
    let list: ServedList = serde_json::from_slice(&body)
        .with_context(|| format!("{url}v1/models does not answer with OpenAI's list of models"))
        .map_err(NotReady::Ever)?;
    // A server that drains still lists its model.
    if list.data.iter().any(Served::is_homereel) {
        let response = client.get(join("readyz")?).send().await;
        let response = response.map_err(|error| NotReady::Yet(error.without_url().into()))?;
        if !response.status().is_success() {
            let body = read_body(response).await.map_err(NotReady::Yet)?;
            let words = String::from_utf8_lossy(&body);
            return Err(NotReady::Yet(anyhow::anyhow!("{url}readyz answers {:?}", words.trim_end())));
        }
    }
    Ok(list.data)
}

/// Reads a short body; the server may be any program.
async fn read_body(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        ensure!(body.len() <= MAX_BODY, "the answer has more than {MAX_BODY} bytes");
    }
    Ok(body)
}

/// Returns whether a process exists. A process of another user does, although it takes no signal from this one.
fn runs(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: &str) -> anyhow::Result<CompletedAnswer> {
        let url = "http://127.0.0.1:8080".parse().unwrap();
        verdict(
            &url,
            "What color is it?",
            "yellow",
            CompletedAnswer { answer: answer.into(), ..CompletedAnswer::default() },
        )
    }

    #[test]
    fn the_expected_word_is_enough_and_another_answer_is_quoted() {
        assert!(judged("It is Yellow.").is_ok());
        let error = judged("!!!\n!!!").unwrap_err().to_string();
        assert!(error.contains("\"What color is it?\"") && error.contains("\"yellow\""), "{error}");
        assert!(error.contains("\"!!!\\n!!!\"") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn the_built_in_clip_has_a_question_and_an_answer() {
        assert!(CLIP.len() > 1000 && QUESTION.trim_end().ends_with('?') && !EXPECTED.trim_end().is_empty());
    }

    #[test]
    fn a_process_that_exited_is_noticed() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert!(!runs(pid));
        assert!(runs(i32::try_from(std::process::id()).unwrap()));
    }
}
