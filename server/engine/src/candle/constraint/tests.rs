//! Walks texts through constraints, token by token.

use super::*;
use crate::qwen3vl::Tokenizer;
use crate::{ToolChoice, ToolOptions, demo};

fn grammars() -> Grammars {
    let eos = demo::tokenizer().id("<|im_end|>").unwrap();
    Grammars::new(demo::file("tokenizer.json").unwrap_or_default(), eos).unwrap()
}

fn options(format: &AnswerFormat) -> GenerationOptions {
    GenerationOptions { response_format: format.clone(), ..GenerationOptions::default() }
}

/// Returns why a form is refused.
fn refusal(format: &AnswerFormat) -> (String, &'static str) {
    match grammars().constrain(&options(format)) {
        Err(EngineError::Invalid { message, param: Some(param) }) => (message, param),
        Err(error) => panic!("{format:?}: {error:?}"),
        Ok(_) => panic!("{format:?} was taken"),
    }
}

/// Walks `text` through a constraint and tells how many of its tokens were allowed, and whether it may end then.
fn walk(format: &AnswerFormat, text: &str) -> (usize, usize, bool) {
    walk_options(&options(format), text)
}

fn walk_options(options: &GenerationOptions, text: &str) -> (usize, usize, bool) {
    let grammars = grammars();
    let mut constraint = grammars.constrain(options).unwrap().unwrap();
    let ids = demo::tokenizer().encode(text).unwrap();
    let mut taken = 0;
    for &id in &ids {
        let mut logits = vec![0.0; grammars.words.len()];
        constraint.mask().unwrap().apply(&mut logits);
        if logits[id as usize] != 0.0 {
            break;
        }
        taken += 1;
        if constraint.accept(id).unwrap() {
            break;
        }
    }
    let mut logits = vec![0.0; grammars.words.len()];
    constraint.mask().unwrap().apply(&mut logits);
    (taken, ids.len(), logits[grammars.eos as usize] == 0.0)
}

fn moments() -> AnswerFormat {
    AnswerFormat::JsonSchema(json!({
        "type": "object", "required": ["moments"], "additionalProperties": false,
        "properties": { "moments": { "type": "array", "items": { "$ref": "#/$defs/moment" } } },
        "$defs": { "moment": { "type": "object", "additionalProperties": false,
            "required": ["start", "end", "text"], "properties": {
                "start": { "type": "number" }, "end": { "type": "number" }, "text": { "type": "string" } } } }
    }))
}

#[test]
fn costly_schemas_are_refused_as_invalid() {
    let grammars = grammars();
    let many: serde_json::Map<String, Value> =
        (0..1500).map(|at| (format!("p{at}"), json!({ "type": "string" }))).collect();
    let allowed = |schema: &Value| grammars.constrain(&options(&AnswerFormat::JsonSchema(schema.clone())));
    for schema in [
        json!({ "type": "integer", "multipleOf": 1_999_993 }),
        json!({ "type": "object", "properties": { "a": { "type": "integer", "multipleOf": 9_999_991 } } }),
        json!({ "type": "number", "multipleOf": 0.123_457 }),
        json!({ "$ref": "#" }),
        json!({ "type": "object", "properties": many }),
    ] {
        let error = allowed(&schema).map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Invalid { .. }), "{error}");
    }
    for schema in [
        json!({ "type": "integer", "multipleOf": 7, "minimum": 1000, "maximum": 1_000_000 }),
        json!({ "type": "number", "multipleOf": 0.25 }),
    ] {
        assert!(allowed(&schema).is_ok(), "{schema}");
    }
}

#[test]
fn what_the_schema_admits_passes_and_may_end_only_when_it_is_whole() {
    let text = r#"{"moments": [{"start": 0.5, "end": 2, "text": "a red square"}]}"#;
    let (taken, all, ends) = walk(&moments(), text);
    assert_eq!((taken, ends), (all, true));
    let (taken, all, ends) = walk(&moments(), &text[..30]);
    assert_eq!((taken, ends), (all, false));
}

#[test]
fn what_it_does_not_admit_is_masked_where_it_leaves_the_form() {
    for text in [
        "Sure! {\"moments\": []}",
        r#"{"moments": "none"}"#,
        r#"{"moments": [{"start": 0.5, "text": "a"}]}"#,
        r#"{"tags": []}"#,
        "[1]",
    ] {
        let (taken, all, _) = walk(&moments(), text);
        assert!(taken < all, "{text} passed");
    }
    let (taken, all, ends) = walk(&AnswerFormat::JsonObject, r#"{"a": [1, {"b": null}]}"#);
    assert_eq!((taken, ends), (all, true));
    let (taken, ..) = walk(&AnswerFormat::JsonObject, "[]");
    assert_eq!(taken, 0);
}

#[test]
fn spaces_come_to_an_end() {
    let (taken, all, _) = walk(&AnswerFormat::JsonObject, &format!("{{{}", " \n".repeat(60)));
    assert!(taken < all);
}

#[test]
fn bad_schemas_are_refused_by_name() {
    for schema in [
        json!({ "type": "strin" }),
        json!({ "type": "string", "pattern": "(" }),
        json!([]),
        json!({ "$ref": "http://example.com/schema" }),
        json!({ "enum": vec!["x".repeat(100); 1000] }),
        json!({ "type": "string", "minLength": 5, "maxLength": 1 }),
    ] {
        let (message, param) = refusal(&AnswerFormat::JsonSchema(schema));
        assert!(message.contains("the JSON schema") && param == "response_format", "{message}");
    }
    assert!(grammars().constrain(&options(&AnswerFormat::Text)).unwrap().is_none());
}

#[test]
fn keywords_that_are_not_supported_are_named() {
    let list = json!({ "type": "array", "uniqueItems": true });
    let (message, _) = refusal(&AnswerFormat::JsonSchema(json!({ "properties": { "a": list } })));
    assert_eq!(message, "the JSON schema has the keyword \"uniqueItems\", which is not supported");
    let both = json!({ "type": "array", "uniqueItems": true, "contains": {} });
    let (message, _) = refusal(&AnswerFormat::JsonSchema(both));
    assert_eq!(
        message,
        "the JSON schema has the keywords \"contains\" and \"uniqueItems\", which are not supported"
    );
}

#[test]
fn a_regular_expression_matches_the_whole_answer() {
    for regex in [r"[0-9]{1,3}/[a-z]+", r"^[0-9]{1,3}/[a-z]+$"] {
        let regex = AnswerFormat::Regex(regex.into());
        let (taken, all, ends) = walk(&regex, "12/ab");
        assert_eq!((taken, ends), (all, true));
        let (taken, all, ends) = walk(&regex, "12/");
        assert_eq!((taken, ends), (all, false));
        for text in ["1234/a", "12 /a", "a", "12/a1"] {
            let (taken, all, _) = walk(&regex, text);
            assert!(taken < all, "{text} passed");
        }
    }
}

#[test]
fn an_answer_is_one_of_the_choices() {
    let choices =
        ["red", "red square", "a.b", "1+1", "(x)", "line\nbreak", "\"q\" \\ /", "grün #1-2 & ~[0-9]"];
    let format = AnswerFormat::Choice(choices.map(str::to_owned).to_vec());
    for choice in choices {
        let (taken, all, ends) = walk(&format, choice);
        assert_eq!((taken, ends), (all, true), "{choice}");
    }
    for text in ["re", "red sq"] {
        assert!(!walk(&format, text).2, "{text} may end");
    }
    for text in ["axb", "11", "x", "red squares", "blue", "grün 01-2 & ~5"] {
        let (taken, all, _) = walk(&format, text);
        assert!(taken < all, "{text} passed");
    }
}

#[test]
fn the_most_choices_are_taken() {
    let many: Vec<String> = (0..1024).map(|at| format!("{at:04} {}", "xyz ".repeat(14))).collect();
    let last = many[1023].clone();
    let (taken, all, ends) = walk(&AnswerFormat::Choice(many), &last);
    assert_eq!((taken, ends), (all, true));
}

#[test]
fn an_answer_follows_a_lark_grammar() {
    let grammar = AnswerFormat::Grammar(
        "start: item (\", \" item)*\nitem: COLOR \" \" SHAPE\nCOLOR: \"red\" | \"blue\"\nSHAPE: /[a-z]+/\n"
            .into(),
    );
    let (taken, all, ends) = walk(&grammar, "red square, blue circle");
    assert_eq!((taken, ends), (all, true));
    assert!(!walk(&grammar, "red square, ").2);
    let (taken, all, _) = walk(&grammar, "green square");
    assert!(taken < all);
}

#[test]
fn a_long_chain_of_rules_or_terminals_is_compiled() {
    let chain = |name: &str, rules: usize| {
        let mut grammar = format!("start: {name}0\n");
        for at in 0..rules {
            grammar += &format!("{name}{at}: \"(\" {name}{} \")\" | \"x\"\n", at + 1);
        }
        AnswerFormat::Grammar(grammar + &format!("{name}{rules}: \"y\"\n"))
    };
    for name in ["r", "R"] {
        let (taken, all, ends) = walk(&chain(name, 998), &format!("{}x{}", "(".repeat(300), ")".repeat(300)));
        assert_eq!((taken, ends), (all, true), "{name}");
        let (message, _) = refusal(&chain(name, 999));
        assert_eq!(message, "structured_outputs.grammar has 1001 lines; 1000 would fit");
    }
}

#[test]
fn bad_forms_are_refused_by_name() {
    for (format, says) in [
        (AnswerFormat::Regex("(".into()), "structured_outputs.regex cannot be followed: "),
        (AnswerFormat::Regex("(?=a)b".into()), "look-around"),
        (AnswerFormat::Regex(r"a\bc".into()), "structured_outputs.regex cannot be followed: "),
        (AnswerFormat::Grammar("root ::= \"a\"".into()), "a Lark grammar with the rule `start:` would fit"),
        (AnswerFormat::Grammar("start: nothing".into()), "structured_outputs.grammar cannot be followed: "),
        (AnswerFormat::Grammar("begin: \"a\"".into()), "structured_outputs.grammar cannot be followed: "),
        (AnswerFormat::Grammar("start: \"a".into()), "structured_outputs.grammar cannot be followed: "),
        (AnswerFormat::Grammar("start: %json {\"multipleOf\": 99999999}".into()), "%json"),
        (AnswerFormat::Grammar(format!("start: {}{}", "(".repeat(30_000), ")".repeat(30_000))), "nested"),
    ] {
        let (message, param) = refusal(&format);
        assert!(message.contains(says) && message.len() < 400, "{message}");
        assert_eq!(param, "structured_outputs");
    }
}

fn calling(choice: ToolChoice, parallel: bool) -> GenerationOptions {
    let tools = vec![
        json!({ "type": "function", "function": { "name": "weather", "parameters": {
            "properties": { "city": { "type": "string" }, "days": { "$ref": "#/$defs/days" } },
            "required": ["city"], "additionalProperties": false, "$defs": { "days": { "type": "integer" } } } } }),
        json!({ "type": "function", "function": { "name": "now" } }),
    ];
    GenerationOptions { tools: Some(ToolOptions { tools, choice, parallel }), ..GenerationOptions::default() }
}

fn call(name: &str, arguments: &str) -> String {
    format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>")
}

#[test]
fn an_answer_that_must_call_a_tool_has_the_form_of_calls() {
    let weather = call("weather", r#"{"city": "Oslo", "days": 3}"#);
    let now = call("now", "{}");
    let required = calling(ToolChoice::Required, true);
    for text in [weather.clone(), now.clone(), format!("{now}\n{weather}"), vec![now.clone(); 8].join("\n")] {
        let (taken, all, ends) = walk_options(&required, &text);
        assert_eq!((taken, ends), (all, true), "{text}");
    }
    for text in [
        "Oslo".to_owned(),
        call("other", "{}"),
        call("weather", "{}"),
        call("weather", r#"{"city": "Oslo", "days": "three"}"#),
        call("now", "[]"),
        vec![now.clone(); 9].join("\n"),
    ] {
        let (taken, all, _) = walk_options(&required, &text);
        assert!(taken < all, "{text} passed");
    }
    for one in [calling(ToolChoice::Required, false), calling(ToolChoice::Function("now".into()), true)] {
        let (taken, all, ends) = walk_options(&one, &now);
        assert_eq!((taken, ends), (all, true));
        let (taken, ..) = walk_options(&one, &format!("{now}\n{now}"));
        assert_eq!(taken, all);
    }
    let (taken, all, _) = walk_options(&calling(ToolChoice::Function("now".into()), true), &weather);
    assert!(taken < all);
    for free in [ToolChoice::Auto, ToolChoice::None] {
        assert!(grammars().constrain(&calling(free, true)).unwrap().is_none());
    }
}

#[test]
fn tags_may_be_tokens_of_their_own() {
    for special in [true, false] {
        let json = demo::tokenizer_with_tags(special);
        let tokenizer = Tokenizer::from_json(&json).unwrap();
        let grammars = Grammars::new(&json, tokenizer.id("<|im_end|>").unwrap()).unwrap();
        let mut constraint = grammars.constrain(&calling(ToolChoice::Required, false)).unwrap().unwrap();
        let [open, close] = ["<tool_call>", "</tool_call>"].map(|tag| tokenizer.id(tag).unwrap());
        let inside = tokenizer.encode("\n{\"name\": \"now\", \"arguments\": {}}\n").unwrap();
        let mut allows = |id: u32| {
            let mut logits = vec![0.0; grammars.words.len()];
            constraint.mask().unwrap().apply(&mut logits);
            let allowed = logits[id as usize] == 0.0;
            if allowed {
                constraint.accept(id).unwrap();
            }
            allowed
        };
        assert!(!allows(close) && !allows(inside[0]));
        for id in [&[open][..], &inside, &[close]].concat() {
            assert!(allows(id), "{}", tokenizer.token_text(id));
        }
        assert!(allows(grammars.eos));
    }
}

#[test]
fn schemas_of_tools_are_checked_as_others_are() {
    let refused = |parameters: Value| {
        let mut options = calling(ToolChoice::Required, true);
        let tools = options.tools.as_mut().unwrap();
        tools.tools[1]["function"]["parameters"] = parameters;
        let EngineError::Invalid { message, param } = grammars().constrain(&options).map(|_| ()).unwrap_err()
        else {
            panic!()
        };
        assert_eq!(param, Some("tools"));
        message
    };
    let message = refused(json!({ "properties": { "a": { "multipleOf": 999_983 } } }));
    assert!(message.starts_with("the JSON schema of the tool now has multipleOf 999983"), "{message}");
    let message = refused(json!({ "type": "object", "uniqueItems": true }));
    assert_eq!(message, "a JSON schema of the tools has the keyword \"uniqueItems\", which is not supported");
    let message = refused(json!({ "enum": ["x".repeat(schema::MAX_SCHEMA)] }));
    assert!(message.contains("would fit"), "{message}");
}

#[test]
fn a_grammar_that_would_hold_up_other_answers_is_refused() {
    let ambiguous = AnswerFormat::Grammar(format!("start: {} \"q\"", "(\"a\" | \"b\")? ".repeat(1000)));
    let (message, _) = refusal(&ambiguous);
    assert!(message.starts_with("structured_outputs.grammar cannot be followed: "), "{message}");
    assert!(message.contains("Too many items"), "{message}");
}
