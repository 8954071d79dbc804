//! The value of `--allow-origin`: the exact origin of a web page or a desktop app.

use std::str::FromStr;

use serde::Deserialize;

/// An origin as browsers send it: scheme, host, and a port that is not the scheme's default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowedOrigin(String);

impl AllowedOrigin {
    /// Returns whether this is the origin in a request's `Origin` header.
    #[must_use]
    pub fn is(&self, origin: &str) -> bool {
        self.0.eq_ignore_ascii_case(origin)
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.split_once("://").is_some_and(|(scheme, host)| {
            let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            let host_fits =
                !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:[]".contains(c));
            scheme_fits && host_fits
        });
        if !fits {
            return Err(format!(
                "{text:?} is not an origin; https://app.example, http://localhost:3000, app://. or \
                 chrome-extension://ID would fit, without a path and without *"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for AllowedOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        for origin in ["https://app.example", "http://localhost:3000", "app://.", "chrome-extension://abc"] {
            assert!(origin.parse::<AllowedOrigin>().unwrap().is(origin), "{origin}");
        }
        assert!(!"https://app.example".parse::<AllowedOrigin>().unwrap().is("https://app.example.evil"));
        for wrong in ["*", "null", "app.example", "https://app.example/", "https://*.example", "https://", ""]
        {
            assert!(wrong.parse::<AllowedOrigin>().is_err(), "{wrong}");
        }
    }
}
