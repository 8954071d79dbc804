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

    /// Returns whether `id` ends the answer.
    #[must_use]
    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }
}

/// Searches streamed text for stop strings. Text that may be the start of one is held back, and the stop string itself is
/// never shown.
#[derive(Debug, Clone)]
pub(super) struct StopStrings {
    stops: Vec<String>,
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
    /// Starts an answer.
    #[must_use]
    pub(super) fn new(stops: &[String]) -> Self {
        Self { stops: stops.to_vec(), held: String::new() }
    }

    /// Adds the next piece of text.
    pub(super) fn push(&mut self, text: &str) -> Scanned {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Scanned { text: std::mem::take(&mut self.held), stopped: true };
        }
        let rest = self.held.split_off(self.held.len() - self.possible_start());
        Scanned { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Returns the text held back, at the end of an answer without a stop string.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Number of bytes at the end of `held` that may be the start of a stop string.
    fn possible_start(&self) -> usize {
        self.held
            .char_indices()
            .map(|(at, _)| &self.held[at..])
            .find(|tail| self.stops.iter().any(|stop| stop.starts_with(tail)))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut scanner = StopStrings::new(&stops);
        let mut shown = Vec::new();
        for piece in pieces {
            let scanned = scanner.push(piece);
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
}
