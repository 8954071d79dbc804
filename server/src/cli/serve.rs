//! `homereel serve`.

use homereel_video::Worker;

use super::{ServeArgs, Usage};
use crate::{
    app::{self, AppState},
    config,
    media::Media,
    shutdown::Lifecycle,
    telemetry,
};

/// Serves until a signal or a crash.
pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    telemetry::log("info");
    let (mut server, engine) =
        config::resolve(args.config.as_ref(), args.server, args.engine).map_err(Usage)?;
    let lifecycle = Lifecycle::default();
    lifecycle.listen()?;
    let metrics = telemetry::metrics()?;
    let worker = Worker::this_program()?
        .with_concurrency(server.video_workers)
        .with_decoder(server.decoder)
        .with_spare();
    let engine = homereel_engine::open(&engine)?;
    let listener = app::listen(&mut server).await?;
    let state = AppState::open(server, engine, Media::new(worker), metrics, lifecycle).await?;
    app::serve(state, listener).await
}
