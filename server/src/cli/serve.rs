//! `homereel serve`: opens the engine and runs the server.

use std::sync::Arc;

use homereel_engine::{DeviceKind, Engine, EngineConfig, EngineKind};
use homereel_video::Worker;

use super::{ServeArgs, UsageError, doctor};
use crate::{
    config, media::MediaDecoder, reload::Settings, serve, shutdown::Lifecycle, state::AppState, telemetry,
};

/// Niceness of a model that runs on the CPU.
const NICE: i32 = 10;

/// Runs the server until a signal or a fatal error; with `check`, only checks what it would start with.
pub(super) async fn run(args: ServeArgs, check: bool) -> anyhow::Result<()> {
    telemetry::log("info");
    let settings = Settings { file: args.config, server: args.server, engine: args.engine };
    let (mut server, engine) =
        config::resolve(settings.file.as_ref(), settings.server.clone(), settings.engine.clone())
            .map_err(UsageError)?;
    if check {
        return doctor::check_settings(&server, &engine).await;
    }
    let lifecycle = Lifecycle::default();
    lifecycle.listen()?;
    let metrics = telemetry::metrics()?;
    let worker = Worker::this_program()?
        .with_concurrency(server.video_workers)
        .with_decoder(server.decoder)
        .with_spare();
    let engine = open_engine(engine)?;
    let listener = serve::listen(&mut server).await?;
    let state = AppState::open(server, engine, MediaDecoder::new(worker), metrics, lifecycle).await?;
    serve::serve(state, listener, settings).await
}

/// Opens the engine. A model on the CPU gets a lower scheduling priority: a page needs milliseconds of CPU
/// time and an answer needs seconds, so pages stay responsive. Threads inherit the priority of the thread
/// that starts them.
fn open_engine(config: EngineConfig) -> anyhow::Result<Arc<dyn Engine>> {
    if config.kind != EngineKind::Candle || config.device != DeviceKind::Cpu {
        return Ok(homereel_engine::open(&config)?);
    }
    let opening = std::thread::Builder::new().spawn(move || {
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "failed to lower the CPU priority of the model; continuing at normal priority");
        }
        homereel_engine::open(&config)
    })?;
    Ok(opening.join().map_err(|_| anyhow::anyhow!("opening the model panicked"))??)
}
