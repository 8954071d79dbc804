//! Deletes answers about a video.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};

use super::{
    error::{Failure, Problem},
    extract::Path,
    html::{self, PageContext},
    neighbours::Origin,
};
use crate::state::AppState;

/// `DELETE /api/videos/{id}/answers/{answer}`
pub(super) async fn delete(
    State(state): State<AppState>,
    Path((id, answer)): Path<(String, String)>,
) -> Result<Response, Problem> {
    state.library.delete_answer(&id, &answer).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /videos/{id}/answers/{answer}/delete`: a form.
pub(super) async fn delete_form(
    cx: PageContext,
    origin: Origin,
    Path((id, answer)): Path<(String, String)>,
) -> Response {
    let deleted = cx.state.library.delete_answer(&id, &answer).await.map_err(Failure::from);
    html::or_error(
        &cx,
        deleted.map(|()| Redirect::to(&format!("{}#ask-title", origin.url_of(&id))).into_response()),
    )
}
