//! The value of `--allow-media-host`: a host that pictures and videos of requests may be fetched from.

use std::{net::IpAddr, str::FromStr};

use serde::Deserialize;
use url::{Host, Url};

/// A host with an optional port; without one, the default port of the URL's scheme.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowedHost {
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Name(String),
    /// What a name must end with, from the dot on.
    Below(String),
    /// Exactly this address, which may be of the local network.
    Address(IpAddr),
}

impl AllowedHost {
    /// Returns whether the host and port of `url` are these.
    pub(super) fn allows(&self, url: &Url) -> bool {
        let port_fits = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            // `url` leaves out the default port of its scheme.
            None => url.port().is_none(),
        };
        let host_fits = match (&self.host, url.host()) {
            (HostPattern::Name(name), Some(Host::Domain(host))) => name == host,
            (HostPattern::Below(end), Some(Host::Domain(host))) => {
                host.strip_suffix(end.as_str()).is_some_and(|below| !below.is_empty())
            }
            (HostPattern::Address(address), Some(Host::Ipv4(host))) => *address == IpAddr::V4(host),
            (HostPattern::Address(address), Some(Host::Ipv6(host))) => *address == IpAddr::V6(host),
            _ => false,
        };
        port_fits && host_fits
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a host; media.example.org, *.example.org, media.example.org:8443, 192.168.1.5:8000 or \
                 [fd00::5]:8000 would fit, without a scheme and a path"
            )
        };
        // A colon within brackets belongs to an address.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or_else(wrong)?;
                (host, Some(port))
            }
            _ => (text, None),
        };
        let (below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        let host = match (Host::parse(name).map_err(|_| wrong())?, below) {
            (Host::Domain(name), false) => HostPattern::Name(name),
            // Not everything below a top-level domain.
            (Host::Domain(name), true) if name.contains('.') => HostPattern::Below(format!(".{name}")),
            (Host::Ipv4(address), false) => HostPattern::Address(address.into()),
            (Host::Ipv6(address), false) => HostPattern::Address(address.into()),
            _ => return Err(wrong()),
        };
        match &host {
            HostPattern::Name(name) | HostPattern::Below(name) if name.contains('*') => Err(wrong()),
            _ => Ok(Self { host, port }),
        }
    }
}

impl TryFrom<String> for AllowedHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_exact_and_so_is_its_port() {
        for (host, url, allowed) in [
            ("a.example", "https://a.example/x", true),
            ("a.example", "http://A.Example:80/x", true),
            ("a.example", "http://a.example:8080/x", false),
            ("a.example", "https://a.example:80/x", false),
            ("a.example", "https://b.a.example/x", false),
            ("a.example", "https://a.example.evil/x", false),
            ("a.example:8443", "https://a.example:8443/x", true),
            ("a.example:443", "https://a.example/x", true),
            ("a.example:8443", "https://a.example/x", false),
            ("*.a.example", "https://b.c.a.example/x", true),
            ("*.a.example", "https://a.example/x", false),
            ("*.a.example", "https://evil-a.example/x", false),
            ("bücher.example", "https://xn--bcher-kva.example/x", true),
            ("192.168.1.5:8000", "http://192.168.1.5:8000/x", true),
            ("192.168.1.5:8000", "http://3232235781:8000/x", true),
            ("192.168.1.5:8000", "http://192.168.1.5/x", false),
            ("192.168.1.5:8000", "http://[::ffff:192.168.1.5]:8000/x", false),
            ("[fd00::5]:8000", "http://[fd00:0::5]:8000/x", true),
            ("[fd00::5]", "http://[fd00::5]/x", true),
            ("a.example", "http://127.0.0.1/x", false),
        ] {
            let host: AllowedHost = host.parse().unwrap();
            assert_eq!(host.allows(&url.parse().unwrap()), allowed, "{host:?} {url}");
        }
        for wrong in [
            "",
            "*",
            "*.org",
            "a.*.example",
            "https://a.example",
            "a.example/x",
            "a.example:",
            "a.example:0",
            "a.example:+1",
            "a.example:99999",
            "me@a.example",
            "*.1.2.3.4",
            "a b",
            "*.*.example",
        ] {
            assert!(wrong.parse::<AllowedHost>().is_err(), "{wrong}");
        }
    }
}
