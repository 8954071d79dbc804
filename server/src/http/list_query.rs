//! The query of a list of videos: order, filters and place, as pages and the API take them.

use homereel_library::{
    Counted, Cursor, LengthClass, Library, ListFilter, ListKey, Order, Period, VideoList,
};
use homereel_web::{Words, views::Link};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::error::{Failure, shown};

/// Maximum number of characters of a place or camera.
const MAX_TEXT: usize = 200;

/// The query. All fields are text, because empty fields of a form count as missing.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ListQuery {
    /// `taken` or `added`.
    #[serde(default)]
    pub(super) sort: String,
    /// Any value restricts the list to favourites.
    #[serde(default)]
    pub(super) favourite: String,
    /// Any value restricts the list to videos whose date is unknown.
    #[serde(default)]
    pub(super) undated: String,
    #[serde(default)]
    pub(super) place: String,
    #[serde(default)]
    pub(super) camera: String,
    /// Range of length in seconds, one of [`LengthClass`].
    #[serde(default)]
    pub(super) length: String,
    /// Year or month, `2019` or `2019-07`.
    #[serde(default)]
    pub(super) when: String,
    /// Day of any year, `07-14`.
    #[serde(default)]
    pub(super) on: String,
    /// Key of a page with smaller keys.
    #[serde(default)]
    pub(super) before: String,
    /// Key of a page with larger keys.
    #[serde(default)]
    pub(super) after: String,
}

/// A field of the query.
type Field = fn(&mut ListQuery) -> &mut String;

impl ListQuery {
    pub(super) fn filter(&self) -> Result<ListFilter, Failure> {
        let length = |text: &str| {
            LengthClass::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| {
                let fitting = LengthClass::ALL.map(LengthClass::as_str).join(", ");
                Failure::invalid("length", format!("length is {}; one of {fitting} would fit", shown(text)))
            })
        };
        Ok(ListFilter {
            favourite: !self.favourite.is_empty(),
            undated: !self.undated.is_empty(),
            place: text("place", &self.place)?,
            camera: text("camera", &self.camera)?,
            length: given(&self.length).map(length).transpose()?,
            period: given(&self.when).map(str::parse).transpose().map_err(
                |error: homereel_library::LibraryError| Failure::invalid("when", error.to_string()),
            )?,
            day: given(&self.on).map(day).transpose()?,
        })
    }

    pub(super) fn order(&self) -> Result<Order, Failure> {
        match self.sort.as_str() {
            "" | "taken" => Ok(Order::Taken),
            "added" => Ok(Order::Added),
            other => {
                Err(Failure::invalid("sort", format!("sort is {}; taken or added would fit", shown(other))))
            }
        }
    }

    pub(super) fn cursor(&self) -> Result<Cursor, Failure> {
        cursor(&self.before, &self.after)
    }

    /// Returns the URL of a page of this list at `path`; without a key, of its first page.
    pub(super) fn url(&self, path: &str, key: Option<(&str, &ListKey)>) -> String {
        let fields = [
            ("sort", &self.sort),
            ("favourite", &self.favourite),
            ("undated", &self.undated),
            ("place", &self.place),
            ("camera", &self.camera),
            ("length", &self.length),
            ("when", &self.when),
            ("on", &self.on),
        ];
        let mut parts: Vec<String> = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        parts.extend(key.map(|(name, key)| format!("{name}={key}")));
        if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
    }

    /// Returns the query of the list's URL, without the place in it.
    pub(super) fn fields(&self) -> String {
        self.url("", None).trim_start_matches('?').to_owned()
    }

    /// Returns the filters in words, each with the URL of the list without it.
    pub(super) fn filters(&self, words: &Words) -> Result<Vec<Link>, Failure> {
        let filter = self.filter()?;
        let length = filter.length.map(|class| words.t(length_words(class)));
        let day = filter.day.map(|(month, day)| jiff::civil::date(2024, month, day));
        // Each filter with the field that it comes from.
        let filters: [(Option<String>, Field); 7] = [
            (filter.favourite.then(|| words.t("filter-favourites-chosen")), |query| &mut query.favourite),
            (filter.undated.then(|| words.t("unknown-date")), |query| &mut query.undated),
            (filter.period.map(period_words), |query| &mut query.when),
            (day.map(|day| day.strftime("%-d %B").to_string()), |query| &mut query.on),
            (filter.place, |query| &mut query.place),
            (filter.camera, |query| &mut query.camera),
            (length, |query| &mut query.length),
        ];
        let link = |(text, field): (Option<String>, Field)| {
            let mut without = self.clone();
            field(&mut without).clear();
            Some(Link { text: text?, url: without.url("/", None) })
        };
        Ok(filters.into_iter().filter_map(link).collect())
    }

    /// Returns the URL of the page that is shown.
    pub(super) fn here(&self, path: &str) -> String {
        let key = |text: &str| text.parse::<ListKey>().ok();
        match (key(&self.before), key(&self.after)) {
            (Some(key), _) => self.url(path, Some(("before", &key))),
            (None, Some(key)) => self.url(path, Some(("after", &key))),
            (None, None) => self.url(path, None),
        }
    }
}

/// Returns the number of videos that a filter allows, of whose list this is a page of at most `limit`. If all of them are on it, that
/// is their number.
pub(super) async fn count_of(
    library: &Library,
    filter: &ListFilter,
    cursor: &Cursor,
    list: &VideoList,
    limit: usize,
) -> Result<Counted, Failure> {
    let shown = list.videos.len() as u64;
    // A page without room has no neighbours either.
    if limit > 0 && *cursor == Cursor::Start && list.before.is_none() && list.after.is_none() {
        return Ok(Counted { videos: shown, or_more: false });
    }
    let counted = library.list_count(filter).await?;
    Ok(Counted { videos: counted.videos.max(shown), ..counted })
}

/// Reads the place of a page from its keys, of which at most one may be given.
pub(super) fn cursor(before: &str, after: &str) -> Result<Cursor, Failure> {
    let key =
        |name, text: &str| text.parse::<ListKey>().map_err(|error| Failure::invalid(name, error.to_string()));
    match (before, after) {
        ("", "") => Ok(Cursor::Start),
        (before, "") => Ok(Cursor::Before(key("before", before)?)),
        ("", after) => Ok(Cursor::After(key("after", after)?)),
        _ => Err(Failure::invalid("after", "before and after are both given; one of them would fit")),
    }
}

/// Returns a number of a query, at most `most`.
pub(super) fn number(name: &'static str, text: &str, usual: u32, most: u32) -> Result<u32, Failure> {
    if text.is_empty() {
        return Ok(usual);
    }
    let number: Option<u32> = text.parse().ok();
    number
        .map(|number| number.min(most))
        .ok_or_else(|| Failure::invalid(name, format!("{name} is {}; a number would fit", shown(text))))
}

/// Returns the message of a range of lengths.
pub(super) fn length_words(class: LengthClass) -> &'static str {
    match class {
        LengthClass::Minute => "length-minute",
        LengthClass::TenMinutes => "length-ten-minutes",
        LengthClass::Hour => "length-hour",
        LengthClass::Longer => "length-longer",
    }
}

fn period_words(period: Period) -> String {
    let format = if period.is_month() { "%B %Y" } else { "%Y" };
    period.first_day().strftime(format).to_string()
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn text(name: &'static str, text: &str) -> Result<Option<String>, Failure> {
    let Some(text) = given(text) else { return Ok(None) };
    if text.chars().count() > MAX_TEXT {
        return Err(Failure::invalid(name, format!("{name} has more than {MAX_TEXT} characters")));
    }
    Ok(Some(text.to_owned()))
}

/// Parses a day of any year.
fn day(text: &str) -> Result<(i8, i8), Failure> {
    // 2024 is a leap year.
    let date = format!("2024-{text}").parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 5);
    date.map(|date| (date.month(), date.day())).ok_or_else(|| {
        Failure::invalid("on", format!("on is {}; a month and day such as 07-14 would fit", shown(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_named_and_good_ones_come_back_in_the_url() {
        let query = |name: &str, value: &str| {
            serde_json::from_value::<ListQuery>(serde_json::json!({ name: value })).unwrap()
        };
        for (name, value) in
            [("length", "1-2"), ("when", "19"), ("on", "02-30"), ("on", "7-14"), ("place", &"x".repeat(201))]
        {
            let failure = query(name, value).filter().unwrap_err();
            assert_eq!(failure.param.as_deref(), Some(name), "{value}");
        }
        assert_eq!(query("sort", "size").order().unwrap_err().param.as_deref(), Some("sort"));
        assert_eq!(query("before", "x").cursor().unwrap_err().param.as_deref(), Some("before"));
        assert_eq!(query("on", "02-29").filter().unwrap().day, Some((2, 29)));
        let garda = ListQuery { place: "Lake & Garda".into(), before: "-5_".into(), ..ListQuery::default() };
        assert_eq!(garda.url("/", None), "/?place=Lake%20%26%20Garda");
        assert_eq!(garda.here("/"), "/?place=Lake%20%26%20Garda&before=-5_");
        assert!(cursor("1_", "2_").is_err());
    }
}
