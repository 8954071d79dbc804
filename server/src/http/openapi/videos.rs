//! Videos, their files, search, the trash.

use axum::http::{Method, StatusCode};
use homereel_library::Role::{Admin, Member, Viewer};
use utoipa::openapi::{Required, path::ParameterIn};

use super::albums;
use super::operation::{Route, get, post, route};
use super::schema::{
    Shape, any, boolean, bytes, choice, events, integer, integer_in, list, nullable, number, number_in,
    object, pattern, shared, text,
};

/// Videos of the library.
pub(super) fn videos() -> Vec<Route> {
    vec![
        list_of_videos(),
        post("/api/videos", Member, "Uploads videos")
            .about(
                "A form with up to 100 files, or one file as the body. A file that is no video is refused with the reason; the \
                 others of a form are stored. Browsers, which accept HTML, get a page or are redirected to the list.",
            )
            .query("name", text(), "name of a file that is the body; otherwise that of Content-Disposition")
            .query("lastModified", pattern("^-?[0-9]*$"), "time of a file that is the body, in milliseconds since 1970 (UTC)")
            .body("multipart/form-data", object([("file", bytes())], [("lastModified", text())]))
            .body("application/octet-stream", bytes())
            .body("video/mp4", bytes())
            .returns(StatusCode::CREATED, shared("StoredVideos"))
            .returns(StatusCode::OK, shared("StoredVideos"))
            .returns_as(StatusCode::SEE_OTHER, &[])
            .fails(&[422, 507]),
        get("/api/videos/{id}", Viewer, "Returns a video with its jobs, windows and answers").returns(
            StatusCode::OK,
            all_of_video([
                ("transcript", nullable(shared("Transcript"))),
                ("jobs", list(shared("Job"))),
                ("windows", list(shared("Window"))),
                ("answers", list(shared("Answer"))),
            ]),
        ),
        route(Method::PATCH, "/api/videos/{id}", Member, "Changes a video")
            .about(
                "Fields that are missing stay as they are. `taken` is a day (`1987-06-14`) or a local time (`2023-10-06T08:00:00`), \
                 with `+09:00`, `Z` or `[Asia/Tokyo]` after it if the zone is known; `null` returns to what the file says.",
            )
            .json_body(object(
                [],
                [
                    ("name", text()),
                    ("place", text()),
                    ("favourite", boolean()),
                    ("description", text()),
                    ("tags", list(text())),
                    ("moments", list(shared("Moment"))),
                    ("taken", nullable(text())),
                ],
            ))
            .returns(StatusCode::OK, shared("Video"))
            .fails(&[409]),
        route(Method::DELETE, "/api/videos/{id}", Admin, "Moves a video to the trash")
            .query("permanently", boolean(), "deletes a video that is in the trash")
            .returns_as(StatusCode::NO_CONTENT, &[])
            .fails(&[409]),
        get("/api/videos/{id}/similar", Viewer, "Lists videos that are like one")
            .about("By meaning, the most alike first, at most 6; none while search by meaning is off or unavailable.")
            .returns(StatusCode::OK, shared("SimilarVideos")),
        post("/api/videos/{id}/restore", Member, "Restores a video from the trash")
            .returns(StatusCode::OK, shared("Video"))
            .fails(&[409]),
        post("/api/videos/{id}/reread", Member, "Processes a video again")
            .returns(StatusCode::ACCEPTED, object([("jobs", list(shared("Job")))], []))
            .fails(&[409]),
        post("/api/videos/{id}/transcript", Member, "Transcribes a video again")
            .about("The present transcript is removed, with what people have corrected.")
            .returns(StatusCode::ACCEPTED, object([("jobs", list(shared("Job")))], []))
            .fails(&[409]),
        route(Method::PATCH, "/api/videos/{id}/transcript/{index}", Member, "Corrects a line of a transcript")
            .about("The times of the line stay. The search finds the new text.")
            .json_body(object([("text", text())], []))
            .returns(StatusCode::OK, shared("TranscriptLine")),
        post("/api/videos/{id}/ask", Member, "Asks about a video")
            .about(
                "The answer is a stream of the events `asked`, `queued`, `progress`, `media`, `token`, `delta`, and at last `done` \
                 or `error`. A form of a page waits for the answer and is redirected to it.",
            )
            .json_body(object(
                [("question", text())],
                [
                    ("fps", nullable(number())),
                    ("num_frames", nullable(integer_in(0, u32::MAX.into()))),
                    ("start", nullable(number())),
                    ("end", nullable(number())),
                    ("cap_pixels_per_frame", nullable(boolean())),
                    ("max_tokens", nullable(integer_in(0, u32::MAX.into()))),
                    ("temperature", nullable(number_in(0.0, 2.0))),
                    ("seed", nullable(integer_in(0, i64::MAX))),
                ],
            ))
            .returns_as(StatusCode::OK, &[("text/event-stream", events())])
            .returns_as(StatusCode::SEE_OTHER, &[])
            .fails(&[409, 429]),
        route(Method::DELETE, "/api/videos/{id}/answers/{answer}", Member, "Deletes an answer about a video")
            .returns_as(StatusCode::NO_CONTENT, &[])
            .fails(&[409]),
    ]
}

fn list_of_videos() -> Route {
    let [videos, before, after] = albums::page();
    albums::keyed(get("/api/videos", Viewer, "Lists the videos, those taken last first"))
        .about(
            "A page has the keys of its neighbours: `before` leads to earlier videos, `after` to later ones. `total` counts what the \
             filters allow; where `total_is_minimum` is true, there are more.",
        )
        .query("limit", integer_in(0, u32::MAX.into()), "at most 100, which is the default")
        .query("offset", integer_in(0, u32::MAX.into()), "videos to skip, of the whole list in its usual order only")
        .query("sort", choice(&["taken", "added"]), "what the list is sorted by; `taken` by default")
        .query("favourite", text(), "any value restricts the list to favourites")
        .query("undated", text(), "any value restricts it to videos of which nobody knows when they were taken")
        .query("place", text(), "the place")
        .query("camera", text(), "the camera")
        .query("length", choice(&["0-60", "60-600", "600-3600", "3600-"]), "the length in seconds")
        .query("when", pattern("^[0-9]{4}(-[0-9]{2})?$"), "year or month in which they were taken")
        .query("on", pattern("^[0-9]{2}-[0-9]{2}$"), "month and day of any year")
        .returns(
            StatusCode::OK,
            object([videos, before, after, ("total", integer()), ("total_is_minimum", boolean())], []),
        )
}

/// What players and downloads read.
pub(super) fn media() -> Vec<Route> {
    let file = |url, summary| get(url, Viewer, summary);
    vec![
        ranged(
            file("/api/videos/{id}/file", "Returns the original").query(
                "download",
                text(),
                "any value but 0 saves it under its name",
            ),
            "video/*",
        ),
        ranged(
            file("/api/videos/{id}/playback.mp4", "Returns what browsers play")
                .about("The original where browsers play it, else the rendition; 404 until that is ready."),
            "video/*",
        ),
        ranged(file("/api/videos/{id}/poster.jpg", "Returns the poster"), "image/jpeg"),
        ranged(file("/api/videos/{id}/card.jpg", "Returns a thumbnail of 320 pixels"), "image/jpeg"),
        validated(
            file("/api/videos/{id}/frame.jpg", "Returns the picture that a video shows at a second")
                .parameter(ParameterIn::Query, "t", Required::True, number(), "seconds from the beginning")
                .query("width", integer_in(16, 1920), "maximum width in pixels; 1280 by default")
                .query("download", text(), "any value but 0 saves it under the name of the video with day and time")
                .fails(&[409, 422]),
            "image/jpeg",
            &[("Homereel-Frame-Time", text(), "when the video begins to show it, in seconds")],
        ),
        file("/api/videos/{id}/clip.mp4", "Returns a part of a video as an MP4")
            .about(
                "0.1 to 600 seconds with sound. The original or the rendition is copied without encoding it again where it has a \
                 key frame at most 20 seconds before the start; otherwise the part is encoded, which takes longer.",
            )
            .parameter(ParameterIn::Query, "start", Required::True, number(), "seconds from the beginning")
            .parameter(ParameterIn::Query, "end", Required::True, number(), "seconds from the beginning")
            .query("download", text(), "any value but 0 saves it under the name of the video with day and times")
            .returns_with(
                StatusCode::OK,
                &[("video/mp4", bytes())],
                &[("Homereel-Clip", choice(&["copied", "encoded"]), "how it was made")],
            )
            .fails(&[409, 422, 507]),
        validated(
            file("/api/videos/{id}/thumbnail.jpg", "Returns the thumbnail of a second")
                .about("At most 320 pixels wide and up to 10 seconds away: it is one of the scrub sprites.")
                .parameter(
                    ParameterIn::Query,
                    "t",
                    Required::True,
                    pattern("^[0-9]+([.][0-9]+)?$"),
                    "the second",
                ),
            "image/jpeg",
            &[],
        ),
        file("/api/videos/{id}/sprites.vtt", "Returns the index of the scrub sprites")
            .returns_as(StatusCode::OK, &[("text/vtt", text())]),
        ranged(
            file("/api/videos/{id}/sprites/{name}", "Returns a sheet of scrub sprites")
                .about("`name` is a number with `.jpg`, as in the index."),
            "image/jpeg",
        ),
        file("/api/videos/{id}/moments.json", "Returns the moments").returns(
            StatusCode::OK,
            object([("video", text()), ("model", text()), ("moments", list(shared("Moment")))], []),
        ),
        file("/api/videos/{id}/moments.vtt", "Returns the moments as WebVTT")
            .returns_as(StatusCode::OK, &[("text/vtt", text())]),
        file("/api/videos/{id}/moments.srt", "Returns the moments as SubRip")
            .returns_as(StatusCode::OK, &[("application/x-subrip", text())]),
        file("/api/videos/{id}/moments.md", "Returns the moments as Markdown")
            .returns_as(StatusCode::OK, &[("text/markdown", text())]),
        file("/api/videos/{id}/transcript.json", "Returns what is said")
            .about("While the state is `listening`, lines after `position` may follow.")
            .query("first", integer_in(0, i64::MAX), "number of the first line; 0 by default")
            .query("limit", integer_in(0, i64::MAX), "number of lines; all by default")
            .returns(StatusCode::OK, transcript()),
        file("/api/videos/{id}/transcript.vtt", "Returns what is said as WebVTT")
            .returns_as(StatusCode::OK, &[("text/vtt", text())]),
        file("/api/videos/{id}/transcript.srt", "Returns what is said as SubRip")
            .returns_as(StatusCode::OK, &[("application/x-subrip", text())]),
        file("/api/videos/{id}/transcript.txt", "Returns what is said as text, line by line")
            .returns_as(StatusCode::OK, &[("text/plain", text())]),
    ]
}

/// Adds range requests and validators.
pub(super) fn ranged(route: Route, kind: &str) -> Route {
    validated(
        route.parameter(ParameterIn::Header, "Range", Required::False, text(), "one range of bytes"),
        kind,
        &[],
    )
    .returns_as(StatusCode::PARTIAL_CONTENT, &[(kind, bytes())])
    .returns_as(StatusCode::RANGE_NOT_SATISFIABLE, &[(kind, bytes())])
}

/// Adds a body of this content type, validators, and the other `headers` of the response.
fn validated(route: Route, kind: &str, headers: &[(&str, Shape, &str)]) -> Route {
    let about = "the ETag of the client's copy";
    let mut all = vec![("ETag", text(), "changes with the content")];
    all.extend_from_slice(headers);
    route
        .parameter(ParameterIn::Header, "If-None-Match", Required::False, text(), about)
        .returns_with(StatusCode::OK, &[(kind, bytes())], &all)
        .returns_as(StatusCode::NOT_MODIFIED, &[])
}

/// Search, questions about all videos, the trash, the disk.
pub(super) fn library() -> Vec<Route> {
    let number = || pattern("^[0-9]*$");
    vec![
        get("/api/search", Viewer, "Finds videos and seconds in them")
            .about(
                "By words, and by meaning if that is on: `meaning` says whether it was `used`, is `off`, or is `unavailable` at \
                 present, so that words alone were searched. `why` of a place says what found it; `speech` marks what is said.",
            )
            .query("q", text(), "words")
            .query("from", pattern("^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"), "first day")
            .query("to", pattern("^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"), "last day")
            .query("camera", text(), "")
            .query("length", pattern("^([0-9]*-[0-9]*)?$"), "range in seconds, `60-600` or `3600-`")
            .query("tag", text(), "")
            .query("favourite", text(), "any value restricts the search to favourites")
            .query("limit", number(), "at most 100; 20 by default")
            .query("offset", number(), "at most 100000")
            .returns(StatusCode::OK, shared("SearchResults")),
        post("/api/ask", Member, "Asks about all videos")
            .about(
                "It is answered from descriptions and moments. The answer is a stream of the events `notes`, `queued`, `progress`, \
                 `token`, and at last `done` or `error`. It is kept under the `id` in `notes`, unless `keep` is false.",
            )
            .json_body(object([("question", text())], [("keep", boolean())]))
            .returns_as(StatusCode::OK, &[("text/event-stream", events())])
            .fails(&[429]),
        get("/api/ask", Viewer, "Lists questions about all videos, newest first")
            .query("before", text(), "id of a question; those before it follow")
            .returns(
                StatusCode::OK,
                object([("questions", list(shared("LibraryAnswer"))), ("next", nullable(text()))], []),
            ),
        get("/api/ask/{id}", Viewer, "Returns a question about all videos, its answer and its notes")
            .returns(StatusCode::OK, shared("LibraryAnswer")),
        route(Method::DELETE, "/api/ask/{id}", Member, "Deletes a question about all videos")
            .returns_as(StatusCode::NO_CONTENT, &[]),
        get("/api/trash", Viewer, "Lists the trash")
            .returns(StatusCode::OK, object([("videos", list(shared("Video")))], [])),
        route(Method::DELETE, "/api/trash", Admin, "Empties the trash")
            .returns(StatusCode::OK, object([("deleted", integer())], [])),
        get("/api/storage", Viewer, "Returns the use of the disk").returns(StatusCode::OK, shared("Storage")),
    ]
}

/// Schemas of this family.
pub(super) fn schemas() -> Vec<(&'static str, Shape)> {
    let refused = object([("name", text()), ("detail", text())], []);
    let place = object(
        [
            ("kind", shared("PieceKind")),
            ("start", nullable(number())),
            ("end", nullable(number())),
            ("answer_id", nullable(text())),
            ("snippet", list(shared("SnippetPart"))),
            ("why", list(shared("Why"))),
            ("url", text()),
        ],
        [],
    );
    let summary = || {
        [
            ("id", text()),
            ("name", text()),
            ("url", text()),
            ("duration_s", nullable(number())),
            ("taken", nullable(shared("Taken"))),
            ("taken_ms", integer()),
            ("camera", nullable(text())),
        ]
    };
    let [id, name, url, duration_s, taken, taken_ms, camera] = summary();
    let found = object([id, name, url, duration_s, taken, taken_ms, camera, ("places", list(place))], []);
    let meaning = || ("meaning", choice(&["off", "used", "unavailable"]));
    let similar = object([meaning(), ("videos", list(object(summary(), [])))], []);
    let results = [
        ("query", text()),
        ("total", integer()),
        ("next_offset", nullable(integer())),
        meaning(),
        ("videos", list(found)),
    ];
    let stored = all_of_video([("duplicate", boolean()), ("restored", boolean())]);
    vec![
        ("StoredVideos", object([("videos", list(stored)), ("refused", list(refused))], [])),
        ("SearchResults", object(results, [])),
        ("SimilarVideos", similar),
        (
            "Problem",
            object(
                [
                    ("type", choice(&["about:blank"])),
                    ("title", text()),
                    ("status", integer_in(400, 599)),
                    ("detail", text()),
                    ("code", text()),
                ],
                [("param", any())],
            ),
        ),
    ]
}

/// A transcript with its lines.
fn transcript() -> Shape {
    let lines = object([("video", text()), ("lines", list(shared("TranscriptLine")))], []);
    let both = utoipa::openapi::schema::AllOfBuilder::new().item(shared("Transcript")).item(lines);
    utoipa::openapi::Schema::AllOf(both.build()).into()
}

/// A video with more fields.
fn all_of_video<const N: usize>(more: [(&str, Shape); N]) -> Shape {
    let both = utoipa::openapi::schema::AllOfBuilder::new().item(shared("Video")).item(object(more, []));
    utoipa::openapi::Schema::AllOf(both.build()).into()
}
