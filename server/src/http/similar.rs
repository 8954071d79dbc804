//! `GET /api/videos/{id}/similar`, and "More like this" on the page of a video.

use std::time::Duration;

use axum::{Json, extract::State};
use homereel_web::views::Card;
use serde_json::{Value, json};

use super::{error::Problem, extract::Path, html::PageContext, search, titles::titles, views};
use crate::state::AppState;

/// Maximum number of videos.
const MOST: usize = 6;

/// How long a page waits for them.
const PATIENCE: Duration = Duration::from_millis(500);

/// `GET /api/videos/{id}/similar`
pub(super) async fn api(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    state.library.video(&id).await?;
    let (meaning, videos) = state.meaning.similar(&id, MOST).await?;
    let videos: Vec<Value> = videos.iter().map(search::summary).collect();
    Ok(Json(json!({ "meaning": meaning, "videos": videos })))
}

/// Returns the videos like one, for its page, which is shown without them rather than late or not at all.
pub(super) async fn cards(cx: &PageContext, id: &str) -> Vec<Card> {
    match tokio::time::timeout(PATIENCE, cx.state.meaning.similar(id, MOST)).await {
        Ok(Ok((_, videos))) => {
            // Without a database, there would be no page.
            let titles = titles(&cx.state, &videos).await.unwrap_or_default();
            let card =
                |video| Card { title: titles.of(video).to_owned(), ..views::card(cx.words, video, None) };
            videos.iter().map(card).collect()
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, video.id = id, "failed to look for similar videos; the page shows none");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}
