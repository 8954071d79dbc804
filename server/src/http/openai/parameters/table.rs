//! The table of the parameters.

/// What becomes of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It has its effect.
    Works,
    /// A warning names it.
    NoEffect,
    /// The request is refused.
    Refused,
}

impl Support {
    /// Returns the word in the documentation.
    #[cfg(test)]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::NoEffect => "no effect",
            Self::Refused => "refused",
        }
    }
}

use Support::{NoEffect, Refused, Works};

/// A parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// With our own engine.
    pub(super) own: Support,
    /// With `--engine vllm`.
    pub(super) vllm: Support,
    /// Values, as JSON, that ask for what happens anyway.
    pub(super) neutral: &'static [&'static str],
    /// Where it has no effect or is refused: why. Otherwise what is special.
    pub(super) note: &'static str,
}

const fn works(name: &'static str, note: &'static str) -> Parameter {
    Parameter { name, own: Works, vllm: Works, neutral: &[], note }
}

const fn only_vllm(name: &'static str, neutral: &'static [&'static str]) -> Parameter {
    Parameter { name, own: NoEffect, vllm: Works, neutral, note: "only with --engine vllm" }
}

const fn no_effect(name: &'static str, neutral: &'static [&'static str], note: &'static str) -> Parameter {
    Parameter { name, own: NoEffect, vllm: NoEffect, neutral, note }
}

const fn refused(name: &'static str, neutral: &'static [&'static str], note: &'static str) -> Parameter {
    Parameter { name, own: Refused, vllm: Refused, neutral, note }
}

/// An API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Api {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/videos/estimate`.
    Estimate,
    /// `POST /tokenize`.
    Tokenize,
    /// `POST /v1/embeddings`.
    Embeddings,
}

impl Api {
    /// Returns its parameters.
    pub(super) fn parameters(self) -> impl Iterator<Item = &'static Parameter> {
        let (common, own, more): (&[Parameter], &[Parameter], &[Parameter]) = match self {
            Self::Chat => (COMMON, CHAT, &[]),
            Self::Responses => (COMMON, RESPONSES, &[]),
            Self::Estimate => (COMMON, CHAT, ESTIMATE),
            Self::Tokenize => (COMMON, CHAT, TOKENIZE),
            Self::Embeddings => (EMBEDDINGS, &[], &[]),
        };
        common.iter().chain(own).chain(more)
    }
}

/// The tables of the documentation, with their headings.
#[cfg(test)]
pub(super) const TABLES: [(&str, &[Parameter]); 6] = [
    ("Parameters of both", COMMON),
    ("Parameters of chat completions only", CHAT),
    ("Parameters of responses only", RESPONSES),
    ("Parameters of estimates besides those of chat completions", ESTIMATE),
    ("Parameters of tokenize besides those of chat completions", TOKENIZE),
    ("Parameters of embeddings", EMBEDDINGS),
];

/// What OpenAI's and vLLM's APIs have in common, and Homereel's own parameters.
const COMMON: &[Parameter] = &[
    works("model", "a missing name means the loaded model"),
    works("stream", ""),
    works("temperature", "0 to 2; the default is the checkpoint's"),
    works("top_p", "0 means greedy"),
    works("stop", "at most 16 strings"),
    works("seed", ""),
    works("presence_penalty", "-2 to 2"),
    works("frequency_penalty", "-2 to 2"),
    works("logit_bias", ""),
    works("parallel_tool_calls", ""),
    works("top_k", "-1 and 0 mean off"),
    works("min_p", ""),
    works("repetition_penalty", ""),
    works("min_tokens", ""),
    works("stop_token_ids", ""),
    works("include_stop_str_in_output", ""),
    works("ignore_eos", ""),
    works("bad_words", ""),
    works("allowed_token_ids", ""),
    works("structured_outputs", "json, json_object, regex, choice, grammar (Lark, with vLLM its own forms)"),
    works("guided_json", "older name of structured_outputs.json"),
    works("guided_regex", "older name of structured_outputs.regex"),
    works("guided_choice", "older name of structured_outputs.choice"),
    works("guided_grammar", "older name of structured_outputs.grammar"),
    works("chat_template_kwargs", ""),
    works("media_io_kwargs", "video: fps, num_frames, start, end, cap_pixels_per_frame"),
    works("mm_processor_kwargs", "fps, num_frames, start, end, cap_pixels_per_frame"),
    only_vllm("skip_special_tokens", &["true"]),
    only_vllm("spaces_between_special_tokens", &["true"]),
    only_vllm("repetition_detection", &[]),
    only_vllm("include_reasoning", &["true"]),
    only_vllm("thinking_token_budget", &[]),
    only_vllm("priority", &["0"]),
    only_vllm("cache_salt", &[]),
    no_effect("user", &[], "requests are told apart by their API key"),
    no_effect("safety_identifier", &[], "requests are told apart by their API key"),
    no_effect("service_tier", &["\"auto\"", "\"default\""], "there is one tier"),
    no_effect("prompt_cache_key", &[], "prompts are cached by their content"),
    no_effect("prompt_cache_retention", &[], "prompts are cached while there is memory"),
    no_effect("echo", &["false"], ""),
    no_effect("length_penalty", &["1", "1.0"], "it belongs to beam search"),
    no_effect("early_stopping", &["false"], "it belongs to beam search"),
    no_effect("prompt_logprobs", &[], ""),
    no_effect("return_tokens_as_token_ids", &["false"], ""),
    no_effect("return_token_ids", &["false"], ""),
    no_effect("truncate_prompt_tokens", &["-1"], "a prompt that is too long is refused"),
    no_effect("add_special_tokens", &["false"], "the chat template adds them"),
    no_effect("detokenize", &["true"], ""),
    no_effect("documents", &["[]"], "send them as text"),
    no_effect("request_id", &[], "the header X-Request-Id works"),
    no_effect("guided_decoding_backend", &[], ""),
    no_effect("guided_whitespace_pattern", &[], ""),
    no_effect("vllm_xargs", &["{}"], ""),
    refused("use_beam_search", &["false"], ""),
    refused("chat_template", &[], "templates run on the server; the checkpoint's own is used"),
    refused("logits_processors", &["[]"], "they would be code that runs on the server"),
    refused("kv_transfer_params", &["{}"], "vLLM would fetch from other machines"),
];

/// What chat completions have besides.
const CHAT: &[Parameter] = &[
    works("messages", ""),
    works("stream_options", "include_usage"),
    works("max_tokens", "-1 means no limit"),
    works("max_completion_tokens", "takes precedence over max_tokens"),
    works("n", "1 to 16; the answers share one prefill"),
    works("logprobs", ""),
    works("top_logprobs", "0 to 20"),
    works("response_format", "text, json_object, json_schema; constrains the answer token by token"),
    works("tools", "functions"),
    works("tool_choice", "auto, none, required, or a function"),
    works("continue_final_message", "the answer continues the last message, which is the assistant's"),
    works("add_generation_prompt", "excludes continue_final_message"),
    only_vllm("reasoning_effort", &["\"none\""]),
    no_effect("metadata", &["{}"], "answers are not stored"),
    no_effect("store", &["false"], "answers are not stored"),
    no_effect("prediction", &[], "it would only save time"),
    no_effect("verbosity", &["\"medium\""], "the model does not know it"),
    no_effect("best_of", &["1"], ""),
    refused("functions", &["[]"], "send tools"),
    refused("function_call", &["\"none\"", "\"auto\""], "send tool_choice"),
    refused("modalities", &["[\"text\"]", "[]"], "answers are text"),
    refused("audio", &[], "answers are text"),
    refused("web_search_options", &[], "the server does not search the web"),
];

/// What responses have besides. Chat's names of the same things are refused, so that none is overlooked.
const RESPONSES: &[Parameter] = &[
    works("input", "a string, or items"),
    works(
        "instructions",
        "comes first as a message of the system; that of an earlier response is not repeated",
    ),
    works("previous_response_id", ""),
    works("store", "true by default: kept for 24 hours"),
    works("stream_options", "include_obfuscation false; usage is always included"),
    works("max_output_tokens", "-1 means no limit"),
    works("max_tool_calls", "it limits calls of built-in tools, and there are none"),
    works("tools", "functions; built-in tools are refused"),
    works("tool_choice", "auto, none, required, a function, or allowed_tools"),
    works("text", "format: text, json_object, json_schema; constrains the answer token by token"),
    works("include", "message.output_text.logprobs; a warning names others"),
    works("top_logprobs", "0 to 20; needs message.output_text.logprobs in include"),
    works("metadata", "at most 16 texts"),
    only_vllm("reasoning", &["{}", "{\"effort\":\"none\"}", "{\"effort\": \"none\"}"]),
    no_effect("truncation", &["\"disabled\""], "a prompt that is too long is refused"),
    no_effect("prompt_cache_options", &["{}"], "prompts are cached by their content"),
    no_effect("context_management", &["[]"], "a prompt that is too long is refused"),
    no_effect("enable_response_messages", &["false"], ""),
    refused("background", &["false"], "stay connected, with or without stream"),
    refused("conversation", &[], "send previous_response_id"),
    refused("prompt", &[], "the server has no templates of prompts"),
    refused("moderation", &[], "the server does not moderate"),
    refused("messages", &[], "send input"),
    refused("max_tokens", &[], "send max_output_tokens"),
    refused("max_completion_tokens", &[], "send max_output_tokens"),
    refused("response_format", &[], "send text.format"),
    refused("reasoning_effort", &[], "send reasoning.effort"),
    refused("verbosity", &[], "send text.verbosity"),
    refused("logprobs", &["false"], "send include with message.output_text.logprobs"),
    refused("n", &["1"], "a response is one answer"),
    refused("functions", &["[]"], "send tools"),
    refused("continue_final_message", &["false"], "only chat completions have it"),
    refused("add_generation_prompt", &["true"], "only chat completions have it"),
];

/// What estimates have besides chat's parameters.
const ESTIMATE: &[Parameter] = &[works("limits", "prompt_tokens, seconds, memory_bytes")];

/// What `/tokenize` has besides chat's parameters.
const TOKENIZE: &[Parameter] =
    &[works("prompt", "a text, instead of messages"), works("return_token_strs", "")];

/// What `/v1/embeddings` has.
const EMBEDDINGS: &[Parameter] = &[
    works("input", "a text, or 1 to 2048 of them"),
    works("model", "a missing name means the model of --embed-model or --embed-url"),
    works("encoding_format", "float or base64"),
    works("dimensions", "only the model's own number"),
    no_effect("user", &[], ""),
    refused("input_type", &[], "put the words that the model expects in front of the text"),
];
