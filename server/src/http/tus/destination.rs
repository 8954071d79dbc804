//! Where resumable uploads go: to the library or to the files of requests.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use homereel_library::{LibraryError, Upload};

use super::super::{auth_layer::CurrentUser, error::Failure};
use crate::state::AppState;

/// Where the uploads of a URL go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Destination {
    /// Videos of the library. Everybody sees their uploads.
    Library,
    /// Files of requests. Their uploads belong to one user or API key.
    Files,
}

impl<S: Sync> FromRequestParts<S> for Destination {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(if parts.uri.path().starts_with(Self::Files.url()) { Self::Files } else { Self::Library })
    }
}

impl Destination {
    /// Returns the URL of the uploads.
    pub(super) fn url(self) -> &'static str {
        match self {
            Self::Library => "/api/uploads",
            Self::Files => "/v1/files/uploads",
        }
    }

    /// Returns an upload to this destination. Those of others to their files do not exist.
    pub(super) async fn upload(
        self,
        state: &AppState,
        user: &CurrentUser,
        id: &str,
    ) -> Result<Upload, Failure> {
        let upload = state.library.upload(id).await?;
        let is_here = match self {
            Self::Library => upload.purpose.is_none(),
            Self::Files => upload.purpose.is_some() && upload.owner == user.account(),
        };
        if !is_here {
            return Err(LibraryError::NotFound { what: "upload", id: upload.id }.into());
        }
        Ok(upload)
    }
}
