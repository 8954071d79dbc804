//! Settings of speech to text: a Whisper checkpoint, or another server.

use anyhow::{bail, ensure};
use homereel_engine::{ModelSource, speech};
use url::Url;

use super::models::{OFF, address, checkpoint};

/// What transcribes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeechConfig {
    /// What transcribes.
    pub backend: SpeechBackend,
    /// Code of the language that is spoken; `None` means that it is detected in each video.
    pub language: Option<String>,
}

/// What transcribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeechBackend {
    /// A Whisper checkpoint in this process.
    Model(ModelSource),
    /// A server that speaks OpenAI's `/v1/audio/transcriptions`.
    Server {
        /// Its address.
        url: Url,
        /// Name of its model.
        model: String,
    },
}

/// Resolves the four settings; `None` means that speech is off.
///
/// # Errors
/// When they contradict each other, a directory does not exist, or a value is not valid.
pub(super) fn resolve(
    model: Option<String>,
    url: Option<String>,
    url_model: Option<String>,
    language: Option<String>,
) -> anyhow::Result<Option<SpeechConfig>> {
    if model.as_deref() == Some(OFF) {
        return Ok(None);
    }
    let backend = match (model, url) {
        (Some(_), Some(_)) => bail!("speech_model and speech_url are both set; one of them would fit"),
        (None, None) => {
            ensure!(url_model.is_none(), "speech_url_model is set, but speech_url is not");
            ensure!(
                language.is_none(),
                "speech_language is set, but nothing transcribes: speech_model and speech_url are not set"
            );
            return Ok(None);
        }
        (Some(model), None) => {
            ensure!(url_model.is_none(), "speech_url_model is set, but speech_url is not");
            SpeechBackend::Model(checkpoint("speech_model", "openai/whisper-large-v3-turbo", &model)?)
        }
        (None, Some(url)) => {
            let Some(model) = url_model.filter(|model| !model.trim().is_empty()) else {
                bail!("speech_url is set, but speech_url_model is not: the name of the server's model");
            };
            let fits = "http://HOST:PORT would fit, and a key in HOMEREEL_SPEECH_API_KEY";
            SpeechBackend::Server { url: address("speech_url", fits, &url)?, model }
        }
    };
    let language = language.map(|text| code(&text)).transpose()?;
    Ok(Some(SpeechConfig { backend, language }))
}

/// Parses a language.
///
/// # Errors
/// When Whisper does not know it.
fn code(text: &str) -> anyhow::Result<String> {
    match speech::language_code(text) {
        Some(code) => Ok(code.to_owned()),
        None => bail!("speech_language is {text:?}; a code such as en, de or yue would fit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(
        model: &str,
        url: &str,
        url_model: &str,
        language: &str,
    ) -> Result<Option<SpeechConfig>, String> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        resolve(given(model), given(url), given(url_model), given(language))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_model_or_a_server_transcribes() {
        assert_eq!(resolved("", "", "", ""), Ok(None));
        assert_eq!(resolved("off", "", "", ""), Ok(None));
        let hub = resolved("openai/whisper-tiny@main", "", "", "German").unwrap().unwrap();
        assert!(matches!(hub.backend, SpeechBackend::Model(ModelSource::Hub { .. })), "{hub:?}");
        assert_eq!(hub.language.as_deref(), Some("de"));
        let directory = std::env::temp_dir();
        let local = resolved(directory.to_str().unwrap(), "", "", "").unwrap().unwrap();
        assert_eq!(local.backend, SpeechBackend::Model(ModelSource::Dir(directory)));
        let server = resolved("", "http://127.0.0.1:8000/v1", "whisper", "").unwrap().unwrap();
        assert!(matches!(server.backend, SpeechBackend::Server { model, .. } if model == "whisper"));
        let off = resolved("off", "http://127.0.0.1:8000/v1", "whisper", "en").unwrap();
        assert_eq!(off, None, "a flag switches off what the file has");
    }

    #[test]
    fn settings_that_do_not_fit_are_named() {
        for (model, url, url_model, language, word) in [
            ("a/b", "http://h:1", "m", "", "both set"),
            ("/no/such/directory", "", "", "", "not a directory"),
            ("demo", "", "", "", "hub id"),
            ("x", "", "", "", "hub id"),
            ("a/b", "", "m", "", "speech_url is not"),
            ("", "", "m", "", "speech_url is not"),
            ("", "", "", "en", "nothing transcribes"),
            ("", "http://h:1", "", "", "speech_url_model is not"),
            ("", "ftp://h", "m", "", "http://HOST:PORT"),
            ("", "h:1:2", "m", "", "http://HOST:PORT"),
            ("", "http://u:p@h", "m", "", "HOMEREEL_SPEECH_API_KEY"),
            ("", "http://h?key=u:p", "m", "", "a query"),
            ("a/b", "", "", "klingon", "klingon"),
        ] {
            let error = resolved(model, url, url_model, language).unwrap_err();
            assert!(error.contains(word), "{model} {url}: {error}");
            assert!(!error.contains("u:p"), "{error}");
        }
    }
}
