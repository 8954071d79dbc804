//! Records in the audit log who logged in, changed users, keys or passwords, or deleted something.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use homereel_library::Identity;

use crate::{audit::AuditEntry, net::ClientInfo, state::AppState, telemetry};

/// The requests that are recorded: method, route, and the action's name in the log.
pub(super) const AUDITED: [(Method, &str, &str); 28] = [
    (Method::POST, "/login", "log_in"),
    (Method::POST, "/logout", "log_out"),
    (Method::POST, "/household/password", "change_password"),
    (Method::POST, "/household/users", "add_user"),
    (Method::POST, "/household/users/{id}/role", "set_role"),
    (Method::POST, "/household/users/{id}/password", "reset_password"),
    (Method::POST, "/household/users/{id}/remove", "remove_user"),
    (Method::POST, "/household/keys", "add_key"),
    (Method::POST, "/household/keys/{id}/revoke", "revoke_key"),
    (Method::POST, "/videos/{id}/delete", "delete_video"),
    (Method::DELETE, "/api/videos/{id}", "delete_video"),
    (Method::POST, "/videos/{id}/answers/{answer}/delete", "delete_answer"),
    (Method::DELETE, "/api/videos/{id}/answers/{answer}", "delete_answer"),
    (Method::POST, "/trash/{id}/delete", "delete_video"),
    (Method::POST, "/ask/{id}/delete", "delete_question"),
    (Method::DELETE, "/api/ask/{id}", "delete_question"),
    (Method::POST, "/videos/batch", "change_videos"),
    (Method::POST, "/api/videos/batch", "change_videos"),
    (Method::POST, "/albums/{id}/delete", "delete_album"),
    (Method::DELETE, "/api/albums/{id}", "delete_album"),
    (Method::POST, "/trash/empty", "empty_trash"),
    (Method::DELETE, "/api/trash", "empty_trash"),
    (Method::POST, "/api/replicas/{id}/drain", "drain_replica"),
    (Method::POST, "/api/replicas/{id}/resume", "resume_replica"),
    (Method::DELETE, "/api/uploads/{id}", "delete_upload"),
    (Method::DELETE, "/v1/files/uploads/{id}", "delete_upload"),
    (Method::DELETE, "/v1/files/{id}", "delete_file"),
    (Method::DELETE, "/v1/responses/{id}", "delete_response"),
];

/// Maximum length of a target in characters; paths and names in forms may be long.
const MAX_TARGET: usize = 256;

/// What a handler did something to, where the path does not tell: an extension of the response.
#[derive(Debug, Clone)]
struct AuditTarget(String);

/// Sets what the log names as the target of a request, instead of its path.
pub(super) fn about(target: impl Into<String>, mut response: Response) -> Response {
    response.extensions_mut().insert(AuditTarget(target.into()));
    response
}

/// Records a request once it is answered, and before the client sees the response.
pub(super) async fn record(
    State(state): State<AppState>,
    client: ClientInfo,
    request: Request,
    next: Next,
) -> Response {
    let Some(action) = action(&request) else { return next.run(request).await };
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    let by = response.extensions().get::<Identity>().map(Identity::account);
    let target = response.extensions_mut().remove::<AuditTarget>().map_or(path, |target| target.0);
    let target = target.chars().take(MAX_TARGET).collect();
    let entry = AuditEntry {
        action,
        by,
        from: client.address,
        target,
        done: done(status),
        status: Some(status.as_u16()),
        request_id: telemetry::request_id(),
    };
    let log = state.audit.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || log.record(&entry)).await {
        tracing::error!(%error, action, "failed to write to the audit log");
    }
    response
}

fn action(request: &Request) -> Option<&'static str> {
    let route = request.extensions().get::<MatchedPath>()?.as_str();
    let same = |(method, audited, _): &&(Method, &str, &str)| *audited == route && method == request.method();
    AUDITED.iter().find(same).map(|(_, _, action)| *action)
}

/// Forms answer with a redirect.
fn done(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}
