//! Tests of [`super`].

use super::{
    page::{is_question, with_origin},
    *,
};

#[test]
fn lengths_and_days_are_read_and_bad_ones_named() {
    assert_eq!(length("60-600").unwrap(), (Some(60.0), Some(600.0)));
    assert_eq!(length("3600-").unwrap(), (Some(3600.0), None));
    for bad in ["x", "60", "a-b", "-NaN", "1--2"] {
        assert_eq!(length(bad).unwrap_err().param.as_deref(), Some("length"), "{bad}");
    }
    let query =
        |from: &str| SearchQuery { from: from.into(), to: "2024-02-29".into(), ..SearchQuery::default() };
    let filter = query("2024-02-29").filter().unwrap();
    assert_eq!(filter.before_ms.unwrap() - filter.from_ms.unwrap(), 86_400_000, "the last day is included");
    assert_eq!(query("31.5.2024").filter().unwrap_err().param.as_deref(), Some("from"));
    assert!(query("2023-02-29").filter().is_err());
}

#[test]
fn questions_are_told_from_words() {
    for question in ["When did we go swimming?", "who is in the water", "Wo ist Oma?", "誰がいますか？"]
    {
        assert!(is_question(question), "{question}");
    }
    for words in ["", "swimming", "snow man", "what is", "garden -dog"] {
        assert!(!is_question(words), "{words}");
    }
}

#[test]
fn links_to_videos_say_which_search_they_come_from() {
    let origin = "search:q=a&tag=é";
    assert_eq!(with_origin("/videos/1", origin), "/videos/1?in=search%3Aq%3Da%26tag%3D%C3%A9");
    assert_eq!(with_origin("/videos/1?t=2.0", "search:q=a"), "/videos/1?t=2.0&in=search%3Aq%3Da");
    assert_eq!(with_origin("/videos/1#answer-2", "search:q=a"), "/videos/1?in=search%3Aq%3Da#answer-2");
}

#[test]
fn the_next_page_is_of_the_same_search() {
    let query = SearchQuery { q: "a&b \"c\"".into(), tag: "é".into(), ..SearchQuery::default() };
    assert_eq!(query.url(20), "/search?q=a%26b%20%22c%22&tag=%C3%A9&offset=20");
}
