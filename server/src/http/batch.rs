//! `/videos/batch` and `/api/videos/batch`: one change of many videos, as the bar below a list and as JSON.

use axum::{
    Form, Json,
    extract::{
        State,
        rejection::{FormRejection, JsonRejection},
    },
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{Changed, Role};
use homereel_web::{
    Words,
    views::{BatchBar, DoneMessage, Link, SelectOption},
};
use serde::{Deserialize, Serialize};

use super::{
    audit_layer,
    auth_layer::CurrentUser,
    error::{Failure, Problem, shown},
    html::{self, PageContext},
};
use crate::state::AppState;

/// Number of albums to choose from, the newest. The name of an older one can be typed.
pub(super) const ALBUMS: u32 = 200;

/// What is done to the videos. Names are those of the JSON, of the form, and of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BatchAction {
    AddToAlbum,
    RemoveFromAlbum,
    Favourite,
    Unfavourite,
    Trash,
    Restore,
    Reread,
}

/// A change as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    action: BatchAction,
    ids: Vec<String>,
    /// Id of the album.
    album: Option<String>,
    /// Name of the album, which is created if there is none.
    album_name: Option<String>,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
pub(super) struct BatchResponse {
    #[serde(flatten)]
    changed: Changed,
    /// Id of the album that videos were added to or removed from.
    album: Option<String>,
}

/// Query with which a list says what was just done. It has the action's name, so that nobody can put other text on the page.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct DoneQuery {
    #[serde(default)]
    done: String,
    #[serde(default)]
    count: String,
    #[serde(default)]
    album: String,
}

impl DoneQuery {
    /// Returns the sentence of the page.
    pub(super) fn message(&self, words: &Words) -> Option<DoneMessage> {
        let (key, link) = match self.done.as_str() {
            "" => return None,
            "add_to_album" => ("done-added", Some((format!("/albums/{}", self.album), "show-album"))),
            "remove_from_album" => ("done-removed", None),
            "favourite" => ("done-favourite", None),
            "unfavourite" => ("done-unfavourite", None),
            "trash" => ("done-trash", Some(("/trash".to_owned(), "show-trash"))),
            "restore" => ("done-restore", None),
            "reread" => ("done-reread", Some(("/jobs".to_owned(), "show-jobs"))),
            _ => return Some(DoneMessage { text: words.t("done-none"), link: None }),
        };
        let is_id = self.album.len() == 32 && self.album.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(DoneMessage {
            text: words.n(key, self.count.parse().unwrap_or(0)),
            link: link
                .filter(|(_, text)| *text != "show-album" || is_id)
                .map(|(url, key)| Link { url, text: words.t(key) }),
        })
    }
}

/// `POST /api/videos/batch`
pub(super) async fn api(
    State(state): State<AppState>,
    user: CurrentUser,
    request: Result<Json<BatchRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request?;
    let response = run(&state, &user, &request).await?;
    Ok(audit_layer::about(target(request.action, &response), Json(response).into_response()))
}

/// `POST /videos/batch`: a form. Its fields `id` repeat, so it is read as pairs.
pub(super) async fn form(
    cx: PageContext,
    fields: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(fields) = fields?;
        let (request, back) = read(fields)?;
        if request.ids.is_empty() {
            return Ok(Redirect::to(&with_done(&back, "none", 0, None)).into_response());
        }
        let response = run(&cx.state, &cx.user, &request).await?;
        let word = serde_json::to_value(request.action).map_err(Failure::internal)?;
        let word = word.as_str().unwrap_or_default();
        let url = with_done(&back, word, response.changed.changed, response.album.as_deref());
        Ok::<_, Failure>(audit_layer::about(
            target(request.action, &response),
            Redirect::to(&url).into_response(),
        ))
    };
    html::or_error(&cx, work().await)
}

/// Reads the form of a list: the change, and the URL of the list.
fn read(fields: Vec<(String, String)>) -> Result<(BatchRequest, String), Failure> {
    let (mut ids, mut action, mut back) = (Vec::new(), String::new(), String::from("/"));
    let (mut album, mut of_album, mut new_album) = (None, None, None);
    for (name, value) in fields {
        match name.as_str() {
            "id" => ids.push(value),
            "action" => action = value,
            "back" if is_list(&value) => back = value,
            "album" => album = Some(value).filter(|id| !id.is_empty()),
            "of_album" => of_album = Some(value),
            "new_album" => new_album = Some(value).filter(|name| !name.trim().is_empty()),
            _ => {}
        }
    }
    // Enter in the field of a new album's name presses the first button of the form.
    let action = if action == "add_to_new_album" { "add_to_album" } else { &action };
    let action: BatchAction = serde_json::from_value(action.into()).map_err(|_| {
        Failure::invalid("action", format!("action is {}; favourite or trash would fit", shown(action)))
    })?;
    let (album, album_name) = match action {
        BatchAction::AddToAlbum if new_album.is_some() => (None, new_album),
        BatchAction::AddToAlbum => (album, None),
        _ => (of_album, None),
    };
    Ok((BatchRequest { action, ids, album, album_name }, back))
}

/// Field of a form that stands for one video in a list.
#[derive(Debug, Deserialize)]
pub(super) struct BackForm {
    /// URL of the list; empty on the page of a video.
    #[serde(default)]
    pub(super) back: String,
}

/// Returns whether a URL is that of a list of this server.
pub(super) fn is_list(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let known = path == "/" || path == "/trash" || path.starts_with("/albums/") || path.starts_with("/tags/");
    known && !url.contains(['\\', '\r', '\n']) && !url.starts_with("//")
}

/// Returns the URL of a list that says what was just done.
pub(super) fn with_done(back: &str, done: &str, count: u64, album: Option<&str>) -> String {
    let sign = if back.contains('?') { '&' } else { '?' };
    let album = album.map(|id| format!("&album={id}")).unwrap_or_default();
    format!("{back}{sign}done={done}&count={count}{album}")
}

/// Returns what the audit log names.
fn target(action: BatchAction, response: &BatchResponse) -> String {
    format!("{action:?}: {} videos", response.changed.changed)
}

async fn run(state: &AppState, user: &CurrentUser, request: &BatchRequest) -> Result<BatchResponse, Failure> {
    let library = &state.library;
    let ids: Vec<&str> = request.ids.iter().map(String::as_str).collect();
    if request.action == BatchAction::Trash && !user.has(Role::Admin) {
        return Err(Failure::new(
            axum::http::StatusCode::FORBIDDEN,
            "forbidden",
            "moving videos to the trash takes the role admin",
        ));
    }
    let mut album = None;
    let changed = match request.action {
        BatchAction::AddToAlbum => {
            let id = match (&request.album, &request.album_name) {
                (Some(id), None) => id.clone(),
                (None, Some(name)) => library.album_named(name).await?.id,
                _ => return Err(no_album("album or album_name")),
            };
            let changed = library.add_to_album(&id, &ids).await?;
            album = Some(id);
            changed
        }
        BatchAction::RemoveFromAlbum => {
            let id = request.album.clone().ok_or_else(|| no_album("album"))?;
            let changed = library.remove_from_album(&id, &ids).await?;
            album = Some(id);
            changed
        }
        BatchAction::Favourite => library.set_favourites(&ids, true).await?,
        BatchAction::Unfavourite => library.set_favourites(&ids, false).await?,
        BatchAction::Trash => library.trash_videos(&ids).await?,
        BatchAction::Restore => library.restore_videos(&ids).await?,
        BatchAction::Reread => library.reread_videos(&ids).await?,
    };
    Ok(BatchResponse { changed, album })
}

fn no_album(names: &str) -> Failure {
    Failure::invalid("album", format!("the album is missing; give {names}"))
}

/// Returns the bar for selected videos, with the albums to choose from.
pub(super) async fn bar(cx: &PageContext) -> Result<BatchBar, Failure> {
    if !cx.user.has(Role::Member) {
        return Ok(BatchBar::default());
    }
    let albums = cx.state.library.album_names(ALBUMS).await?;
    let option = |(value, label)| SelectOption { value, label, chosen: false };
    Ok(BatchBar { albums: albums.into_iter().map(option).collect(), ..BatchBar::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_returns_to_a_list_of_this_server_only() {
        for good in ["/", "/?when=2019", "/albums/1?before=3_", "/tags/x", "/trash"] {
            assert!(is_list(good), "{good}");
        }
        for bad in ["//evil.example", "https://evil.example", "/\\evil", "", "/videos/1", "/logout"] {
            assert!(!is_list(bad), "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_new_album_counts_whichever_button_was_pressed() {
        for action in ["add_to_album", "add_to_new_album"] {
            let fields =
                [("id", "1"), ("id", "2"), ("album", "a"), ("new_album", "Summer"), ("action", action)];
            let (request, _) = read(pairs(&fields)).unwrap();
            assert_eq!(
                (request.ids.len(), request.album, request.album_name.as_deref()),
                (2, None, Some("Summer"))
            );
        }
        let (request, back) =
            read(pairs(&[("action", "remove_from_album"), ("of_album", "a"), ("back", "//x")])).unwrap();
        assert_eq!((request.album.as_deref(), back.as_str()), (Some("a"), "/"));
        assert!(read(pairs(&[("action", "explode")])).is_err());
    }
}
