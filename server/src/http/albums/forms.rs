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

/// Name of the album that a video is added to.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct AddForm {
    album: String,
}

type Posted<T> = Result<Form<T>, FormRejection>;

fn to(url: &str) -> Response {
    Redirect::to(url).into_response()
}

impl MemberForm {
    fn back(&self, id: &str) -> Response {
        let is_video = self.back == format!("/videos/{}", self.video);
        to(if is_video || is_list(&self.back) { self.back.clone() } else { format!("/albums/{id}/arrange") }
            .as_str())
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

/// `POST /videos/{id}/albums`: adds the video to the album of this name, which is created if there is none.
pub(in crate::http) async fn add(cx: PageContext, Path(id): Path<String>, form: Posted<AddForm>) -> Response {
    let work = async || {
        cx.state.library.video(&id).await?;
        let album = cx.state.library.album_named(&form?.0.album).await?;
        cx.state.library.add_to_album(&album.id, &[&id]).await?;
        Ok::<_, Failure>(to(&format!("/videos/{id}")))
    };
    html::or_error(&cx, work().await)
}
