//! Detects repetitive model output, so that generation can be stopped and the repetition cut. Works on text
//! alone.

/// Number of characters at the end of the text that are examined.
const LOOK: usize = 4000;

/// Range of the length of a repeated part, in characters.
const PERIOD: std::ops::RangeInclusive<usize> = 2..=600;

/// Minimum total length of the repetitions, in characters: "no no no" is normal speech.
const MIN_LENGTH: usize = 90;

/// Number of occurrences that count as repetition.
const TIMES: usize = 4;

/// The same for JSON, in which many moments may look alike.
const JSON_TIMES: usize = 24;

/// Kind of the generated text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextFormat {
    /// Sentences.
    Prose,
    /// JSON, in which increasing numbers hide a repetition.
    Json,
}

/// Returns where to truncate `text` if its end repeats: after the first occurrence.
pub(super) fn cut(text: &str, form: TextFormat) -> Option<usize> {
    let start = text.char_indices().rev().nth(LOOK - 1).map_or(0, |(at, _)| at);
    let chars: Vec<(usize, char)> = text[start..].char_indices().map(|(at, c)| (start + at, c)).collect();
    // Each number counts as one character, however many digits it has.
    let mut signs: Vec<(usize, char)> = Vec::with_capacity(chars.len());
    for (at, c) in chars {
        let number = form == TextFormat::Json && (c.is_ascii_digit() || c == '.');
        if number && signs.last().is_some_and(|last| last.1 == '0') {
            continue;
        }
        signs.push((at, if number { '0' } else { c }));
    }
    let times = if form == TextFormat::Json { JSON_TIMES } else { TIMES };
    let same = |a: usize, b: usize| signs[a].1 == signs[b].1;
    let end = signs.len();
    for period in PERIOD {
        if period * times > end {
            return None;
        }
        let mut length = period;
        while length < end && same(end - 1 - length, end - 1 - length + period) {
            length += 1;
        }
        if length >= (period * times).max(MIN_LENGTH) {
            // After the first complete period.
            let behind = end - length + period;
            return Some(signs.get(behind).map_or(text.len(), |&(at, _)| at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_said_again_and_again_is_said_once() {
        let text = format!("A dog runs. {}", "It jumps over a red fence. ".repeat(9));
        let at = cut(&text, TextFormat::Prose).unwrap();
        assert!(text[..at].starts_with("A dog runs. It jumps over a red fence"), "{}", &text[..at]);
        assert!(at <= "A dog runs. It jumps over a red fence. ".len());
        assert!(cut(&"ha".repeat(200), TextFormat::Prose).is_some());
        assert!(cut(&"海辺で走る。".repeat(40), TextFormat::Prose).is_some());
    }

    #[test]
    fn speech_that_repeats_a_little_is_left_alone() {
        for text in [
            "no no no no no",
            "The boy kicks the ball. The girl kicks the ball. The dog watches. The boy kicks the ball.",
            "",
            "a",
            "First it moves left, then it moves right, then it moves left, then it moves right.",
        ] {
            assert_eq!(cut(text, TextFormat::Prose), None, "{text}");
        }
    }

    #[test]
    fn moments_that_only_count_up_are_noticed_late() {
        let moments = |n: usize| {
            let list: Vec<String> = (0..n)
                .map(|i| format!("{{\"start\": {i}.5, \"end\": {}.0, \"text\": \"a dog\"}}", i + 1))
                .collect();
            format!("{{\"moments\": [{}", list.join(", "))
        };
        assert_eq!(cut(&moments(12), TextFormat::Json), None);
        assert!(cut(&moments(60), TextFormat::Json).is_some());
        assert_eq!(cut(&moments(60), TextFormat::Prose), None);
    }
}
