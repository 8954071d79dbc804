//! How clients authenticate.

use utoipa::openapi::{
    ComponentsBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::super::auth_layer::COOKIE;

const BEARER: &str = "bearer";
const KEY_HEADER: &str = "x-api-key";
const SESSION: &str = "session";

/// Names of the schemes; any one of them is enough. A server on a loopback address needs none.
pub(super) const NAMES: [&str; 3] = [BEARER, KEY_HEADER, SESSION];

/// Adds the schemes to the document.
pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("An API key; `homereel keys add NAME` creates one."));
    let key = ApiKeyValue::with_description(KEY_HEADER, "An API key; the header `api-key` works as well.");
    let session = ApiKeyValue::with_description(COOKIE, "The cookie of a login at `/login`.");
    components
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()))
        .security_scheme(KEY_HEADER, SecurityScheme::ApiKey(ApiKey::Header(key)))
        .security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(session)))
}
