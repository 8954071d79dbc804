//! Bounds the part of a form that is not a file: the parser keeps a preamble or a field's headers in memory until they end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, ready},
};

use axum::{body::Body, extract::multipart::MultipartError};
use futures_util::{StreamExt as _, stream};

use super::super::error::Failure;

/// Maximum bytes of a form that may arrive without the content of a file.
pub(in crate::http) const MAX_OVERHEAD: usize = 1 << 20;

/// Counts the bytes of a form since the last content of a file. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Overhead(Arc<AtomicUsize>);

/// The form has too much that is not a file.
#[derive(Debug, thiserror::Error)]
#[error("the form has more than {MAX_OVERHEAD} bytes before, between or beside its files")]
struct TooMuchOverhead;

impl Overhead {
    /// Wraps a body that fails when the count exceeds its limit.
    pub(in crate::http) fn bound(&self, body: Body) -> Body {
        let count = self.clone();
        let mut chunks = body.into_data_stream();
        let mut pause = false;
        let counted = stream::poll_fn(move |cx| {
            // The parser reads all that is there before it looks at it. With a pause after each chunk, it looks at each.
            if std::mem::take(&mut pause) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let chunk = match ready!(chunks.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => return Poll::Ready(None),
            };
            pause = true;
            // The chunk itself may be the content of a file.
            let before = count.0.fetch_add(chunk.len(), Ordering::Relaxed);
            let fits = before <= MAX_OVERHEAD;
            Poll::Ready(Some(if fits { Ok(chunk) } else { Err(io::Error::other(TooMuchOverhead)) }))
        });
        Body::from_stream(counted)
    }

    /// Starts to count anew: content of a file arrived.
    pub(in crate::http) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Returns the failure of a form.
pub(in crate::http) fn failure(error: MultipartError) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if let Some(too_much) = this.downcast_ref::<TooMuchOverhead>() {
            return Failure { code: "invalid_form", ..Failure::too_large(too_much.to_string()) };
        }
        // An `io::Error` does not report what it contains as its source.
        cause = match this.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => this.source(),
        };
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use axum::{
        extract::{FromRequest as _, Multipart},
        http::{Request, StatusCode, header},
    };
    use bytes::Bytes;

    use super::*;

    fn form(overhead: &Overhead, chunks: Vec<Vec<u8>>) -> Request<Body> {
        let chunks = chunks.into_iter().map(|chunk| Ok::<_, io::Error>(Bytes::from(chunk)));
        let body = overhead.bound(Body::from_stream(stream::iter(chunks)));
        Request::post("/").header(header::CONTENT_TYPE, "multipart/form-data; boundary=b").body(body).unwrap()
    }

    #[tokio::test]
    async fn an_endless_preamble_or_header_is_refused() {
        let endless = || vec![b'x'; 100_000];
        for begin in ["", "--b\r\nContent-Disposition: form-data; name=\"a"] {
            let overhead = Overhead::default();
            let chunks = std::iter::once(begin.into()).chain((0..1000).map(|_| endless())).collect();
            let mut form = Multipart::from_request(form(&overhead, chunks), &()).await.unwrap();
            let failure = failure(form.next_field().await.map(|_| ()).unwrap_err());
            assert_eq!(failure.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[tokio::test]
    async fn the_content_of_a_file_does_not_count() {
        let overhead = Overhead::default();
        let mut chunks = vec![b"--b\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n".to_vec()];
        chunks.extend((0..15).map(|_| vec![b'x'; 100_000]));
        chunks.push(b"\r\n--b--".to_vec());
        let mut form = Multipart::from_request(form(&overhead, chunks), &()).await.unwrap();
        let mut field = form.next_field().await.unwrap().unwrap();
        let mut received = 0;
        while let Some(chunk) = field.chunk().await.unwrap() {
            overhead.reset();
            received += chunk.len();
        }
        assert_eq!(received, 1_500_000);
        drop(field);
        assert!(form.next_field().await.unwrap().is_none());
    }
}
