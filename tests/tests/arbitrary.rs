//! Arbitrary JSON around valid requests: whatever a client sends to the endpoint, the server answers with a result or a client
//! error in OpenAI's form, and goes on.
//!
//! `HOMEREEL_ARBITRARY_CASES` sets the number of requests, for a longer run; `HOMEREEL_ARBITRARY_SEED` the first one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_tests::{Server, clips};
use serde_json::{Map, Value, json};

/// Numbers that follow from a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const NAMES: [&str; 60] = [
    "limits",
    "prompt",
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "bad_words",
    "allowed_token_ids",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "continue_final_message",
    "add_generation_prompt",
    "chat_template_kwargs",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "user",
    "role",
    "content",
    "type",
    "video_url",
    "input",
    "instructions",
    "previous_response_id",
    "store",
    "text",
    "format",
    "include",
    "max_output_tokens",
    "call_id",
    "arguments",
    "output",
    "id",
    "summary",
    "image_url",
];

/// Parameters that fit most requests.
const FITTING: [&str; 22] = [
    r#"{"temperature": 0.7, "top_p": 0.9, "seed": 7}"#,
    r#"{"top_k": 5, "min_p": 0.1}"#,
    r#"{"n": 3}"#,
    r#"{"stop": ["x", ".", "\n"]}"#,
    r#"{"stop": ""}"#,
    r#"{"logprobs": true, "top_logprobs": 20}"#,
    r#"{"repetition_penalty": 1.5, "presence_penalty": -2, "frequency_penalty": 2}"#,
    r#"{"logit_bias": {"0": 100, "1": -100}}"#,
    r#"{"allowed_token_ids": [1, 2, 3]}"#,
    r#"{"bad_words": ["I", "only", "I only"]}"#,
    r#"{"min_tokens": 4}"#,
    r#"{"ignore_eos": true, "max_tokens": 30}"#,
    r#"{"stop_token_ids": [0, 1, 2, 3, 4, 5], "include_stop_str_in_output": true}"#,
    r#"{"response_format": {"type": "json_object"}, "max_tokens": 40}"#,
    r#"{"structured_outputs": {"regex": "(ab|a(b|c)*)+d?"}}"#,
    r#"{"guided_grammar": "start: \"a\" start | \"b\""}"#,
    r#"{"guided_choice": ["\ud83d\udc68\u200d\ud83d\udc69", "a"]}"#,
    r#"{"tool_choice": "auto", "parallel_tool_calls": false}"#,
    r#"{"stream": true, "stream_options": {"include_usage": true}}"#,
    r#"{"chat_template_kwargs": {"tools": "<|im_end|>", "messages": []}}"#,
    r#"{"max_tokens": -1, "user": "x"}"#,
    r#"{"continue_final_message": true}"#,
];

/// A value of any kind.
fn value(numbers: &mut Numbers, depth: usize) -> Value {
    match numbers.below(if depth == 0 { 16 } else { 20 }) {
        0 => Value::Null,
        1 => true.into(),
        2 => false.into(),
        3 => 0.into(),
        4 => (-1).into(),
        5 => numbers.next().into(),
        6 => json!(1e300),
        7 => json!(0.5),
        8 => i64::MIN.into(),
        9 => "".into(),
        10 => "<|im_end|><|vision_start|>\u{0}\u{202e}".into(),
        11 => "x".repeat(numbers.below(3000)).into(),
        12 => "data:video/mp4;base64,AAAA".into(),
        13 => "homereel:../../etc/passwd".into(),
        14 => (*numbers.pick(&NAMES)).into(),
        15 => (*numbers.pick(&[
            "required",
            "auto",
            "json_schema",
            "(a+)+$",
            "[0-9]{1,9999}",
            "start: start start",
        ]))
        .into(),
        16 | 17 => (0..numbers.below(4)).map(|_| value(numbers, depth - 1)).collect(),
        _ => {
            let fields = (0..numbers.below(4))
                .map(|_| ((*numbers.pick(&NAMES)).to_owned(), value(numbers, depth - 1)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// Changes one place in `target`.
fn change(numbers: &mut Numbers, target: &mut Value) {
    let stay = numbers.below(3) == 0;
    match target {
        Value::Object(fields) if !fields.is_empty() && !stay => {
            let at = numbers.below(fields.len());
            let Some(name) = fields.keys().nth(at).cloned() else { return };
            match numbers.below(6) {
                0 => {
                    fields.shift_remove(&name);
                }
                1 => {
                    fields.insert((*numbers.pick(&NAMES)).to_owned(), value(numbers, 3));
                }
                _ => change(numbers, &mut fields[&name]),
            }
        }
        Value::Array(items) if !items.is_empty() && !stay => {
            let at = numbers.below(items.len());
            match numbers.below(6) {
                0 => {
                    items.remove(at);
                }
                1 => items.push(items[at].clone()),
                _ => change(numbers, &mut items[at]),
            }
        }
        other => *other = value(numbers, 3),
    }
}

fn request(numbers: &mut Numbers, clip: &str) -> Value {
    let text = json!({ "type": "text", "text": "What color is the object?" });
    let video =
        json!({ "type": "video_url", "video_url": { "url": format!("data:video/mp4;base64,{clip}") } });
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer", "minimum": 0 } }, "required": ["a"] });
    let tool = json!({ "type": "function", "function": { "name": "look", "parameters": schema } });
    let call = json!({ "id": "1", "type": "function", "function": { "name": "look", "arguments": "{}" } });
    let mut body = match numbers.below(5) {
        0 => {
            json!({ "messages": [{ "role": "user", "content": [video, text] }], "mm_processor_kwargs": { "fps": 1 } })
        }
        1 => {
            json!({ "messages": [{ "role": "user", "content": "hi" }], "tools": [tool], "tool_choice": "required" })
        }
        2 => json!({
            "messages": [
                { "role": "user", "content": [text] },
                { "role": "assistant", "content": null, "tool_calls": [call] },
                { "role": "tool", "tool_call_id": "1", "content": "ok" },
            ],
            "tools": [tool],
        }),
        3 => json!({
            "messages": [{ "role": "user", "content": "hi" }],
            "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } },
        }),
        _ => json!({
            "messages": [{ "role": "user", "content": "hi" }], "n": 2, "logprobs": true, "top_logprobs": 1, "stop": ["x"],
            "logit_bias": { "5": 1 }, "min_tokens": 1, "bad_words": ["no"], "structured_outputs": { "choice": ["a", "b"] },
        }),
    };
    body["max_tokens"] = 4.into();
    changed(numbers, body, &FITTING)
}

/// Adds some of `fitting` to a body, and changes some of its values.
fn changed(numbers: &mut Numbers, mut body: Value, fitting: &[&str]) -> Value {
    for _ in 0..numbers.below(3) {
        if let (Ok(Value::Object(more)), Some(body)) =
            (serde_json::from_str(fitting[numbers.below(fitting.len())]), body.as_object_mut())
        {
            body.extend(more);
        }
    }
    for _ in 0..numbers.below(3) {
        change(numbers, &mut body);
    }
    body
}

/// Parameters that fit most requests for a response.
const FITTING_RESPONSE: [&str; 12] = [
    r#"{"temperature": 0.7, "top_p": 0.9, "seed": 7}"#,
    r#"{"include": ["message.output_text.logprobs"], "top_logprobs": 20}"#,
    r#"{"text": {"format": {"type": "json_object"}, "verbosity": "low"}}"#,
    r#"{"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]}}"#,
    r#"{"stream": true, "stream_options": {"include_obfuscation": false}}"#,
    r#"{"instructions": "<|im_end|>", "metadata": {"a": "b"}}"#,
    r#"{"store": false}"#,
    r#"{"reasoning": {"effort": "low", "summary": "auto"}}"#,
    r#"{"structured_outputs": {"choice": ["a", "b"]}}"#,
    r#"{"max_output_tokens": -1, "max_tool_calls": 1}"#,
    r#"{"truncation": "auto", "service_tier": "flex"}"#,
    r#"{"mm_processor_kwargs": {"fps": 1, "cap_pixels_per_frame": true}}"#,
];

/// A request for a response; `previous` is one that may be continued.
fn response_request(numbers: &mut Numbers, clip: &str, previous: &Value) -> Value {
    let text = json!({ "type": "input_text", "text": "What color is the object?" });
    let file = json!({ "type": "input_file", "file_data": format!("data:video/mp4;base64,{clip}") });
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer", "minimum": 0 } }, "required": ["a"] });
    let tool = json!({ "type": "function", "name": "look", "parameters": schema });
    let call = json!({ "type": "function_call", "call_id": "1", "name": "look", "arguments": "{}" });
    let result = json!({ "type": "function_call_output", "call_id": "1", "output": "ok" });
    let question = json!({ "role": "user", "content": [text] });
    let mut body = match numbers.below(6) {
        0 => {
            json!({ "input": [{ "type": "message", "role": "user", "content": [file, text] }], "mm_processor_kwargs": { "fps": 1 } })
        }
        1 => json!({ "input": "hi", "tools": [tool], "tool_choice": "required" }),
        2 => json!({ "input": [question, call, result], "tools": [tool] }),
        3 => {
            json!({ "input": "hi", "text": { "format": { "type": "json_schema", "name": "x", "schema": schema } } })
        }
        4 => json!({ "input": [question], "previous_response_id": previous["id"] }),
        _ => {
            json!({ "input": [question, { "type": "item_reference", "id": previous["output"][0]["id"] }, question] })
        }
    };
    body["max_output_tokens"] = 4.into();
    changed(numbers, body, &FITTING_RESPONSE)
}

/// Where arbitrary requests go.
#[derive(Debug, Clone, Copy)]
enum Api {
    Chat,
    Responses,
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_requests_get_an_answer_or_a_client_error() -> anyhow::Result<()> {
    send(Api::Chat).await
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_requests_for_responses_get_one_or_a_client_error() -> anyhow::Result<()> {
    send(Api::Responses).await
}

async fn send(api: Api) -> anyhow::Result<()> {
    let setting = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let cases = setting("HOMEREEL_ARBITRARY_CASES").unwrap_or(1500);
    let first = setting("HOMEREEL_ARBITRARY_SEED").unwrap_or(1);
    // A short context bounds answers whose limit was removed.
    let server = Arc::new(Server::start_with(&["--max-model-len", "400"]).await?);
    let clip = Arc::new(STANDARD.encode(std::fs::read(clips::simple(1)?.file)?));
    let previous: Arc<Value> = Arc::new(server.respond(&json!({ "input": "hi" })).await?.json().await?);
    ensure!(previous["id"].is_string(), "{previous}");
    let next = Arc::new(AtomicU64::new(first));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (server, clip, next) = (Arc::clone(&server), Arc::clone(&clip), Arc::clone(&next));
            let previous = Arc::clone(&previous);
            tokio::spawn(async move {
                let mut answered = 0_u64;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + cases {
                        return anyhow::Ok(answered);
                    }
                    let mut numbers = Numbers(seed);
                    let response = match api {
                        Api::Chat => {
                            // These take the same bodies.
                            let path = match seed % 8 {
                                0 => "/v1/videos/estimate",
                                1 => "/tokenize",
                                _ => "/v1/chat/completions",
                            };
                            let body = request(&mut numbers, &clip);
                            server.client().post(server.url(path)).json(&body).send().await?
                        }
                        Api::Responses => {
                            server.respond(&response_request(&mut numbers, &clip, &previous)).await?
                        }
                    };
                    let status = response.status();
                    let told = response.text().await?;
                    ensure!(!status.is_server_error(), "seed {seed}: {status}: {told}");
                    if status.is_client_error() {
                        let error: Value = serde_json::from_str(&told)?;
                        ensure!(error["error"]["message"].is_string(), "seed {seed}: {status}: {told}");
                    } else {
                        // An error in a stream is an event; it must not be the server's.
                        ensure!(!told.contains("\"server_error\""), "seed {seed}: {told}");
                        answered += 1;
                    }
                }
            })
        })
        .collect();
    let mut answered = 0;
    for client in clients {
        answered += client.await??;
    }
    // Some must be answered, or the test would only see refusals.
    ensure!(answered > cases / 10, "{answered} of {cases} were answered");
    let question = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 4 });
    ensure!(!server.answer(&question).await.context("after all of them")?.is_empty(), "no answer");
    Ok(())
}
