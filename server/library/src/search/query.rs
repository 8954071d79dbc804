//! Parses a search query: words, "phrases", and excluded terms after a minus.

use crate::error::LibraryError;

/// Maximum terms of a query.
const MAX_TERMS: usize = 16;

/// Maximum characters of a query.
const MAX_CHARS: usize = 500;

/// A word or phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    text: String,
    /// Whether it ends with a star, which matches words by prefix.
    prefix: bool,
    /// Whether it stood in quotes.
    quoted: bool,
}

/// A parsed query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Terms that a video must contain.
    pub(super) wanted: Vec<Term>,
    /// Terms that it must not contain.
    pub(super) unwanted: Vec<Term>,
}

/// How a term is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    /// By the full-text index: an FTS5 expression.
    Match(String),
    /// By substring (LIKE): for scripts without spaces, and for symbols.
    Like(String),
}

impl Term {
    pub(super) fn lookup(&self) -> Lookup {
        if self.text.chars().any(char::is_alphanumeric) && !self.text.chars().any(without_spaces) {
            let star = if self.prefix { " *" } else { "" };
            return Lookup::Match(format!("\"{}\"{star}", self.text.replace('"', "\"\"")));
        }
        let mut pattern = String::from("%");
        for c in self.text.chars() {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        Lookup::Like(pattern)
    }
}

/// Scripts that do not separate words with spaces, so that a word index does not find them.
fn without_spaces(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

impl Query {
    /// Returns the words that a video is searched for, as they are embedded.
    pub(super) fn words(&self) -> String {
        self.wanted.iter().map(|term| term.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Returns what must hold of a video that is found by meaning, too. A quotation is looked for to the letter, so all terms
    /// must occur beside one; otherwise only those with a star.
    pub(super) fn exact(&self) -> Self {
        let quoted = self.wanted.iter().any(|term| term.quoted);
        let wanted = self.wanted.iter().filter(|term| quoted || term.prefix).cloned().collect();
        Self { wanted, unwanted: self.unwanted.clone() }
    }

    /// Parses a query.
    ///
    /// # Errors
    /// `Invalid` for a query that is too long or has only excluded terms.
    pub(super) fn parse(text: &str) -> Result<Self, LibraryError> {
        let chars = text.chars().count();
        if chars > MAX_CHARS {
            return Err(LibraryError::Invalid(format!(
                "q has {chars} characters; at most {MAX_CHARS} would fit"
            )));
        }
        let mut query = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let minus = rest.starts_with('-') && rest[1..].starts_with(|c: char| !c.is_whitespace());
            rest = &rest[usize::from(minus)..];
            let (term, after) = next_term(rest);
            rest = after.trim_start();
            let Some(term) = term else { continue };
            if minus { query.unwanted.push(term) } else { query.wanted.push(term) }
        }
        let terms = query.wanted.len() + query.unwanted.len();
        if terms > MAX_TERMS {
            return Err(LibraryError::Invalid(format!("q has {terms} terms; at most {MAX_TERMS} would fit")));
        }
        if query.wanted.is_empty() && !query.unwanted.is_empty() {
            return Err(LibraryError::Invalid(
                "q only says what must not be found; add a word that must".into(),
            ));
        }
        Ok(query)
    }
}

/// Takes the first term of `text`, which is not empty. An unclosed quote extends to the end.
fn next_term(text: &str) -> (Option<Term>, &str) {
    let is_quote = |c: char| matches!(c, '"' | '“' | '”' | '„' | '«' | '»');
    if let Some(quote) = text.chars().next().filter(|&c| is_quote(c)) {
        let inner = &text[quote.len_utf8()..];
        let end = inner.find(is_quote).unwrap_or(inner.len());
        let after = &inner[end..];
        let after = after.chars().next().map_or("", |c| &after[c.len_utf8()..]);
        return (term(&inner[..end], true), after);
    }
    let end = text.find(|c: char| c.is_whitespace() || is_quote(c)).unwrap_or(text.len());
    (term(&text[..end], false), &text[end..])
}

fn term(text: &str, quoted: bool) -> Option<Term> {
    let prefix = text.len() > 1 && text.ends_with('*');
    let text: String = text.trim_end_matches('*').chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| Term { text: text.to_owned(), prefix, quoted })
}

/// Separates the terms that the index finds from those that need a substring scan.
pub(super) fn split(terms: &[Term]) -> (Vec<String>, Vec<String>) {
    let (mut matches, mut likes) = (Vec::new(), Vec::new());
    for term in terms {
        match term.lookup() {
            Lookup::Match(expression) => matches.push(expression),
            Lookup::Like(pattern) => likes.push(pattern),
        }
    }
    (matches, likes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookups(terms: &[Term]) -> Vec<Lookup> {
        terms.iter().map(Term::lookup).collect()
    }

    fn matches(texts: &[&str]) -> Vec<Lookup> {
        texts.iter().map(|text| Lookup::Match((*text).to_owned())).collect()
    }

    #[test]
    fn words_phrases_minus_and_stars_are_told_apart() {
        let query = Query::parse("dog “on the beach” -rain gard* -\"two cats\"").unwrap();
        assert_eq!(lookups(&query.wanted), matches(&["\"dog\"", "\"on the beach\"", "\"gard\" *"]));
        assert_eq!(lookups(&query.unwanted), matches(&["\"rain\"", "\"two cats\""]));
    }

    #[test]
    fn beside_a_quotation_all_terms_are_exact_and_without_one_those_with_a_star() {
        let exact = |text: &str| lookups(&Query::parse(text).unwrap().exact().wanted);
        assert_eq!(exact("dog gard* -rain"), matches(&["\"gard\" *"]));
        assert_eq!(exact("dog “the beach”"), matches(&["\"dog\"", "\"the beach\""]));
        assert!(exact("dog beach").is_empty());
        let query = Query::parse("dog “the beach” gard* -rain").unwrap();
        assert_eq!((query.words().as_str(), query.exact().unwanted.len()), ("dog the beach gard", 1));
    }

    #[test]
    fn the_index_language_is_not_spoken_by_users() {
        for text in ["a OR b", "NEAR(a b)", "text:x", "(a", "a\"b", "-", "- x", "^a", "a AND NOT"] {
            let query = Query::parse(text).unwrap();
            for lookup in lookups(&query.wanted) {
                match lookup {
                    Lookup::Match(expression) => assert!(expression.starts_with('"'), "{text}: {expression}"),
                    Lookup::Like(pattern) => assert!(pattern.starts_with('%'), "{text}: {pattern}"),
                }
            }
        }
        assert_eq!(lookups(&Query::parse("a\"b").unwrap().wanted), matches(&["\"a\"", "\"b\""]));
    }

    #[test]
    fn letters_without_words_are_looked_up_as_they_are() {
        assert_eq!(lookups(&Query::parse("海辺").unwrap().wanted), [Lookup::Like("%海辺%".into())]);
        assert_eq!(lookups(&Query::parse("🎂 100%").unwrap().wanted)[0], Lookup::Like("%🎂%".into()));
        assert_eq!(lookups(&Query::parse("\"%_\"").unwrap().wanted), [Lookup::Like("%\\%\\_%".into())]);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(Query::parse(" ").unwrap(), Query::default());
        assert!(Query::parse("-dog").is_err());
        assert!(Query::parse(&"a ".repeat(17)).is_err());
        assert!(Query::parse(&"a".repeat(501)).is_err());
    }
}
