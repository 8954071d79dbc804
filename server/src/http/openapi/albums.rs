//! Albums, tags, and changes of many videos.

use axum::http::{Method, StatusCode};
use homereel_library::Role::{Admin, Member, Viewer};

use super::operation::{Route, get, post, route};
use super::schema::{
    Shape, boolean, choice, integer, integer_in, list, nullable, object, pattern, shared, text,
};

/// The key of a page.
fn key() -> Shape {
    pattern("^-?[0-9]+_[0-9a-f]*$")
}

/// Adds the keys of a page.
pub(super) fn keyed(route: Route) -> Route {
    route.query("before", key(), "key of a page of smaller keys, as a page has it").query(
        "after",
        key(),
        "key of a page of larger keys",
    )
}

/// Returns the fields of a page of videos.
pub(super) fn page() -> [(&'static str, Shape); 3] {
    [("videos", list(shared("Video"))), ("before", nullable(key())), ("after", nullable(key()))]
}

fn paged(url: &'static str, summary: &str) -> Route {
    get(url, Viewer, summary)
        .query("limit", integer_in(0, u32::MAX.into()), "at most 100, which is the default")
        .query("offset", integer_in(0, 1_000_000), "0 by default")
}

/// Albums and tags.
pub(super) fn albums() -> Vec<Route> {
    let [videos, before, after] = page();
    vec![
        paged("/api/albums", "Lists the albums, the newest first")
            .returns(StatusCode::OK, object([("albums", list(shared("Album")))], [])),
        post("/api/albums", Member, "Creates an album")
            .about("A name has at most 60 characters and is unique regardless of case; there are at most 1,000 albums.")
            .json_body(object([("name", text())], [("videos", list(text()))]))
            .returns(StatusCode::CREATED, shared("Album"))
            .fails(&[404, 409]),
        keyed(get("/api/albums/{id}", Viewer, "Returns an album with a page of its videos"))
            .about("The earliest video comes first; in an album that is ordered by hand, its order counts.")
            .query("limit", integer_in(0, u32::MAX.into()), "at most 100, which is the default")
            .returns(StatusCode::OK, object([("album", shared("Album")), videos, before, after], [])),
        route(Method::PATCH, "/api/albums/{id}", Member, "Changes an album")
            .about(
                "Fields that are missing stay as they are. `cover` is the id of one of its videos; `null` means the latest video with \
                 a poster. `by_hand` keeps the present order until videos are moved.",
            )
            .json_body(object([], [("name", text()), ("cover", nullable(text())), ("by_hand", boolean())]))
            .returns(StatusCode::OK, shared("Album"))
            .fails(&[409]),
        route(Method::DELETE, "/api/albums/{id}", Admin, "Deletes an album; its videos stay")
            .returns_as(StatusCode::NO_CONTENT, &[]),
        paged("/api/tags", "Lists the tags, those of the most videos first")
            .returns(StatusCode::OK, object([("tags", list(shared("Tag")))], [])),
        post("/api/videos/batch", Member, "Changes many videos")
            .about(
                "At most 5,000 ids. `album`, an id, or `album_name`, which creates the album if there is none, names the album that \
                 videos are added to or removed from. `trash` takes the role admin. Ids that no video has are skipped.",
            )
            .json_body(object(
                [
                    (
                        "action",
                        choice(&[
                            "add_to_album",
                            "remove_from_album",
                            "favourite",
                            "unfavourite",
                            "trash",
                            "restore",
                            "reread",
                        ]),
                    ),
                    ("ids", list(text())),
                ],
                [("album", nullable(text())), ("album_name", nullable(text()))],
            ))
            .returns(
                StatusCode::OK,
                object(
                    [
                        ("changed", integer()),
                        ("unchanged", integer()),
                        ("unknown", integer()),
                        ("ids", list(text())),
                        ("album", nullable(text())),
                    ],
                    [],
                ),
            )
            .fails(&[404, 409]),
    ]
}
