//! Tests of search in a small library with known best results: ranking, phrases, excluded terms, filters, hostile
//! queries.

use std::sync::Arc;

use homereel_video::ProbeSummary;
use serde_json::json;

use super::*;
use crate::{AnswerEnd, AnswerStatus, Library, LibraryError, NewAnswer, Text, TextKind, tests::probe};

/// name, seconds, year, camera, description, moments, tags
type SearchableClip = (
    &'static str,
    f64,
    i32,
    &'static str,
    &'static str,
    &'static [(f64, &'static str)],
    &'static [&'static str],
);

const LIBRARY: &[SearchableClip] = &[
    (
        "Birthday.mp4",
        120.0,
        2019,
        "Apple iPhone 8",
        "A girl blows out the candles of a chocolate cake while everybody sings.",
        &[
            (3.0, "guests sing a song"),
            (83.0, "the girl blows out six candles"),
            (100.0, "she cuts the cake"),
        ],
        &["birthday", "cake", "candles", "family"],
    ),
    (
        "IMG_2034.mov",
        45.0,
        2021,
        "Apple iPhone 8",
        "A brown dog runs along the beach and jumps into the waves.",
        &[
            (0.0, "the dog runs along the beach"),
            (20.0, "it jumps into a wave"),
            (40.0, "the dog shakes itself"),
        ],
        &["dog", "beach", "sea"],
    ),
    (
        "Sunday in the garden.mp4",
        300.0,
        2021,
        "Canon EOS",
        "Children play football in a garden; a dog watches them.",
        &[(10.0, "two boys kick a ball"), (200.0, "a dog lies in the shade")],
        &["garden", "football", "children"],
    ),
    (
        "First steps.mp4",
        30.0,
        2018,
        "Canon EOS",
        "A baby takes its first steps towards its grandmother.",
        &[(12.0, "the baby stands up"), (15.0, "it walks three steps")],
        &["baby", "first steps", "grandmother"],
    ),
    (
        "At the lake.mp4",
        600.0,
        2020,
        "GoPro HERO9",
        "People swim in a lake and row a boat. Later they grill fish.",
        &[(60.0, "a man rows a boat"), (400.0, "fish is grilled")],
        &["lake", "swimming", "boat"],
    ),
    (
        "Weihnachten.mp4",
        200.0,
        2019,
        "Apple iPhone 8",
        "Children unwrap presents beside a Christmas tree. Müller's café is mentioned.",
        &[(5.0, "a boy unwraps a toy train"), (150.0, "candles are lit on the tree")],
        &["christmas", "presents"],
    ),
    (
        "海辺の散歩.mp4",
        20.0,
        2022,
        "SONY",
        "Two people walk by the sea at sunset.",
        &[(1.0, "the sun sets over the sea")],
        &["sunset", "sea"],
    ),
    (
        "dog birthday cake.mp4",
        15.0,
        2023,
        "SONY",
        "A dog eats a small cake made of meat.",
        &[(4.0, "the dog eats the cake")],
        &["dog", "cake"],
    ),
];

async fn library(data: &std::path::Path) -> Library {
    let library = Library::open(data).await.unwrap();
    for (name, duration_s, year, camera, description, moments, tags) in LIBRARY {
        let mut incoming = library.incoming(None, 1 << 20).await.unwrap();
        incoming.write(name.as_bytes()).await.unwrap();
        let mut probe = probe();
        probe.duration_s = *duration_s;
        probe.camera = Some((*camera).to_owned());
        probe.creation_time = Some(format!("{year}-06-01T12:00:00Z"));
        let video = incoming.seal().await.unwrap().commit(name, "video/mp4", &probe).await.unwrap().video;
        let moments: Vec<_> = moments
            .iter()
            .map(|(start, text)| json!({"start": start, "end": start + 2.0, "text": text}))
            .collect();
        for (kind, content) in [
            (TextKind::Description, (*description).to_owned()),
            (TextKind::Moments, json!(moments).to_string()),
            (TextKind::Tags, json!(tags).to_string()),
        ] {
            put(&library, &video.id, kind, content).await;
        }
    }
    library
}

async fn put(library: &Library, id: &str, kind: TextKind, content: String) {
    let text = Text {
        content: Some(content),
        warning: None,
        model: "m".into(),
        settings: json!({}),
        created_ms: 0,
        edited_ms: None,
    };
    library.put_text(id, kind, text).await.unwrap();
}

async fn names(library: &Library, text: &str, filter: Filter) -> Vec<String> {
    let results = library.search(text, &filter, 20, 0).await.unwrap();
    assert_eq!(results.total, results.found.len());
    results.found.iter().map(|found| found.video.name.clone()).collect()
}

/// Query, and the videos that must come first, in this order; `only`: and no other.
const RANKING: &[(&str, &[&str], bool)] = &[
    ("birthday", &["Birthday.mp4", "dog birthday cake.mp4"], true),
    ("birthday candles", &["Birthday.mp4"], true),
    ("candles", &["Birthday.mp4", "Weihnachten.mp4"], true),
    ("dog", &["dog birthday cake.mp4", "IMG_2034.mov", "Sunday in the garden.mp4"], true),
    ("dogs running beach", &["IMG_2034.mov"], true),
    ("dog -cake", &["IMG_2034.mov", "Sunday in the garden.mp4"], true),
    ("dog -\"eats the\"", &["IMG_2034.mov", "Sunday in the garden.mp4"], true),
    ("\"first steps\"", &["First steps.mp4"], true),
    ("\"steps first\"", &[], true),
    ("2034", &["IMG_2034.mov"], true),
    ("garden", &["Sunday in the garden.mp4"], true),
    ("weihn*", &["Weihnachten.mp4"], true),
    ("cafe muller", &["Weihnachten.mp4"], true),
    ("children", &["Sunday in the garden.mp4", "Weihnachten.mp4"], true),
    ("海辺", &["海辺の散歩.mp4"], true),
    ("sea", &["海辺の散歩.mp4", "IMG_2034.mov"], true),
    ("gopro", &["At the lake.mp4"], true),
    ("grilled fish", &["At the lake.mp4"], true),
    ("submarine", &[], true),
];

#[tokio::test]
async fn the_ranking_is_sane() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let mut wrong = Vec::new();
    for (text, expected, only) in RANKING {
        let got = names(&library, text, Filter::default()).await;
        let fits = if *only {
            got == *expected
        } else {
            got.starts_with(&expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        };
        if !fits {
            wrong.push(format!("{text}: {got:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_place_names_its_second_and_marks_the_words() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let results = library.search("blow candle", &Filter::default(), 20, 0).await.unwrap();
    let moment = results.found[0].places.iter().find(|place| place.kind == PieceKind::Moment).unwrap();
    assert_eq!((moment.start, moment.end), (Some(83.0), Some(85.0)));
    let marked: Vec<&str> =
        moment.snippet.iter().filter(|part| part.matched).map(|part| part.text.as_str()).collect();
    assert_eq!(marked, ["blows", "candles"]);
    let whole: String = moment.snippet.iter().map(|part| part.text.as_str()).collect();
    assert_eq!(whole, "the girl blows out six candles");
}

#[tokio::test]
async fn filters_narrow_with_and_without_words() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let year =
        |year: i32| format!("{year}-01-01T00:00:00Z").parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let in_2021 = Filter { from_ms: Some(year(2021)), before_ms: Some(year(2022)), ..Filter::default() };
    assert_eq!(names(&library, "", in_2021.clone()).await, ["Sunday in the garden.mp4", "IMG_2034.mov"]);
    assert_eq!(names(&library, "dog", in_2021).await, ["IMG_2034.mov", "Sunday in the garden.mp4"]);
    let camera = Filter { camera: Some("Canon EOS".into()), ..Filter::default() };
    assert_eq!(names(&library, "dog", camera).await, ["Sunday in the garden.mp4"]);
    let short = Filter { max_s: Some(20.0), min_s: Some(16.0), ..Filter::default() };
    assert_eq!(names(&library, "", short).await, ["海辺の散歩.mp4"]);
    let tag = Filter { tag: Some("CAKE".into()), ..Filter::default() };
    assert_eq!(names(&library, "", tag).await, ["dog birthday cake.mp4", "Birthday.mp4"]);
    assert_eq!(library.cameras().await.unwrap(), ["Apple iPhone 8", "Canon EOS", "GoPro HERO9", "SONY"]);
}

#[tokio::test]
async fn what_changes_is_found_anew_and_what_is_deleted_is_not() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let id = library.search("garden", &Filter::default(), 1, 0).await.unwrap().found[0].video.id.clone();
    library.rename_video(&id, "Zoo.mp4").await.unwrap();
    put(&library, &id, TextKind::Description, "An elephant drinks.".into()).await;
    put(&library, &id, TextKind::Moments, "[]".into()).await;
    put(&library, &id, TextKind::Tags, "[\"elephant\"]".into()).await;
    assert_eq!(names(&library, "garden", Filter::default()).await, [""; 0]);
    assert_eq!(names(&library, "elephant zoo", Filter::default()).await, ["Zoo.mp4"]);
    let new = NewAnswer {
        video_id: id.clone(),
        question: "Is there a tusk?".into(),
        model: "m".into(),
        settings: json!({}),
    };
    let answer = library.start_answer(&new).await.unwrap();
    assert_eq!(names(&library, "tusk", Filter::default()).await, [""; 0], "not before it is answered");
    let end = AnswerEnd {
        status: AnswerStatus::Done,
        answer: "Two of ivory.".into(),
        error: None,
        finish_reason: None,
        usage: None,
        stages_ms: None,
        media: None,
    };
    library.end_answer(&answer, &end).await.unwrap();
    let results = library.search("ivory", &Filter::default(), 1, 0).await.unwrap();
    assert_eq!(results.found[0].places[0].answer_id.as_deref(), Some(answer.as_str()));
    library.trash_video(&id).await.unwrap();
    assert_eq!(names(&library, "elephant", Filter::default()).await, [""; 0], "not in the trash");
    library.restore_video(&id).await.unwrap();
    assert_eq!(names(&library, "elephant", Filter::default()).await, ["Zoo.mp4"]);
    library.trash_video(&id).await.unwrap();
    library.delete_trashed_video(&id).await.unwrap();
    assert_eq!(names(&library, "elephant", Filter::default()).await, [""; 0]);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pieces WHERE video_id = ?")
        .bind(&id)
        .fetch_one(&library.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn hostile_queries_find_nothing_and_break_nothing() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    for text in [
        "\"",
        "' OR 1=1 --",
        "\u{2}\u{3}",
        "*",
        "** -",
        "a\0b",
        "NEAR(dog, 3)",
        "text : dog",
        "{text} : x",
        "^dog OR",
        "\u{202e}god",
        "%",
        "_",
        "\\",
        "((((",
        "\"\"\"\"",
        "'; DROP TABLE pieces; --",
    ] {
        library
            .search(text, &Filter::default(), 20, 0)
            .await
            .map(|_| ())
            .or_else(|error| match error {
                LibraryError::Invalid(_) => Ok(()),
                other => Err(other),
            })
            .unwrap_or_else(|error| panic!("{text:?}: {error}"));
    }
    assert_eq!(names(&library, "dog", Filter::default()).await.len(), 3);
}

#[tokio::test]
async fn a_search_is_kept_until_something_changes() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let search = async |offset| library.search("dog", &Filter::default(), 2, offset).await.unwrap();
    let first = search(0).await;
    assert!(Arc::ptr_eq(&first, &search(0).await));
    assert_eq!((search(2).await.found.len(), search(2).await.total), (1, 3));
    assert_eq!((search(4).await.found.len(), search(4).await.total), (0, 3), "beyond the end");
    let id = first.found[0].video.id.clone();
    library.set_favourite(&id, true).await.unwrap();
    assert!(search(0).await.found[0].video.favourite);
    put(&library, &id, TextKind::Description, "A cat.".into()).await;
    let places = |found: &Found| found.places.iter().map(|place| place.kind).collect::<Vec<_>>();
    assert!(places(&first.found[0]).contains(&PieceKind::Description));
    let now = search(0).await;
    let now = now.found.iter().find(|found| found.video.id == id).unwrap();
    assert!(!places(now).contains(&PieceKind::Description), "{:?}", now.places);
}

#[tokio::test]
async fn totals_and_facts_are_those_of_the_videos() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let agree = async || {
        let sql = "SELECT (SELECT videos || ' ' || bytes || ' ' || trash || ' ' || trash_bytes FROM totals) =
                          (SELECT count(*) FILTER (WHERE deleted_ms IS NULL) || ' ' ||
                                  coalesce(sum(size) FILTER (WHERE deleted_ms IS NULL), 0) || ' ' ||
                                  count(*) FILTER (WHERE deleted_ms IS NOT NULL) || ' ' ||
                                  coalesce(sum(size) FILTER (WHERE deleted_ms IS NOT NULL), 0) FROM videos)
                   AND (SELECT count(*) FROM facts) = (SELECT count(*) FROM videos)
                   AND NOT EXISTS (SELECT 1 FROM videos v JOIN documents d ON d.video_id = v.id
                       LEFT JOIN facts f ON f.id = d.id AND f.video_id = v.id AND f.taken_ms IS v.local_ms
                           AND f.duration_s IS v.duration_s AND f.camera IS v.camera AND f.favourite = v.favourite
                           AND f.deleted = (v.deleted_ms IS NOT NULL)
                       WHERE f.id IS NULL)";
        sqlx::query_scalar::<_, bool>(sql).fetch_one(&library.pool).await.unwrap()
    };
    assert!(agree().await);
    let ids: Vec<String> = library.videos(3, 0).await.unwrap().into_iter().map(|video| video.id).collect();
    library.set_favourite(&ids[0], true).await.unwrap();
    library.trash_video(&ids[1]).await.unwrap();
    library.trash_video(&ids[2]).await.unwrap();
    library.restore_video(&ids[2]).await.unwrap();
    library.set_probe(&ids[2], &ProbeSummary { duration_s: 7.0, camera: None, ..probe() }).await.unwrap();
    assert!(agree().await);
    library.delete_trashed_video(&ids[1]).await.unwrap();
    assert!(agree().await);
}
