//! The client's address and scheme, also behind a trusted proxy.

use std::{convert::Infallible, net::IpAddr, str::FromStr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Addresses of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<TrustedProxy>);

/// The address or network of a trusted proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedProxy(IpNet);

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| format!("{text:?} is not an address; 127.0.0.1, 10.0.0.0/8 or fd00::/8 would fit"))
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TrustedProxies {
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|proxy| proxy.0.contains(&address))
    }
}

/// Who sent a request. Every request has it as an extension.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// Address of the client. `None` means that there is no connection, as in unit tests.
    pub address: Option<IpAddr>,
    /// Whether the client used HTTPS, towards this server or its proxy.
    pub https: bool,
    /// Whether the client, which is behind a trusted proxy, has more requests in progress than an address may have.
    pub over_limit: bool,
}

impl<S: Sync> FromRequestParts<S> for ClientInfo {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}

/// Returns the client of a request that arrived from `peer`.
///
/// A proxy appends the address that it saw to `X-Forwarded-For`. The last one that is not a trusted proxy itself is the
/// client's; those before it may be made up.
pub(super) fn client(trusted: &TrustedProxies, peer: IpAddr, https: bool, headers: &HeaderMap) -> ClientInfo {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return ClientInfo { address: Some(peer), https, over_limit: false };
    }
    let mut address = peer;
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(seen) = address_of(entry.trim()) else { break };
        address = seen;
        if !trusted.contains(seen) {
            break;
        }
    }
    let forwarded = headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok());
    let https = forwarded.map_or(https, |scheme| scheme.trim().eq_ignore_ascii_case("https"));
    ClientInfo { address: Some(address), https, over_limit: false }
}

/// Some proxies append the port: `1.2.3.4:5`, `[::1]:5`.
fn address_of(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().or_else(|_| entry.parse().map(|socket: std::net::SocketAddr| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, lines: &[&'static str], proto: Option<&'static str>) -> (String, bool) {
        let trusted = TrustedProxies(vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        if let Some(proto) = proto {
            headers.insert(FORWARDED_PROTO, proto.parse().unwrap());
        }
        let client = client(&trusted, peer.parse().unwrap(), false, &headers);
        (client.address.unwrap().to_string(), client.https)
    }

    #[test]
    fn forwarded_headers_count_only_from_a_trusted_proxy() {
        assert_eq!(seen("192.0.2.1", &["198.51.100.1"], Some("https")), ("192.0.2.1".into(), false));
        assert_eq!(seen("127.0.0.1", &["198.51.100.1"], Some("https")), ("198.51.100.1".into(), true));
        assert_eq!(seen("::ffff:127.0.0.1", &["198.51.100.1"], None).0, "198.51.100.1");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_proxy() {
        assert_eq!(seen("127.0.0.1", &["1.1.1.1, 198.51.100.1:99, 10.0.0.7"], None).0, "198.51.100.1");
        assert_eq!(seen("127.0.0.1", &["1.1.1.1", "[2001:db8::1]:4"], None).0, "2001:db8::1");
        assert_eq!(seen("127.0.0.1", &["1.1.1.1, nonsense"], None).0, "127.0.0.1");
        assert_eq!(seen("127.0.0.1", &[], None).0, "127.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_is_an_address_or_a_network() {
        assert!("proxy.example".parse::<TrustedProxy>().unwrap_err().contains("would fit"));
        "fd00::/8".parse::<TrustedProxy>().unwrap();
    }
}
