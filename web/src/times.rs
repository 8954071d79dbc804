//! Finds times in a model's answer, which pages turn into links: `1:23`, `1:02:03.5`, `3.5 seconds`, `12 s`.

/// A piece of text, and the time that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The text.
    pub text: String,
    /// The time in seconds, as a decimal number for links.
    pub second: Option<String>,
}

/// Units that make the number before them a time.
const UNITS: [&str; 5] = ["seconds", "second", "secs", "sec", "s"];

/// Splits `text` at the times in it that are within `duration` seconds.
#[must_use]
pub fn spans(text: &str, duration: f64) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    while let Some(offset) = text[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + offset;
        let before = text[..start].chars().next_back();
        // Within a word or a larger number nothing begins.
        let fresh = before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | ':' | '-' | '_'));
        match time(&text[start..]).filter(|&(second, _)| fresh && second <= duration) {
            Some((second, length)) => {
                if plain < start {
                    spans.push(Span { text: text[plain..start].to_owned(), second: None });
                }
                let words = text[start..start + length].to_owned();
                spans.push(Span { text: words, second: Some(format!("{second}")) });
                at = start + length;
                plain = at;
            }
            None => {
                at = start + text[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - start)
            }
        }
    }
    if plain < text.len() {
        spans.push(Span { text: text[plain..].to_owned(), second: None });
    }
    spans
}

/// Parses a time at the start of `text`. Returns its seconds and its length in bytes.
fn time(text: &str) -> Option<(f64, usize)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(text.len());
    let number = text[..end].trim_end_matches(['.', ':']);
    let rest = &text[number.len()..];
    if number.contains(':') {
        let mut seconds = 0.0;
        for (index, part) in number.split(':').enumerate() {
            let value: f64 = part.parse().ok()?;
            let whole = part.split('.').next().unwrap_or_default();
            if index > 2 || (index > 0 && (whole.len() != 2 || value >= 60.0)) || part.starts_with('.') {
                return None;
            }
            seconds = 60.0 * seconds + value;
        }
        return (!rest.starts_with(char::is_alphanumeric)).then_some((seconds, number.len()));
    }
    let value: f64 = number.parse().ok()?;
    let space = rest.strip_prefix([' ', '\u{a0}']).unwrap_or(rest);
    let unit = UNITS.iter().find(|unit| {
        space.strip_prefix(**unit).is_some_and(|after| !after.starts_with(char::is_alphanumeric))
    })?;
    Some((value, number.len() + (rest.len() - space.len()) + unit.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let spans = spans(text, 4000.0);
        assert_eq!(spans.iter().map(|span| span.text.as_str()).collect::<String>(), text);
        spans.into_iter().filter_map(|span| Some((span.text, span.second?))).collect()
    }

    #[test]
    fn times_are_found_in_all_the_ways_they_are_said() {
        let pair = |text: &str, second: &str| (text.to_owned(), second.to_owned());
        assert_eq!(
            found("At 3.5 seconds it turns, at 1:23 it stops; 1:02:03.5 is the end."),
            [pair("3.5 seconds", "3.5"), pair("1:23", "83"), pair("1:02:03.5", "3723.5")]
        );
        assert_eq!(found("0:04–0:06, 12s."), [pair("0:04", "4"), pair("0:06", "6"), pair("12s", "12")]);
        assert_eq!(found("海辺で 5 s 走る"), [pair("5 s", "5")]);
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in [
            "two of 3 dogs",
            "in 2024",
            "a1:23",
            "12:75",
            "1:2",
            "3 sheep",
            "1.2.3 s",
            "5000 seconds",
            "",
            "9:99:99",
            "::1",
            "1:23x",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
