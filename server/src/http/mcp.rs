//! `POST /mcp`: the Model Context Protocol (streamable HTTP), whose tools call the API.

use axum::{Extension, extract::Request, response::Response};
use tower::ServiceExt as _;

use crate::mcp::McpService;

/// `POST /mcp`
pub(super) async fn message(Extension(service): Extension<McpService>, request: Request) -> Response {
    match service.oneshot(request).await {
        Ok(response) => response.map(axum::body::Body::new),
    }
}
