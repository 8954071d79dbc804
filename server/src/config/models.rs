//! What the settings of speech and of search by meaning have in common: a checkpoint, or the address of a server.

use anyhow::{Context as _, bail, ensure};
use homereel_engine::ModelSource;
use url::Url;

/// The value of a model that switches a feature off. It prevails over an address, so that a flag can switch off what the file has.
pub(super) const OFF: &str = "off";

/// Parses the setting `name`: a directory that exists, or a hub id such as `example`.
///
/// # Errors
/// For everything else.
pub(super) fn checkpoint(name: &str, example: &str, text: &str) -> anyhow::Result<ModelSource> {
    let fits = format!("{OFF}, a directory, or a hub id such as {example} would fit");
    match text.parse() {
        Ok(ModelSource::Dir(directory)) if !directory.is_dir() => {
            bail!("{name} is {text:?}, which is not a directory; {fits}")
        }
        Ok(source @ (ModelSource::Dir(_) | ModelSource::Hub { .. })) => Ok(source),
        Ok(ModelSource::Demo) | Err(_) => bail!("{name} is {text:?}; {fits}"),
    }
}

/// Parses the setting `name`: the address of a server. `fits` says what would fit.
///
/// # Errors
/// When it is no address, or holds more than one. Then it is not shown, since it may hold a password or a key.
pub(super) fn address(name: &str, fits: &str, text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.with_context(|| format!("{name} is no address of a server; {fits}"))?;
    ensure!(
        url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none(),
        "{name} has credentials, a query or a fragment; {fits}"
    );
    Ok(url)
}
