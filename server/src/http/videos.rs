//! `/api/videos` and `/api/videos/{id}`: the library as JSON, and the same changes as forms of pages.

use axum::{
    Form, Json,
    extract::{
        State,
        rejection::{FormRejection, JsonRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{Cursor, ListKey, Moment, Order, TextKind, Video, VideoList};
use homereel_video::TakenTime;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::{
    batch::{is_list, with_done},
    error::{Failure, Problem, shown},
    extract::{Path, Query},
    html::{self, PageContext},
    list_query::{ListQuery, count_of, number},
    neighbours::Origin,
};
use crate::state::AppState;

/// Default and maximum number of videos in one response.
const PAGE: u32 = 100;

/// Maximum number of answers in one response.
pub(super) const ANSWERS: u32 = 100;

/// Maximum number of characters of a description.
const MAX_DESCRIPTION: usize = 20_000;

/// Maximum number of tags of a video.
const MAX_TAGS: usize = 50;

/// Maximum number of moments of a video that people may set.
const MAX_MOMENTS: usize = 1000;

/// Maximum number of characters of a moment.
const MAX_MOMENT: usize = 2000;

/// Maximum number of characters of a tag.
const MAX_TAG: usize = 60;

/// Query of the paged list.
#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    #[serde(flatten)]
    list: ListQuery,
    #[serde(default)]
    limit: String,
    #[serde(default)]
    offset: String,
}

/// A page of the list.
#[derive(Debug, Serialize)]
pub(super) struct VideoPage {
    videos: Vec<Video>,
    /// Number of videos that the filters allow.
    total: u64,
    /// Whether there are more than `total`.
    total_is_minimum: bool,
    before: Option<ListKey>,
    after: Option<ListKey>,
}

/// A new name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenameForm {
    name: String,
}

/// Changes to a video. Missing fields stay unchanged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VideoEdit {
    pub(super) name: Option<String>,
    pub(super) place: Option<String>,
    pub(super) favourite: Option<bool>,
    pub(super) description: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) moments: Option<Vec<Moment>>,
    /// `None` means that the field is missing, `Some(None)` that it is `null`: the date is what the file says.
    #[serde(default, deserialize_with = "present")]
    pub(super) taken: Option<Option<String>>,
}

/// Reads a field that is there, though it may be `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// When a video was taken, as a form. Without a day, the date is what the file says.
#[derive(Debug, Deserialize)]
pub(super) struct TakenForm {
    day: String,
    #[serde(default)]
    clock: String,
    #[serde(default)]
    zone: String,
}

/// Joins the fields of a form as `PATCH` takes them.
pub(super) fn taken_text(day: &str, clock: &str, zone: &str) -> Option<String> {
    let (day, clock, zone) = (day.trim(), clock.trim(), zone.trim());
    let zone = match zone {
        "" => String::new(),
        _ if zone.eq_ignore_ascii_case("utc") || zone.eq_ignore_ascii_case("z") => "Z".into(),
        _ if zone.starts_with(['+', '-']) => zone.into(),
        _ => format!("[{zone}]"),
    };
    match (day, clock) {
        ("", _) => None,
        (day, "") => Some(day.into()),
        (day, clock) => Some(format!("{day}T{clock}{zone}")),
    }
}

/// The favourite button's form.
#[derive(Debug, Deserialize)]
pub(super) struct FavouriteForm {
    favourite: bool,
    /// URL of the list; empty on the page of the video.
    #[serde(default)]
    back: String,
}

/// `GET /api/videos`: by default those taken last first; `total` counts all that the filters allow.
pub(super) async fn list(
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<VideoPage>, Problem> {
    let library = &state.library;
    let (filter, order, cursor) = (query.list.filter()?, query.list.order()?, query.list.cursor()?);
    let limit = number("limit", &query.limit, PAGE, PAGE)?;
    let offset = number("offset", &query.offset, 0, u32::MAX)?;
    let (list, counted) = if offset == 0 {
        let mut list = library.list(&filter, order, &cursor, limit as usize).await?;
        library.load_texts(&mut list.videos).await?;
        let counted = count_of(library, &filter, &cursor, &list, limit as usize).await?;
        (list, counted)
    } else {
        if filter.conditions() > 0 || order != Order::Taken || cursor != Cursor::Start {
            let message =
                "offset only fits the whole list in its usual order; follow the key `before` instead";
            return Err(Failure::invalid("offset", message).into());
        }
        let list = VideoList { videos: library.videos(limit, offset).await?, ..VideoList::default() };
        (list, library.list_count(&filter).await?)
    };
    Ok(Json(VideoPage {
        videos: list.videos,
        total: counted.videos,
        total_is_minimum: counted.or_more,
        before: list.before,
        after: list.after,
    }))
}

/// `GET /api/videos/{id}`: the video with its jobs, answers, and the state of its transcript.
pub(super) async fn show(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    let mut body = serde_json::to_value(&video).map_err(Failure::internal)?;
    body["jobs"] = json!(state.library.jobs_of(&id).await?);
    body["transcript"] = json!(state.library.transcript(&id).await?);
    body["windows"] = json!(state.library.windows(&id).await?);
    body["answers"] = json!(state.library.answers(&id, ANSWERS).await?);
    Ok(Json(body).into_response())
}

/// `PATCH /api/videos/{id}` with any of the fields of [`VideoEdit`].
pub(super) async fn patch(
    State(state): State<AppState>,
    Path(id): Path<String>,
    edit: Result<Json<VideoEdit>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(edit) = edit?;
    change(&state, &id, edit).await?;
    Ok(Json(state.library.video(&id).await?).into_response())
}

/// Validates everything before it changes anything.
pub(super) async fn change(state: &AppState, id: &str, edit: VideoEdit) -> Result<(), Failure> {
    let library = &state.library;
    let video = library.video(id).await?;
    let description = edit.description.map(|text| text.trim().to_owned());
    if let Some(text) = &description
        && text.chars().count() > MAX_DESCRIPTION
    {
        let message = format!("a description has at most {MAX_DESCRIPTION} characters");
        return Err(Failure::invalid("description", message));
    }
    let tags = edit.tags.map(|tags| tidy(&tags)).transpose()?;
    let duration_s = video.probe.as_ref().map_or(f64::INFINITY, |probe| probe.duration_s);
    let moments = edit.moments.map(|moments| in_order(moments, duration_s)).transpose()?;
    let taken = edit.taken.map(|text| text.map(|text| taken(&text)).transpose()).transpose()?;
    if let Some(taken) = taken {
        library.set_taken(id, taken).await?;
    }
    if let Some(name) = &edit.name {
        library.rename_video(id, name).await?;
    }
    if let Some(place) = &edit.place {
        library.set_place(id, place).await?;
    }
    if let Some(favourite) = edit.favourite {
        library.set_favourite(id, favourite).await?;
    }
    // A text that is saved unchanged remains the model's.
    let present = &video.texts;
    if let Some(text) = description
        && present.description.as_ref().and_then(|text| text.content.as_deref()).unwrap_or_default() != text
    {
        library.edit_text(id, TextKind::Description, Some(text).filter(|text| !text.is_empty())).await?;
    }
    if let Some(tags) = tags
        && present.tags.as_ref().and_then(|text| text.content.clone()).unwrap_or_default() != tags
    {
        library.edit_text(id, TextKind::Tags, Some(json!(tags).to_string())).await?;
    }
    if let Some(moments) = moments
        && present.moments.as_ref().and_then(|text| text.content.clone()).unwrap_or_default() != moments
    {
        library.edit_text(id, TextKind::Moments, Some(json!(moments).to_string())).await?;
    }
    Ok(())
}

/// Validates the moments of a video of `duration_s` seconds, and sorts them by time.
fn in_order(mut moments: Vec<Moment>, duration_s: f64) -> Result<Vec<Moment>, Failure> {
    if moments.len() > MAX_MOMENTS {
        let message = format!("a video has at most {MAX_MOMENTS} moments, not {}", moments.len());
        return Err(Failure::invalid("moments", message));
    }
    for moment in &mut moments {
        let Moment { start, end, text } = moment;
        *text = text.trim().to_owned();
        let chars = text.chars().count();
        if chars == 0 || chars > MAX_MOMENT {
            let message = format!("the text of a moment has {chars} characters; 1 to {MAX_MOMENT} would fit");
            return Err(Failure::invalid("moments", message));
        }
        // Positions on pages are rounded to tenths.
        *end = end.min(duration_s.max(*end - 0.1));
        if !(0.0 <= *start && *start <= *end && *end <= duration_s) {
            let message = format!(
                "a moment lasts from {start} to {end}; an order within 0 to {duration_s:.3} (seconds) would fit"
            );
            return Err(Failure::invalid("moments", message));
        }
    }
    moments.sort_by(|a, b| a.start.total_cmp(&b.start));
    Ok(moments)
}

/// Parses when a video was taken.
fn taken(text: &str) -> Result<TakenTime, Failure> {
    text.parse().map_err(|_| {
        let message = format!(
            "taken is {}; a day such as 1987-06-14 would fit, or a local time such as 2023-10-06T08:00:00, with +09:00, Z or [Asia/Tokyo] after it if the zone is known",
            shown(text)
        );
        Failure::invalid("taken", message)
    })
}

/// Removes duplicate and empty tags.
fn tidy(tags: &[String]) -> Result<Vec<String>, Failure> {
    let mut tidy: Vec<String> = Vec::new();
    for tag in tags.iter().map(|tag| tag.trim().trim_start_matches('#')).filter(|tag| !tag.is_empty()) {
        if tag.chars().count() > MAX_TAG || tag.chars().any(char::is_control) {
            let message = format!("a tag has at most {MAX_TAG} characters and no control characters");
            return Err(Failure::invalid("tags", message));
        }
        if !tidy.iter().any(|known| known.to_lowercase() == tag.to_lowercase()) {
            tidy.push(tag.to_owned());
        }
    }
    if tidy.len() > MAX_TAGS {
        return Err(Failure::invalid(
            "tags",
            format!("a video has at most {MAX_TAGS} tags, not {}", tidy.len()),
        ));
    }
    Ok(tidy)
}

/// `POST /api/videos/{id}/reread`: processes the video again with the current model.
pub(super) async fn reread(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    state.library.reread_video(&id).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "jobs": state.library.jobs_of(&id).await? }))).into_response())
}

/// `POST /videos/{id}/reread`: a form.
pub(super) async fn reread_form(cx: PageContext, origin: Origin, Path(id): Path<String>) -> Response {
    let queued = cx.state.library.reread_video(&id).await.map_err(Failure::from);
    html::or_error(&cx, queued.map(|()| Redirect::to(&origin.url_of(&id)).into_response()))
}

/// `POST /videos/{id}/taken`: a form.
pub(super) async fn taken_form(
    cx: PageContext,
    origin: Origin,
    Path(id): Path<String>,
    form: Result<Form<TakenForm>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        change(
            &cx.state,
            &id,
            VideoEdit { taken: Some(taken_text(&form.day, &form.clock, &form.zone)), ..VideoEdit::default() },
        )
        .await?;
        Ok::<_, Failure>(Redirect::to(&origin.url_of(&id)).into_response())
    };
    html::or_error(&cx, work().await)
}

/// `POST /videos/{id}/favourite`: a form.
pub(super) async fn favourite_form(
    cx: PageContext,
    origin: Origin,
    Path(id): Path<String>,
    form: Result<Form<FavouriteForm>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        let video = cx.state.library.set_favourite(&id, form.favourite).await?;
        let done = if form.favourite { "favourite" } else { "unfavourite" };
        let url = match form.back {
            back if is_list(&back) => with_done(&back, done, 1, None),
            _ => origin.url_of(&video.id),
        };
        Ok::<_, Failure>(Redirect::to(&url).into_response())
    };
    html::or_error(&cx, work().await)
}

/// `POST /videos/{id}/rename`: a form.
pub(super) async fn rename_form(
    cx: PageContext,
    origin: Origin,
    Path(id): Path<String>,
    rename: Result<Form<RenameForm>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(rename) = rename?;
        let video = cx.state.library.rename_video(&id, &rename.name).await?;
        Ok::<_, Failure>(Redirect::to(&origin.url_of(&video.id)).into_response())
    };
    html::or_error(&cx, work().await)
}
