//! What a stored result may hold: its fields, their kinds, and a check that names the first one at fault. The same table
//! makes the JSON Schema in `bench/schema`, for programs of others. Knows no meaning of any figure.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value, json};

use super::result::SCHEMA;

/// Schema whose results are still read, unchecked: it had no table.
const BEFORE: &str = "homereel-bench.serve/1";

const TEXT: &[&str] = &["string"];
const TEXT_OR_NONE: &[&str] = &["string", "null"];
const NUMBER: &[&str] = &["number"];
const NUMBER_OR_NONE: &[&str] = &["number", "null"];
const COUNT: &[&str] = &["integer"];
const COUNT_OR_NONE: &[&str] = &["integer", "null"];
const RATE: &[&str] = &["number", "string"];
const FLAG: &[&str] = &["boolean"];
const LIST: &[&str] = &["array"];
const OBJECT: &[&str] = &["object"];
const OBJECT_OR_NONE: &[&str] = &["object", "null"];

/// Fields that every result has, and the kinds of value that each may hold.
const FIELDS: [(&str, &[&str]); 42] = [
    ("schema", TEXT),
    ("date", TEXT),
    ("endpoint_type", TEXT),
    ("backend", TEXT),
    ("label", TEXT_OR_NONE),
    ("model_id", TEXT),
    ("tokenizer_id", TEXT),
    ("num_prompts", COUNT),
    ("request_rate", RATE),
    ("burstiness", NUMBER),
    ("max_concurrency", COUNT_OR_NONE),
    ("duration", NUMBER),
    ("completed", COUNT),
    ("failed", COUNT),
    ("total_input_tokens", NUMBER),
    ("total_output_tokens", NUMBER),
    ("request_throughput", NUMBER),
    ("request_goodput", NUMBER_OR_NONE),
    ("input_throughput", NUMBER),
    ("output_throughput", NUMBER),
    ("total_token_throughput", NUMBER),
    ("max_output_tokens_per_s", NUMBER),
    ("max_concurrent_requests", COUNT),
    ("base_url", TEXT),
    ("dataset_name", TEXT),
    ("max_tokens", COUNT),
    ("command", LIST),
    ("preset", TEXT_OR_NONE),
    ("cache", TEXT),
    ("sanity_answer", TEXT_OR_NONE),
    ("interrupted", FLAG),
    ("cached_tokens", NUMBER),
    ("rtfx_video", NUMBER),
    ("videos_per_s", NUMBER),
    ("frames_sampled_per_s", NUMBER),
    ("visual_tokens_per_s", NUMBER_OR_NONE),
    ("median_ttft_after_media_ms", NUMBER_OR_NONE),
    ("stages_ms", OBJECT_OR_NONE),
    ("failures", LIST),
    ("machine", OBJECT),
    ("seen", OBJECT),
    ("warnings", LIST),
];

/// Measures, each with its mean, median, standard deviation and the percentiles that were asked for.
const MEASURES: [&str; 5] = ["ttft_ms", "tpot_ms", "itl_ms", "e2el_ms", "send_delay_ms"];
const SUMS: [&str; 3] = ["mean", "median", "std"];
/// Only with `--save-detailed`.
const REQUESTS: &str = "requests";

/// Reads a stored result; `name` is for messages.
///
/// # Errors
/// When it is no result of this program, or one of its fields is missing, unknown, or of another kind.
pub fn read(bytes: &[u8], name: &str) -> anyhow::Result<Value> {
    let result: Value = serde_json::from_slice(bytes).with_context(|| format!("{name} is no JSON"))?;
    let schema = &result["schema"];
    if schema == BEFORE {
        return Ok(result);
    }
    ensure!(schema == SCHEMA, "{name} is no result of this program (schema {schema}, not \"{SCHEMA}\")");
    check(&result).with_context(|| format!("{name} is damaged"))?;
    Ok(result)
}

/// Checks that `result` has every field of its schema, each of its kind, and no other.
///
/// # Errors
/// Names the first field at fault.
pub fn check(result: &Value) -> anyhow::Result<()> {
    let fields = result.as_object().context("a result is an object")?;
    let sums = MEASURES.iter().flat_map(|measure| SUMS.map(|sum| format!("{sum}_{measure}")));
    let required = FIELDS.iter().map(|(name, kinds)| ((*name).to_owned(), *kinds));
    for (name, kinds) in required.chain(sums.map(|name| (name, NUMBER))) {
        let value = fields.get(&name).with_context(|| format!("'{name}' is missing"))?;
        ensure!(
            kinds.iter().any(|kind| is(value, kind)),
            "'{name}' is {value}; {} would fit",
            kinds.join(" or ")
        );
    }
    for (name, value) in fields {
        let known = FIELDS.iter().any(|(field, _)| field == name)
            || MEASURES.iter().any(|measure| {
                name.strip_suffix(measure)
                    .is_some_and(|sum| SUMS.iter().any(|known| sum == format!("{known}_")))
            });
        let fits = known || percentile(name) && value.is_number() || name == REQUESTS && value.is_array();
        if !fits {
            bail!("'{name}' is not a field of {SCHEMA}, or of another kind");
        }
    }
    Ok(())
}

/// Whether `name` is that of a percentile, such as `p99_ttft_ms`.
fn percentile(name: &str) -> bool {
    let Some((number, measure)) = name.strip_prefix('p').and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    number.parse::<f64>().is_ok() && MEASURES.contains(&measure)
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    }
}

/// The table as a JSON Schema.
#[must_use]
pub fn json_schema() -> Value {
    let mut properties = Map::new();
    for (name, kinds) in FIELDS {
        properties.insert(name.into(), json!({ "type": kinds }));
    }
    properties["schema"] = json!({ "const": SCHEMA });
    let mut required: Vec<String> = FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for name in MEASURES.iter().flat_map(|measure| SUMS.map(|sum| format!("{sum}_{measure}"))) {
        properties.insert(name.clone(), json!({ "type": NUMBER }));
        required.push(name);
    }
    properties.insert(REQUESTS.into(), json!({ "type": LIST }));
    let measures = MEASURES.join("|");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Result of homereel-bench serve",
        "description": "Names and definitions are those of vllm bench serve where it has them. Milliseconds, seconds, tokens.",
        "type": "object",
        "properties": properties,
        "patternProperties": { format!("^p[0-9]+(\\.[0-9]+)?_({measures})$"): { "type": "number" } },
        "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is committed for others.
    const COMMITTED: &str = include_str!("../../schema/serve-2.json");
    const SAMPLE: &str = include_str!("../../schema/serve-2.sample.json");

    #[test]
    fn the_committed_schema_is_that_of_the_table() {
        let committed: Value = serde_json::from_str(COMMITTED).unwrap();
        assert_eq!(committed, json_schema(), "write this to bench/schema/serve-2.json:\n{:#}", json_schema());
    }

    #[test]
    fn the_sample_fits_and_each_change_of_it_is_named() {
        let sample = read(SAMPLE.as_bytes(), "sample").unwrap();
        for name in sample.as_object().unwrap().keys() {
            if percentile(name) || name == REQUESTS {
                continue;
            }
            let mut without = sample.clone();
            without.as_object_mut().unwrap().shift_remove(name);
            let told = format!("{:#}", check(&without).unwrap_err());
            assert!(told.contains(&format!("'{name}' is missing")), "{told}");
            let mut wrong = sample.clone();
            let takes_objects =
                FIELDS.iter().any(|(field, kinds)| field == name && kinds.contains(&"object"));
            wrong[name] = if takes_objects { json!("x") } else { json!({ "x": 1 }) };
            assert!(format!("{:#}", check(&wrong).unwrap_err()).contains(name), "{name}");
        }
        let mut more = sample;
        more["speed"] = json!(1);
        assert!(check(&more).unwrap_err().to_string().contains("'speed' is not a field"));
        more.as_object_mut().unwrap().shift_remove("speed");
        more["p99.9_itl_ms"] = json!(2.5);
        check(&more).unwrap();
    }

    #[test]
    fn other_files_are_refused_and_earlier_results_are_read() {
        assert!(read(b"{", "f").unwrap_err().to_string().contains("f is no JSON"));
        assert!(read(b"[1]", "f").unwrap_err().to_string().contains("no result of this program"));
        let other = format!("{{\"schema\": \"{SCHEMA}\"}}");
        assert!(
            format!("{:#}", read(other.as_bytes(), "f").unwrap_err())
                .contains("f is damaged: 'date' is missing")
        );
        assert!(read(b"{\"schema\": \"homereel-bench.serve/1\"}", "f").is_ok());
    }
}
