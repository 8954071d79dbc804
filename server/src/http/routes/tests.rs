//! Walks the route table and compares the role of every URL and method with the list below.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
    response::Response,
};
use homereel_library::Auth;
use tower::ServiceExt as _;

use super::super::audit_layer::AUDITED;
use super::*;
use crate::state::tests::state_with;

/// The whole table, sorted by URL. `HEAD` is listed where it has a handler of its own.
pub(in crate::http) const EXPECTED: &[(&str, &str, &str)] = &[
    ("/", "GET", "viewer"),
    ("/add", "GET", "member"),
    ("/add/{id}/dismiss", "POST", "member"),
    ("/albums", "GET", "viewer"),
    ("/albums", "POST", "member"),
    ("/albums/{id}", "GET", "viewer"),
    ("/albums/{id}/arrange", "GET", "member"),
    ("/albums/{id}/cover", "POST", "member"),
    ("/albums/{id}/delete", "POST", "admin"),
    ("/albums/{id}/move", "POST", "member"),
    ("/albums/{id}/order", "POST", "member"),
    ("/albums/{id}/remove", "POST", "member"),
    ("/albums/{id}/rename", "POST", "member"),
    ("/api/albums", "GET", "viewer"),
    ("/api/albums", "POST", "member"),
    ("/api/albums/{id}", "GET", "viewer"),
    ("/api/albums/{id}", "PATCH", "member"),
    ("/api/albums/{id}", "DELETE", "admin"),
    ("/api/ask", "GET", "viewer"),
    ("/api/ask", "POST", "member"),
    ("/api/ask/{id}", "GET", "viewer"),
    ("/api/ask/{id}", "DELETE", "member"),
    ("/api/events", "GET", "viewer"),
    ("/api/jobs", "GET", "viewer"),
    ("/api/jobs/pause", "POST", "member"),
    ("/api/jobs/reread", "POST", "member"),
    ("/api/jobs/resume", "POST", "member"),
    ("/api/jobs/{id}/cancel", "POST", "member"),
    ("/api/jobs/{id}/first", "POST", "member"),
    ("/api/jobs/{id}/retry", "POST", "member"),
    ("/api/replicas/{id}/drain", "POST", "admin"),
    ("/api/replicas/{id}/resume", "POST", "admin"),
    ("/api/search", "GET", "viewer"),
    ("/api/storage", "GET", "viewer"),
    ("/api/system", "GET", "viewer"),
    ("/api/system/samples", "GET", "viewer"),
    ("/api/tags", "GET", "viewer"),
    ("/api/trash", "GET", "viewer"),
    ("/api/trash", "DELETE", "admin"),
    ("/api/uploads", "GET", "viewer"),
    ("/api/uploads", "POST", "member"),
    ("/api/uploads", "OPTIONS", "viewer"),
    ("/api/uploads/known", "GET", "viewer"),
    ("/api/uploads/{id}", "GET", "viewer"),
    ("/api/uploads/{id}", "POST", "member"),
    ("/api/uploads/{id}", "PATCH", "member"),
    ("/api/uploads/{id}", "DELETE", "member"),
    ("/api/uploads/{id}", "OPTIONS", "viewer"),
    ("/api/uploads/{id}", "HEAD", "viewer"),
    ("/api/videos", "GET", "viewer"),
    ("/api/videos", "POST", "member"),
    ("/api/videos/batch", "POST", "member"),
    ("/api/videos/{id}", "GET", "viewer"),
    ("/api/videos/{id}", "PATCH", "member"),
    ("/api/videos/{id}", "DELETE", "admin"),
    ("/api/videos/{id}/answers/{answer}", "DELETE", "member"),
    ("/api/videos/{id}/ask", "POST", "member"),
    ("/api/videos/{id}/card.jpg", "GET", "viewer"),
    ("/api/videos/{id}/clip.mp4", "GET", "viewer"),
    ("/api/videos/{id}/file", "GET", "viewer"),
    ("/api/videos/{id}/frame.jpg", "GET", "viewer"),
    ("/api/videos/{id}/moments.json", "GET", "viewer"),
    ("/api/videos/{id}/moments.md", "GET", "viewer"),
    ("/api/videos/{id}/moments.srt", "GET", "viewer"),
    ("/api/videos/{id}/moments.vtt", "GET", "viewer"),
    ("/api/videos/{id}/playback.mp4", "GET", "viewer"),
    ("/api/videos/{id}/poster.jpg", "GET", "viewer"),
    ("/api/videos/{id}/reread", "POST", "member"),
    ("/api/videos/{id}/restore", "POST", "member"),
    ("/api/videos/{id}/similar", "GET", "viewer"),
    ("/api/videos/{id}/sprites.vtt", "GET", "viewer"),
    ("/api/videos/{id}/sprites/{name}", "GET", "viewer"),
    ("/api/videos/{id}/thumbnail.jpg", "GET", "viewer"),
    ("/api/videos/{id}/transcript", "POST", "member"),
    ("/api/videos/{id}/transcript.json", "GET", "viewer"),
    ("/api/videos/{id}/transcript.srt", "GET", "viewer"),
    ("/api/videos/{id}/transcript.txt", "GET", "viewer"),
    ("/api/videos/{id}/transcript.vtt", "GET", "viewer"),
    ("/api/videos/{id}/transcript/{index}", "PATCH", "member"),
    ("/ask", "GET", "viewer"),
    ("/ask", "POST", "member"),
    ("/ask/{id}", "GET", "viewer"),
    ("/ask/{id}/delete", "POST", "member"),
    ("/bench", "GET", "viewer"),
    ("/bench/{name}", "GET", "viewer"),
    ("/docs", "GET", "viewer"),
    ("/health", "GET", "public"),
    ("/healthz", "GET", "public"),
    ("/household", "GET", "viewer"),
    ("/household/keys", "POST", "admin"),
    ("/household/keys/{id}/revoke", "POST", "admin"),
    ("/household/password", "POST", "viewer"),
    ("/household/users", "POST", "admin"),
    ("/household/users/{id}/password", "POST", "admin"),
    ("/household/users/{id}/remove", "POST", "admin"),
    ("/household/users/{id}/role", "POST", "admin"),
    ("/jobs", "GET", "viewer"),
    ("/jobs/pause", "POST", "member"),
    ("/jobs/reread", "POST", "member"),
    ("/jobs/resume", "POST", "member"),
    ("/jobs/retry-failed", "POST", "member"),
    ("/jobs/{id}/cancel", "POST", "member"),
    ("/jobs/{id}/first", "POST", "member"),
    ("/jobs/{id}/retry", "POST", "member"),
    ("/login", "GET", "public"),
    ("/login", "POST", "public"),
    ("/logout", "POST", "public"),
    ("/mcp", "POST", "viewer"),
    ("/metrics", "GET", "viewer"),
    ("/openapi.json", "GET", "viewer"),
    ("/readyz", "GET", "public"),
    ("/search", "GET", "viewer"),
    ("/static/{version}/{name}", "GET", "public"),
    ("/system", "GET", "viewer"),
    ("/tags/{tag}", "GET", "viewer"),
    ("/tokenize", "POST", "member"),
    ("/trash", "GET", "viewer"),
    ("/trash/empty", "POST", "admin"),
    ("/trash/restore", "POST", "member"),
    ("/trash/{id}/delete", "POST", "admin"),
    ("/v1/audio/transcriptions", "POST", "member"),
    ("/v1/chat/completions", "POST", "member"),
    ("/v1/embeddings", "POST", "member"),
    ("/v1/files", "GET", "viewer"),
    ("/v1/files", "POST", "member"),
    ("/v1/files/uploads", "POST", "member"),
    ("/v1/files/uploads", "OPTIONS", "viewer"),
    ("/v1/files/uploads/{id}", "POST", "member"),
    ("/v1/files/uploads/{id}", "PATCH", "member"),
    ("/v1/files/uploads/{id}", "DELETE", "member"),
    ("/v1/files/uploads/{id}", "OPTIONS", "viewer"),
    ("/v1/files/uploads/{id}", "HEAD", "viewer"),
    ("/v1/files/{id}", "GET", "viewer"),
    ("/v1/files/{id}", "DELETE", "member"),
    ("/v1/files/{id}/content", "GET", "viewer"),
    ("/v1/models", "GET", "viewer"),
    ("/v1/models/{*id}", "GET", "viewer"),
    ("/v1/responses", "POST", "member"),
    ("/v1/responses/{id}", "GET", "member"),
    ("/v1/responses/{id}", "DELETE", "member"),
    ("/v1/responses/{id}/input_items", "GET", "member"),
    ("/v1/videos/estimate", "POST", "member"),
    ("/version", "GET", "viewer"),
    ("/videos/batch", "POST", "member"),
    ("/videos/download", "GET", "viewer"),
    ("/videos/download", "POST", "viewer"),
    ("/videos/{id}", "GET", "viewer"),
    ("/videos/{id}/albums", "POST", "member"),
    ("/videos/{id}/answers/{answer}/delete", "POST", "member"),
    ("/videos/{id}/delete", "POST", "admin"),
    ("/videos/{id}/edit", "GET", "member"),
    ("/videos/{id}/edit", "POST", "member"),
    ("/videos/{id}/favourite", "POST", "member"),
    ("/videos/{id}/rename", "POST", "member"),
    ("/videos/{id}/reread", "POST", "member"),
    ("/videos/{id}/restore", "POST", "member"),
    ("/videos/{id}/taken", "POST", "member"),
    ("/videos/{id}/transcript", "POST", "member"),
    ("/videos/{id}/transcript/{index}", "POST", "member"),
];

const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::HEAD];

/// A server that requires a login, and one API key for each role.
struct Guarded {
    router: Router,
    keys: Vec<(&'static str, Option<String>)>,
}

impl Guarded {
    async fn new(data: &std::path::Path) -> Self {
        let (mut state, _) = state_with(data, Vec::new()).await;
        state.auth = Auth::new(state.library.pool().clone(), true);
        let mut keys = vec![("public", None)];
        for role in [Role::Viewer, Role::Member, Role::Admin] {
            let key = state.auth.add_key(role.as_str(), role).await.unwrap();
            keys.push((role.as_str(), Some(key.token)));
        }
        Self { router: router(state), keys }
    }

    async fn call(&self, method: &Method, url: &str, key: Option<&str>) -> Response {
        let mut request =
            Request::builder().method(method).uri(url.replace("{*id}", "1").replace(['{', '}'], ""));
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn status(&self, method: &Method, url: &str, key: Option<&str>) -> StatusCode {
        self.call(method, url, key).await.status()
    }

    /// Returns the lowest role that has access.
    async fn role(&self, method: &Method, url: &str) -> &'static str {
        for (role, key) in &self.keys {
            let status = self.status(method, url, key.as_deref()).await;
            let expected = if key.is_none() { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
            if status != expected {
                assert!(
                    !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                    "{method} {url}"
                );
                return role;
            }
        }
        "nobody"
    }

    async fn exists(&self, method: &Method, url: &str) -> bool {
        let admin = self.keys.last().and_then(|(_, key)| key.as_deref());
        let response = self.call(method, url, admin).await;
        // A handler may answer 405 itself; only the router's response has `Allow`.
        response.status() != StatusCode::METHOD_NOT_ALLOWED || !response.headers().contains_key(header::ALLOW)
    }
}

#[tokio::test]
async fn every_url_and_method_requires_the_role_of_the_list() {
    let data = tempfile::tempdir().unwrap();
    let server = Guarded::new(data.path()).await;
    let urls: BTreeSet<&str> =
        [public(), viewer(), member(), admin()].into_iter().flat_map(|group| group.urls).collect();
    let mut table = Vec::new();
    for url in urls {
        for method in &METHODS {
            // `get` answers HEAD too; both have the same role unless HEAD has its own handler.
            if *method == Method::HEAD && !url.ends_with("/uploads/{id}") {
                continue;
            }
            if server.exists(method, url).await {
                table.push((url, method.as_str().to_owned(), server.role(method, url).await));
            }
        }
    }
    let table: Vec<_> = table.iter().map(|(url, method, role)| (*url, method.as_str(), *role)).collect();
    assert_eq!(table, EXPECTED);
}

#[test]
fn every_action_of_an_admin_and_every_deletion_is_in_the_audit_log() {
    let audited = |method: &str, url: &str| {
        AUDITED.iter().any(|(audited, route, _)| audited.as_str() == method && *route == url)
    };
    for (url, method, role) in EXPECTED {
        let acts = (*role == "admin" && *method != "GET") || *method == "DELETE";
        assert!(!acts || audited(method, url), "{method} {url}");
    }
    for (method, route, _) in AUDITED {
        let exists = EXPECTED.iter().any(|(url, listed, _)| *url == route && *listed == method.as_str());
        assert!(exists, "{method} {route}");
    }
}

#[tokio::test]
async fn urls_and_methods_without_a_route_require_a_login() {
    let data = tempfile::tempdir().unwrap();
    let server = Guarded::new(data.path()).await;
    let [anonymous, viewer, member, admin] = [0, 1, 2, 3].map(|at| server.keys[at].1.as_deref());
    let (get, post) = (Method::GET, Method::POST);
    for url in ["/nothing", "/login/", "/static", "//static/x", "/api/nothing", "/v1/nothing"] {
        assert_eq!(server.status(&get, url, anonymous).await, StatusCode::UNAUTHORIZED, "{url}");
        assert_eq!(server.status(&get, url, viewer).await, StatusCode::NOT_FOUND, "{url}");
        assert_eq!(server.status(&post, url, viewer).await, StatusCode::FORBIDDEN, "{url}");
        assert_eq!(server.status(&post, url, member).await, StatusCode::NOT_FOUND, "{url}");
    }
    for (method, url) in [(&Method::PUT, "/api/videos"), (&Method::DELETE, "/api/search")] {
        assert_eq!(server.status(method, url, anonymous).await, StatusCode::UNAUTHORIZED, "{url}");
        assert_eq!(server.status(method, url, viewer).await, StatusCode::FORBIDDEN, "{url}");
        assert_eq!(server.status(method, url, admin).await, StatusCode::METHOD_NOT_ALLOWED, "{url}");
    }
    assert_eq!(server.status(&get, "/jobs/pause", viewer).await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.status(&Method::DELETE, "/login", anonymous).await, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_path_or_query_that_does_not_fit_is_refused_in_the_format_of_the_api() {
    let data = tempfile::tempdir().unwrap();
    let server = Guarded::new(data.path()).await;
    let admin = server.keys[3].1.as_deref();
    for (method, url, kind) in [
        (Method::GET, "/api/videos?limit=x", "application/problem+json"),
        (Method::GET, "/api/videos/%ff", "application/problem+json"),
        (Method::DELETE, "/api/videos/1?permanently=perhaps", "application/problem+json"),
        (Method::POST, "/api/replicas/first/drain", "application/problem+json"),
        (Method::GET, "/v1/files?limit=1&limit=2", "application/json"),
        (Method::GET, "/v1/files/%ff", "application/json"),
    ] {
        let response = server.call(&method, url, admin).await;
        let found = (response.status(), response.headers()[header::CONTENT_TYPE].to_str().unwrap());
        assert_eq!(found, (StatusCode::BAD_REQUEST, kind), "{url}");
    }
}
