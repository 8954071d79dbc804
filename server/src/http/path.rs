//! URLs of the OpenAI-compatible API as clients build them from a base URL: with a slash too many, or `/v1` twice.

use axum::{
    extract::Request,
    http::uri::{PathAndQuery, Uri},
};

/// Changes the URL of a request to the one that its client means.
pub(super) fn normalized(mut request: Request) -> Request {
    if let Some(uri) = normal(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// Returns the URL that is meant; `None` means that it is this one.
fn normal(uri: &Uri) -> Option<Uri> {
    let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let (first, rest) = segments.split_first()?;
    if *first != "v1" {
        return None;
    }
    let rest = rest.strip_prefix(&["v1"]).unwrap_or(rest);
    let path = format!("/v1/{}", rest.join("/"));
    if path == uri.path() {
        return None;
    }
    let path = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_a_second_v1_are_removed_from_the_api_only() {
        for (given, meant) in [
            ("/v1/models/", "/v1/models"),
            ("//v1/chat/completions", "/v1/chat/completions"),
            ("/v1//chat///completions/?a=b", "/v1/chat/completions?a=b"),
            ("/v1/v1/models", "/v1/models"),
            ("http://host:1/v1/models/", "http://host:1/v1/models"),
        ] {
            assert_eq!(normal(&given.parse().unwrap()).unwrap().to_string(), meant, "{given}");
        }
        for same in
            ["/v1/models", "/v1/models/Qwen/Qwen3-VL", "/", "//", "/videos//x/", "/v10/models/", "/login/"]
        {
            assert_eq!(normal(&same.parse().unwrap()), None, "{same}");
        }
    }
}
