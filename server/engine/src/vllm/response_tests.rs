//! Tests of relaying a stream: whole answers, broken ones, and what they hold.

use super::super::errors::RetryScope;
use super::*;

fn before(prompt_tokens: Option<usize>) -> ResponseContext {
    let now = Instant::now();
    ResponseContext { submitted: now, sent: now, preprocess_ms: 1.0, prompt_tokens, warnings: Vec::new() }
}

async fn told(
    chunks: &[&str],
    expected: Option<usize>,
) -> (Vec<GenerationEvent>, Result<Done, AttemptError>) {
    let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from(body))]);
    let (sender, mut receiver) = mpsc::channel(64);
    let mut on_first_token = 0;
    let result = relay(sse::SseEvents::new(body), before(expected), &sender, || on_first_token += 1).await;
    assert!(on_first_token <= 1);
    drop(sender);
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(event.unwrap());
    }
    (events, result)
}

const ROLE: &str = r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const RED: &str = r#"{"choices":[{"delta":{"content":"Red"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"delta":{"content":"."},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,
    "prompt_tokens_details":{"cached_tokens":4}}}"#;

fn usage() -> String {
    USAGE.replace('\n', "")
}

#[tokio::test]
async fn a_whole_answer_ends_with_its_usage() {
    let (events, done) = told(&[ROLE, RED, STOP, &usage(), "[DONE]"], Some(9)).await;
    let done = done.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(done.usage, Usage { prompt_tokens: 9, completion_tokens: 2, cached_tokens: 4 });
    assert_eq!((done.finish_reason, done.warnings.len()), (FinishReason::Stop, 0));
}

#[tokio::test]
async fn other_counts_than_ours_and_none_at_all_are_told() {
    let (_, done) = told(&[RED, STOP, &usage(), "[DONE]"], Some(8)).await;
    assert!(done.unwrap().warnings[0].contains("counted 9 prompt tokens"));
    let (_, done) = told(&[RED, STOP, "[DONE]"], Some(8)).await;
    let done = done.unwrap();
    assert_eq!((done.usage.prompt_tokens, done.usage.completion_tokens), (8, 2));
    assert!(done.warnings[0].contains("no token counts"));
}

#[tokio::test]
async fn what_is_not_whole_is_no_answer() {
    let [aborted, failed] = ["abort", "error"].map(|reason| RED.replace("null", &format!("\"{reason}\"")));
    for chunks in [
        &[RED][..],
        &[RED, "[DONE]"],
        &[RED, STOP],
        &[RED, &aborted, "[DONE]"],
        &[RED, &failed, "[DONE]"],
        &[RED, "{oops"],
    ] {
        let (_, done) = told(chunks, None).await;
        let Err(AttemptError { error: EngineError::Incomplete, retry }) = done else {
            panic!("{chunks:?}: {done:?}")
        };
        assert_eq!(retry, RetryScope::Never, "what has on_first_token is not on_first_token again");
    }
    let error = r#"{"error":{"message":"/root died","code":500}}"#;
    for (chunks, expected) in [
        (&[RED, error, "[DONE]"][..], RetryScope::Never),
        (&[ROLE, error], RetryScope::Once),
        (&[r#"{"error":{"message":"no","code":400}}"#], RetryScope::Never),
    ] {
        let (_, done) = told(chunks, None).await;
        assert_eq!(done.unwrap_err().retry, expected, "{chunks:?}");
    }
    let (_, done) = told(&[ROLE], None).await;
    assert_eq!(done.unwrap_err().retry, RetryScope::Once);
}

#[tokio::test]
async fn calls_of_tools_and_thoughts_are_passed_on() {
    let call = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#;
    let thought = r#"{"choices":[{"delta":{"reasoning_content":"hm"},"finish_reason":null}]}"#;
    let end = r#"{"choices":[{"delta":{"content":""},"finish_reason":"tool_calls"}]}"#;
    let (events, done) = told(&[ROLE, thought, call, end, &usage(), "[DONE]"], None).await;
    let [GenerationEvent::Delta(thought), GenerationEvent::Delta(call)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(thought["reasoning"], "hm");
    assert_eq!(call["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(done.unwrap().finish_reason, FinishReason::ToolCalls);
}

#[tokio::test]
async fn tokens_carry_their_ids_and_logprobs() {
    let chunk = r#"{"choices":[{"delta":{"content":"I only"},"token_ids":[40,355],"logprobs":{"content":[
        {"token":"I","logprob":-0.5,"top_logprobs":[{"token":"I","logprob":-0.5},{"token":"[]","logprob":-8}]},
        {"token":" only","logprob":-0.25,"top_logprobs":[]}]}}]}"#
        .replace('\n', "");
    let (events, _) = told(&[&chunk], None).await;
    let [
        GenerationEvent::Token { text: a, id: Some(40), logprob: Some(first) },
        GenerationEvent::Token { text: b, id: Some(355), .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((a.as_str(), b.as_str()), ("I", " only"));
    assert_eq!(first.top, [("I".to_owned(), Some(40), -0.5), ("[]".to_owned(), None, -8.0)]);
    let cut = chunk.replace("I only", "I");
    let (events, _) = told(&[&cut], None).await;
    let texts: Vec<&str> = events
        .iter()
        .map(|event| if let GenerationEvent::Token { text, .. } = event { text.as_str() } else { "" })
        .collect();
    assert_eq!(texts, ["", "I"]);
}

#[tokio::test]
async fn reasoning_may_have_both_of_its_names() {
    for delta in [
        r#""reasoning":"hm","reasoning_content":"hm""#,
        r#""reasoning":"hm","reasoning_content":null"#,
        r#""reasoning":null,"reasoning_content":"hm""#,
        r#""reasoning":"","reasoning_content":"hm""#,
        r#""reasoning":"hm""#,
        r#""reasoning_content":"hm""#,
    ] {
        let thought = format!(r#"{{"choices":[{{"delta":{{{delta}}}}}]}}"#);
        let (events, done) = told(&[&thought, STOP, "[DONE]"], None).await;
        done.unwrap();
        let [GenerationEvent::Delta(thought), GenerationEvent::Token { .. }] = &events[..] else {
            panic!("{delta}: {events:?}")
        };
        assert_eq!(thought["reasoning"], "hm");
    }
    let none = r#"{"choices":[{"delta":{"content":"Red","reasoning":null,"reasoning_content":null}}]}"#;
    let (events, _) = told(&[none, STOP, "[DONE]"], None).await;
    assert!(
        matches!(&events[..], [GenerationEvent::Token { .. }, GenerationEvent::Token { .. }]),
        "{events:?}"
    );
}

#[tokio::test]
async fn an_end_for_another_reason_is_a_stop_with_a_warning() {
    for (reason, says) in
        [("repetition", "repeated itself"), ("content_filter", "the reason \"content_filter\"")]
    {
        let end = STOP.replace("stop", reason);
        let (events, done) = told(&[RED, &end, &usage(), "[DONE]"], None).await;
        let done = done.unwrap();
        assert_eq!((events.len(), done.finish_reason), (2, FinishReason::Stop));
        assert!(done.warnings.len() == 1 && done.warnings[0].contains(says), "{:?}", done.warnings);
    }
}
