//! Tests of search by words and meaning together. What is near is chosen by hand, as if by vectors.

use homereel_video::ProbeSummary;
use serde_json::json;

use super::*;
use crate::{Library, Text, TextKind, tests::probe};

/// Name, camera, description, moments.
type Clip = (&'static str, &'static str, &'static str, &'static [(f64, &'static str)]);

const CLIPS: [Clip; 4] = [
    (
        "a.mp4",
        "Canon",
        "Snow lies on the garden.",
        &[(1.0, "kids play in the snow"), (9.0, "a snowman stands")],
    ),
    ("b.mp4", "Sony", "A winter day.", &[(4.0, "two children throw snowballs"), (8.0, "snow falls")]),
    ("c.mp4", "Sony", "A day at the sea.", &[(2.0, "a dog swims")]),
    ("d.mp4", "Canon", "People skate on ice.", &[(3.0, "a girl falls"), (6.0, "she laughs")]),
];

async fn library(data: &std::path::Path) -> Library {
    let library = Library::open(data).await.unwrap();
    for (name, camera, description, moments) in CLIPS {
        let mut incoming = library.incoming(None, 1 << 20).await.unwrap();
        incoming.write(name.as_bytes()).await.unwrap();
        let probe = ProbeSummary { camera: Some(camera.to_owned()), ..probe() };
        let video = incoming.seal().await.unwrap().commit(name, "video/mp4", &probe).await.unwrap().video;
        let moments: Vec<_> = moments
            .iter()
            .map(|(start, text)| json!({"start": start, "end": start + 2.0, "text": text}))
            .collect();
        for (kind, content) in
            [(TextKind::Description, description.to_owned()), (TextKind::Moments, json!(moments).to_string())]
        {
            let text = Text {
                content: Some(content),
                warning: None,
                model: "m".into(),
                settings: json!({}),
                created_ms: 0,
                edited_ms: None,
            };
            library.put_text(&video.id, kind, text).await.unwrap();
        }
    }
    library
}

/// The pieces with these texts, the first the nearest.
async fn near(library: &Library, texts: &[&str]) -> Vec<Near> {
    let mut near = Vec::new();
    for (rank, text) in texts.iter().enumerate() {
        let sql = "SELECT p.id, d.id FROM pieces p JOIN documents d USING (video_id) WHERE p.text = ?";
        let (piece, document) = sqlx::query_as(sql).bind(text).fetch_one(&library.pool).await.unwrap();
        near.push(Near { piece, document, cosine: 0.9 - 0.1 * rank as f32 });
    }
    near
}

async fn found(library: &Library, text: &str, near: &[Near]) -> Vec<String> {
    let results = library.search_near(text, &Filter::default(), near, 20, 0).await.unwrap();
    assert_eq!(results.total, results.found.len());
    results.found.iter().map(|found| found.video.name.clone()).collect()
}

#[tokio::test]
async fn videos_found_both_ways_come_first_and_each_place_says_why() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let near =
        near(&library, &["two children throw snowballs", "kids play in the snow", "a girl falls"]).await;
    assert_eq!(found(&library, "kids snow", &[]).await, ["a.mp4"]);
    assert_eq!(found(&library, "kids snow", &near).await, ["a.mp4", "b.mp4", "d.mp4"]);
    let results = library.search_near("kids snow", &Filter::default(), &near, 20, 0).await.unwrap();
    let place = &results.found[0].places[0];
    assert_eq!((place.start, place.why.as_slice()), (Some(1.0), [Why::Words, Why::Meaning].as_slice()));
    assert!(place.snippet.iter().any(|part| part.matched), "its words are marked");
    let place = &results.found[1].places[0];
    assert_eq!((place.kind, place.start, place.end), (PieceKind::Moment, Some(4.0), Some(6.0)));
    assert_eq!(place.why, [Why::Meaning]);
    assert_eq!(place.snippet[0].text, "two children throw snowballs");
    assert!(results.found[0].places[1..].iter().all(|place| place.why == [Why::Words]));
}

#[tokio::test]
async fn pages_of_a_search_by_meaning_follow_each_other() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let near = near(&library, &["two children throw snowballs", "a dog swims", "a girl falls"]).await;
    let mut names = Vec::new();
    for offset in 0..5 {
        let page = library.search_near("kids", &Filter::default(), &near, 1, offset).await.unwrap();
        assert_eq!(page.total, 4);
        names.extend(page.found.iter().map(|found| found.video.name.clone()));
    }
    assert_eq!(names, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]);
}

#[tokio::test]
async fn quotations_stars_minus_and_filters_hold_for_what_is_found_by_meaning() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let names = async |text: &str, filter: Filter| {
        let query = library.meaning_query(text, &filter).await.unwrap().unwrap();
        let Documents::Only(documents) = query.documents else { panic!("all documents for {text}") };
        let mut names = Vec::new();
        for document in documents {
            let sql = "SELECT v.name FROM documents d JOIN videos v ON v.id = d.video_id WHERE d.id = ?";
            names.push(
                sqlx::query_scalar::<_, String>(sql).bind(document).fetch_one(&library.pool).await.unwrap(),
            );
        }
        names.sort();
        names
    };
    let default = Filter::default;
    assert_eq!(names("winter -dog", default()).await, ["a.mp4", "b.mp4", "d.mp4"]);
    assert_eq!(names("winter -\"a dog\" -ice", default()).await, ["a.mp4", "b.mp4"]);
    assert_eq!(names("winter snow*", default()).await, ["a.mp4", "b.mp4"]);
    assert_eq!(names("\"snow falls\"", default()).await, ["b.mp4"]);
    assert_eq!(names("kids \"snow falls\"", default()).await, [""; 0], "only what the words find");
    assert_eq!(names("winter -雪", default()).await.len(), 4);
    assert_eq!(names("winter \"雪\"", default()).await, [""; 0]);
    let sony = Filter { camera: Some("Sony".into()), ..Filter::default() };
    assert_eq!(names("winter", sony).await, ["b.mp4", "c.mp4"]);
    let favourite = Filter { favourite: true, ..Filter::default() };
    assert_eq!(names("winter", favourite).await, [""; 0]);

    let query = library.meaning_query("“first steps” gard* -rain", &default()).await.unwrap().unwrap();
    assert_eq!(query.text, "first steps gard");
    assert_eq!(library.meaning_query(" ", &default()).await.unwrap(), None);
    let all = library.meaning_query("winter", &default()).await.unwrap().unwrap();
    assert_eq!(all.documents, Documents::AllBut(Vec::new()));
}

#[tokio::test]
async fn what_is_in_the_trash_is_not_near() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let near = near(&library, &["a dog swims", "a girl falls"]).await;
    let id = library.search("swims", &Filter::default(), 1, 0).await.unwrap().found[0].video.id.clone();
    library.trash_video(&id).await.unwrap();
    let all = library.meaning_query("animal", &Filter::default()).await.unwrap().unwrap();
    assert_eq!(all.documents, Documents::AllBut(vec![near[0].document]));
    // It was found just before it was moved there.
    let results = library.search_near("animal", &Filter::default(), &near, 20, 0).await.unwrap();
    assert_eq!(results.found.len(), 1);
    assert_eq!(results.found[0].video.name, "d.mp4");
    assert_eq!(library.videos_of(&near, 5).await.unwrap().len(), 1);
    assert_eq!(library.recall("animal", &near, 5).await.unwrap().len(), 1);
}

#[tokio::test]
async fn notes_for_a_question_come_from_words_and_meaning() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path()).await;
    let near = near(&library, &["two children throw snowballs", "kids play in the snow", "a.mp4"]).await;
    let texts = |notes: Vec<Recalled>| notes.into_iter().map(|note| note.text).collect::<Vec<_>>();
    let notes = library.recall("When do the kids play?", &near, 10).await.unwrap();
    assert_eq!(notes[1].start, Some(4.0));
    assert_eq!(texts(notes), ["kids play in the snow", "two children throw snowballs", "a.mp4"]);
    let notes = library.recall("What is it?", &near, 2).await.unwrap();
    assert_eq!(texts(notes), ["two children throw snowballs", "kids play in the snow"]);
}
