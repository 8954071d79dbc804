//! The forms that clients write themselves: choices and Lark grammars.

use llguidance::api::TopLevelGrammar;

use crate::EngineError;

/// Rules of a grammar. Each may refer to the next, and compiling it recurses along such chains.
const MAX_RULES: usize = 1000;

/// Stack for compiling a grammar of [`MAX_RULES`] rules in one chain.
const STACK: usize = 64 << 20;

/// Characters with a meaning in regular expressions.
const META: &str = r"\.+*?()|[]{}^$#&-~";

/// Returns the grammar of a list of choices.
pub(super) fn choice(choices: &[String]) -> TopLevelGrammar {
    let escaped = |choice: &String| {
        let mut escaped = String::with_capacity(choice.len() + 8);
        for c in choice.chars() {
            if META.contains(c) {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    };
    TopLevelGrammar::from_regex(&choices.iter().map(escaped).collect::<Vec<_>>().join("|"))
}

/// Checks and takes a grammar in Lark's syntax, as llguidance understands it.
///
/// # Errors
/// What is wrong with it, and what would fit.
pub(super) fn lark(grammar: &str) -> Result<TopLevelGrammar, String> {
    let starts = |line: &str| line.trim_start_matches(['?', '!', ' ', '\t']).starts_with("start");
    if grammar.contains("::=") && !grammar.lines().any(starts) {
        return Err(
            "structured_outputs.grammar is in GBNF or EBNF (::=); a Lark grammar with the rule `start:` \
                    would fit"
                .into(),
        );
    }
    if grammar.contains("%json") {
        // It would bypass the limits on schemas.
        return Err("structured_outputs.grammar has %json, which is not supported; response_format takes a JSON schema".into());
    }
    // Each rule has a line of its own.
    let rules = grammar.lines().count();
    if rules > MAX_RULES {
        return Err(format!("structured_outputs.grammar has {rules} lines; {MAX_RULES} would fit"));
    }
    Ok(TopLevelGrammar::from_lark(grammar.to_owned()))
}

/// Runs `work` with enough stack for the longest chain of rules.
///
/// # Errors
/// `Failed` when the system gives no thread.
pub(super) fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, EngineError> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("grammar".into()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, work);
        let thread =
            thread.map_err(|error| EngineError::Failed(format!("no thread for a grammar: {error}")))?;
        thread.join().map_err(|_| EngineError::Failed("compiling a grammar panicked".into()))
    })
}
