//! `homereel mcp`: the Model Context Protocol on stdin and stdout, for assistants that start a program. Its tools call a running
//! server.

use anyhow::Context as _;
use rmcp::{ServiceExt as _, transport::stdio};

use super::remote;
use crate::mcp::{Api, McpServer};

/// Serves until stdin ends.
pub(super) async fn run(server: url::Url) -> anyhow::Result<()> {
    let api = Api::remote(server, remote::api_key()).context("failed to set up TLS")?;
    let service = McpServer::new(api).serve(stdio()).await.context("the assistant did not begin with MCP")?;
    service.waiting().await.context("the connection to the assistant failed")?;
    Ok(())
}
