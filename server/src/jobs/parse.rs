//! Parses JSON that a model wrote: ignores text around it, but validates its content strictly.

use homereel_library::Moment;
use serde::Deserialize;
use serde_json::Value;

/// Maximum number of moments per video.
const MAX_MOMENTS: usize = 512;

/// Maximum number of characters of a moment's text.
const MAX_TEXT: usize = 1000;

/// Maximum number of tags per video.
const MAX_TAGS: usize = 8;

/// Maximum number of characters of a tag.
const MAX_TAG: usize = 60;

/// Seconds that a moment may extend past the end, because models round.
const SLACK: f64 = 1.0;

#[derive(Deserialize)]
struct MomentJson {
    start: f64,
    end: f64,
    text: String,
}

/// Parses `{"moments": [{start, end, text}]}` or the bare array. Returns the moments by start time, with ends
/// clamped to `duration` seconds. `None` means that it is not such JSON, or that a moment lies outside of the
/// video.
pub(super) fn moments(answer: &str, duration: f64) -> Option<Vec<Moment>> {
    let json = json_in(answer)?;
    let list = json.get("moments").unwrap_or(&json);
    within(Vec::deserialize(list).ok()?, duration)
}

/// Parses the complete entries of an answer that was cut off within its list.
pub(super) fn moments_so_far(answer: &str, duration: f64) -> Option<Vec<Moment>> {
    let mut rest = &answer[answer.find('[')? + 1..];
    let mut wire = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let mut items = serde_json::Deserializer::from_str(rest).into_iter::<MomentJson>();
        let Some(Ok(item)) = items.next() else { break };
        wire.push(item);
        rest = &rest[items.byte_offset()..];
    }
    (!wire.is_empty()).then(|| within(wire, duration)).flatten()
}

/// Parses the moments of the window from `start` to `end`. Models usually give times of the whole video, as
/// the frames are labelled; times relative to the window are accepted too.
pub(super) fn moments_within(answer: &str, start: f64, end: f64, whole: bool) -> Option<Vec<Moment>> {
    let read = if whole { moments(answer, f64::INFINITY) } else { moments_so_far(answer, f64::INFINITY) };
    let mut moments = read?;
    let length = end - start;
    if start >= length && moments.iter().all(|moment| moment.end <= length + SLACK) {
        for moment in &mut moments {
            moment.start += start;
            moment.end += start;
        }
    }
    let fits =
        |moment: &Moment| moment.start >= start - SLACK && moment.start <= end && moment.end <= end + SLACK;
    if !moments.iter().all(fits) {
        return None;
    }
    for moment in &mut moments {
        moment.start = moment.start.max(start);
        moment.end = moment.end.clamp(moment.start, end.max(moment.start));
    }
    Some(moments)
}

/// Merges adjacent moments with the same text, as left by a model that repeats itself and by window
/// boundaries.
pub(super) fn joined(moments: Vec<Moment>) -> Vec<Moment> {
    let mut joined: Vec<Moment> = Vec::with_capacity(moments.len());
    for moment in moments {
        match joined.last_mut() {
            Some(last) if last.text.eq_ignore_ascii_case(&moment.text) && moment.start <= last.end + 0.5 => {
                last.end = last.end.max(moment.end);
            }
            _ => joined.push(moment),
        }
    }
    joined
}

fn within(wire: Vec<MomentJson>, duration: f64) -> Option<Vec<Moment>> {
    if wire.len() > MAX_MOMENTS {
        return None;
    }
    let mut moments = Vec::with_capacity(wire.len());
    for MomentJson { start, end, text } in wire {
        let text = text.trim();
        let fits = start >= 0.0 && start <= end && end <= duration + SLACK && start <= duration;
        if !fits || text.is_empty() || text.chars().count() > MAX_TEXT {
            return None;
        }
        moments.push(Moment { start, end: end.min(duration), text: text.to_owned() });
    }
    moments.sort_by(|a, b| a.start.total_cmp(&b.start));
    Some(moments)
}

/// Parses an array of short strings and removes duplicates.
pub(super) fn tags(answer: &str) -> Option<Vec<String>> {
    let json = json_in(answer)?;
    let list = json.get("tags").unwrap_or(&json);
    let words: Vec<String> = Vec::deserialize(list).ok()?;
    let mut tags: Vec<String> = Vec::new();
    for word in words {
        let word = word.trim().trim_start_matches('#').to_owned();
        let fits = !word.is_empty() && word.chars().count() <= MAX_TAG && !word.chars().any(char::is_control);
        if fits && !tags.iter().any(|tag| tag.eq_ignore_ascii_case(&word)) {
            tags.push(word);
        }
    }
    tags.truncate(MAX_TAGS);
    (!tags.is_empty()).then_some(tags)
}

/// An answer with all three texts, `{"description": …, "tags": […], "moments": […]}`, which may be truncated.
pub(super) struct Structured<'a>(&'a str);

impl<'a> Structured<'a> {
    pub(super) fn of(answer: &'a str) -> Self {
        Self(answer)
    }

    /// Returns the description; `None` if there is none or it is truncated.
    pub(super) fn description(&self) -> Option<String> {
        first_value(self.after("description")?)
    }

    /// Returns the tags as [`tags`] does; `None` also if they are truncated.
    pub(super) fn tags(&self) -> Option<Vec<String>> {
        tags(&first_value::<Value>(self.after("tags")?)?.to_string())
    }

    /// Returns the part of the answer that [`moments_within`] parses.
    pub(super) fn moments(&self) -> Option<&'a str> {
        self.after("moments")
    }

    /// Returns the answer from the value of `key` on. The key cannot be found within a string, where its quotation marks are
    /// escaped.
    fn after(&self, key: &str) -> Option<&'a str> {
        let key = format!("\"{key}\"");
        let rest = self.0[self.0.find(&key)? + key.len()..].trim_start();
        Some(rest.strip_prefix(':')?.trim_start())
    }
}

/// Parses the value at the start of `text`, whatever follows it.
fn first_value<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

/// Extracts the JSON from an answer: all of it, a code fence, or the part between other words.
fn json_in(answer: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(answer.trim()) {
        return Some(value);
    }
    let start = answer.find(['{', '['])?;
    first_value(&answer[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_bare_fenced_and_between_words() {
        for answer in [
            r#"{"moments": [{"start": 0, "end": 1.5, "text": "a"}]}"#,
            "```json\n[{\"start\": 0, \"end\": 1.5, \"text\": \"a\"}]\n```",
            r#"Sure: {"moments": [{"start": 0, "end": 1.5, "text": " a ", "who": 1}]} Anything else?"#,
        ] {
            let expected = Moment { start: 0.0, end: 1.5, text: "a".into() };
            assert_eq!(moments(answer, 4.0), Some(vec![expected]), "{answer}");
        }
    }

    #[test]
    fn moments_that_do_not_fit_the_video_are_none() {
        for answer in [
            "nothing happens",
            r#"{"moments": [{"start": 3, "end": 2, "text": "a"}]}"#,
            r#"{"moments": [{"start": -1, "end": 2, "text": "a"}]}"#,
            r#"{"moments": [{"start": 0, "end": 9, "text": "a"}]}"#,
            r#"{"moments": [{"start": 0, "end": 2, "text": ""}]}"#,
            r#"{"moments": [{"start": 0, "end": 2, "text": "a""#,
            r#"{"moments": "none"}"#,
        ] {
            assert_eq!(moments(answer, 4.0), None, "{answer}");
        }
    }

    #[test]
    fn moments_are_sorted_and_cut_to_the_video() {
        let answer = r#"[{"start": 2, "end": 4.2, "text": "b"}, {"start": 0, "end": 2, "text": "a"}]"#;
        let read = moments(answer, 4.0).unwrap();
        assert_eq!(read.iter().map(|m| m.text.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read[1].end, 4.0);
    }

    #[test]
    fn what_is_whole_of_a_list_that_was_cut_off_is_kept() {
        let answer =
            r#"{"moments": [{"start": 0, "end": 1, "text": "a"}, {"start": 1, "end": 2, "text": "b"}, {"sta"#;
        assert_eq!(moments(answer, 4.0), None);
        let kept = moments_so_far(answer, 4.0).unwrap();
        assert_eq!(kept.iter().map(|m| m.text.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(moments_so_far("{\"moments\": [{\"start\": 0", 4.0), None);
    }

    #[test]
    fn a_window_s_moments_are_in_seconds_of_the_whole_video() {
        let answer =
            |a: f64, b: f64| format!(r#"{{"moments": [{{"start": {a}, "end": {b}, "text": "x"}}]}}"#);
        let times = |answer: &str| moments_within(answer, 120.0, 240.0, true).map(|m| (m[0].start, m[0].end));
        assert_eq!(times(&answer(130.0, 135.0)), Some((130.0, 135.0)));
        assert_eq!(times(&answer(10.0, 15.0)), Some((130.0, 135.0)), "relative to the window");
        assert_eq!(times(&answer(119.5, 240.5)), Some((120.0, 240.0)), "rounded");
        assert_eq!(times(&answer(130.0, 300.0)), None);
    }

    #[test]
    fn moments_that_touch_and_say_the_same_are_one() {
        let moment = |start: f64, end: f64, text: &str| Moment { start, end, text: text.into() };
        let list = vec![
            moment(0.0, 4.0, "a dog"),
            moment(4.0, 6.0, "A dog"),
            moment(9.0, 10.0, "a dog"),
            moment(10.0, 11.0, "b"),
        ];
        let expected = vec![moment(0.0, 6.0, "a dog"), moment(9.0, 10.0, "a dog"), moment(10.0, 11.0, "b")];
        assert_eq!(joined(list), expected);
    }

    #[test]
    fn an_answer_with_all_texts_gives_what_it_has_of_them() {
        let whole = r#"{"description": "He says \"tags\": [1].", "tags": ["dog"], "moments": [{"start": 0, "end": 1, "text": "a"}]}"#;
        for (end, description, tags, moments) in [
            (whole.len(), true, true, true),
            (whole.len() - 2, true, true, true),
            (whole.find("\"dog").unwrap(), true, false, false),
            (whole.find(" [1]").unwrap(), false, false, false),
        ] {
            let answer = Structured::of(&whole[..end]);
            assert_eq!(answer.description().is_some(), description, "{end}");
            assert_eq!(answer.tags(), tags.then(|| vec!["dog".to_owned()]), "{end}");
            let read = answer.moments().and_then(|text| moments_within(text, 0.0, 4.0, end == whole.len()));
            assert_eq!(read.is_some(), moments, "{end}");
        }
        let fenced = format!("```json\n{whole}\n```");
        assert_eq!(Structured::of(&fenced).description().as_deref(), Some("He says \"tags\": [1]."));
    }

    #[test]
    fn tags_are_few_short_and_distinct() {
        assert_eq!(tags(r##"["#Dog", "dog", " beach ", ""]"##), Some(vec!["Dog".into(), "beach".into()]));
        assert_eq!(tags("dog, beach"), None);
        assert_eq!(tags(r#"["a","b","c","d","e","f","g","h","i"]"#).unwrap().len(), 8);
    }
}
