//! What is said in a video, as text beside its frames in a prompt: lines with times, at most so many characters that the
//! frames keep their place.

use homereel_engine::ModelInfo;
use homereel_library::{Library, LibraryError, TranscriptLine};
use homereel_web::format;

/// Maximum number of characters.
const MAX_CHARS: usize = 6000;

/// Share of the model's context that the text may take, and characters of a token. Fewer in some scripts, so that the share is
/// larger there.
const CONTEXT_SHARE: usize = 16;
const TOKEN_CHARS: usize = 3;

/// Maximum number of lines that are considered.
const MAX_LINES: u64 = 10_000;

/// The line before the others.
const HEAD: &str = "What is said, with the time of each line:";

/// Returns the number of characters that fit beside a video in a prompt of this model.
#[must_use]
pub fn budget(info: &ModelInfo) -> usize {
    (info.max_model_len / CONTEXT_SHARE * TOKEN_CHARS).min(MAX_CHARS)
}

/// Returns what is said between two seconds of a video, in at most `budget` characters; `None` if nothing is. Where it does not
/// fit, lines that share words with `question` are kept, and others at regular distances.
///
/// # Errors
/// `Database`.
pub async fn said(
    library: &Library,
    video_id: &str,
    (from, to): (f64, f64),
    question: &str,
    budget: usize,
) -> Result<Option<String>, LibraryError> {
    let lines = library.transcript_between(video_id, from, to, MAX_LINES).await?;
    Ok(text(&lines, question, budget))
}

fn text(lines: &[TranscriptLine], question: &str, budget: usize) -> Option<String> {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("\n{} {}", format::position(line.start), one_line(&line.text)))
        .collect();
    let chosen = chosen(&lines, question, budget.saturating_sub(HEAD.len()));
    (!chosen.is_empty()).then(|| chosen.into_iter().fold(HEAD.to_owned(), |text, at| text + &lines[at]))
}

/// Returns the numbers of the lines that fit, in order.
fn chosen(lines: &[String], question: &str, budget: usize) -> Vec<usize> {
    let length = |line: &String| line.chars().count();
    if lines.iter().map(length).sum::<usize>() <= budget {
        return (0..lines.len()).collect();
    }
    let words = words(question);
    let shares_word = |at: &usize| {
        let line = self::words(&lines[*at]);
        words.iter().any(|word| line.contains(word))
    };
    // Half of the place for lines that the question may be about, the rest for every second, fourth, … line.
    let mut chosen = Vec::new();
    let mut left = budget;
    let mut take = |at: usize, least: usize| {
        let cost = length(&lines[at]);
        let fits = cost + least <= left;
        if fits {
            left -= cost;
        }
        fits
    };
    for at in (0..lines.len()).filter(shares_word) {
        if take(at, budget / 2) {
            chosen.push(at);
        }
    }
    let others: Vec<usize> = (0..lines.len()).filter(|at| !chosen.contains(at)).collect();
    let total: usize = others.iter().map(|&at| length(&lines[at])).sum();
    let room = budget.saturating_sub(chosen.iter().map(|&at| length(&lines[at])).sum());
    let step = total.div_ceil(room.max(1)).max(1);
    for at in others.into_iter().step_by(step) {
        if take(at, 0) {
            chosen.push(at);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// Returns the words of a text that may distinguish it.
fn words(text: &str) -> std::collections::HashSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 3);
    words.map(str::to_lowercase).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u64) -> Vec<TranscriptLine> {
        let line = |index: u64| TranscriptLine {
            index,
            start: index as f64 * 4.0,
            end: index as f64 * 4.0 + 3.0,
            text: if index == 501 { "the frog\njumps".into() } else { format!("line number {index}") },
            language: None,
            confidence: 1.0,
            edited_ms: None,
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn lines_have_their_times() {
        assert_eq!(
            text(&lines(2), "", 500).unwrap(),
            format!("{HEAD}\n0:00.0 line number 0\n0:04.0 line number 1")
        );
        assert_eq!(text(&[], "", 500), None);
        assert_eq!(text(&lines(2), "", 10), None, "no place at all");
    }

    #[test]
    fn a_long_transcript_is_thinned_out_and_keeps_what_the_question_is_about() {
        for budget in [600, 3000] {
            let text = text(&lines(2000), "Where is the FROG?", budget).unwrap();
            assert!(text.chars().count() <= budget, "{}", text.len());
            assert!(text.contains("33:24.0 the frog jumps"), "{text}");
            let times: Vec<&str> = text.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
            assert!(times.len() > 10 && times[0] == "0:00.0", "{text}");
            let last = times.last().unwrap();
            assert!(last.starts_with("1:") || last.starts_with("2:"), "spread over the whole video: {last}");
        }
    }

    #[test]
    fn a_question_about_every_line_leaves_room_for_the_others() {
        let text = text(&lines(2000), "Which line number?", 3000).unwrap();
        assert!(text.chars().count() <= 3000);
        assert!(text.lines().last().unwrap().starts_with("2:"), "{text}");
    }
}
