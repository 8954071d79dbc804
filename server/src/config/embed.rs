//! The settings of search by meaning: which model computes vectors of texts.

use anyhow::{bail, ensure};
use homereel_engine::embed::EmbedSource;

use super::models::{OFF, address, checkpoint};

/// Resolves the three settings. `off` prevails over a URL, so that a flag can turn off what the file has.
pub(super) fn source(
    model: Option<String>,
    url: Option<String>,
    url_model: Option<String>,
) -> anyhow::Result<Option<EmbedSource>> {
    if model.as_deref() == Some(OFF) {
        return Ok(None);
    }
    match (model, url) {
        (Some(model), Some(url)) => {
            bail!("embed_model is {model:?} and embed_url is {url:?}; one of them would fit")
        }
        (None, Some(url)) => Ok(Some(EmbedSource::Server {
            url: address("embed_url", "http://HOST:PORT would fit", &url)?,
            model: url_model.filter(|name| !name.is_empty()),
        })),
        (model, None) => {
            ensure!(url_model.is_none(), "embed_url_model is set, but embed_url is not");
            let parse = |model: String| checkpoint("embed_model", "intfloat/multilingual-e5-small", &model);
            Ok(model.map(parse).transpose()?.map(EmbedSource::Model))
        }
    }
}

#[cfg(test)]
mod tests {
    use homereel_engine::ModelSource;
    use url::Url;

    use super::*;

    fn resolve(
        model: Option<&str>,
        url: Option<&str>,
        name: Option<&str>,
    ) -> Result<Option<EmbedSource>, String> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        source(owned(model), owned(url), owned(name)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_model_or_a_server_or_neither() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        assert_eq!(resolve(None, None, None), Ok(None));
        let dir = ModelSource::Dir(directory.path().to_owned());
        assert_eq!(resolve(Some(path), None, None), Ok(Some(EmbedSource::Model(dir))));
        let hub = ModelSource::Hub { id: "a/b".into(), revision: None };
        assert_eq!(resolve(Some("a/b"), None, None), Ok(Some(EmbedSource::Model(hub))));
        let url: Url = "http://spark:8000/v1".parse().unwrap();
        let server = |model: Option<&str>| {
            Ok(Some(EmbedSource::Server { url: url.clone(), model: model.map(str::to_owned) }))
        };
        assert_eq!(resolve(None, Some("http://spark:8000/v1"), None), server(None));
        assert_eq!(resolve(None, Some("http://spark:8000/v1"), Some("bge")), server(Some("bge")));
        assert_eq!(resolve(Some("off"), Some("http://spark:8000/v1"), None), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_named_with_what_would() {
        for (model, url, name, part) in [
            (Some("a/b"), Some("http://x"), None, "one of them would fit"),
            (Some("/nonexistent"), None, None, "not a directory"),
            (Some("demo"), None, None, "a hub id such as"),
            (Some("nothing"), None, None, "a hub id such as"),
            (Some("a/b"), None, Some("x"), "embed_url is not"),
            (None, None, Some("x"), "embed_url is not"),
            (None, Some("spark:8000"), None, "http://HOST:PORT"),
            (None, Some("http://me:secret@x"), None, "has credentials"),
            (None, Some("http://x/?key=1"), None, "a query"),
        ] {
            let error = resolve(model, url, name).unwrap_err();
            assert!(error.contains(part), "{model:?} {url:?} {name:?}: {error}");
        }
    }
}
