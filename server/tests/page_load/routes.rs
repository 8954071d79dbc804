//! The URLs that are measured: those of the route table that answer `GET`, with what a library has in place of parameters.

use crate::fill::Filled;

/// The route table.
const TABLE: &str = include_str!("../../src/http/routes.rs");

/// Routes that are left out, by their beginning or end, and why.
const LEFT_OUT: [(&str, &str); 23] = [
    ("/api/events", "a stream without end"),
    ("/videos/download", "a file of originals"),
    ("/file", "an original"),
    (".mp4", "a video"),
    ("poster.jpg", "a file"),
    ("card.jpg", "a file"),
    ("frame.jpg", "decodes a video"),
    ("thumbnail.jpg", "a file"),
    ("sprites.vtt", "a file"),
    ("/sprites/{name}", "a file"),
    ("/static/{name}", "a file"),
    ("/static/{version}/{name}", "a file"),
    ("/bench/{name}", "a plot of a file"),
    ("/login", "only where a login is required"),
    ("/api/uploads/{id}", "one row by its id; needs an upload"),
    ("/api/uploads/known", "one row by its hash"),
    ("/v1/files/{id}", "one row by its id"),
    ("/v1/files/{id}/content", "a file"),
    ("/v1/files/uploads", "only OPTIONS and POST"),
    ("/v1/files/uploads/{id}", "only HEAD, OPTIONS and changes"),
    ("/v1/models/{*id}", "one model by its id"),
    ("/v1/responses/{id}", "one row by its id"),
    ("/v1/responses/{id}/input_items", "one row by its id"),
];

/// Other states of pages: filters, pages in the middle, searches.
const STATES: [&str; 18] = [
    "/?when=2019",
    "/?when=2019-07",
    "/?favourite=1",
    "/?undated=1",
    "/?place=place%201",
    "/?camera=camera%201",
    "/?length=0-60",
    "/?on=07-14",
    "/?sort=added",
    "/?favourite=1&length=0-60&sort=added",
    "/?before={key}",
    "/?after={key}",
    "/videos/{id}?in=album%3A{album}",
    "/albums/{album}?after={key}",
    "/search?q=word7",
    "/search?favourite=1",
    "/api/videos?favourite=1&limit=48",
    "/jobs?offset=4000",
];

/// Returns the URLs of the table that answer `GET`, from its source.
fn table() -> Vec<&'static str> {
    let mut urls = Vec::new();
    for route in TABLE.split(".route(").skip(1) {
        let Some(url) = route.split('"').nth(1).filter(|url| url.starts_with('/')) else { continue };
        let handlers = route.split_once(',').map_or("", |(_, handlers)| handlers);
        let handlers = handlers.split("\n        .").next().unwrap_or_default();
        if handlers.contains("get(") && !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// Returns name and URL of all that is measured.
pub(crate) fn urls(filled: &Filled) -> Vec<(&'static str, String)> {
    let left_out = |url: &str| {
        LEFT_OUT.iter().any(|(part, _)| url == *part || url.ends_with(part) && !part.starts_with("/v1"))
    };
    let names = table().into_iter().filter(|url| !left_out(url)).chain(STATES);
    names.map(|name| (name, with_values(name, filled))).collect()
}

/// Puts ids of the library in place of parameters.
fn with_values(name: &str, filled: &Filled) -> String {
    let id = match name {
        _ if name.contains("/albums/{id}") => &filled.album,
        _ if name.contains("/ask/") => &filled.question,
        _ => &filled.video,
    };
    name.replace("{id}", id)
        .replace("{album}", &filled.album)
        .replace("{tag}", "tag%201")
        .replace("{key}", &filled.key)
}
