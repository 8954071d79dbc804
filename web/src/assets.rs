//! The embedded static files. ETag and URL of each contain a hash of its content.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// One embedded file.
#[derive(Debug)]
pub struct Asset {
    /// Name under `/static/`.
    pub name: &'static str,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Content of the file.
    pub bytes: &'static [u8],
    /// First hex digits of the content's SHA-256.
    pub version: String,
    /// URL with name and version, so that it can be cached forever.
    pub url: String,
}

static ASSETS: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    [
        asset("style.css", "text/css; charset=utf-8", include_bytes!("../static/style.css")),
        asset("homereel.js", "text/javascript; charset=utf-8", include_bytes!("../static/homereel.js")),
        asset("hash.js", "text/javascript; charset=utf-8", include_bytes!("../static/hash.js")),
        asset("icon.svg", "image/svg+xml", include_bytes!("../static/icon.svg")),
    ]
});

fn asset(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Asset {
    let version: String = Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let url = format!("/static/{name}?v={version}");
    Asset { name, content_type, bytes, version, url }
}

/// Returns the file `name` under `/static/`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// Returns the URL of the file `name`, or an empty string if there is none.
#[must_use]
pub fn url(name: &str) -> &'static str {
    find(name).map_or("", |asset| &asset.url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_that_a_template_names_exists() {
        for template in [
            "base",
            "library",
            "video",
            "search",
            "ask",
            "trash",
            "system",
            "bench",
            "jobs",
            "error",
            "albums",
            "album",
            "household",
        ] {
            let path = format!("{}/templates/{template}.html", env!("CARGO_MANIFEST_DIR"));
            let html = std::fs::read_to_string(path).unwrap();
            for name in html.split("url(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(find(name).is_some(), "{template}.html names {name}");
            }
        }
        assert!(url("style.css").starts_with("/static/style.css?v="));
        assert_eq!(find("../Cargo.toml").map(|asset| asset.name), None);
    }
}
