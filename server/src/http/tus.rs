//! Resumable uploads with tus 1.0.0 (core, creation, creation-with-upload, checksum, termination, expiration): to the library
//! at `/api/uploads`, with extensions for Homereel's own page (unfinished uploads, and whether a file is known), and to the
//! files of requests at `/v1/files/uploads`, where every caller sees only their own.
//!
//! The received bytes of an interrupted chunk are kept, unless it has a checksum. The response to the last
//! chunk waits for the probe: 204 with `Homereel-Video` or `Homereel-File`, or the reason of the rejection.

mod checksum;
mod destination;
mod headers;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use homereel_library::{LibraryError, Receiving, Upload, UploadState};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    checksum::Checksum,
    destination::Destination,
    headers::{AnnouncedUpload, VERSION, announced, number, text, tus_version},
};
use super::{
    auth_layer::CurrentUser,
    error::{Failure, Problem, render},
    extract::{Path, Query},
    openai::files,
};
use crate::{
    import::{self, Imported},
    state::AppState,
};

/// Number of uploads in one list.
const LIST: u32 = 100;

const HOMEREEL_FILE: HeaderName = HeaderName::from_static("homereel-file");

/// `OPTIONS`: protocol version and extensions.
pub(super) async fn describe(State(state): State<AppState>) -> Response {
    let headers = [
        ("tus-version", VERSION.to_owned()),
        ("tus-max-size", state.config.get().max_upload_bytes.to_string()),
        ("tus-extension", "creation,creation-with-upload,checksum,termination,expiration".to_owned()),
        ("tus-checksum-algorithm", checksum::ALGORITHMS.to_owned()),
    ];
    let mut response = tus(StatusCode::NO_CONTENT.into_response());
    for (name, value) in headers {
        set(&mut response, HeaderName::from_static(name), &value);
    }
    response
}

/// `POST /api/uploads`, `POST /v1/files/uploads`
pub(super) async fn create(
    State(state): State<AppState>,
    to: Destination,
    user: CurrentUser,
    request: Request,
) -> Response {
    answer(try_create(&state, to, &user, request).await, &state, to)
}

async fn try_create(
    state: &AppState,
    to: Destination,
    user: &CurrentUser,
    request: Request,
) -> Result<Response, Failure> {
    tus_version(request.headers())?;
    let AnnouncedUpload { mut new, purpose, has_body } = announced(request.headers())?;
    new.owner = user.account();
    if to == Destination::Files {
        new.purpose = Some(files::purpose("Upload-Metadata", purpose)?);
    }
    let upload = state.library.create_upload(new, state.config.get().max_upload_bytes).await?;
    let location = format!("{}/{}", to.url(), upload.id);
    let mut response = if has_body {
        let checksum = Checksum::of(request.headers())?;
        let receiving = state.library.receive(&upload.id, 0, checksum.is_none()).await?;
        let response = take(state, receiving, checksum, request.into_body()).await?;
        (StatusCode::CREATED, response.headers().clone()).into_response()
    } else {
        with_offset(StatusCode::CREATED.into_response(), &upload)
    };
    set(&mut response, header::LOCATION, &location);
    Ok(response)
}

/// `HEAD /api/uploads/{id}`, `HEAD /v1/files/uploads/{id}`: the current offset; the file that it became.
pub(super) async fn offset(
    State(state): State<AppState>,
    to: Destination,
    user: CurrentUser,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(try_offset(&state, to, &user, &id, &headers).await, &state, to)
}

async fn try_offset(
    state: &AppState,
    to: Destination,
    user: &CurrentUser,
    id: &str,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    tus_version(headers)?;
    to.upload(state, user, id).await?;
    let upload = state.library.settled_upload(id).await?;
    if upload.state == UploadState::Refused {
        return Err(LibraryError::Ended(upload.error.unwrap_or_default()).into());
    }
    let mut response = with_offset(StatusCode::OK.into_response(), &upload);
    set(&mut response, HeaderName::from_static("upload-length"), &upload.length.to_string());
    if to == Destination::Files && upload.state == UploadState::Done {
        set(&mut response, HOMEREEL_FILE, &format!("{}{id}", files::PREFIX));
    }
    if !upload.metadata.is_empty() {
        set(&mut response, HeaderName::from_static("upload-metadata"), &upload.metadata);
    }
    Ok(response)
}

/// `PATCH /api/uploads/{id}`, `PATCH /v1/files/uploads/{id}`: the next chunk.
pub(super) async fn append(
    State(state): State<AppState>,
    to: Destination,
    user: CurrentUser,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    answer(try_append(&state, to, &user, &id, request).await, &state, to)
}

async fn try_append(
    state: &AppState,
    to: Destination,
    user: &CurrentUser,
    id: &str,
    request: Request,
) -> Result<Response, Failure> {
    let headers = request.headers();
    tus_version(headers)?;
    let upload = to.upload(state, user, id).await?;
    if text(headers, header::CONTENT_TYPE.as_str()) != Some("application/offset+octet-stream") {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "a chunk of an upload needs the content type application/offset+octet-stream",
        ));
    }
    let offset = number(headers, "upload-offset")?.ok_or_else(|| {
        Failure::invalid(
            "Upload-Offset",
            "the header Upload-Offset is missing; it is the offset of the chunk",
        )
    })?;
    let checksum = Checksum::of(headers)?;
    let announced = number(headers, header::CONTENT_LENGTH.as_str())?.unwrap_or(0);
    if offset.saturating_add(announced) > upload.length {
        return Err(Failure::too_large(format!(
            "the chunk ends at byte {}, but the upload has {}",
            offset.saturating_add(announced),
            upload.length
        )));
    }
    let receiving = state.library.receive(id, offset, checksum.is_none()).await?;
    take(state, receiving, checksum, request.into_body()).await
}

/// Writes a chunk. After the last one, imports the video or file.
async fn take(
    state: &AppState,
    mut receiving: Receiving,
    mut checksum: Option<Checksum>,
    body: Body,
) -> Result<Response, Failure> {
    let mut body = body.into_data_stream();
    let mut broken = None;
    loop {
        let chunk = tokio::select! {
            biased;
            // A request for the same upload comes from the same client with a new connection.
            () = receiving.sent_away() => {
                broken = Some("another connection resumed this upload".to_owned());
                break;
            }
            () = state.lifecycle.hard().cancelled() => {
                broken = Some("the server is stopping".to_owned());
                break;
            }
            chunk = body.next() => chunk,
        };
        match chunk {
            Some(Ok(bytes)) => {
                if let Some(checksum) = &mut checksum {
                    checksum.update(&bytes);
                }
                receiving.write(&bytes).await?;
            }
            None => break,
            Some(Err(error)) => {
                broken = Some(format!("the connection was lost: {error}"));
                break;
            }
        }
    }
    if let Some(checksum) = checksum {
        // If it is dropped without acceptance, the chunk does not count.
        if let Some(reason) = broken {
            return Err(incomplete(&reason));
        }
        checksum.verify()?;
    }
    let upload = receiving.accept().await?;
    if let Some(reason) = broken {
        return Err(incomplete(&format!(
            "{reason}; {} of {} bytes were received",
            upload.received, upload.length
        )));
    }
    let mut response = with_offset(StatusCode::NO_CONTENT.into_response(), &upload);
    if upload.state == UploadState::Storing {
        let stored = import::store_soon(&state.import_context(), upload).await.map_err(Failure::internal)?;
        // The request was valid; the file is not.
        let stored = stored.map_err(|error| match Failure::from(error) {
            failure if failure.status == StatusCode::BAD_REQUEST => {
                Failure { status: StatusCode::UNPROCESSABLE_ENTITY, ..failure }
            }
            failure => failure,
        })?;
        match stored {
            Imported::File(file) => {
                set(&mut response, HOMEREEL_FILE, &format!("{}{}", files::PREFIX, file.id));
            }
            Imported::Video(stored) => {
                set(&mut response, HeaderName::from_static("homereel-video"), &stored.video.id);
                let how = match (stored.restored, stored.duplicate) {
                    (true, _) => "restored",
                    (false, true) => "duplicate",
                    (false, false) => "new",
                };
                set(&mut response, HeaderName::from_static("homereel-stored"), how);
            }
        }
    }
    Ok(response)
}

fn incomplete(reason: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "incomplete_body", reason)
}

/// `DELETE /api/uploads/{id}`, `DELETE /v1/files/uploads/{id}`: aborts an upload.
pub(super) async fn end(
    State(state): State<AppState>,
    to: Destination,
    user: CurrentUser,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let work = async {
        tus_version(&headers)?;
        to.upload(&state, &user, &id).await?;
        state.library.delete_upload(&id).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(work.await, &state, to)
}

/// `POST` with `X-HTTP-Method-Override`, for clients whose network blocks other methods.
pub(super) async fn override_(
    state: State<AppState>,
    to: Destination,
    user: CurrentUser,
    path: Path<String>,
    request: Request,
) -> Response {
    let method = request.headers().get("x-http-method-override").and_then(|value| value.to_str().ok());
    match method.and_then(|method| method.parse::<Method>().ok()) {
        Some(Method::PATCH) => append(state, to, user, path, request).await,
        Some(Method::DELETE) => end(state, to, user, path, request.headers().clone()).await,
        Some(Method::HEAD) => offset(state, to, user, path, request.headers().clone()).await,
        _ => {
            let message = "an upload supports PATCH, HEAD and DELETE, or POST with one of them in X-HTTP-Method-Override";
            let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
            answer(Err(failure), &state.0, to)
        }
    }
}

/// `GET /api/uploads`: the caller's unfinished and lately refused uploads, newest first.
pub(super) async fn list(State(state): State<AppState>, user: CurrentUser) -> Result<Json<Value>, Problem> {
    let uploads = state.library.uploads_of(user.account().as_deref(), LIST).await?;
    Ok(Json(json!({ "uploads": uploads })))
}

/// `GET /api/uploads/{id}`: the state of an upload.
pub(super) async fn show(
    State(state): State<AppState>,
    to: Destination,
    user: CurrentUser,
    Path(id): Path<String>,
) -> Result<Json<Upload>, Problem> {
    Ok(Json(to.upload(&state, &user, &id).await?))
}

/// Query for a file before it is sent.
#[derive(Debug, Deserialize)]
pub(super) struct KnownQuery {
    sha256: String,
    size: u64,
}

/// `GET /api/uploads/known?sha256=…&size=…`: the video with this content, or the unfinished upload of it.
pub(super) async fn known(
    State(state): State<AppState>,
    Query(known): Query<KnownQuery>,
) -> Result<Json<Value>, Problem> {
    let hash = headers::hash(&known.sha256)
        .ok_or_else(|| Failure::invalid("sha256", "sha256 must be 64 hexadecimal digits"))?;
    let video = state.library.video_by_hash(&hash).await?;
    let video =
        video.map(|video| json!({"id": video.id, "name": video.name, "trashed": video.deleted_ms.is_some()}));
    let upload = match video {
        Some(_) => None,
        None => state.library.upload_claimed(&hash, known.size).await?,
    };
    Ok(Json(json!({ "video": video, "upload": upload })))
}

fn with_offset(mut response: Response, upload: &Upload) -> Response {
    set(&mut response, HeaderName::from_static("upload-offset"), &upload.received.to_string());
    if upload.state == UploadState::Receiving
        && let Ok(at) = Timestamp::from_millisecond(upload.expires_ms)
    {
        // The date format of RFC 9110 is always GMT.
        let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        set(&mut response, HeaderName::from_static("upload-expires"), &date);
    }
    response
}

/// Adds the protocol's headers to a response or an error.
fn answer(result: Result<Response, Failure>, state: &AppState, to: Destination) -> Response {
    let (status, mut response) = match result {
        Ok(response) => (response.status(), response),
        Err(failure) => (failure.status, render(to.url(), failure)),
    };
    if status == StatusCode::PRECONDITION_FAILED {
        set(&mut response, HeaderName::from_static("tus-version"), VERSION);
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let max = state.config.get().max_upload_bytes.to_string();
        set(&mut response, HeaderName::from_static("tus-max-size"), &max);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tus(response)
}

fn tus(mut response: Response) -> Response {
    set(&mut response, HeaderName::from_static("tus-resumable"), VERSION);
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
