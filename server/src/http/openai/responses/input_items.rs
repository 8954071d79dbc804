//! Pages of the items of a kept response, as OpenAI lists them.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::http::error::{Failure, shown};

/// Items of a page, unless the request says otherwise, and at most.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// Which items to list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    limit: usize,
    ascending: bool,
    /// Id of the item before the first one.
    after: Option<String>,
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

impl Page {
    /// Parses the query of a URL.
    ///
    /// # Errors
    /// Names the parameter that does not fit.
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let mut page = Self { limit: DEFAULT_LIMIT, ascending: false, after: None };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "limit" => {
                    page.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                        .ok_or_else(|| {
                            let message = format!("limit is {}; 1 to {MAX_LIMIT} would fit", shown(&value));
                            Failure::invalid("limit", message)
                        })?;
                }
                "order" => {
                    page.ascending = match value.as_ref() {
                        "asc" => true,
                        "desc" => false,
                        other => {
                            let message = format!("order is {}; asc or desc would fit", shown(other));
                            return Err(Failure::invalid("order", message));
                        }
                    }
                }
                "after" => page.after = Some(value.into_owned()),
                // Asks for fields of built-in tools, which no item has.
                "include" | "include[]" => {}
                other => {
                    let message = format!("{} is unknown; limit, order or after would fit", shown(other));
                    return Err(Failure::invalid(shown(other), message));
                }
            }
        }
        Ok(page)
    }

    /// Returns the page of `items`, a JSON array.
    ///
    /// # Errors
    /// When `after` is none of them.
    pub(super) fn of(&self, items: &str) -> Result<Value, Failure> {
        let mut items: Vec<&RawValue> = serde_json::from_str(items).map_err(Failure::internal)?;
        let mut ids = items
            .iter()
            .map(|item| serde_json::from_str::<Identified<'_>>(item.get()).map(|item| item.id.into_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::internal)?;
        if !self.ascending {
            items.reverse();
            ids.reverse();
        }
        let first = match &self.after {
            None => 0,
            Some(after) => {
                let at = ids.iter().position(|id| id == after).ok_or_else(|| {
                    Failure::invalid("after", format!("the response has no item {}", shown(after)))
                })?;
                at + 1
            }
        };
        let end = ids.len().min(first + self.limit);
        let data = items[first..end].iter().map(|item| serde_json::from_str::<Value>(item.get()));
        Ok(json!({
            "object": "list",
            "data": data.collect::<Result<Vec<_>, _>>().map_err(Failure::internal)?,
            "first_id": ids[first..end].first(),
            "last_id": ids[first..end].last(),
            "has_more": end < ids.len(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_in_both_orders() {
        let items = r#"[{"id": "a"}, {"id": "b"}, {"id": "c"}]"#;
        for (query, ids, has_more) in [
            ("", "cba", false),
            ("order=asc&limit=2", "ab", true),
            ("order=asc&limit=2&after=b", "c", false),
            ("limit=1&after=c", "b", true),
            ("after=a", "", false),
        ] {
            let page = Page::parse(query).unwrap().of(items).unwrap();
            let found: String =
                page["data"].as_array().unwrap().iter().filter_map(|item| item["id"].as_str()).collect();
            assert_eq!((found.as_str(), &page["has_more"]), (ids, &json!(has_more)), "{query}");
            assert_eq!(page["first_id"].as_str().unwrap_or_default(), ids.get(..1).unwrap_or_default());
        }
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=x", "limit"),
            ("order=up", "order"),
            ("page=2", "page"),
        ] {
            assert_eq!(Page::parse(query).unwrap_err().param.as_deref(), Some(param), "{query}");
        }
        let failure = Page::parse("after=z").unwrap().of(items).unwrap_err();
        assert_eq!((failure.status.as_u16(), failure.param.as_deref()), (400, Some("after")));
    }
}
