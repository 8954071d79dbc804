//! JSON responses that are long: lists with all their texts.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::error::{Failure, Problem};

/// Bytes of a buffer at first: a list of a hundred videos with their moments has half a megabyte.
const CAPACITY: usize = 256 << 10;

/// Like axum's `Json`, which checks the room in its buffer for every piece of text and takes a quarter longer for such lists.
#[derive(Debug)]
pub(super) struct LongJson<T>(pub(super) T);

impl<T: Serialize> IntoResponse for LongJson<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(CAPACITY);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
            }
            Err(error) => Problem(Failure::internal(error)).into_response(),
        }
    }
}
