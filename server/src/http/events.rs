//! `/api/events`: changes of the library as server-sent events, for pages that update themselves.

use std::convert::Infallible;

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use homereel_library::Change;
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};

use super::system::charts;
use crate::state::AppState;

/// `GET /api/events`: the stream ends when the server drains, and, as all, with its session.
pub(super) async fn events(State(state): State<AppState>) -> Response {
    let changes =
        BroadcastStream::new(state.library.subscribe()).map(|change| Ok::<_, Infallible>(render(change)));
    // A page that was rendered with a smaller number missed changes, and refreshes.
    let so_far = Event::default().event("changes").data(state.library.changes().to_string());
    let changes = tokio_stream::once(Ok(so_far)).chain(changes);
    // A reader that is too slow for samples misses some.
    let samples = BroadcastStream::new(state.samples.subscribe()).filter_map(|sample| sample.ok());
    let samples =
        samples.map(|values| Ok(Event::default().event("sample").data(charts::sample(&values).to_string())));
    let stop = state.lifecycle.soft().clone();
    let until_stop = ended_by(changes.merge(samples), async move { stop.cancelled().await });
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-store")];
    (headers, Sse::new(until_stop).keep_alive(KeepAlive::default())).into_response()
}

fn ended_by<S: Stream>(stream: S, end: impl Future<Output = ()>) -> impl Stream<Item = S::Item> {
    futures_util::StreamExt::take_until(stream, end)
}

fn render(change: Result<Change, BroadcastStreamRecvError>) -> Event {
    let Ok(change) = change else {
        // The reader was too slow and missed events; it reloads everything.
        return Event::default().event("lagged").data("{}");
    };
    let name = match change {
        Change::Video { .. } | Change::VideoDeleted { .. } | Change::Videos | Change::Album { .. } => "video",
        Change::Job { .. } | Change::Jobs | Change::Paused { .. } => "job",
        Change::Progress { .. } => "progress",
    };
    let data = serde_json::to_string(&change).unwrap_or_else(|_| "{}".into());
    Event::default().event(name).data(data)
}
