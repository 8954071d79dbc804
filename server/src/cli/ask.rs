//! `homereel ask`: asks a model in this process, or a running server with `--server`. The output is the same.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use homereel_engine::{Engine, EngineKind, Health};
use homereel_video::{FrameSampling, Worker};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    AskArgs, UsageError, cancel_on_ctrl_c,
    outcome::{CompletedAnswer, Output},
    remote, source,
};
use crate::{
    answer::{AnswerService, AskEvent, Conversation, Priority},
    config,
    media::{MediaDecoder, MediaReport},
};

/// How long to wait for a vLLM server. Shorter than its start, because `ask` does not start it.
const UPSTREAM_PATIENCE: Duration = Duration::from_secs(15);

/// Asks and prints the answer.
pub(super) async fn run(args: AskArgs) -> anyhow::Result<()> {
    let output = Output::start(args.json);
    let cancel = cancel_on_ctrl_c();
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => bail!("cancelled"),
        outcome = answer(&args, &output, &cancel) => outcome?,
    };
    output.end(outcome)
}

/// Asks the server of `--server`, or a model in this process.
pub(super) async fn answer(
    args: &AskArgs,
    output: &Output,
    cancel: &CancellationToken,
) -> anyhow::Result<CompletedAnswer> {
    match &args.server {
        Some(server) => remote::ask(args, server, output).await,
        None => local(args, output, cancel).await,
    }
}

async fn local(
    args: &AskArgs,
    output: &Output,
    cancel: &CancellationToken,
) -> anyhow::Result<CompletedAnswer> {
    let file = source(&args.file)?;
    let config = config::engine(args.config.as_ref(), args.engine.clone()).map_err(UsageError)?;
    let engine = homereel_engine::open(&config)?;
    output.progress.show("loading the model", 0, 0);
    match &config.kind {
        EngineKind::Candle => ready(&engine).await?,
        EngineKind::Vllm { urls, .. } => {
            let waited = tokio::time::timeout(UPSTREAM_PATIENCE, ready(&engine)).await;
            let at = || urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            waited.with_context(|| format!("no vLLM server answers at {}", at()))??;
        }
    }

    let mut sampling = engine.info()?.sampling;
    sampling.temperature = args.temperature.unwrap_or(sampling.temperature);
    sampling.seed = args.seed.or(sampling.seed);
    let mut conversation =
        Conversation::about(file, FrameSampling::from(args.sampling), &args.question, sampling);
    conversation.options.max_tokens = Some(args.max_tokens as usize);
    let answers =
        AnswerService::new(engine, MediaDecoder::new(Worker::this_program()?.with_decoder(args.decoder)), 1);
    let mut answering = answers.ask(conversation, Priority::Interactive, cancel)?;

    let mut outcome = CompletedAnswer::default();
    let mut report = MediaReport::default();
    let name = || args.file.display().to_string();
    while let Some(event) = answering.next().await {
        match event.with_context(name)? {
            AskEvent::Queued { .. } => output.progress.stage("queued", 0, 0),
            AskEvent::Progress { stage, done, total } => {
                output.progress.stage(stage.as_str(), done as u64, total as u64);
            }
            AskEvent::Media(media) => report = media,
            AskEvent::Token { text, .. } => {
                output.piece(&text)?;
                outcome.answer.push_str(&text);
            }
            AskEvent::Delta(_) => {}
            AskEvent::Done(finished) => {
                report.warnings.clone_from(&finished.warnings);
                outcome.model = finished.model;
                outcome.finish_reason = json!(finished.finish_reason);
                outcome.usage = json!(finished.usage);
                outcome.stages_ms = json!(finished.stages_ms);
                outcome.warnings = finished.warnings;
            }
        }
    }
    outcome.media = json!(report);
    Ok(outcome)
}

/// Waits until the model is loaded.
async fn ready(engine: &Arc<dyn Engine>) -> anyhow::Result<()> {
    let mut health = engine.watch_health();
    let health = health.wait_for(|health| *health != Health::Loading).await;
    match health.as_deref() {
        Ok(Health::Failed(reason)) => bail!("{reason}"),
        Ok(_) => Ok(()),
        Err(_) => bail!("the engine stopped while it loaded the model"),
    }
}
