//! Tests of reading a sentence model's files: the layouts of several releases, and hostile values.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

struct Files(tempfile::TempDir);

impl Files {
    /// Writes the files of a small model that is read without an error.
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.put("config.json", &bert());
        let parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")];
        let module =
            |(path, name)| json!({ "path": path, "type": format!("sentence_transformers.models.{name}") });
        files.put("modules.json", &Value::Array(parts.map(module).to_vec()));
        files.put(
            "1_Pooling/config.json",
            &json!({ "word_embedding_dimension": 8, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false }),
        );
        files
    }

    fn put(&self, name: &str, value: &Value) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, value.to_string()).unwrap();
    }

    fn read(&self) -> Result<SentenceConfig, String> {
        SentenceConfig::read(&ModelFiles::Dir(self.0.path().to_owned()))
    }

    /// Returns the error where `file` has `value` for `key`.
    fn error(file: &str, key: &str, value: Value) -> String {
        let files = Self::new();
        let path = files.0.path().join(file);
        let mut json = std::fs::read(&path)
            .map_or_else(|_| json!({}), |bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
        json[key] = value;
        files.put(file, &json);
        files.read().unwrap_err()
    }
}

fn bert() -> Value {
    json!({
        "model_type": "bert", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 32,
        "type_vocab_size": 2, "pad_token_id": 0,
    })
}

#[test]
fn files_without_limits_and_prompts_have_the_positions_as_limit() {
    let config = Files::new().read().unwrap();
    assert_eq!((config.max_tokens, config.pooling, config.normalize), (32, PoolingMode::Mean, true));
    assert_eq!((config.encoder.counted_from, config.prompts), (None, Prompts::default()));
}

#[test]
fn the_smallest_limit_counts() {
    let files = Files::new();
    files.put("tokenizer_config.json", &json!({ "model_max_length": 1e30 }));
    assert_eq!(files.read().unwrap().max_tokens, 32);
    files.put("tokenizer_config.json", &json!({ "model_max_length": 20 }));
    assert_eq!(files.read().unwrap().max_tokens, 20);
    files.put("sentence_bert_config.json", &json!({ "max_seq_length": 24, "do_lower_case": true }));
    let config = files.read().unwrap();
    assert_eq!((config.max_tokens, config.lower_case), (24, true));
    // RoBERTa counts positions behind its padding.
    let mut roberta = bert();
    (roberta["model_type"], roberta["pad_token_id"]) = ("xlm-roberta".into(), 1.into());
    files.put("config.json", &roberta);
    files.put("sentence_bert_config.json", &json!({ "max_seq_length": 512 }));
    let config = files.read().unwrap();
    assert_eq!((config.max_tokens, config.encoder.counted_from), (30, Some(1)));
}

#[test]
fn files_of_sentence_transformers_6_are_read() {
    let files = Files::new();
    let parts = ["base.modules.transformer.Transformer", "sentence_transformer.modules.pooling.Pooling"];
    let module = |(index, name): (usize, &str)| json!({ "path": if index == 0 { "" } else { "1_Pooling" }, "type": format!("sentence_transformers.{name}") });
    files.put("modules.json", &parts.into_iter().enumerate().map(module).collect());
    let pooling =
        |mode: Value| json!({ "embedding_dimension": 8, "pooling_mode": mode, "include_prompt": true });
    for (mode, read) in [
        (json!("cls"), PoolingMode::Cls),
        (json!(["max"]), PoolingMode::Max),
        (json!("mean"), PoolingMode::Mean),
    ] {
        files.put("1_Pooling/config.json", &pooling(mode));
        let config = files.read().unwrap();
        assert_eq!((config.pooling, config.normalize), (read, false));
    }
    let prompts =
        json!({ "prompts": { "query": "query: ", "document": "", "passage": "passage: ", "x": null } });
    files.put("config_sentence_transformers.json", &prompts);
    let prompts = files.read().unwrap().prompts;
    assert_eq!((prompts.query.as_str(), prompts.passage.as_str()), ("query: ", "passage: "));
    let mut without = pooling(json!("mean"));
    without["include_prompt"] = false.into();
    files.put("1_Pooling/config.json", &without);
    assert!(files.read().unwrap_err().contains("include_prompt is false"));
}

#[test]
fn hostile_values_are_refused_by_name() {
    const FILE: &str = "config.json";
    for (key, value, part) in [
        ("model_type", json!("qwen3_vl"), "\"qwen3_vl\""),
        ("vocab_size", json!(1_u64 << 40), "vocab_size is 1099511627776"),
        ("hidden_size", json!(0), "hidden_size is 0"),
        ("num_hidden_layers", json!(1_000_000), "num_hidden_layers is 1000000"),
        ("num_attention_heads", json!(3), "num_attention_heads 3 does not divide"),
        ("num_attention_heads", json!(-1), "-1"),
        ("intermediate_size", json!("16"), "config.json: invalid type"),
        ("hidden_act", json!("swish"), "\"swish\""),
        ("layer_norm_eps", json!(-1.0), "layer_norm_eps is -1"),
        ("max_position_embeddings", json!(u64::MAX), "max_position_embeddings is"),
        ("type_vocab_size", json!(0), "type_vocab_size is 0"),
        ("position_embedding_type", json!("relative_key"), "relative_key"),
        ("is_decoder", json!(true), "is_decoder true"),
    ] {
        let error = Files::error(FILE, key, value);
        assert!(error.starts_with(FILE) && error.contains(part), "{error}");
    }
    let error = Files::error("1_Pooling/config.json", "word_embedding_dimension", json!(9));
    assert!(error.contains("the dimension is 9"), "{error}");
    let error = Files::error("1_Pooling/config.json", "pooling_mode_cls_token", json!(true));
    assert!(error.contains("[\"cls\", \"mean\"]"), "{error}");
    let error = Files::error("1_Pooling/config.json", "pooling_mode", json!("lasttoken"));
    assert!(error.contains("lasttoken"), "{error}");
    let error = Files::error("sentence_bert_config.json", "max_seq_length", json!(1));
    assert!(error.contains("limit of tokens is 1"), "{error}");
    let long = json!({ "query": "x".repeat(5000) });
    let error = Files::error("config_sentence_transformers.json", "prompts", long);
    assert!(error.contains("5000 bytes"), "{error}");
}

#[test]
fn modules_can_not_lead_out_of_the_directory() {
    let files = Files::new();
    let class = |name: &str| format!("sentence_transformers.models.{name}");
    for path in ["../1_Pooling", "/etc", "a/b", "", ".."] {
        let pooling = json!({ "path": path, "type": class("Pooling") });
        files.put("modules.json", &json!([{ "path": "", "type": class("Transformer") }, pooling]));
        assert!(files.read().unwrap_err().contains("path of Pooling"), "{path:?}");
    }
    files.put(
        "modules.json",
        &json!([{ "path": "", "type": class("Transformer") }, { "type": class("Dense") }]),
    );
    assert!(files.read().unwrap_err().contains("\"Dense\""));
    std::fs::remove_file(files.0.path().join("modules.json")).unwrap();
    assert!(files.read().unwrap_err().starts_with("modules.json is missing"));
}
