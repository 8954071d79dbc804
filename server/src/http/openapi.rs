//! The OpenAPI document of `/v1` and `/api` at `/openapi.json`, and the page made from it at `/docs`.
//!
//! Each family of URLs lists its operations ([`operation`]); a test compares them with the route table. Schemas of typed values
//! come from the types, those of other JSON are written by hand ([`schema`]), and those of OpenAI's request bodies come from
//! the table of parameters.

mod albums;
mod openai;
mod operation;
mod operations;
mod page;
pub(super) mod schema;
mod security;
mod videos;

use std::sync::LazyLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use homereel_engine::{BatchStatus, ReplicaStatus};
use homereel_library::{
    Album, Answer, Change, Hit, Job, LibraryAnswer, Storage, Tag, Transcript, TranscriptLine, Upload, Video,
    Window,
};
use utoipa::{
    ToSchema,
    openapi::{
        Components, ComponentsBuilder, Content, HeaderBuilder, Info, OpenApi, OpenApiBuilder, Paths, RefOr,
        ResponseBuilder, Schema, Server, tag::TagBuilder,
    },
};

use self::operation::{OPENAI_ERROR, PROBLEM, Route};
use crate::{answer::StagesMs, machine::MachineStatus, media::MediaReport};
pub(super) use page::page;

/// Operations that belong together.
struct Family {
    tag: &'static str,
    about: &'static str,
    routes: fn() -> Vec<Route>,
}

const FAMILIES: [Family; 9] = [
    Family {
        tag: "Answers",
        about: "OpenAI's chat completions, responses and models.",
        routes: openai::answers,
    },
    Family {
        tag: "Files",
        about: "Clips and pictures that requests name by their id, uploaded at once or resumably.",
        routes: openai::files,
    },
    Family { tag: "Videos", about: "The videos of the library.", routes: videos::videos },
    Family { tag: "Media", about: "What players and downloads read.", routes: videos::media },
    Family { tag: "Library", about: "Search, the trash, the disk.", routes: videos::library },
    Family {
        tag: "Uploads",
        about: "Resumable uploads to the library: tus 1.0.0.",
        routes: operations::uploads,
    },
    Family { tag: "Albums", about: "Albums, tags, and changes of many videos.", routes: albums::albums },
    Family { tag: "Jobs", about: "Background work, and changes as events.", routes: operations::jobs },
    Family { tag: "System", about: "The state of the server.", routes: operations::system },
];

static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(document);

/// `GET /openapi.json`.
pub(super) async fn json() -> Response {
    static JSON: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_json().unwrap_or_default());
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "private, no-cache")];
    (headers, JSON.as_str()).into_response()
}

fn document() -> OpenApi {
    let mut info = Info::new("Homereel", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Questions about home videos: OpenAI's API under /v1, the library under /api. The extension x-role of an operation is \
         the role that it requires. A server on a loopback address needs no credentials."
            .into(),
    );
    let mut paths = Paths::new();
    for Family { tag, routes, .. } in FAMILIES {
        for route in routes() {
            let (path, method, operation) = route.build(tag);
            paths.add_path_operation(path, vec![method], operation);
        }
    }
    let tag = |family: &Family| TagBuilder::new().name(family.tag).description(Some(family.about)).build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .tags(Some(FAMILIES.iter().map(tag)))
        .paths(paths)
        .components(Some(components()))
        .build()
}

fn components() -> Components {
    let error = |name, kind, about| {
        let retry = HeaderBuilder::new().schema(schema::integer()).description(Some("seconds"));
        let content = Content::new(Some(schema::shared(name)));
        ResponseBuilder::new()
            .description(about)
            .content(kind, content)
            .header("Retry-After", retry.build())
            .build()
    };
    let schemas = typed().into_iter().chain(by_hand());
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .response(OPENAI_ERROR, error(OPENAI_ERROR, "application/json", "An error in OpenAI's format."))
        .response(PROBLEM, error(PROBLEM, "application/problem+json", "An error as in RFC 9457."));
    security::add(components).build()
}

/// Returns the schemas of types, with those that they refer to.
fn typed() -> Vec<(String, RefOr<Schema>)> {
    fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
    let mut schemas = Vec::new();
    add::<Video>(&mut schemas);
    add::<Album>(&mut schemas);
    add::<Tag>(&mut schemas);
    add::<Job>(&mut schemas);
    add::<Answer>(&mut schemas);
    add::<LibraryAnswer>(&mut schemas);
    add::<Window>(&mut schemas);
    add::<Transcript>(&mut schemas);
    add::<TranscriptLine>(&mut schemas);
    add::<Hit>(&mut schemas);
    add::<Storage>(&mut schemas);
    add::<Upload>(&mut schemas);
    add::<Change>(&mut schemas);
    add::<StagesMs>(&mut schemas);
    add::<MediaReport>(&mut schemas);
    add::<MachineStatus>(&mut schemas);
    add::<BatchStatus>(&mut schemas);
    add::<ReplicaStatus>(&mut schemas);
    schemas
}

fn by_hand() -> impl Iterator<Item = (String, RefOr<Schema>)> {
    let families = [openai::schemas(), videos::schemas(), operations::schemas()];
    let bodies = super::openai::parameters::schema::schemas();
    families.into_iter().flatten().chain(bodies).map(|(name, shape)| (name.to_owned(), shape))
}

#[cfg(test)]
mod tests;
