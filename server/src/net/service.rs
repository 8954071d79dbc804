//! The service of one connection: marks the connection's phase, adds the client to each request, bounds the time of its
//! body, and passes it to the router.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Request, Response, StatusCode, header, uri::Authority},
    response::IntoResponse as _,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    service::Service,
};
use tower::ServiceExt as _;

use super::{
    Shared, TrustedProxies,
    admission::{Admission, ConnectionState, CountedRequest, Phase},
    body::TimedBody,
    client::client,
};

/// The service of one connection.
#[derive(Debug)]
pub(super) struct ConnectionService {
    /// `None` means that every request is redirected to HTTPS.
    router: Option<Router>,
    trusted: TrustedProxies,
    admission: Admission,
    state: Arc<ConnectionState>,
    peer: SocketAddr,
    https: bool,
}

impl ConnectionService {
    pub(super) fn new(shared: &Shared, peer: SocketAddr, https: bool, state: Arc<ConnectionState>) -> Self {
        Self {
            router: Some(shared.router.clone()),
            trusted: shared.config.trusted.clone(),
            admission: shared.admission.clone(),
            state,
            peer,
            https,
        }
    }

    /// Creates the service for a client that used HTTP where HTTPS is served.
    pub(super) fn redirect_to_https(shared: &Shared, peer: SocketAddr, state: Arc<ConnectionState>) -> Self {
        Self { router: None, ..Self::new(shared, peer, false, state) }
    }
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response<TrackedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = BusyGuard::new(&self.state);
        let Some(router) = self.router.clone() else {
            let response = to_https(&request);
            return Box::pin(async move { Ok(tracked(response, busy, None)) });
        };
        let mut client = client(&self.trusted, self.peer.ip(), self.https, request.headers());
        let mut counted = None;
        if let Some(address) = client.address.filter(|address| *address != self.peer.ip().to_canonical()) {
            counted = self.admission.count_request(address);
            client.over_limit = counted.is_none();
        }
        let expects_continue = request.headers().contains_key(header::EXPECT);
        let mut request = request.map(|body| Body::new(TimedBody::new(body, expects_continue)));
        request.extensions_mut().insert(client);
        Box::pin(async move {
            let mut response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            if expects_continue && !response.status().is_success() {
                // The client does not send the body, which hyper would wait for.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(tracked(response, busy, counted))
        })
    }
}

fn to_https(request: &Request<Incoming>) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return (StatusCode::BAD_REQUEST, "this server uses HTTPS\n").into_response();
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let location = format!("https://{host}{path}");
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location), (header::CONNECTION, "close".into())])
        .into_response()
}

fn tracked(
    response: Response<Body>,
    busy: BusyGuard,
    counted: Option<CountedRequest>,
) -> Response<TrackedBody> {
    response.map(|body| TrackedBody { body, _busy: busy, _counted: counted })
}

/// Marks a connection as busy until it is dropped.
#[derive(Debug)]
struct BusyGuard(Arc<ConnectionState>);

impl BusyGuard {
    fn new(state: &Arc<ConnectionState>) -> Self {
        state.set(Phase::Busy);
        Self(Arc::clone(state))
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.set(Phase::Idle);
    }
}

/// A response body. Its connection is busy until it is sent.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: Body,
    _busy: BusyGuard,
    _counted: Option<CountedRequest>,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
