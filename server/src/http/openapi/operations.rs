//! Resumable uploads, jobs, events, and the state of the server.

use axum::http::{Method, StatusCode};
use homereel_library::Role::{Admin, Member, Viewer};
use utoipa::openapi::{Required, path::ParameterIn};

use super::operation::{Route, get, post, route};
use super::schema::{
    Shape, boolean, bytes, choice, events, integer, integer_in, list, nullable, number, object, pattern,
    shared, text,
};
use crate::samples::Series;

/// The content type of a part.
const PART: &str = "application/offset+octet-stream";

/// Uploads to the library.
pub(super) fn uploads() -> Vec<Route> {
    let known = object([("id", text()), ("name", text()), ("trashed", boolean())], []);
    let mut routes = resumable("/api/uploads", "/api/uploads/{id}", "Homereel-Video");
    routes.extend([
        get(
            "/api/uploads",
            Viewer,
            "Lists the caller's uploads that are unfinished, or were refused within the last day",
        )
        .returns(StatusCode::OK, object([("uploads", list(shared("Upload")))], [])),
        get("/api/uploads/{id}", Viewer, "Returns the state of an upload")
            .returns(StatusCode::OK, shared("Upload")),
        get("/api/uploads/known", Viewer, "Returns the video or unfinished upload with this content")
            .parameter(
                ParameterIn::Query,
                "sha256",
                Required::True,
                pattern("^[0-9A-Fa-f]{64}$"),
                "of the content",
            )
            .parameter(ParameterIn::Query, "size", Required::True, integer_in(0, i64::MAX), "in bytes")
            .returns(
                StatusCode::OK,
                object([("video", nullable(known)), ("upload", nullable(shared("Upload")))], []),
            ),
    ]);
    routes
}

/// tus 1.0.0 at a URL. `done` is the header with the id of what the upload became.
pub(super) fn resumable(all: &'static str, one: &'static str, done: &'static str) -> Vec<Route> {
    let version = |route: Route| {
        let about = "version of the protocol";
        route.parameter(ParameterIn::Header, "Tus-Resumable", Required::True, choice(&["1.0.0"]), about)
    };
    let header = |route: Route, name, required, shape, about| {
        version(route).parameter(ParameterIn::Header, name, required, shape, about)
    };
    let count = || pattern("^[0-9]+$");
    let offset = ("Upload-Offset", count(), "bytes received");
    let describe = |url| {
        route(Method::OPTIONS, url, Viewer, "Returns the version and extensions of tus").returns_with(
            StatusCode::NO_CONTENT,
            &[],
            &[("Tus-Version", text(), ""), ("Tus-Max-Size", count(), ""), ("Tus-Extension", text(), "")],
        )
    };
    let create = header(
        post(all, Member, "Creates an upload"),
        "Upload-Length",
        Required::True,
        count(),
        "size of the file in bytes",
    );
    let about = "`filename`, `sha256`, and for files `purpose`, each with its value in base64";
    let create = create
        .parameter(ParameterIn::Header, "Upload-Metadata", Required::False, text(), about)
        .optional_body(PART, bytes())
        .returns_with(StatusCode::CREATED, &[], &[("Location", text(), "URL of the upload"), offset.clone()]);
    let append = |route: Route| {
        let route = version(route);
        route
            .body(PART, bytes())
            .returns_with(
                StatusCode::NO_CONTENT,
                &[],
                &[offset.clone(), (done, text(), "id, after the last part")],
            )
            .fails(&[409, 410, 422, 423, 460, 507])
    };
    let about = "offset of this part; not needed to end an upload";
    let patch = route(Method::PATCH, one, Member, "Sends the next part").parameter(
        ParameterIn::Header,
        "Upload-Offset",
        Required::True,
        count(),
        "offset of this part",
    );
    let instead = post(one, Member, "Does what X-HTTP-Method-Override says")
        .about("For clients whose network lets neither PATCH nor DELETE through.")
        .parameter(
            ParameterIn::Header,
            "X-HTTP-Method-Override",
            Required::True,
            choice(&["PATCH", "DELETE", "HEAD"]),
            "",
        )
        .parameter(ParameterIn::Header, "Upload-Offset", Required::False, count(), about);
    let show = version(route(Method::HEAD, one, Viewer, "Returns the offset of an upload"))
        .returns_with(StatusCode::OK, &[], std::slice::from_ref(&offset))
        .fails(&[410, 412, 423]);
    let end = version(route(Method::DELETE, one, Member, "Ends an upload"))
        .returns_as(StatusCode::NO_CONTENT, &[])
        .fails(&[409, 410, 412, 423]);
    vec![
        describe(all),
        create.fails(&[409, 410, 412, 422, 423, 460, 507]),
        describe(one),
        append(patch).fails(&[412]),
        append(instead).returns_as(StatusCode::OK, &[]).fails(&[405, 412]),
        show,
        end,
    ]
}

/// Jobs, and changes as events.
pub(super) fn jobs() -> Vec<Route> {
    let paused = || object([("paused", boolean())], []);
    let one = |url, summary| post(url, Member, summary).returns(StatusCode::OK, shared("Job")).fails(&[409]);
    vec![
        get("/api/jobs", Viewer, "Lists the newest jobs").returns(
            StatusCode::OK,
            object([("jobs", list(shared("Job"))), ("paused", boolean())], []),
        ),
        post("/api/jobs/pause", Member, "Pauses the model's jobs").returns(StatusCode::OK, paused()),
        post("/api/jobs/resume", Member, "Resumes the model's jobs").returns(StatusCode::OK, paused()),
        post("/api/jobs/reread", Member, "Describes videos of another model again")
            .returns(StatusCode::ACCEPTED, object([("queued", integer())], [])),
        one("/api/jobs/{id}/first", "Moves a job to the front of the queue"),
        one("/api/jobs/{id}/cancel", "Cancels a job"),
        one("/api/jobs/{id}/retry", "Runs a failed or cancelled job again"),
        get("/api/events", Viewer, "Streams changes of the library")
            .about(
                "An endless stream of the events `video`, `job`, `progress`, whose data is a `Change`, and `lagged`, after which a \
                 client reads everything again. The first event, `changes`, tells the number of changes since the server started. \
                 The stream ends with the session or key.",
            )
            .returns_as(StatusCode::OK, &[("text/event-stream", events())]),
    ]
}

/// The state of the server.
pub(super) fn system() -> Vec<Route> {
    let replica = |url, summary| {
        post(url, Admin, summary)
            .returns(StatusCode::OK, object([("upstreams", list(shared("ReplicaStatus")))], []))
    };
    vec![
        get("/api/system", Viewer, "Returns version, model, replicas, disk, machine and limits")
            .returns(StatusCode::OK, shared("System")),
        get("/api/system/samples", Viewer, "Returns how the server did over the last minutes, hours or days")
            .query("span", choice(&["15m", "6h", "7d"]), "how far back; 15m by default")
            .returns(StatusCode::OK, samples()),
        replica("/api/replicas/{id}/drain", "Stops new requests to a vLLM replica"),
        replica("/api/replicas/{id}/resume", "Resumes requests to a vLLM replica"),
    ]
}

/// At most 180 samples, oldest first.
fn samples() -> Shape {
    let members = Series::ALL.map(|(_, name)| (name, nullable(number())));
    object(
        [
            ("step_s", integer()),
            ("memory_bytes", number()),
            ("disk_bytes", number()),
            ("samples", list(object(members, []))),
        ],
        [],
    )
}

/// Schemas of this family.
pub(super) fn schemas() -> Vec<(&'static str, Shape)> {
    let rate = object([("fps", number()), ("min_frames", integer()), ("max_frames", integer())], []);
    let model = object(
        [
            ("id", text()),
            ("demo", boolean()),
            ("backend", text()),
            ("max_model_len", integer()),
            ("frame_rate", rate),
        ],
        [],
    );
    let engine = object(
        [
            ("health", choice(&["ready", "loading", "failed"])),
            ("in_flight", integer()),
            ("batch", nullable(shared("BatchStatus"))),
        ],
        [],
    );
    let limits = object(
        [
            ("upload_bytes", integer()),
            ("quota_bytes", nullable(integer())),
            ("files_bytes", integer()),
            ("body_bytes", integer()),
            ("requests", integer()),
        ],
        [],
    );
    let system = object(
        [
            ("version", text()),
            ("role", choice(&["viewer", "member", "admin"])),
            ("engine", engine),
            ("model", nullable(model)),
            ("upstreams", list(shared("ReplicaStatus"))),
            ("library", object([("videos", integer()), ("free_bytes", integer())], [])),
            ("storage", shared("Storage")),
            ("machine", shared("MachineStatus")),
            ("limits", limits),
        ],
        [],
    );
    vec![("System", system)]
}
