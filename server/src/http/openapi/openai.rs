//! OpenAI's API: chat completions, responses, models, files.

use axum::http::{Method, StatusCode};
use homereel_library::Role::{Member, Viewer};

use super::operation::{Route, get, post, route};
use super::schema::{
    Shape, any, any_of, boolean, bytes, choice, events, integer, integer_in, list, nullable, number, object,
    pattern, shared, text,
};
use super::{operations::resumable, videos::ranged};
use crate::http::openai::{
    files::PURPOSES,
    parameters::{Api, schema::body},
    transcriptions::FORMATS,
};

/// Statuses of a request whose clips are fetched, decoded and given to the model.
const OF_ANSWERS: [u16; 5] = [404, 409, 410, 422, 429];

/// Chat completions, responses and models.
pub(super) fn answers() -> Vec<Route> {
    let page = |route: Route| {
        route
            .query("limit", integer_in(1, 100), "20 by default")
            .query("order", choice(&["asc", "desc"]), "desc by default")
            .query("after", text(), "id of the item before the first one")
    };
    let deleted = object([("id", text()), ("object", choice(&["response"])), ("deleted", boolean())], []);
    vec![
        post("/v1/chat/completions", Member, "Answers a conversation")
            .about("With `stream`, the answer is a stream of chunks that ends with `[DONE]`.")
            .body("application/json", body(Api::Chat, "messages"))
            .returns_as(
                StatusCode::OK,
                &[("application/json", shared("ChatCompletion")), ("text/event-stream", events())],
            )
            .fails(&OF_ANSWERS),
        post("/v1/embeddings", Member, "Embeds texts")
            .about("By the model of search by meaning. It is not in the list of models, of which clients choose one to chat with.")
            .body("application/json", body(Api::Embeddings, "input"))
            .returns(StatusCode::OK, shared("Embeddings"))
            .fails(&[404, 429]),
        post("/v1/audio/transcriptions", Member, "Transcribes a file with sound")
            .about(
                "A video, or sound alone. `prompt` and `chunking_strategy` have no effect. With `verbose_json`, values that are not \
                 known are neutral: `tokens` is empty, `compression_ratio` 1, `no_speech_prob` 0.",
            )
            .body("multipart/form-data", transcription_form())
            .returns_as(
                StatusCode::OK,
                &[
                    ("application/json", shared("Transcription")),
                    ("text/plain", text()),
                    ("text/vtt", text()),
                    ("application/x-subrip", text()),
                ],
            )
            .fails(&[404, 422, 429, 507]),
        post("/v1/videos/estimate", Member, "Estimates tokens, seconds and memory of a chat request")
            .body("application/json", body(Api::Estimate, "messages"))
            .returns(StatusCode::OK, shared("Estimate"))
            .fails(&OF_ANSWERS),
        post("/v1/responses", Member, "Answers, and keeps the response")
            .about("With `stream`, the answer is a stream of events.")
            .body("application/json", body(Api::Responses, "input"))
            .returns_as(
                StatusCode::OK,
                &[("application/json", shared("Response")), ("text/event-stream", events())],
            )
            .fails(&OF_ANSWERS),
        get("/v1/responses/{id}", Member, "Returns a kept response")
            .returns(StatusCode::OK, shared("Response")),
        route(Method::DELETE, "/v1/responses/{id}", Member, "Deletes a kept response")
            .returns(StatusCode::OK, deleted),
        page(get("/v1/responses/{id}/input_items", Member, "Lists the items before the output"))
            .returns(StatusCode::OK, list_of(object([("id", text()), ("type", text())], []))),
        get("/v1/models", Viewer, "Lists the names of the loaded model").returns(
            StatusCode::OK,
            object([("object", choice(&["list"])), ("data", list(shared("Model")))], []),
        ),
        get("/v1/models/{*id}", Viewer, "Returns the loaded model under one of its names")
            .about("The name may have slashes.")
            .returns(StatusCode::OK, shared("Model")),
    ]
}

/// Files of requests.
pub(super) fn files() -> Vec<Route> {
    let form = object(
        [("file", bytes()), ("purpose", choice(&PURPOSES))],
        [("expires_after[anchor]", choice(&["created_at"])), ("expires_after[seconds]", pattern("^[0-9]+$"))],
    );
    let deleted = object([("id", text()), ("object", choice(&["file"])), ("deleted", boolean())], []);
    let mut routes = vec![
        get("/v1/files", Viewer, "Lists the caller's files")
            .query("limit", integer_in(1, 10_000), "10000 by default")
            .query("after", pattern("^file-"), "id of the file before the first one")
            .query("order", choice(&["asc", "desc"]), "desc by default")
            .query("purpose", choice(&PURPOSES), "")
            .returns(StatusCode::OK, list_of(shared("File"))),
        post("/v1/files", Member, "Uploads a file")
            .body("multipart/form-data", form)
            .returns(StatusCode::OK, shared("File"))
            .fails(&[409, 422, 507]),
        get("/v1/files/{id}", Viewer, "Returns what is known of a file")
            .returns(StatusCode::OK, shared("File")),
        route(Method::DELETE, "/v1/files/{id}", Member, "Deletes a file").returns(StatusCode::OK, deleted),
        ranged(
            get("/v1/files/{id}/content", Viewer, "Returns the content of a file"),
            "application/octet-stream",
        ),
    ];
    routes.extend(resumable("/v1/files/uploads", "/v1/files/uploads/{id}", "Homereel-File"));
    routes
}

/// A page of a list in OpenAI's format.
fn list_of(item: Shape) -> Shape {
    object(
        [
            ("object", choice(&["list"])),
            ("data", list(item)),
            ("first_id", nullable(text())),
            ("last_id", nullable(text())),
            ("has_more", boolean()),
        ],
        [],
    )
}

/// Schemas of this family.
pub(super) fn schemas() -> Vec<(&'static str, Shape)> {
    let error =
        object([("message", text()), ("type", text()), ("param", nullable(text())), ("code", text())], []);
    let model = object(
        [
            ("id", text()),
            ("object", choice(&["model"])),
            ("created", integer()),
            ("owned_by", text()),
            ("root", text()),
            ("max_model_len", integer()),
            ("demo", boolean()),
            ("backend", text()),
        ],
        [],
    );
    let file = object(
        [
            ("id", pattern("^file-")),
            ("object", choice(&["file"])),
            ("bytes", integer()),
            ("created_at", integer()),
            ("expires_at", integer()),
            ("filename", text()),
            ("purpose", choice(&PURPOSES)),
            ("status", choice(&["processed"])),
        ],
        [],
    );
    let extras = object(
        [
            ("stages_ms", nullable(shared("StagesMs"))),
            ("media", list(shared("MediaReport"))),
            ("warnings", list(text())),
        ],
        [],
    );
    vec![
        ("OpenAiError", object([("error", error)], [])),
        ("Model", model),
        ("File", file),
        ("Extras", extras),
        ("ChatCompletion", chat_completion()),
        ("Embeddings", embeddings()),
        ("Estimate", estimate()),
        ("Response", response()),
        ("Transcription", transcription()),
        ("Logprob", logprob()),
    ]
}

fn transcription_form() -> Shape {
    object(
        [("file", bytes())],
        [
            ("model", text()),
            ("language", text()),
            ("response_format", choice(&FORMATS)),
            ("temperature", choice(&["0"])),
            ("timestamp_granularities[]", choice(&["segment"])),
            ("stream", choice(&["false"])),
            ("prompt", text()),
            ("chunking_strategy", text()),
        ],
    )
}

/// `json` has the text and the usage only.
fn transcription() -> Shape {
    let segment = object(
        [
            ("id", integer()),
            ("seek", integer()),
            ("start", number()),
            ("end", number()),
            ("text", text()),
            ("tokens", list(integer())),
            ("temperature", number()),
            ("avg_logprob", number()),
            ("compression_ratio", number()),
            ("no_speech_prob", number()),
        ],
        [],
    );
    let usage = object([("type", choice(&["duration"])), ("seconds", integer())], []);
    object(
        [("text", text()), ("usage", usage)],
        [
            ("task", choice(&["transcribe"])),
            ("language", text()),
            ("duration", number()),
            ("segments", list(segment)),
        ],
    )
}

fn logprob() -> Shape {
    let one = || [("token", text()), ("logprob", number()), ("bytes", list(integer_in(0, 255)))];
    let [token, logprob, bytes] = one();
    object([token, logprob, bytes, ("top_logprobs", list(object(one(), [])))], [])
}

fn embeddings() -> Shape {
    let embedding = object(
        [
            ("object", choice(&["embedding"])),
            ("index", integer()),
            ("embedding", any_of([list(number()), text()])),
        ],
        [],
    );
    let usage = object([("prompt_tokens", integer()), ("total_tokens", integer())], []);
    object(
        [
            ("object", choice(&["list"])),
            ("data", list(embedding)),
            ("model", text()),
            ("usage", usage),
            ("homereel", object([("warnings", list(text()))], [])),
        ],
        [],
    )
}

fn estimate() -> Shape {
    let video = object(
        [
            ("frames", integer()),
            ("width", integer()),
            ("height", integer()),
            ("duration_s", number()),
            ("visual_tokens", nullable(integer())),
        ],
        [],
    );
    let seconds = ["decode", "read", "first_token"].map(|name| (name, nullable(number())));
    let suggestion = object([("num_frames", integer()), ("cap_pixels_per_frame", boolean())], []);
    object(
        [
            ("object", choice(&["video.estimate"])),
            ("model", text()),
            ("prompt_tokens", nullable(integer())),
            ("max_model_len", integer()),
            ("videos", list(video)),
            ("visual_tokens", nullable(integer())),
            ("seconds", object(seconds, [])),
            ("memory_bytes", object([("frames", integer()), ("kv_cache", nullable(integer()))], [])),
            ("fits", boolean()),
            ("suggestion", nullable(suggestion)),
            ("homereel", object([("warnings", list(text()))], [])),
        ],
        [],
    )
}

fn chat_completion() -> Shape {
    let function = object([("name", text()), ("arguments", text())], []);
    let call = object([("id", text()), ("type", choice(&["function"])), ("function", function)], []);
    let message = object(
        [("role", choice(&["assistant"])), ("content", nullable(text())), ("refusal", nullable(text()))],
        [("tool_calls", list(call)), ("reasoning", text())],
    );
    let choice_of = object(
        [
            ("index", integer()),
            ("message", message),
            ("logprobs", nullable(object([("content", list(shared("Logprob")))], []))),
            ("finish_reason", choice(&["stop", "length", "tool_calls"])),
        ],
        [],
    );
    let usage = object(
        [
            ("prompt_tokens", integer()),
            ("completion_tokens", integer()),
            ("total_tokens", integer()),
            ("prompt_tokens_details", object([("cached_tokens", integer())], [])),
        ],
        [],
    );
    object(
        [
            ("id", text()),
            ("object", choice(&["chat.completion"])),
            ("created", integer()),
            ("model", text()),
            ("choices", list(choice_of)),
            ("usage", usage),
            ("homereel", shared("Extras")),
        ],
        [],
    )
}

fn response() -> Shape {
    let item = object(
        [
            ("id", text()),
            ("type", choice(&["message", "reasoning", "function_call"])),
            ("status", choice(&["in_progress", "completed", "incomplete"])),
        ],
        [],
    );
    let usage = object(
        [
            ("input_tokens", integer()),
            ("input_tokens_details", object([("cached_tokens", integer())], [])),
            ("output_tokens", integer()),
            ("output_tokens_details", object([("reasoning_tokens", integer())], [])),
            ("total_tokens", integer()),
        ],
        [],
    );
    object(
        [
            ("id", pattern("^resp_")),
            ("object", choice(&["response"])),
            ("created_at", integer()),
            ("status", choice(&["completed", "incomplete", "failed", "in_progress"])),
            ("error", nullable(object([("code", text()), ("message", text())], []))),
            ("incomplete_details", nullable(object([("reason", text())], []))),
            ("model", text()),
            ("output", list(item)),
            ("usage", nullable(usage)),
            ("instructions", nullable(text())),
            ("max_output_tokens", nullable(integer())),
            ("metadata", any()),
            ("parallel_tool_calls", boolean()),
            ("previous_response_id", nullable(text())),
            ("store", boolean()),
            ("temperature", number()),
            ("text", any()),
            ("tool_choice", any()),
            ("tools", list(any())),
            ("top_p", number()),
        ],
        [("homereel", shared("Extras"))],
    )
}
