//! Years and months among the words of a search: "beach summer 2019" also finds what was taken in 2019 and is called a beach.

use jiff::civil::{Date, date};

/// English months. Their first three letters do as well.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Words beside a year that say nothing else: which months a season has depends on where a family lives.
const BESIDE: [&str; 9] = ["spring", "summer", "autumn", "fall", "winter", "in", "from", "of", "year"];

/// Words of a search without those that are a date, and the days that this date has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatedWords {
    pub(super) words: String,
    pub(super) first: Date,
    pub(super) last: Date,
    /// The year or month: `2019`, `July 2019`.
    pub(super) name: String,
}

/// Reads the first year, with a month beside it; `None` means that there is no year, or a quote, within which words are words.
pub(super) fn dated(text: &str) -> Option<DatedWords> {
    if text.contains('"') {
        return None;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = |at: usize| {
        // A minus excludes a word.
        let word = words.get(at).filter(|word| !word.starts_with('-'))?;
        Some(word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
    };
    let year_at = (0..words.len()).find(|&at| plain(at).is_some_and(|word| year(&word).is_some()))?;
    let year = year(&plain(year_at)?)?;
    let neighbours = [year_at.checked_sub(1), Some(year_at + 1)];
    let month_at =
        neighbours.into_iter().flatten().find(|&at| plain(at).is_some_and(|word| month(&word).is_some()));
    let month = month_at.and_then(|at| month(&plain(at)?));
    let before = month_at.map_or(year_at, |at| at.min(year_at));
    let is_left_out = |at: usize| {
        at == year_at
            || Some(at) == month_at
            || (at + 1 == before || at == year_at + 1)
                && plain(at).is_some_and(|word| BESIDE.contains(&word.as_str()))
    };
    let rest: Vec<&str> = (0..words.len()).filter(|&at| !is_left_out(at)).map(|at| words[at]).collect();
    let first = date(year, month.unwrap_or(1), 1);
    Some(DatedWords {
        words: rest.join(" "),
        first,
        last: if month.is_some() { first.last_of_month() } else { first.last_of_year() },
        name: first.strftime(if month.is_some() { "%B %Y" } else { "%Y" }).to_string(),
    })
}

/// Reads a year in which films were made.
fn year(word: &str) -> Option<i16> {
    let is_number = word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|year| is_number && (1888..2100).contains(year))
}

fn month(word: &str) -> Option<i8> {
    let at = MONTHS.iter().position(|name| *name == word || word.len() == 3 && name.starts_with(word))?;
    i8::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_and_its_month_are_dates_and_the_rest_stays() {
        let year = (date(2019, 1, 1), date(2019, 12, 31));
        let july = (date(2019, 7, 1), date(2019, 7, 31));
        for (text, words, (first, last), name) in [
            ("fire beach summer 2019", "fire beach", year, "2019"),
            ("2019", "", year, "2019"),
            ("Lake Garda 2019", "Lake Garda", year, "2019"),
            ("in 2019 at the lake", "at the lake", year, "2019"),
            ("beach July 2019", "beach", july, "July 2019"),
            ("beach in Jul, 2019", "beach", july, "July 2019"),
            ("2019 july beach", "beach", july, "July 2019"),
            ("2019? beach", "beach", year, "2019"),
        ] {
            let expected = DatedWords { words: words.into(), first, last, name: name.into() };
            assert_eq!(dated(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "beach",
            "\"summer 2019\"",
            "0815",
            "20190714",
            "1080p",
            "12345",
            "july beach",
            "-2019x",
            "beach -2019",
        ] {
            assert_eq!(dated(text), None, "{text}");
        }
    }
}
