//! Constrained decoding: llguidance computes which tokens may come next, so that an answer follows a JSON schema, a regular
//! expression, a list of choices, a grammar, or the form of a call.
//!
//! Grammars are compiled when a request is submitted; the engine's thread only computes masks.

mod calls;
mod schema;
mod written;

use std::sync::{Arc, OnceLock};

use llguidance::{
    Logger, Matcher, ParserFactory,
    api::{GrammarInit, TopLevelGrammar},
    token_bytes_from_tokenizer_json,
    toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::{Value, json};

use crate::{AnswerFormat, EngineError, GenerationOptions};

/// States of one grammar's lexer; each takes 1 to 2 KiB.
const MAX_LEXER_STATES: usize = 20_000;

/// Items of a parser for one mask of a grammar that a client wrote, and in one of its rows: about 20 ms. Ambiguous grammars
/// exceed them, and would hold up the other answers at every token.
const MAX_ITEMS: usize = 5000;
const MAX_ITEMS_IN_ROW: usize = 1000;

/// Lexeme slices whose masks are computed once per vocabulary.
const SLICES: [&str; 3] =
    [r#"[^"\\\x00-\x1F\x7F]{1,10}"#, r#"[^"\\\x00-\x1F\x7F]{1,30}"#, r#"[^"\\\x00-\x1F\x7F]+"#];

/// Compiles grammars for one vocabulary.
pub(super) struct Grammars {
    /// The bytes of each token; special tokens are marked so that no text spells them.
    words: Vec<Vec<u8>>,
    eos: u32,
    /// Created at the first request with a constraint, since most servers never receive one.
    factory: OnceLock<Result<ParserFactory, String>>,
}

/// The state of one constrained answer.
#[derive(Clone)]
pub(super) struct Constraint {
    matcher: Matcher,
    form: Form,
}

/// What an answer is held to, for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Schema,
    Regex,
    Choice,
    Grammar,
    Calls,
}

impl Form {
    /// Returns the parameter that asks for it.
    fn param(self) -> &'static str {
        match self {
            Self::Schema => "response_format",
            Self::Regex | Self::Choice | Self::Grammar => "structured_outputs",
            Self::Calls => "tools",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "the JSON schema",
            Self::Regex => "structured_outputs.regex",
            Self::Choice => "structured_outputs.choice",
            Self::Grammar => "structured_outputs.grammar",
            Self::Calls => "a JSON schema of the tools",
        }
    }

    fn invalid(self, message: String) -> EngineError {
        EngineError::invalid(self.param(), message)
    }

    /// Returns the error for a grammar that llguidance rejects.
    fn rejected(self, error: &str) -> EngineError {
        let name = self.as_str();
        self.invalid(match unimplemented_keywords(error).as_slice() {
            [] => format!("{name} cannot be followed: {}", summary(error)),
            [one] => format!("{name} has the keyword \"{one}\", which is not supported"),
            several => {
                format!("{name} has the keywords \"{}\", which are not supported", several.join("\" and \""))
            }
        })
    }
}

impl Grammars {
    /// Reads the vocabulary of `tokenizer.json`; `eos` is the token that ends an answer.
    ///
    /// # Errors
    /// Describes what is wrong with the file.
    pub(super) fn new(tokenizer_json: &[u8], eos: u32) -> Result<Self, String> {
        let json: Value =
            serde_json::from_slice(tokenizer_json).map_err(|error| format!("tokenizer.json: {error}"))?;
        let words = token_bytes_from_tokenizer_json(&json)
            .map_err(|error| format!("tokenizer.json: no bytes of tokens: {error}"))?;
        Ok(Self { words, eos, factory: OnceLock::new() })
    }

    /// Compiles the grammar for the answer's form; `None` means that any text is allowed.
    ///
    /// # Errors
    /// `Invalid` for a grammar that is malformed, unsupported or too large.
    pub(super) fn constrain(&self, options: &GenerationOptions) -> Result<Option<Constraint>, EngineError> {
        if let Some(tools) = &options.tools
            && let Some(grammar) = calls::grammar(tools, |tag| self.has_special(tag))?
        {
            return self.compile(Form::Calls, grammar).map(Some);
        }
        let (form, grammar) = match &options.response_format {
            AnswerFormat::Text => return Ok(None),
            AnswerFormat::JsonObject => (Form::Schema, schema_grammar(json!({ "type": "object" }))?),
            AnswerFormat::JsonSchema(schema) => (Form::Schema, schema_grammar(schema.clone())?),
            AnswerFormat::Regex(regex) => (Form::Regex, TopLevelGrammar::from_regex(regex)),
            AnswerFormat::Choice(choices) => (Form::Choice, written::choice(choices)),
            AnswerFormat::Grammar(grammar) => {
                let grammar = written::lark(grammar).map_err(|message| Form::Grammar.invalid(message))?;
                let compile = || self.compile(Form::Grammar, grammar);
                return written::on_a_deep_stack(compile)?.map(Some);
            }
        };
        self.compile(form, grammar).map(Some)
    }

    fn compile(&self, form: Form, grammar: TopLevelGrammar) -> Result<Constraint, EngineError> {
        let factory = self.factory.get_or_init(|| self.factory());
        let factory = factory.as_ref().map_err(|error| EngineError::Failed(error.clone()))?;
        let mut limits = factory.limits().clone();
        if form == Form::Grammar {
            (limits.step_max_items, limits.max_items_in_row) = (MAX_ITEMS, MAX_ITEMS_IN_ROW);
        }
        let parser = factory.create_parser_from_init_ext(
            GrammarInit::Serialized(grammar),
            Logger::new(0, 0),
            InferenceCapabilities::default(),
            limits,
        );
        let mut constraint = Constraint { matcher: Matcher::new(parser), form };
        // Some grammars are only found to be too complex when their first tokens are computed.
        constraint.mask()?;
        Ok(constraint)
    }

    fn has_special(&self, token: &str) -> bool {
        let special = |word: &Vec<u8>| match word.split_first() {
            Some((&TokTrie::SPECIAL_TOKEN_MARKER, text)) => text == token.as_bytes(),
            _ => false,
        };
        self.words.iter().any(special)
    }

    fn factory(&self) -> Result<ParserFactory, String> {
        let vocabulary = u32::try_from(self.words.len()).map_err(|error| error.to_string())?;
        let trie = TokTrie::from(&TokRxInfo::new(vocabulary, self.eos), &self.words);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = SLICES.map(str::to_owned);
        let factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| format!("no grammars for this vocabulary: {error}"))?;
        let limits = factory.quiet().limits_mut();
        limits.verbose_errors = false;
        limits.max_lexer_states = MAX_LEXER_STATES;
        Ok(factory)
    }
}

fn schema_grammar(schema: Value) -> Result<TopLevelGrammar, EngineError> {
    let prepared = schema::prepare(schema, Form::Schema.as_str());
    prepared.map(TopLevelGrammar::from_json_schema).map_err(|message| Form::Schema.invalid(message))
}

impl Constraint {
    /// Returns the tokens that may come next: only the end token once the answer is complete.
    ///
    /// # Errors
    /// `Invalid` where the grammar exceeds its work limit.
    pub(super) fn mask(&mut self) -> Result<Mask, EngineError> {
        self.matcher.compute_mask_or_eos().map(Mask).map_err(|error| self.form.rejected(&error.to_string()))
    }

    /// Advances the state by `token`; returns true when nothing can follow.
    ///
    /// # Errors
    /// `Failed` for a token that the mask excluded.
    pub(super) fn accept(&mut self, token: u32) -> Result<bool, EngineError> {
        if !self.matcher.is_stopped() {
            self.matcher.consume_token(token).map_err(failed)?;
        }
        Ok(self.matcher.is_stopped())
    }
}

/// The set of tokens that may come next.
pub(super) struct Mask(SimpleVob);

impl Mask {
    /// Sets the logits of all other tokens to negative infinity, including ids beyond the vocabulary.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (id, logit) in (0_u32..).zip(logits) {
            if id as usize >= self.0.len() || !self.0.is_allowed(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("the form of the answer: {}", summary(&error.to_string())))
}

/// Returns the keywords in llguidance's "Unimplemented keys: [\"a\", \"b\"]".
fn unimplemented_keywords(error: &str) -> Vec<String> {
    let list = error.split_once("Unimplemented keys: ").map(|(_, list)| list);
    let mut lists = list.map(|list| serde_json::Deserializer::from_str(list).into_iter());
    lists.as_mut().and_then(|lists| lists.next()?.ok()).unwrap_or_default()
}

/// Returns the line of an error that says what is wrong: others show the place in the source.
fn summary(error: &str) -> String {
    let lines = || error.lines().map(str::trim);
    let line = lines().find_map(|line| line.strip_prefix("error: ")).or_else(|| lines().next());
    line.unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests;
