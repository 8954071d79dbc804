//! The search set: does search by meaning find what is said in other words, and lose nothing of what words find?
//!
//! The measurement takes a real sentence model: `HOMEREEL_EMBED_MODEL` names its directory (`scripts/test.sh meaning`).
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod concepts;

use std::{collections::HashMap, path::Path};

use homereel::{
    meaning::{Meaning, MeaningState},
    shutdown::Lifecycle,
};
use homereel_engine::{ModelSource, embed::EmbedSource};
use homereel_library::{Filter, Library, Text, TextKind};
use homereel_video::fixtures::summary;
use serde_json::json;

use concepts::{Concept, MOMENTS, halves};

/// Results that are looked at.
const SHOWN: usize = 10;

/// Adds a video with these moments.
async fn add(library: &Library, name: &str, moments: &[String]) {
    let mut incoming = library.incoming(None, 1 << 20).await.unwrap();
    incoming.write(name.as_bytes()).await.unwrap();
    let video = incoming.seal().await.unwrap().commit(name, "video/mp4", &summary()).await.unwrap().video;
    let moments: Vec<_> =
        moments.iter().map(|text| json!({"start": 1.0, "end": 2.0, "text": text})).collect();
    let text = Text {
        content: Some(json!(moments).to_string()),
        warning: None,
        model: "m".into(),
        settings: json!({}),
        created_ms: 0,
        edited_ms: None,
    };
    library.put_text(&video.id, TextKind::Moments, text).await.unwrap();
}

/// A library with a video per moment, the concepts mixed; and the number of the concept of each video's name.
async fn library(data: &Path, concepts: &[&Concept]) -> (Library, HashMap<String, usize>) {
    let library = Library::open(data).await.unwrap();
    let moments: Vec<Vec<String>> = concepts.iter().map(|concept| concept.moments().collect()).collect();
    let mut of = HashMap::new();
    for at in 0..MOMENTS {
        for (concept, moments) in moments.iter().enumerate() {
            let name = format!("clip {:04}.mp4", of.len() + 1);
            add(&library, &name, &moments[at..=at]).await;
            of.insert(name, concept);
        }
    }
    (library, of)
}

/// The mean recall of queries: the share of relevant videos among the first ten.
#[derive(Debug, Default)]
struct Recall {
    queries: usize,
    words: f64,
    hybrid: f64,
}

async fn measure<'a>(
    (library, of): &(Library, HashMap<String, usize>),
    meaning: &Meaning,
    queries: impl Iterator<Item = (usize, &'a str)>,
) -> Recall {
    let filter = Filter::default();
    let mut recall = Recall::default();
    for (concept, query) in queries {
        let nearby = meaning.near_query(query, &filter).await.unwrap();
        assert_eq!(nearby.state, MeaningState::Used);
        recall.queries += 1;
        for (near, sum) in [(&[][..], &mut recall.words), (&nearby.near, &mut recall.hybrid)] {
            let results = library.search_near(query, &filter, near, SHOWN, 0).await.unwrap();
            let relevant = results.found.iter().filter(|found| of[&found.video.name] == concept);
            *sum += relevant.count() as f64 / SHOWN as f64;
        }
    }
    recall.words /= recall.queries as f64;
    recall.hybrid /= recall.queries as f64;
    recall
}

#[tokio::test]
#[ignore = "takes a real sentence model: scripts/test.sh meaning"]
async fn meaning_finds_what_is_said_in_other_words_and_loses_nothing_that_words_find() {
    let model = std::env::var_os("HOMEREEL_EMBED_MODEL").expect("HOMEREEL_EMBED_MODEL");
    let halves = halves();
    let all: Vec<&Concept> = halves.iter().flat_map(|(_, concepts)| concepts).collect();
    let data = tempfile::tempdir().unwrap();
    let searched = library(data.path(), &all).await;
    let source = EmbedSource::Model(ModelSource::Dir(model.into()));
    let lifecycle = Lifecycle::default();
    let meaning = Meaning::open(Some(source), searched.0.clone(), lifecycle.hard().clone()).unwrap();
    meaning.embed_pending(lifecycle.soft()).await.unwrap();

    let mut first = 0;
    for (name, concepts) in &halves {
        let numbered = || concepts.iter().enumerate().map(|(at, concept)| (first + at, concept));
        let paraphrases =
            numbered().flat_map(|(at, concept)| concept.paraphrases.iter().map(move |query| (at, *query)));
        let exact = numbered().flat_map(|(at, concept)| concept.exact.iter().map(move |query| (at, *query)));
        let paraphrases = measure(&searched, &meaning, paraphrases).await;
        let exact = measure(&searched, &meaning, exact).await;
        first += concepts.len();
        println!("{name}, recall@{SHOWN}: paraphrases {paraphrases:.3?}, exact words {exact:.3?}");
        assert!(paraphrases.hybrid >= 1.4 * paraphrases.words, "{name}: {paraphrases:?}");
        assert!(exact.hybrid >= exact.words, "{name}: {exact:?}");
    }
}

#[tokio::test]
async fn exact_queries_have_words_of_their_texts() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let halves = halves();
    let all: Vec<&Concept> = halves.iter().flat_map(|(_, concepts)| concepts).collect();
    assert_eq!((halves[0].1.len(), all.len() * MOMENTS), (50, 2000));
    for concept in &all {
        let texts: Vec<String> = concept.texts.iter().map(|text| (*text).to_owned()).collect();
        let counts = (texts.len(), concept.paraphrases.len(), concept.exact.len());
        assert_eq!(counts, (6, 2, 1), "{}", concept.name);
        assert_eq!(concept.moments().collect::<std::collections::HashSet<_>>().len(), MOMENTS);
        add(&library, concept.name, &texts).await;
    }
    for concept in all {
        for exact in &concept.exact {
            let results = library.search(exact, &Filter::default(), 100, 0).await.unwrap();
            let found = results.found.iter().any(|found| {
                let in_a_moment = found.places.iter().any(|place| place.start.is_some());
                found.video.name == concept.name && in_a_moment
            });
            assert!(found, "{}: no text has {exact}", concept.name);
        }
    }
}
