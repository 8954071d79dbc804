//! The Model Context Protocol: gives assistants tools that read the library, over HTTP at `/mcp` and on stdin and stdout by
//! `homereel mcp`. No tool changes or deletes anything.

mod api;
mod arguments;
mod tools;

use std::sync::Arc;

use axum::{Router, http::request::Parts};
use homereel_library::Role;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use tokio_util::sync::CancellationToken;

pub(crate) use api::Api;

/// Maximum size of a message in bytes.
const MAX_MESSAGE: usize = 1 << 20;

const INSTRUCTIONS: &str = "A family's library of home videos, described by a model that watched them. Find videos with \
                            search_videos, read describe_video, list_moments and get_transcript, and look at pictures with \
                            get_frame. Times are seconds from the beginning of a video. Links begin with a slash; the server's address \
                            comes before it.";

/// Answers requests of MCP by calling the API.
#[derive(Debug, Clone)]
pub(crate) struct McpServer {
    api: Api,
}

/// The service behind `/mcp`.
pub(crate) type McpService = StreamableHttpService<McpServer, NeverSessionManager>;

/// Returns the service behind `/mcp`, whose tools call `router` with the credentials of each request. It keeps no sessions, so a
/// restart of the server ends none. `stop` ends all streams.
pub(crate) fn service(router: Router, stop: CancellationToken) -> McpService {
    let server = McpServer { api: Api::Local(router) };
    // Hosts and origins are checked for all requests, by `http::origin`.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_legacy_session_mode(false)
        .with_max_request_body_bytes(MAX_MESSAGE)
        .with_cancellation_token(stop);
    StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config)
}

impl McpServer {
    /// Returns a server whose tools call `api`.
    pub(crate) fn new(api: Api) -> Self {
        Self { api }
    }

    /// Returns the role of the caller.
    async fn role(&self, caller: Option<&Parts>) -> Result<Role, ErrorData> {
        let failed = |error: api::ApiError| ErrorData::internal_error(error.to_string(), None);
        let system = self.api.get(caller, "/api/system").await.map_err(failed)?.json().map_err(failed)?;
        // A server of an earlier release does not say it: the tools of a viewer work for everybody.
        Ok(serde_json::from_value(system["role"].clone()).ok().unwrap_or(Role::Viewer))
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let server = Implementation::new("homereel", env!("CARGO_PKG_VERSION")).with_title("Homereel");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(server)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let role = self.role(context.extensions.get::<Parts>()).await?;
        Ok(ListToolsResult::with_all_items(tools::list(role)))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::list(Role::Admin).into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = context.extensions.get::<Parts>();
        let arguments = request.arguments.unwrap_or_default();
        tokio::select! {
            result = tools::call(&self.api, caller, &request.name, arguments) => match result {
                Some(result) => Ok(result.into()),
                None => Err(ErrorData::invalid_params(format!("there is no tool {:?}", request.name), None)),
            },
            () = context.ct.cancelled() => Err(ErrorData::internal_error("the call was cancelled", None)),
        }
    }
}
