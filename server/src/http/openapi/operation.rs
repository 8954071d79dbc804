//! One operation of the document: what it takes and returns, and the role that it requires.
//!
//! What many operations have in common follows from their URL and body: security with its 401 and 403, and the errors of path
//! parameters, queries and bodies, in the format of the API.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use homereel_library::Role;
use utoipa::openapi::{
    Content, HeaderBuilder, HttpMethod, Ref, RefOr, Required, Response, ResponseBuilder,
    extensions::ExtensionsBuilder,
    path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
    request_body::RequestBodyBuilder,
    security::SecurityRequirement,
};

use super::{
    schema::{Shape, text},
    security,
};

/// Extension that has the role.
pub(super) const ROLE: &str = "x-role";

/// Names of the shared error responses: OpenAI's format, and RFC 9457.
pub(super) const OPENAI_ERROR: &str = "OpenAiError";
pub(super) const PROBLEM: &str = "Problem";

/// An operation.
pub(super) struct Route {
    pub(super) method: Method,
    /// As in the route table.
    pub(super) url: &'static str,
    role: Role,
    operation: OperationBuilder,
    body: Option<RequestBodyBuilder>,
    answers: Vec<(u16, Response)>,
    failures: BTreeSet<u16>,
}

/// Starts an operation.
pub(super) fn route(method: Method, url: &'static str, role: Role, summary: &str) -> Route {
    let mut route = Route {
        operation: OperationBuilder::new().summary(Some(summary)).operation_id(Some(id(&method, url))),
        method,
        url,
        role,
        body: None,
        answers: Vec::new(),
        failures: BTreeSet::from([401, 403, 500, 503]),
    };
    for name in url.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let parameter =
            ParameterBuilder::new().parameter_in(ParameterIn::Path).name(name.trim_start_matches('*'));
        route.operation = route.operation.parameter(parameter.required(Required::True).schema(Some(text())));
        route.failures.extend([400, 404]);
    }
    route
}

/// Starts a `GET`.
pub(super) fn get(url: &'static str, role: Role, summary: &str) -> Route {
    route(Method::GET, url, role, summary)
}

/// Starts a `POST`.
pub(super) fn post(url: &'static str, role: Role, summary: &str) -> Route {
    route(Method::POST, url, role, summary)
}

impl Route {
    /// Adds a description.
    pub(super) fn about(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// Adds an optional parameter of the query.
    pub(super) fn query(self, name: &str, shape: Shape, about: &str) -> Self {
        self.parameter(ParameterIn::Query, name, Required::False, shape, about)
    }

    /// Adds a parameter.
    pub(super) fn parameter(
        mut self,
        place: ParameterIn,
        name: &str,
        required: Required,
        shape: Shape,
        about: &str,
    ) -> Self {
        let parameter = ParameterBuilder::new().parameter_in(place).name(name).required(required);
        let about = Some(about).filter(|about| !about.is_empty());
        self.operation = self.operation.parameter(parameter.description(about).schema(Some(shape)));
        self.failures.insert(400);
        self
    }

    /// Adds a JSON body.
    pub(super) fn json_body(self, shape: Shape) -> Self {
        self.body("application/json", shape).fails(&[422])
    }

    /// Adds a content type of the body.
    pub(super) fn body(mut self, content_type: &str, shape: Shape) -> Self {
        let body = self.body.unwrap_or_else(|| RequestBodyBuilder::new().required(Some(Required::True)));
        self.body = Some(body.content(content_type, Content::new(Some(shape))));
        self.fails(&[400, 408, 413, 415])
    }

    /// Adds a body that may be missing.
    pub(super) fn optional_body(mut self, content_type: &str, shape: Shape) -> Self {
        self = self.body(content_type, shape);
        self.body = self.body.map(|body| body.required(Some(Required::False)));
        self
    }

    /// Adds an answer with JSON.
    pub(super) fn returns(self, status: StatusCode, shape: Shape) -> Self {
        self.returns_as(status, &[("application/json", shape)])
    }

    /// Adds an answer with one of these content types.
    pub(super) fn returns_as(self, status: StatusCode, contents: &[(&str, Shape)]) -> Self {
        self.returns_with(status, contents, &[])
    }

    /// Adds an answer with content types and headers.
    pub(super) fn returns_with(
        mut self,
        status: StatusCode,
        contents: &[(&str, Shape)],
        headers: &[(&str, Shape, &str)],
    ) -> Self {
        let mut answer = ResponseBuilder::new().description(reason(status.as_u16()));
        for (kind, shape) in contents {
            answer = answer.content(*kind, Content::new(Some(shape.clone())));
        }
        for (name, shape, about) in headers {
            let header = HeaderBuilder::new().schema(shape.clone()).description(Some(*about));
            answer = answer.header(*name, header.build());
        }
        self.answers.push((status.as_u16(), answer.build()));
        self
    }

    /// Adds statuses of errors.
    pub(super) fn fails(mut self, statuses: &[u16]) -> Self {
        self.failures.extend(statuses);
        self
    }

    /// Returns the operation with its path and method in the document.
    pub(super) fn build(self, tag: &str) -> (String, HttpMethod, Operation) {
        let mut operation = self.operation.tag(tag).securities(Some(
            security::NAMES.map(|name| SecurityRequirement::new::<_, [&str; 0], &str>(name, [])),
        ));
        for (status, answer) in self.answers {
            operation = operation.response(status.to_string(), answer);
        }
        let error = if self.url.starts_with("/v1/") { OPENAI_ERROR } else { PROBLEM };
        for status in self.failures {
            let mut reference = Ref::from_response_name(error);
            reference.description = reason(status).into();
            operation = operation.response(status.to_string(), RefOr::<Response>::Ref(reference));
        }
        let extensions = ExtensionsBuilder::new().add(ROLE, self.role.as_str()).build();
        let operation = operation.request_body(self.body.map(RequestBodyBuilder::build));
        let operation = operation.extensions(Some(extensions)).build();
        (path(self.url), in_document(&self.method), operation)
    }
}

/// Returns a URL of the route table as a path of the document.
pub(super) fn path(url: &str) -> String {
    url.replace("{*", "{")
}

fn in_document(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        Method::OPTIONS => HttpMethod::Options,
        Method::HEAD => HttpMethod::Head,
        _ => HttpMethod::Get,
    }
}

/// Returns the name of an operation for generated clients: `get_api_videos_id_poster_jpg`.
fn id(method: &Method, url: &str) -> String {
    let words = url.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name = method.as_str().to_ascii_lowercase();
    words.fold(name, |name, word| name + "_" + word)
}

/// Returns what a status means here.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "Success.",
        201 => "Created.",
        202 => "Accepted; the work goes on in the background.",
        204 => "Success, without a body.",
        206 => "The range that the request asks for.",
        303 => "For forms of pages: where the result is.",
        304 => "The client's copy is up to date.",
        400 => "A parameter is wrong; the message names it.",
        401 => "No valid credentials.",
        403 => "The role is too low, or the request comes from another site.",
        404 => "There is no such object, or not yet.",
        405 => "The URL does not support this method.",
        408 => "The body arrived too slowly.",
        409 => "The state of the object does not allow it.",
        410 => "The upload has ended or expired.",
        412 => "The version of the tus protocol is missing or not supported.",
        413 => "Beyond a size limit.",
        415 => "The content type or encoding of the body is not supported.",
        416 => "The file does not have this range.",
        422 => "The body is well-formed, but its content does not fit.",
        423 => "Another request is using the upload.",
        429 => "The queue is full; see Retry-After.",
        460 => "The checksum of the part does not match.",
        503 => "The model is not ready, the server is stopping, or the database is locked; see Retry-After.",
        507 => "The quota or the disk is full.",
        _ => "An internal error; the server's log has the cause.",
    }
}
