//! Bounds what `+`, `*` and `~` make, and how deeply assigned values nest. The interpreter bounds steps, not bytes: `x ~ x`
//! forty times is a terabyte. As it has no hook for operators and assignments, the source is rewritten: `a ~ b` becomes
//! `(a|text ~ b|text)|result` and `set x = a` becomes `set x = (a)|assigned` with filters of [`super::limits`].

use minijinja::machinery::{Token, WhitespaceConfig, tokenize};

use super::limits::{ASSIGNED, OPERAND, RESULT, TEXT};

/// Maximum number of operators between two checks of the result.
const MAX_OPERATORS: usize = 32;

/// Maximum number of macros and calls with a body. Each keeps the ones before it alive, so that they nest.
const MAX_MACROS: usize = 256;

/// Words that end an arithmetic expression.
const KEYWORDS: [&str; 12] =
    ["and", "or", "not", "in", "is", "if", "else", "elif", "for", "set", "with", "recursive"];

/// An arithmetic expression, as far as it has been read.
#[derive(Default)]
struct Arithmetic {
    /// Where it starts, if it does.
    start: Option<usize>,
    /// The end of its last token.
    end: usize,
    /// The ends of the operands before each operator.
    operands: Vec<usize>,
    /// Whether the last token is an operator, so that the next one is a sign.
    after_operator: bool,
    grows: bool,
    concatenates: bool,
}

impl Arithmetic {
    fn extend(&mut self, start: usize, end: usize) {
        self.start.get_or_insert(start);
        self.end = end;
        self.after_operator = false;
    }

    fn operator(&mut self, token: &Token<'_>, start: usize, end: usize) {
        if self.start.is_some() && !self.after_operator {
            self.operands.push(self.end);
            self.grows |= matches!(token, Token::Plus | Token::Mul | Token::Tilde);
            self.concatenates |= matches!(token, Token::Tilde);
        }
        self.extend(start, end);
        self.after_operator = true;
    }

    /// Adds the insertions that check this expression, which is over, and starts the next.
    fn finish(&mut self, insertions: &mut Vec<(usize, String)>) -> Result<(), String> {
        let Self { start, end, operands, grows, concatenates, .. } = std::mem::take(self);
        let Some(start) = start.filter(|_| grows) else { return Ok(()) };
        if operands.len() > MAX_OPERATORS {
            return Err(format!(
                "an expression has {} operators; at most {MAX_OPERATORS} would fit",
                operands.len()
            ));
        }
        let check = if concatenates { TEXT } else { OPERAND };
        insertions.push((start, "(".into()));
        insertions.extend(operands.into_iter().map(|end| (end, format!("|{check}"))));
        insertions.push((end, format!("|{check})|{RESULT}")));
        Ok(())
    }
}

/// How far a `set` statement has been read.
#[derive(Clone, Copy)]
enum Assignment {
    /// The next token says which statement a block is.
    Undecided,
    /// A `set` statement up to its `=`.
    Target,
    /// The assigned expression.
    Expression,
    /// Another statement, or an expression.
    Other,
}

/// Returns the source with checks around every expression that can make a text or a list longer, or values nest.
///
/// # Errors
/// A syntax error, or an expression that cannot be bounded.
pub(super) fn bounded(source: &str) -> Result<String, String> {
    let mut insertions = Vec::new();
    // The innermost expression is last; each bracket starts one.
    let mut open: Vec<Arithmetic> = Vec::new();
    let mut after_dot_or_pipe = false;
    let mut assignment = Assignment::Other;
    let (mut macros, mut last) = (0, 0);
    for token in tokenize(source, false, Default::default(), WhitespaceConfig::default()) {
        let (token, span) = token.map_err(|error| error.to_string())?;
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        let before = std::mem::replace(&mut last, end);
        let name = std::mem::replace(&mut after_dot_or_pipe, matches!(token, Token::Dot | Token::Pipe));
        if matches!(token, Token::VariableStart | Token::BlockStart) {
            open.clear();
            open.push(Arithmetic::default());
            assignment = match token {
                Token::BlockStart => Assignment::Undecided,
                _ => Assignment::Other,
            };
            continue;
        }
        let nested = open.len() > 1;
        let Some(current) = open.last_mut() else { continue };
        match &token {
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen => {
                current.extend(start, end);
                open.push(Arithmetic::default());
            }
            Token::BracketClose
            | Token::ParenClose
            | Token::BraceClose
            | Token::VariableEnd
            | Token::BlockEnd => {
                current.finish(&mut insertions)?;
                if matches!((&token, assignment), (Token::BlockEnd, Assignment::Expression)) {
                    insertions.push((before, format!(")|{ASSIGNED}")));
                }
                open.pop();
                if let Some(outer) = open.last_mut() {
                    outer.extend(start, end);
                }
            }
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::FloorDiv
            | Token::Pow
            | Token::Mod
            | Token::Tilde => current.operator(&token, start, end),
            Token::Ident("is") if !name && current.grows => {
                // `is` would apply to the last operand only.
                return Err("`is` follows `+`, `*` or `~`; parentheses around what it tests would fit".into());
            }
            Token::Ident(word) if !name && KEYWORDS.contains(word) => current.finish(&mut insertions)?,
            Token::Assign if !nested && matches!(assignment, Assignment::Target) => {
                assignment = Assignment::Expression;
                current.finish(&mut insertions)?;
                insertions.push((end, "(".into()));
            }
            Token::Comma
            | Token::Colon
            | Token::Assign
            | Token::Eq
            | Token::Ne
            | Token::Gt
            | Token::Gte
            | Token::Lt
            | Token::Lte => current.finish(&mut insertions)?,
            _ => current.extend(start, end),
        }
        if matches!(assignment, Assignment::Undecided) {
            assignment = match token {
                Token::Ident("set") => Assignment::Target,
                _ => Assignment::Other,
            };
            macros += usize::from(matches!(token, Token::Ident("macro" | "call")));
            if macros > MAX_MACROS {
                return Err(format!("it has more than {MAX_MACROS} macros; that many would fit"));
            }
        }
    }
    insertions.sort_by_key(|(at, _)| *at);
    let mut out = String::with_capacity(source.len() * 2);
    let mut copied = 0;
    for (at, text) in insertions {
        out.push_str(source.get(copied..at).ok_or("a token is not where it was reported")?);
        out.push_str(&text);
        copied = at;
    }
    out.push_str(&source[copied..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_that_can_grow_a_text_is_checked() {
        let result = format!("|{RESULT}");
        for (source, expected) in [
            ("a {{ x }} + b", "a {{ x }} + b".to_owned()),
            ("{{ a + b }}", format!("{{{{ (a|{OPERAND} + b|{OPERAND}){result} }}}}")),
            ("{{- a ~ 1 -}}", format!("{{{{- (a|{TEXT} ~ 1|{TEXT}){result} -}}}}")),
            ("{{ a - 1 }}", "{{ a - 1 }}".into()),
            ("{{ -1 * x[y + 1] }}", {
                let index = format!("(y|{OPERAND} + 1|{OPERAND}){result}");
                format!("{{{{ (-1|{OPERAND} * x[{index}]|{OPERAND}){result} }}}}")
            }),
            (
                "{% set x.in = a|join(',') + b if c == d else e %}",
                format!(
                    "{{% set x.in =( (a|join(',')|{OPERAND} + b|{OPERAND}){result} if c == d else e)|{ASSIGNED} %}}"
                ),
            ),
            ("{%- set x=[a] -%}", format!("{{%- set x=([a])|{ASSIGNED} -%}}")),
            (
                "{% set x, y=a+b,f(c=d) %}",
                format!("{{% set x, y=((a|{OPERAND}+b|{OPERAND}){result},f(c=d))|{ASSIGNED} %}}"),
            ),
            ("{% set x|f(a=b) %}{% endset %}", "{% set x|f(a=b) %}{% endset %}".into()),
            (
                "{# a + b #}{% raw %}{{ a + b }}{% endraw %}",
                "{# a + b #}{% raw %}{{ a + b }}{% endraw %}".into(),
            ),
        ] {
            assert_eq!(bounded(source).unwrap(), expected);
        }
    }

    #[test]
    fn expressions_that_cannot_be_bounded_are_refused() {
        let long = format!("{{{{ x{} }}}}", " ~ x".repeat(33));
        assert!(bounded(&long).unwrap_err().contains("33 operators; at most 32"));
        assert!(bounded("{{ a ~ b is none }}").unwrap_err().contains("parentheses"));
        let macros = "{% macro m() %}{% endmacro %}".repeat(257);
        assert!(bounded(&macros).unwrap_err().contains("more than 256 macros"));
    }
}
