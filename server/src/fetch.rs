//! Fetches pictures and videos that requests name by URL, from hosts that the operator allowed.
//!
//! The URL is the client's, and so may be the server behind it; this machine and its networks must not be reachable through
//! either. Host and port are compared with the allowed ones at every redirect; a name must resolve to addresses of the
//! internet only; an address must be allowed itself. Size, time and number are bounded, and an error says nothing of what the
//! other server sent. Dropping a fetch ends it. Independent of HTTP's server side.

mod address;
mod host;
mod resolver;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use homereel_library::{Incoming, Library, LibraryError, LibraryErrorKind, Sealed};
use reqwest::{Client, Response, StatusCode, header, redirect};
use tokio::{sync::Semaphore, time::timeout};
use url::Url;

pub use host::AllowedHost;
use resolver::{CheckedResolver, LocalAddress, LookUp, SystemResolver};

/// Maximum length of a URL.
const MAX_URL: usize = 8192;

/// Maximum number of redirects.
const MAX_REDIRECTS: usize = 3;

/// Maximum number of concurrent fetches, and how long another waits for its turn.
const MAX_FETCHES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(10);

/// Times that a fetch may take.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    /// Until the head of a response, with the time to connect.
    head: Duration,
    /// Between two pieces of its body.
    idle: Duration,
    /// For everything, redirects included.
    total: Duration,
}

const DEADLINES: Deadlines = Deadlines {
    head: Duration::from_secs(30),
    idle: Duration::from_secs(30),
    total: Duration::from_secs(300),
};

/// Why a URL was not fetched. Texts are for the client: they tell nothing of the other server.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No host is allowed.
    #[error(
        "{scheme} URLs are not fetched: no host is allowed (--allow-media-host); upload to /v1/files and send file_id, or \
         data:"
    )]
    Disabled {
        /// The URL's scheme.
        scheme: String,
    },
    /// The URL has a form that is not fetched.
    #[error("the URL {0}")]
    Form(&'static str),
    /// The host of the URL is not allowed.
    #[error("the host {host} is not allowed; --allow-media-host allows hosts, with their port")]
    Host {
        /// The host of the client's URL, with a port that is not the scheme's default.
        host: String,
    },
    /// The host resolves to an address that is not of the internet.
    #[error(
        "could not be fetched: the host is not on the internet; allow its address with --allow-media-host instead"
    )]
    Local,
    /// A redirect leads to where the URL itself would be refused.
    #[error("could not be fetched: it redirects to a URL that is not allowed")]
    Redirect,
    /// There are too many redirects.
    #[error("could not be fetched: it redirects more than {MAX_REDIRECTS} times")]
    Redirects,
    /// The host cannot be reached, or does not speak HTTP.
    #[error("could not be fetched: the host could not be reached")]
    Unreachable,
    /// The host's response is not a success.
    #[error("could not be fetched: the host did not return the file")]
    Status,
    /// The body has a `Content-Encoding`.
    #[error("could not be fetched: the host sent it in a Content-Encoding, although none was accepted")]
    Encoded,
    /// The body ended early.
    #[error("could not be fetched: the connection was lost")]
    Broken,
    /// It took too long.
    #[error("could not be fetched: it took too long")]
    TooSlow,
    /// The body is empty.
    #[error("could not be fetched: it is empty")]
    Empty,
    /// The body is too large.
    #[error(
        "could not be fetched: it is larger than the {limit} bytes that are left for media of this request"
    )]
    TooLarge {
        /// Maximum number of bytes.
        limit: u64,
    },
    /// Too many fetches are in progress.
    #[error("too many URLs are being fetched; try again in {} s", PATIENCE.as_secs())]
    Overloaded,
    /// The file could not be written.
    #[error(transparent)]
    Library(LibraryError),
}

impl FetchError {
    /// Returns the seconds after which to retry, for `Overloaded`.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        matches!(self, Self::Overloaded).then_some(PATIENCE.as_secs())
    }
}

/// Fetches URLs. Cheap to clone; clones share the limit of concurrent fetches.
#[derive(Debug, Clone)]
pub struct Fetcher {
    hosts: Arc<[AllowedHost]>,
    /// `None` means that no host is allowed.
    client: Option<Client>,
    turns: Arc<Semaphore>,
    deadlines: Deadlines,
}

impl Fetcher {
    /// Creates a fetcher for these hosts.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(hosts: Vec<AllowedHost>) -> reqwest::Result<Self> {
        Self::with(hosts, Arc::new(SystemResolver), address::is_global)
    }

    fn with(
        hosts: Vec<AllowedHost>,
        names: Arc<dyn LookUp>,
        permitted: fn(IpAddr) -> bool,
    ) -> reqwest::Result<Self> {
        let client = match hosts.is_empty() {
            true => None,
            false => Some(client(CheckedResolver { inner: names, permitted })?),
        };
        Ok(Self {
            hosts: hosts.into(),
            client,
            turns: Arc::new(Semaphore::new(MAX_FETCHES)),
            deadlines: DEADLINES,
        })
    }

    /// Fetches a URL of at most `limit` bytes to a scratch file of the library, which is removed when it is dropped.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, url: &str, library: &Library, limit: u64) -> Result<Sealed, FetchError> {
        let Some(client) = &self.client else {
            let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
            return Err(FetchError::Disabled { scheme });
        };
        let url = self.target(url)?;
        let turn = timeout(PATIENCE, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| FetchError::Overloaded)?.map_err(|_| FetchError::Overloaded)?;
        let work = async {
            let response = self.follow(client, url).await?;
            receive(response, library, limit, self.deadlines.idle).await
        };
        timeout(self.deadlines.total, work).await.map_err(|_| FetchError::TooSlow)?
    }

    /// Parses a URL and checks everything about it that needs no lookup.
    fn target(&self, text: &str) -> Result<Url, FetchError> {
        let text = text.trim_ascii();
        if text.len() > MAX_URL {
            return Err(FetchError::Form("is too long; at most 8192 bytes would fit"));
        }
        // Parsers differ in what they make of these.
        if text.contains(|c: char| c == '\\' || c.is_control() || c.is_whitespace()) {
            return Err(FetchError::Form(
                "has a backslash, white space or control characters, which must be encoded",
            ));
        }
        let url = Url::parse(text).map_err(|_| FetchError::Form("is not valid"))?;
        self.check(&url)?;
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        if authority.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
            return Err(FetchError::Form("has a user name or password, which are not supported"));
        }
        Ok(url)
    }

    fn check(&self, url: &Url) -> Result<(), FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Form("has another scheme than http and https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Form("has a user name or password, which are not supported"));
        }
        // An address is only allowed as such, so it needs no further check; a name is checked when it is resolved.
        match self.hosts.iter().any(|host| host.allows(url)) {
            true => Ok(()),
            false => Err(FetchError::Host { host: host_of(url) }),
        }
    }

    /// Requests a URL and those that it redirects to.
    async fn follow(&self, client: &Client, mut url: Url) -> Result<Response, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let request = client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity").send();
            let response = timeout(self.deadlines.head, request).await.map_err(|_| FetchError::TooSlow)?;
            let response = response.map_err(refused)?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            url = self.redirected(&url, next.ok_or(FetchError::Status)?)?;
        }
        Err(FetchError::Redirects)
    }

    /// Returns where a redirect leads, under the rules of a URL of the client.
    fn redirected(&self, from: &Url, location: &str) -> Result<Url, FetchError> {
        if location.len() > MAX_URL || location.contains('\\') {
            return Err(FetchError::Redirect);
        }
        let to = from.join(location).map_err(|_| FetchError::Redirect)?;
        let is_downgrade = from.scheme() == "https" && to.scheme() != "https";
        if is_downgrade || self.check(&to).is_err() {
            return Err(FetchError::Redirect);
        }
        Ok(to)
    }
}

/// Returns the host and port of a URL, shortened for an error.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let host: String = host.chars().take(100).collect();
    url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

fn client(names: CheckedResolver) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(Arc::new(names))
        // A proxy would resolve names itself.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .http1_only()
        .connect_timeout(CONNECT)
        // Every fetch resolves and checks the name itself.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("homereel/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Returns why a request failed.
fn refused(error: reqwest::Error) -> FetchError {
    // It may contain a secret.
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if this.is::<LocalAddress>() {
            return FetchError::Local;
        }
        cause = this.source();
    }
    tracing::debug!(%error, "failed to fetch a URL of a request");
    if error.is_timeout() { FetchError::TooSlow } else { FetchError::Unreachable }
}

/// Receives the body of a response.
async fn receive(
    response: Response,
    library: &Library,
    limit: u64,
    idle: Duration,
) -> Result<Sealed, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status);
    }
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(FetchError::Encoded);
    }
    let incoming = library.incoming_scratch(response.content_length(), limit).await;
    save(response.bytes_stream(), incoming.map_err(|error| storing(error, limit))?, limit, idle).await
}

/// Writes a body to a file.
async fn save<E>(
    body: impl Stream<Item = Result<Bytes, E>>,
    mut incoming: Incoming,
    limit: u64,
    idle: Duration,
) -> Result<Sealed, FetchError> {
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = timeout(idle, body.next()).await.map_err(|_| FetchError::TooSlow)? {
        let chunk = chunk.map_err(|_| FetchError::Broken)?;
        incoming.write(&chunk).await.map_err(|error| storing(error, limit))?;
    }
    incoming.seal().await.map_err(|error| storing(error, limit))
}

fn storing(error: LibraryError, limit: u64) -> FetchError {
    match error.kind() {
        LibraryErrorKind::TooLarge => FetchError::TooLarge { limit },
        LibraryErrorKind::Invalid => FetchError::Empty,
        _ => FetchError::Library(error),
    }
}

#[cfg(test)]
mod tests;
