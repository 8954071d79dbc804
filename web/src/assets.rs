//! The embedded static files. Their URLs contain a hash of all of them, so that scripts can import each other by relative URLs and
//! everything can be cached forever.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// One embedded file.
#[derive(Debug)]
pub struct Asset {
    /// Name under `/static/{version}/`.
    pub name: &'static str,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Content of the file.
    pub bytes: &'static [u8],
    /// URL with version and name.
    pub url: String,
}

/// Lists files of `static/` with their content types.
macro_rules! files {
    ($($name:literal: $content_type:expr,)*) => {
        &[$(($name, $content_type, include_bytes!(concat!("../static/", $name)))),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[(&str, &str, &[u8])] = files! {
    "actions.js": SCRIPT,
    "ask-all.js": SCRIPT,
    "ask.js": SCRIPT,
    "charts.js": SCRIPT,
    "copy.js": SCRIPT,
    "dom.js": SCRIPT,
    "edit.js": SCRIPT,
    "events.js": SCRIPT,
    "hash.js": SCRIPT,
    "homereel.js": SCRIPT,
    "homereel.webmanifest": "application/manifest+json",
    "icon-180.png": "image/png",
    "icon-512.png": "image/png",
    "icon.svg": "image/svg+xml",
    "library.js": SCRIPT,
    "live.js": SCRIPT,
    "marks.js": SCRIPT,
    "navigate.js": SCRIPT,
    "near.js": SCRIPT,
    "player.js": SCRIPT,
    "preview.js": SCRIPT,
    "scrub.js": SCRIPT,
    "send.js": SCRIPT,
    "shortcuts.js": SCRIPT,
    "style.css": "text/css; charset=utf-8",
    "transcript.js": SCRIPT,
    "tray.js": SCRIPT,
    "upload.js": SCRIPT,
};

/// First hex digits of the SHA-256 of all files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (_, _, bytes) in FILES {
        hash.update(bytes);
    }
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
});

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |&(name, content_type, bytes): &(&'static str, &'static str, &'static [u8])| Asset {
        name,
        content_type,
        bytes,
        url: format!("/static/{}/{name}", *VERSION),
    };
    FILES.iter().map(asset).collect()
});

/// Returns the version of all files, which is part of their URLs.
#[must_use]
pub fn version() -> &'static str {
    &VERSION
}

/// Returns the file `name`.
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
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_file_is_embedded_and_every_asset_that_a_template_or_a_script_names_exists() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(here.join("static")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(find(&name).is_some(), "{name} is not embedded");
        }
        for (directory, before) in [("templates", "assets::url(\""), ("static", "'./")] {
            for entry in fs::read_dir(here.join(directory)).unwrap() {
                let path = entry.unwrap().path();
                let Ok(text) = fs::read_to_string(&path) else { continue };
                for name in text.split(before).skip(1).filter_map(|rest| rest.split(['"', '\'']).next()) {
                    assert!(find(name).is_some(), "{} names {name}", path.display());
                }
            }
        }
        assert!(url("style.css").starts_with("/static/") && url("style.css").ends_with("/style.css"));
        assert_eq!(find("../Cargo.toml").map(|asset| asset.name), None);
    }
}
