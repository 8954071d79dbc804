//! `GET /add`: the form that adds videos, and what of the caller's uploads was refused within the last day.

use axum::{
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{Upload, UploadState};
use homereel_web::{format, pages::AddPage, views::RefusedUpload};

use super::library::base_url;
use crate::{
    http::{
        error::Failure,
        extract::Path,
        html::{self, PageContext},
    },
    net::ClientInfo,
};

/// Number of refused uploads on the page.
const SHOWN: u32 = 100;

/// `GET /add`
pub(in crate::http) async fn page(cx: PageContext, client: ClientInfo, headers: HeaderMap) -> Response {
    let work = async || {
        let uploads = cx.state.library.uploads_of(cx.user.account().as_deref(), SHOWN).await?;
        html::render(&AddPage {
            shell: html::shell(&cx, &cx.words.t("add-title"), "add", false),
            upload_limit: format::size(cx.state.config.get().max_upload_bytes),
            base_url: base_url(client, &headers),
            refused: uploads
                .into_iter()
                .filter(|upload| upload.state == UploadState::Refused)
                .map(refused)
                .collect(),
        })
    };
    html::or_error(&cx, work().await)
}

fn refused(upload: Upload) -> RefusedUpload {
    RefusedUpload {
        id: upload.id,
        name: upload.name,
        size: format::size(upload.length),
        reason: upload.error.unwrap_or_default(),
    }
}

/// `POST /add/{id}/dismiss`: forgets a refused upload of the caller.
pub(in crate::http) async fn dismiss_form(cx: PageContext, Path(id): Path<String>) -> Response {
    let work = async || {
        let upload = cx.state.library.upload(&id).await?;
        if upload.owner != cx.user.account() || upload.purpose.is_some() {
            return Err(Failure::not_found("there is no such upload"));
        }
        cx.state.library.delete_upload(&id).await?;
        Ok(Redirect::to("/add").into_response())
    };
    html::or_error(&cx, work().await)
}
