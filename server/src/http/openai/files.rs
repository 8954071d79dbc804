//! `/v1/files`: clips and pictures that requests name by their id, in OpenAI's format. They belong to the user or key that
//! uploaded them, are no videos of the library, and expire.

mod form;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    response::{IntoResponse as _, Response},
};
use homereel_library::{FileQuery, NewFile, StoredFile, new_id};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{
    auth_layer::CurrentUser,
    error::{Failure, OpenAiError, shown},
    files::{disposition, ranged},
};
use crate::http::extract::{Path, Query};
use crate::{import, state::AppState};

pub(super) use form::text as form_text;

/// Prefix of an id, as in OpenAI's API.
pub(in crate::http) const PREFIX: &str = "file-";

/// OpenAI's purposes of an upload.
pub(in crate::http) const PURPOSES: [&str; 6] =
    ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];

/// Maximum number of files in one page of the list, as in OpenAI's API.
const MAX_LIST: u32 = 10_000;

/// `POST /v1/files`.
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    user: CurrentUser,
    request: Request,
) -> Result<Json<Value>, OpenAiError> {
    let upload = form::read(&state, request).await?;
    let new = NewFile {
        id: new_id(),
        owner: user.account(),
        name: upload.name,
        purpose: upload.purpose,
        keep_ms: import::millis(upload.keep_s),
    };
    let file = import::add_file(&state.import_context(), upload.content, new).await.map_err(|error| {
        let failure = Failure::from(error);
        // Only what is wrong with the file is about the file.
        let param = failure.status.is_client_error().then(|| "file".to_owned());
        Failure { param, ..failure }
    })?;
    Ok(Json(object(&file)))
}

/// Query of the list.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
    order: Option<String>,
    purpose: Option<String>,
}

/// `GET /v1/files`.
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    user: CurrentUser,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, OpenAiError> {
    let given = |value: Option<String>| value.filter(|value| !value.is_empty());
    let limit = match given(query.limit) {
        None => MAX_LIST,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_LIST).contains(limit));
            limit.ok_or_else(|| {
                let message = format!("limit is {}; 1 to {MAX_LIST} would fit", shown(&text));
                Failure::invalid("limit", message)
            })?
        }
    };
    let ascending = match given(query.order).as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(other) => {
            let message = format!("order is {}; asc or desc would fit", shown(other));
            return Err(Failure::invalid("order", message).into());
        }
    };
    let after = given(query.after).map(|after| match after.strip_prefix(PREFIX) {
        Some(id) => Ok(id.to_owned()),
        None => {
            let message = format!("after is {}; the id of a file would fit", shown(&after));
            Err(Failure::invalid("after", message))
        }
    });
    let query =
        FileQuery { purpose: given(query.purpose), after: after.transpose()?, ascending, limit: limit + 1 };
    // One more than asked for, to know whether there is a next page.
    let mut files = state.library.files(user.account().as_deref(), &query).await?;
    let has_more = files.len() > limit as usize;
    files.truncate(limit as usize);
    let id = |file: Option<&StoredFile>| file.map(|file| format!("{PREFIX}{}", file.id));
    Ok(Json(json!({
        "object": "list",
        "data": files.iter().map(object).collect::<Vec<_>>(),
        "first_id": id(files.first()),
        "last_id": id(files.last()),
        "has_more": has_more,
    })))
}

/// `GET /v1/files/{id}`.
pub(in crate::http) async fn show(
    State(state): State<AppState>,
    user: CurrentUser,
    Path(id): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    let file = state.library.file(plain(&id)?, user.account().as_deref()).await.map_err(named)?;
    Ok(Json(object(&file)))
}

/// `GET /v1/files/{id}/content`. As a download, whatever it contains.
pub(in crate::http) async fn content(
    State(state): State<AppState>,
    user: CurrentUser,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, OpenAiError> {
    let opened = state.library.open_file(plain(&id)?, user.account().as_deref()).await;
    let (file, content) = opened.map_err(named)?;
    // The response opens the content before the pin ends.
    let response = ranged(content.path(), &format!("\"{}\"", file.sha256), method, &headers).await?;
    let mut response = response.into_response();
    let disposition =
        HeaderValue::from_str(&disposition("attachment", &file.name)).map_err(Failure::internal)?;
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// `DELETE /v1/files/{id}`.
pub(in crate::http) async fn delete(
    State(state): State<AppState>,
    user: CurrentUser,
    Path(id): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    state.library.delete_file(plain(&id)?, user.account().as_deref()).await.map_err(named)?;
    Ok(Json(json!({ "id": id, "object": "file", "deleted": true })))
}

/// Checks a purpose.
pub(in crate::http) fn purpose(param: &str, text: Option<String>) -> Result<String, Failure> {
    let fits = PURPOSES.join(", ");
    match text {
        Some(purpose) if PURPOSES.contains(&purpose.as_str()) => Ok(purpose),
        Some(other) => {
            let message = format!("purpose is {}; one of {fits} would fit", shown(&other));
            Err(Failure::invalid(param, message))
        }
        None => Err(Failure::invalid(param, format!("purpose is missing; one of {fits} would fit"))),
    }
}

/// Returns an id without its prefix.
fn plain(id: &str) -> Result<&str, Failure> {
    id.strip_prefix(PREFIX).ok_or_else(|| {
        let failure = Failure::not_found(format!("no file has the id {}", shown(id)));
        Failure { param: Some("id".into()), ..failure }
    })
}

fn named(error: homereel_library::LibraryError) -> Failure {
    let failure = Failure::from(error);
    let param = failure.status.is_client_error().then(|| "id".to_owned());
    Failure { param, ..failure }
}

/// Renders OpenAI's object.
fn object(file: &StoredFile) -> Value {
    json!({
        "id": format!("{PREFIX}{}", file.id),
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_ms.div_euclid(1000),
        "expires_at": file.expires_ms.div_euclid(1000),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": null,
    })
}
