//! Forms of pages that create, change and delete albums.

use axum::{
    Form,
    extract::rejection::FormRejection,
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use crate::http::{
    batch::is_list,
    error::Failure,
    extract::Path,
    html::{self, PageContext},
    neighbours::Origin,
};

/// A name.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct NameForm {
    name: String,
}

/// The order of an album.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct OrderForm {
    by_hand: bool,
}

/// A video of an album, and where to return to.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct MemberForm {
    video: String,
    #[serde(default)]
    earlier: Option<bool>,
    #[serde(default)]
    back: String,
}

/// What is done with a video: it is added to an album, or removed from it.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct AlbumsForm {
    /// Name of an album, which is created if there is none.
    album: Option<String>,
    /// Id of the album that the video is added to.
    add: Option<String>,
    /// Id of the album that it is removed from.
    remove: Option<String>,
}

type Posted<T> = Result<Form<T>, FormRejection>;

fn to(url: &str) -> Response {
    Redirect::to(url).into_response()
}

impl MemberForm {
    fn back(&self, id: &str) -> Response {
        to(if is_list(&self.back) { self.back.clone() } else { format!("/albums/{id}/arrange") }.as_str())
    }
}

/// `POST /albums`
pub(in crate::http) async fn create(cx: PageContext, form: Posted<NameForm>) -> Response {
    let work = async || {
        let album = cx.state.library.create_album(&form?.0.name).await?;
        Ok::<_, Failure>(to(&format!("/albums/{}", album.id)))
    };
    html::or_error(&cx, work().await)
}

/// `POST /albums/{id}/rename`
pub(in crate::http) async fn rename(
    cx: PageContext,
    Path(id): Path<String>,
    form: Posted<NameForm>,
) -> Response {
    let work = async || {
        cx.state.library.rename_album(&id, &form?.0.name).await?;
        Ok::<_, Failure>(to(&format!("/albums/{id}")))
    };
    html::or_error(&cx, work().await)
}

/// `POST /albums/{id}/order`
pub(in crate::http) async fn order(
    cx: PageContext,
    Path(id): Path<String>,
    form: Posted<OrderForm>,
) -> Response {
    let work = async || {
        cx.state.library.order_album(&id, form?.0.by_hand).await?;
        Ok::<_, Failure>(to(&format!("/albums/{id}/arrange")))
    };
    html::or_error(&cx, work().await)
}

/// `POST /albums/{id}/move`
pub(in crate::http) async fn place(
    cx: PageContext,
    Path(id): Path<String>,
    form: Posted<MemberForm>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        cx.state.library.move_in_album(&id, &form.video, form.earlier.unwrap_or_default()).await?;
        Ok::<_, Failure>(form.back(&id))
    };
    html::or_error(&cx, work().await)
}

/// `POST /albums/{id}/cover`
pub(in crate::http) async fn cover(
    cx: PageContext,
    Path(id): Path<String>,
    form: Posted<MemberForm>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        cx.state.library.set_album_cover(&id, Some(&form.video)).await?;
        Ok::<_, Failure>(form.back(&id))
    };
    html::or_error(&cx, work().await)
}

/// `POST /albums/{id}/remove`
pub(in crate::http) async fn remove(
    cx: PageContext,
    Path(id): Path<String>,
    form: Posted<MemberForm>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        cx.state.library.remove_from_album(&id, &[&form.video]).await?;
        Ok::<_, Failure>(form.back(&id))
    };
    html::or_error(&cx, work().await)
}

/// `POST /albums/{id}/delete`
pub(in crate::http) async fn delete(cx: PageContext, Path(id): Path<String>) -> Response {
    let deleted = cx.state.library.delete_album(&id).await.map_err(Failure::from);
    html::or_error(&cx, deleted.map(|()| to("/albums")))
}

/// `POST /videos/{id}/albums`: adds the video to an album, or removes it from one.
pub(in crate::http) async fn of_video(
    cx: PageContext,
    origin: Origin,
    Path(id): Path<String>,
    form: Posted<AlbumsForm>,
) -> Response {
    let work = async || {
        let library = &cx.state.library;
        library.video(&id).await?;
        match form?.0 {
            AlbumsForm { remove: Some(album), .. } => library.remove_from_album(&album, &[&id]).await?,
            AlbumsForm { add: Some(album), .. } => library.add_to_album(&album, &[&id]).await?,
            AlbumsForm { album: Some(name), .. } => {
                let album = library.album_named(&name).await?;
                library.add_to_album(&album.id, &[&id]).await?
            }
            _ => {
                let message = "the album is missing; its name would fit, or add or remove with its id";
                return Err(Failure::invalid("album", message));
            }
        };
        Ok::<_, Failure>(to(&origin.url_of(&id)))
    };
    html::or_error(&cx, work().await)
}
