//! Results round-trip, the committed schema is current, and each kind of damage is named.

use std::error::Error as _;

use serde_json::{Value, json};

use super::*;

/// A committed result of a real run.
const COMMITTED: &str = include_str!("../../../bench/runs/2026-11-26-x86_64-2cores/demo-candle-f32.json");
const SCHEMA_FILE: &str = include_str!("../../../bench/schema/serve-2.json");

fn committed() -> Value {
    serde_json::from_str(COMMITTED).unwrap()
}

/// Parses `value`; returns the error and its source.
fn error(value: &Value) -> String {
    let error = BenchResult::parse(value.to_string().as_bytes()).unwrap_err();
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

#[test]
fn the_committed_schema_is_generated_from_the_types() {
    let schema = BenchResult::json_schema();
    let committed: Value = serde_json::from_str(SCHEMA_FILE).unwrap();
    assert_eq!(
        committed,
        *schema.as_value(),
        "write this to bench/schema/serve-2.json:\n{:#}",
        schema.as_value()
    );
}

#[test]
fn every_committed_result_round_trips() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/runs/2026-11-26-x86_64-2cores");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") || path.ends_with("probe.json") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let result =
            BenchResult::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        let stored: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(serde_json::to_value(&result).unwrap(), stored, "{}", path.display());
        let one_token_each = result.total_output_tokens == result.completed as f64;
        assert_eq!(result.latencies.tpot.is_none(), one_token_each, "{}", path.display());
        count += 1;
    }
    assert!(count > 20, "{count} results");
}

#[test]
fn damaged_fields_are_named() {
    let required: Vec<String> = committed()
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, value)| !value.is_null() && *name != "schema" && *name != "max_concurrency")
        .map(|(name, _)| name.clone())
        .collect();
    for name in required {
        let mut wrong = committed();
        wrong[&name] = json!([{ "x": 1 }]);
        let text = error(&wrong);
        assert!(text.starts_with("damaged result: "), "{name}: {text}");
    }
    let mut missing = committed();
    missing.as_object_mut().unwrap().shift_remove("date");
    assert!(error(&missing).contains("missing field `date`"), "{}", error(&missing));
    missing = committed();
    missing.as_object_mut().unwrap().shift_remove("std_itl_ms");
    assert!(error(&missing).contains("missing field `std_itl_ms`"), "{}", error(&missing));
    let mut unknown = committed();
    unknown["speed"] = json!(1);
    assert!(error(&unknown).contains("unknown field `speed`"), "{}", error(&unknown));
    let mut text = committed();
    text["p99_ttft_ms"] = json!("fast");
    assert!(error(&text).contains("field `p99_ttft_ms`"), "{}", error(&text));
}

#[test]
fn any_percentile_may_be_recorded_and_any_latency_may_be_missing() {
    let mut value = committed();
    value["p99.9_itl_ms"] = json!(2.5);
    for name in ["mean_tpot_ms", "median_tpot_ms", "std_tpot_ms"] {
        value[name] = Value::Null;
    }
    value.as_object_mut().unwrap().shift_remove("p99_tpot_ms");
    let result = BenchResult::parse(value.to_string().as_bytes()).unwrap();
    assert_eq!(result.latencies.itl.as_ref().and_then(|itl| itl.percentile(99.9)), Some(2.5));
    assert_eq!(result.latencies.tpot, None);
    assert_eq!(serde_json::to_value(&result).unwrap(), value);
}

#[test]
fn other_files_are_rejected() {
    let text = |bytes: &[u8]| BenchResult::parse(bytes).unwrap_err().to_string();
    assert_eq!(text(b"{"), "not JSON");
    assert!(text(b"[1]").contains(SCHEMA));
    assert!(text(b"{\"schema\": \"homereel-bench.probe/1\"}").contains(SCHEMA));
    assert!(error(&json!({ "schema": SCHEMA })).contains("missing field"));
}

#[test]
fn a_load_reads_as_words() {
    let mut result = BenchResult::parse(COMMITTED.as_bytes()).unwrap();
    assert_eq!(result.load(), "1 concurrent");
    result.request_rate = Some(2.5).into();
    assert_eq!(result.load(), "2.5 req/s, 1 concurrent");
    (result.request_rate, result.max_concurrency) = (None.into(), None);
    assert_eq!(result.load(), "unlimited");
}
