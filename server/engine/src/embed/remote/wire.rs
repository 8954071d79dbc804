//! The shapes of `/v1/models` and `/v1/embeddings`, and the check of an answer.

use serde::{Deserialize, Serialize};

use crate::embed::Embedded;

/// Largest dimension that is accepted; published models have at most 8,192.
pub(super) const MAX_DIMENSION: usize = 8192;

#[derive(Deserialize)]
pub(super) struct ModelList {
    pub(super) data: Vec<ModelCard>,
}

#[derive(Deserialize)]
pub(super) struct ModelCard {
    pub(super) id: String,
}

#[derive(Serialize)]
pub(super) struct EmbeddingRequest<'a> {
    pub(super) model: &'a str,
    pub(super) input: Vec<&'a str>,
    pub(super) encoding_format: &'static str,
}

#[derive(Deserialize)]
struct EmbeddingList {
    data: Vec<Embedding>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: usize,
}

#[derive(Deserialize)]
struct Embedding {
    index: usize,
    embedding: Vec<f32>,
}

/// Returns the vectors of an answer to `count` texts, in the texts' order, and their tokens. `dimension` is that of earlier
/// answers.
///
/// # Errors
/// Describes what is wrong with the answer.
pub(super) fn vectors(body: &[u8], count: usize, dimension: Option<usize>) -> Result<Embedded, String> {
    let list: EmbeddingList = serde_json::from_slice(body).map_err(|error| {
        // Python writes these words, which are no JSON.
        let text = String::from_utf8_lossy(body);
        match text.contains("NaN") || text.contains("Infinity") {
            true => "its server answers values that are not numbers".to_owned(),
            false => format!("its server's answer is no list of vectors: {error}"),
        }
    })?;
    if list.data.len() != count {
        return Err(format!("its server answers {} vectors to {count} texts", list.data.len()));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    let expected = dimension.or_else(|| list.data.first().map(|first| first.embedding.len())).unwrap_or(0);
    if !(1..=MAX_DIMENSION).contains(&expected) {
        return Err(format!(
            "its server answers vectors of {expected} numbers; 1 to {MAX_DIMENSION} would fit"
        ));
    }
    for Embedding { index, embedding } in list.data {
        if embedding.len() != expected {
            return Err(other_dimension(embedding.len(), expected));
        }
        if !embedding.iter().all(|value| value.is_finite()) {
            return Err("its server answers values that are not numbers".into());
        }
        match vectors.get_mut(index) {
            Some(place) if place.is_none() => *place = Some(embedding),
            _ => return Err(format!("its server answers index {index} twice, or for {count} texts only")),
        }
    }
    // As many as there are places, and none twice.
    let tokens = list.usage.map_or(0, |usage| usage.prompt_tokens);
    Ok(Embedded { vectors: vectors.into_iter().flatten().collect(), tokens })
}

/// Describes a vector of another dimension.
pub(super) fn other_dimension(got: usize, expected: usize) -> String {
    format!("its server answers vectors of {got} numbers; {expected} as before would fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_put_in_the_order_of_the_texts() {
        let body = br#"{"object": "list", "data": [{"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": [2, 3e-1]}]}"#;
        assert_eq!(vectors(body, 2, None).unwrap().vectors, [[2.0, 0.3], [0.5, 1.0]]);
        assert_eq!(vectors(body, 2, Some(2)).unwrap().tokens, 0);
        let counted = br#"{"data": [{"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}"#;
        assert_eq!(vectors(counted, 1, None).unwrap().tokens, 5);
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_said() {
        let wrong = |body: &str, count, dimension| vectors(body.as_bytes(), count, dimension).unwrap_err();
        let one = r#"{"data": [{"index": 0, "embedding": [1, 2]}]}"#;
        assert_eq!(wrong(one, 2, None), "its server answers 1 vectors to 2 texts");
        assert_eq!(wrong(one, 1, Some(3)), "its server answers vectors of 2 numbers; 3 as before would fit");
        let nan = r#"{"data": [{"index": 0, "embedding": [NaN, 2]}]}"#;
        assert_eq!(wrong(nan, 1, None), "its server answers values that are not numbers");
        let huge = r#"{"data": [{"index": 0, "embedding": [1e300, 2]}]}"#;
        assert!(wrong(huge, 1, None).contains("out of range"));
        let empty = r#"{"data": [{"index": 0, "embedding": []}]}"#;
        assert_eq!(wrong(empty, 1, None), "its server answers vectors of 0 numbers; 1 to 8192 would fit");
        let twice = r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}"#;
        assert!(wrong(twice, 2, None).contains("index 0 twice"));
        let mixed = r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}"#;
        assert!(wrong(mixed, 2, None).contains("2 numbers"));
        assert!(wrong("<html>", 1, None).contains("no list of vectors"));
        assert!(wrong(r#"{"data": [{"index": 0, "embedding": [null]}]}"#, 1, None).contains("no list"));
    }
}
