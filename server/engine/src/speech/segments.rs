//! Cuts the tokens of a window into segments at their timestamps, and says where the next window begins: at the last complete
//! timestamp, as in transformers' `_retrieve_segment`.

use std::ops::Range;

use super::tokens::SpecialTokens;

/// A segment of a window, in steps of 0.02 s from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenSegment {
    /// Where it begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// Its tokens among those of the window, timestamps included.
    pub(super) tokens: Range<usize>,
}

/// Returns the segments of `text`, the tokens behind the prompt of a window of `len` steps, and the number of steps that they
/// have consumed.
#[must_use]
pub(super) fn cut(tokens: &SpecialTokens, text: &[u32], len: usize) -> (Vec<TokenSegment>, usize) {
    let is_timestamp = |at: usize| tokens.is_timestamp(text[at]);
    let step = |at: usize| ((text[at] - tokens.first_timestamp) as usize).min(len);
    let pairs = (1..text.len()).filter(|&at| is_timestamp(at - 1) && is_timestamp(at));
    let mut ends: Vec<usize> = pairs.collect();
    // A single timestamp at the end means that no speech follows it.
    let ends_once = text.len() >= 2 && is_timestamp(text.len() - 1) && !is_timestamp(text.len() - 2);
    if ends.is_empty() {
        let last = (0..text.len()).rev().find(|&at| is_timestamp(at)).map(step).filter(|&step| step > 0);
        return (vec![TokenSegment { start: 0, end: last.unwrap_or(len), tokens: 0..text.len() }], len);
    }
    let consumed = match ends.last() {
        Some(&end) if !ends_once => step(end - 1),
        _ => {
            ends.push(text.len());
            len
        }
    };
    let mut from = 0;
    let segments = ends.into_iter().map(|end| {
        let tokens = from..end;
        from = end;
        let start = if is_timestamp(tokens.start) { step(tokens.start) } else { 0 };
        TokenSegment { start, end: step(end - 1), tokens }
    });
    (segments.collect(), consumed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::tokens::tests::tokens;

    /// A timestamp of this many steps.
    fn at(steps: u32) -> u32 {
        tokens().first_timestamp + steps
    }

    fn cut_steps(text: &[u32]) -> (Vec<(usize, usize, Range<usize>)>, usize) {
        let (segments, consumed) = cut(&tokens(), text, 5);
        (segments.into_iter().map(|segment| (segment.start, segment.end, segment.tokens)).collect(), consumed)
    }

    #[test]
    fn an_unfinished_segment_is_left_to_the_next_window() {
        let got = cut_steps(&[at(0), 1, 2, at(2), at(2), 3, at(4), at(4), 5]);
        assert_eq!(got, (vec![(0, 2, 0..4), (2, 4, 4..7)], 4));
    }

    #[test]
    fn a_single_timestamp_at_the_end_consumes_the_window() {
        let got = cut_steps(&[at(0), 1, at(2), at(3), 3, at(4)]);
        assert_eq!(got, (vec![(0, 2, 0..3), (3, 4, 3..6)], 5));
    }

    #[test]
    fn without_a_pair_the_window_is_one_segment() {
        assert_eq!(cut_steps(&[at(0), 1, 2, at(3)]), (vec![(0, 3, 0..4)], 5));
        assert_eq!(cut_steps(&[at(0), 1, 2]), (vec![(0, 5, 0..3)], 5));
        assert_eq!(cut_steps(&[]), (vec![(0, 5, 0..0)], 5));
    }

    #[test]
    fn times_stay_within_the_window() {
        let segments = cut(&tokens(), &[at(0), 1, at(5), at(5), 2], 3);
        assert_eq!(segments, (vec![TokenSegment { start: 0, end: 3, tokens: 0..3 }], 3));
    }
}
