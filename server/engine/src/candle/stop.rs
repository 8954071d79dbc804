//! Detects the end of an answer: end tokens, and stop strings, also across tokens.

use std::collections::HashSet;

use crate::Request;

/// Token ids that end an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct StopIds(HashSet<u32>);

impl StopIds {
    /// Joins the model's end tokens (unless ignored) with the request's.
    #[must_use]
    pub(super) fn new(eos: &[u32], request: &Request) -> Self {
        let own = if request.options.ignore_eos { &[] } else { eos };
        Self(own.iter().chain(&request.options.stop_token_ids).copied().collect())
    }

    /// Returns all of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// Returns whether `id` ends the answer.
    #[must_use]
    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }
}

/// Searches streamed text for stop strings. Text that may be the start of one is held back. The stop string itself is shown
/// only where the request asks for it (`include_stop_str_in_output`).
#[derive(Debug, Clone)]
pub(super) struct StopStrings {
    stops: Vec<String>,
    included: bool,
    held: String,
}

/// The result of [`StopStrings::push`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Text that can be shown.
    pub(super) text: String,
    /// Whether a stop string was found; nothing after it is shown.
    pub(super) stopped: bool,
}

impl StopStrings {
    /// Starts an answer. `included` means that the stop string is part of it.
    #[must_use]
    pub(super) fn new(stops: &[String], included: bool) -> Self {
        Self { stops: stops.to_vec(), included, held: String::new() }
    }

    /// Adds the next piece of text. A stop string that ends in it counts only where `may_stop`.
    pub(super) fn push(&mut self, text: &str, may_stop: bool) -> Scanned {
        let before = self.held.len();
        self.held.push_str(text);
        if may_stop && let Some((at, end)) = self.first_match(before) {
            self.held.truncate(if self.included { end } else { at });
            return Scanned { text: std::mem::take(&mut self.held), stopped: true };
        }
        let rest = self.held.split_off(self.held.len() - self.possible_start());
        Scanned { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Returns where the first stop string starts and ends, of those that end behind the first `before` bytes.
    fn first_match(&self, before: usize) -> Option<(usize, usize)> {
        let starts = || self.held.char_indices().map(|(at, _)| at);
        let ends = |stop: &String| {
            let at = starts().find(|&at| at + stop.len() > before && self.held[at..].starts_with(stop))?;
            Some((at, at + stop.len()))
        };
        self.stops.iter().filter_map(ends).min()
    }

    /// Returns the remaining text at the end of an answer.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Returns the length of the longest end of the text that a stop string starts with.
    fn possible_start(&self) -> usize {
        let starts =
            |tail: &str| self.stops.iter().any(|stop| stop.len() > tail.len() && stop.starts_with(tail));
        self.held.char_indices().map(|(at, _)| &self.held[at..]).find(|tail| starts(tail)).map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(stops: &[&str], included: bool) -> StopStrings {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        StopStrings::new(&stops, included)
    }

    fn feed(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        feed_into(scanner(stops, false), pieces)
    }

    fn feed_into(mut scanner: StopStrings, pieces: &[&str]) -> (Vec<String>, bool) {
        let mut shown = Vec::new();
        for piece in pieces {
            let scanned = scanner.push(piece, true);
            shown.push(scanned.text);
            if scanned.stopped {
                return (shown, true);
            }
        }
        shown.push(scanner.finish());
        (shown, false)
    }

    #[test]
    fn a_stop_string_across_tokens_is_never_shown() {
        let (shown, stopped) = feed(&["\n\nUser:"], &["Yes.", "\n", "\nUs", "er: more"]);
        assert!(stopped);
        assert_eq!(shown, ["Yes.", "", "", ""]);
    }

    #[test]
    fn text_that_turns_out_to_be_no_stop_string_is_shown_later() {
        let (shown, stopped) = feed(&["END"], &["the E", "N", "ds"]);
        assert!(!stopped);
        assert_eq!(shown, ["the ", "", "ENds", ""]);
    }

    #[test]
    fn what_is_held_at_the_end_is_shown() {
        assert_eq!(feed(&["END"], &["the EN"]), (vec!["the ".into(), "EN".into()], false));
    }

    #[test]
    fn the_earliest_of_several_stops_wins() {
        assert_eq!(feed(&["cd", "b"], &["abcd"]), (vec!["a".into()], true));
    }

    #[test]
    fn a_repeated_start_is_found() {
        assert_eq!(
            feed(&["aab"], &["a", "a", "a", "b"]),
            (vec!["".into(), "".into(), "a".into(), "".into()], true)
        );
    }

    #[test]
    fn multi_byte_stops_work() {
        assert_eq!(feed(&["…終"], &["ok…", "終わり"]), (vec!["ok".into(), "".into()], true));
    }

    #[test]
    fn a_stop_string_may_be_part_of_the_answer() {
        let (shown, stopped) = feed_into(scanner(&["END", "NDs"], true), &["the E", "N", "Ds"]);
        assert!(stopped);
        assert_eq!(shown, ["the ", "", "END"]);
    }

    #[test]
    fn what_ends_before_the_least_length_stops_nothing_also_not_later() {
        let mut scanner = scanner(&["END", "abcEND!", "b"], false);
        let mut push = |text: &str, may_stop| {
            let scanned = scanner.push(text, may_stop);
            (scanned.text, scanned.stopped)
        };
        assert_eq!(push("END, ", false), ("END, ".into(), false));
        // "b" ended too early; "abcEND!" may still come.
        assert_eq!(push("abc", false), (String::new(), false));
        assert_eq!(push("E", true), (String::new(), false));
        assert_eq!(push("ND", true), ("abc".into(), true));
    }
}
