//! `POST /v1/embeddings`: vectors of texts by the model of search by meaning, in OpenAI's format.

use axum::{
    Json,
    extract::{Request, State},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_engine::embed::{Identity, MAX_TEXTS, Purpose};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::error::{Failure, OpenAiError, shown};
use super::{
    parameters::{Api, Parameters},
    receive,
};
use crate::{ask_error::AskError, state::AppState};

/// Maximum length of all texts of a request, in bytes.
const MAX_BYTES: usize = 8 << 20;

/// A request.
#[derive(Debug)]
struct Wanted {
    texts: Vec<String>,
    model: Option<String>,
    base64: bool,
    dimensions: Option<usize>,
    warnings: Vec<String>,
}

/// One text, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

/// `POST /v1/embeddings`.
pub(in crate::http) async fn embeddings(
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<Value>, OpenAiError> {
    let Some(embedder) = state.meaning.embedder() else {
        let message = "no model embeds texts; --embed-model or --embed-url sets one";
        let failure = Failure { param: Some("model".into()), ..Failure::not_found(message) };
        return Err(Failure { code: "model_not_found", ..failure }.into());
    };
    let body = receive(&state, request).await?;
    let read = tokio::task::spawn_blocking(move || read(&body.json));
    let wanted = read.await.map_err(Failure::internal)??;
    let cancel = state.lifecycle.hard().child_token();
    let _cancelled_with_the_request = cancel.clone().drop_guard();
    let identity = embedder.identify(&cancel).await.map_err(AskError::from)?;
    check(&wanted, &identity)?;
    let embedded = embedder.embed_counted(wanted.texts, Purpose::Plain, &cancel).await;
    let embedded = embedded.map_err(AskError::from)?;
    let data: Vec<Value> = embedded
        .vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let vector = if wanted.base64 { Value::from(encoded(vector)) } else { json!(vector) };
            json!({ "object": "embedding", "index": index, "embedding": vector })
        })
        .collect();
    Ok(Json(json!({
        "object": "list", "data": data, "model": identity.name,
        "usage": { "prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens },
        "homereel": { "warnings": wanted.warnings },
    })))
}

fn read(body: &[u8]) -> Result<Wanted, Failure> {
    let mut parameters = Parameters::parse(body)?;
    let given = parameters.has("input");
    let input = parameters.require("input").map_err(|failure| match given {
        true => {
            let message = "input is neither a text nor a list of texts; ids of tokens are not supported";
            Failure::invalid("input", message)
        }
        false => failure,
    })?;
    let texts = texts(input)?;
    let format: Option<String> = parameters.take("encoding_format")?;
    let base64 = match format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding_format is {}; float or base64 would fit", shown(other));
            return Err(Failure::invalid("encoding_format", message));
        }
    };
    Ok(Wanted {
        texts,
        model: parameters.take("model")?,
        base64,
        dimensions: parameters.take("dimensions")?,
        warnings: parameters.review(Api::Embeddings, false)?,
    })
}

fn texts(input: Input) -> Result<Vec<String>, Failure> {
    let texts = match input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    let (count, bytes) = (texts.len(), texts.iter().map(String::len).sum::<usize>());
    if !(1..=MAX_TEXTS).contains(&count) {
        return Err(Failure::invalid(
            "input",
            format!("input has {count} texts; 1 to {MAX_TEXTS} would fit"),
        ));
    }
    if bytes > MAX_BYTES {
        return Err(Failure::invalid(
            "input",
            format!("input has {bytes} bytes; at most {MAX_BYTES} would fit"),
        ));
    }
    Ok(texts)
}

/// Checks what depends on the model.
fn check(wanted: &Wanted, identity: &Identity) -> Result<(), Failure> {
    if let Some(asked) = wanted.model.as_deref().filter(|asked| !asked.is_empty() && *asked != identity.name)
    {
        let message = format!("the model {} does not embed texts here; {} does", shown(asked), identity.name);
        let failure = Failure { param: Some("model".into()), ..Failure::not_found(message) };
        return Err(Failure { code: "model_not_found", ..failure });
    }
    match wanted.dimensions {
        Some(asked) if asked != identity.dimension => Err(Failure::invalid(
            "dimensions",
            format!("dimensions is {asked}; vectors of {} have {}", identity.name, identity.dimension),
        )),
        _ => Ok(()),
    }
}

/// Returns a vector as OpenAI encodes it: f32, little-endian, in base64.
fn encoded(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &Value) -> (Option<String>, String) {
        let failure = read(body.to_string().as_bytes()).unwrap_err();
        (failure.param, failure.message)
    }

    #[test]
    fn one_text_or_several() {
        let read = |body: Value| read(body.to_string().as_bytes()).unwrap();
        assert_eq!(read(json!({"input": "a"})).texts, ["a"]);
        let wanted =
            read(json!({"input": ["a", ""], "encoding_format": "base64", "dimensions": 4, "user": "me"}));
        assert_eq!((wanted.texts.len(), wanted.base64, wanted.dimensions), (2, true, Some(4)));
        assert!(wanted.warnings[0].starts_with("user has no effect"), "{:?}", wanted.warnings);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for input in [json!([1, 2]), json!([[1], [2]]), json!(1), json!(["a", 1]), json!({"text": "a"})] {
            let (param, message) = refused(&json!({ "input": input }));
            assert_eq!(param.as_deref(), Some("input"));
            assert!(message.contains("ids of tokens"), "{message}");
        }
        assert!(refused(&json!({"input": []})).1.contains("0 texts"));
        assert!(refused(&json!({"input": vec!["a"; MAX_TEXTS + 1]})).1.contains("2048 would fit"));
        assert!(refused(&json!({"input": "a".repeat(MAX_BYTES + 1)})).1.contains("bytes"));
        assert!(refused(&json!({"model": "a"})).1.contains("input"));
        assert_eq!(
            refused(&json!({"input": "a", "encoding_format": "int8"})).0.as_deref(),
            Some("encoding_format")
        );
    }

    #[test]
    fn the_model_and_its_dimension_must_fit() {
        let identity = Identity { name: "bge".into(), model_id: "bge@1".into(), dimension: 4 };
        let check = |body: Value| check(&read(body.to_string().as_bytes()).unwrap(), &identity);
        for fits in [json!({"input": "a"}), json!({"input": "a", "model": "bge", "dimensions": 4})] {
            check(fits).unwrap();
        }
        let failure = check(json!({"input": "a", "model": "gpt"})).unwrap_err();
        assert_eq!((failure.code, failure.status.as_u16()), ("model_not_found", 404));
        let failure = check(json!({"input": "a", "dimensions": 2})).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("dimensions"));
        assert!(failure.message.contains('4'), "{}", failure.message);
    }

    #[test]
    fn base64_has_little_endian_floats() {
        assert_eq!(encoded(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}
