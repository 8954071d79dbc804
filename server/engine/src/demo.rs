//! The embedded demo model: a small Qwen3-VL checkpoint trained on coloured shapes, in the file layout of a published
//! one.

/// Id under which requests name the demo model.
pub(crate) const ID: &str = "homereel-demo";

/// `model.safetensors`.
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../../demo-model/model.safetensors");

/// Returns a file of the checkpoint other than its weights.
#[must_use]
pub(crate) fn file(name: &str) -> Option<&'static [u8]> {
    let bytes: &'static [u8] = match name {
        "config.json" => include_bytes!("../../demo-model/config.json"),
        "generation_config.json" => include_bytes!("../../demo-model/generation_config.json"),
        "tokenizer.json" => include_bytes!("../../demo-model/tokenizer.json"),
        "chat_template.jinja" => include_bytes!("../../demo-model/chat_template.jinja"),
        "processor_config.json" => include_bytes!("../../demo-model/processor_config.json"),
        _ => return None,
    };
    Some(bytes)
}

/// Returns the demo model's tokenizer, for tests that need any tokenizer.
#[cfg(test)]
pub(crate) fn tokenizer() -> crate::qwen3vl::Tokenizer {
    crate::qwen3vl::Tokenizer::from_json(file("tokenizer.json").unwrap()).unwrap()
}

/// Returns the demo model's `tokenizer.json` with the tags of tool calls as tokens of their own, for tests. In Qwen3-VL's,
/// they are not `special`.
#[cfg(test)]
pub(crate) fn tokenizer_with_tags(special: bool) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(file("tokenizer.json").unwrap()).unwrap();
    for token in json["added_tokens"].as_array_mut().unwrap() {
        for (from, to) in [("<|box_start|>", "<tool_call>"), ("<|box_end|>", "</tool_call>")] {
            if token["content"] == from {
                token["content"] = to.into();
                token["special"] = special.into();
            }
        }
    }
    json.to_string().into_bytes()
}
