//! Schemas of the request bodies, from the table of parameters.

use utoipa::openapi::{
    RefOr, Schema,
    schema::{ObjectBuilder, Type},
};

use super::super::super::openapi::schema::{
    Shape, any, any_of, boolean, choice, described, integer, integer_in, list, list_of, map, nullable,
    number, number_in, object, shared, text,
};
use super::{
    Api,
    table::{Parameter, Support},
};
use homereel_engine::embed::MAX_TEXTS;

/// Returns the schema of a body: every parameter that is not refused. `required` names the one that must be there.
pub(in crate::http) fn body(api: Api, required: &str) -> Shape {
    let mut body = ObjectBuilder::new().schema_type(Type::Object).required(required);
    for parameter in api.parameters().filter(|parameter| parameter.own != Support::Refused) {
        // null is the same as a missing value.
        let shape =
            if parameter.name == required { shape(api, parameter) } else { nullable(shape(api, parameter)) };
        body = body.property(parameter.name, described(shape, &about(parameter)));
    }
    RefOr::T(Schema::Object(body.build()))
}

fn about(parameter: &Parameter) -> String {
    match parameter.own {
        Support::NoEffect if parameter.note.is_empty() => "no effect".into(),
        Support::NoEffect => format!("no effect: {}", parameter.note),
        Support::Works | Support::Refused => parameter.note.into(),
    }
}

/// Returns the schema of a parameter's value. Values of parameters without an effect are not looked at.
fn shape(api: Api, parameter: &Parameter) -> Shape {
    if parameter.own != Support::Works {
        return any();
    }
    let whole = || any_of([integer(), number()]);
    let texts = || list(text());
    match parameter.name {
        "messages" => list(shared("ChatMessage")),
        "input" if api == Api::Embeddings => any_of([text(), list_of(text(), 1, MAX_TEXTS)]),
        "encoding_format" => choice(&["float", "base64"]),
        "dimensions" => integer_in(1, u32::MAX.into()),
        "input" => any_of([text(), list(shared("InputItem"))]),
        "model" | "instructions" | "previous_response_id" | "guided_regex" | "guided_grammar" => text(),
        "stream"
        | "logprobs"
        | "parallel_tool_calls"
        | "include_stop_str_in_output"
        | "ignore_eos"
        | "store"
        | "continue_final_message"
        | "add_generation_prompt" => boolean(),
        "temperature" => number_in(0.0, 2.0),
        "top_p" | "min_p" => number_in(0.0, 1.0),
        "presence_penalty" | "frequency_penalty" => number_in(-2.0, 2.0),
        "repetition_penalty" => number(),
        "stop" => any_of([text(), texts()]),
        "max_tokens"
        | "max_completion_tokens"
        | "max_output_tokens"
        | "min_tokens"
        | "top_k"
        | "seed"
        | "max_tool_calls" => whole(),
        "n" => integer_in(1, 16),
        "top_logprobs" => integer_in(0, 20),
        "stop_token_ids" | "allowed_token_ids" => list(integer_in(0, u32::MAX.into())),
        "bad_words" | "guided_choice" | "include" => texts(),
        "logit_bias" => map(number()),
        "metadata" => map(text()),
        "chat_template_kwargs" | "stream_options" => map(any()),
        "media_io_kwargs" => object([], [("video", shared("FrameOptions"))]),
        "mm_processor_kwargs" => shared("FrameOptions"),
        "limits" => object(
            [],
            [
                ("prompt_tokens", nullable(integer())),
                ("seconds", nullable(number())),
                ("memory_bytes", nullable(integer())),
            ],
        ),
        "response_format" => shared("AnswerFormat"),
        "text" => object(
            [],
            [("format", shared("AnswerFormat")), ("verbosity", choice(&["low", "medium", "high"]))],
        ),
        "structured_outputs" => object(
            [],
            [
                ("json", any()),
                ("json_object", nullable(boolean())),
                ("regex", nullable(text())),
                ("choice", nullable(texts())),
                ("grammar", nullable(text())),
            ],
        ),
        "tools" => list(object([("type", choice(&["function"]))], [])),
        "tool_choice" => any_of([choice(&["auto", "none", "required"]), object([("type", text())], [])]),
        _ => any(),
    }
}

/// Schemas that the bodies refer to.
pub(in crate::http) fn schemas() -> Vec<(&'static str, Shape)> {
    let content = || any_of([text(), list(object([("type", text())], []))]);
    let frames = object(
        [],
        [
            ("fps", nullable(number())),
            ("num_frames", nullable(integer())),
            ("start", nullable(number())),
            ("end", nullable(number())),
            ("cap_pixels_per_frame", nullable(boolean())),
        ],
    );
    let roles = choice(&["system", "developer", "user", "assistant", "tool"]);
    vec![
        ("ChatMessage", object([("role", roles)], [("content", nullable(content()))])),
        ("InputItem", object([], [("type", text()), ("role", text()), ("content", content())])),
        ("FrameOptions", frames),
        ("AnswerFormat", object([("type", choice(&["text", "json_object", "json_schema"]))], [])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_parameters_that_are_not_refused() {
        for (api, required) in [(Api::Chat, "messages"), (Api::Responses, "input")] {
            let body = serde_json::to_value(body(api, required)).unwrap();
            let properties = body["properties"].as_object().unwrap();
            for parameter in api.parameters() {
                let listed = properties.contains_key(parameter.name);
                assert_eq!(listed, parameter.own != Support::Refused, "{}", parameter.name);
            }
            assert_eq!(body["required"], serde_json::json!([required]));
        }
    }
}
