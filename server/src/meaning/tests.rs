//! Tests of search by meaning with a stub of an embedding server: what is found, and what happens when the server fails.

use std::{path::Path, time::Duration};

use homereel_library::{Text, TextKind};
use homereel_video::fixtures::summary;
use serde_json::json;

use super::{
    stub::{EmbeddingStub, Fault},
    *,
};
use crate::shutdown::Lifecycle;

const CLIPS: [(&str, &str, &str); 5] = [
    ("a.mp4", "Two children throw snowballs.", "snowballs fly"),
    ("b.mp4", "A dog runs along the beach.", "the puppy jumps into the waves"),
    ("c.mp4", "Kids build a snowman in winter.", "a snowman stands"),
    ("d.mp4", "A birthday cake with candles.", "everybody sings a song"),
    ("e.mp4", "Somebody repairs a bicycle.", "the chain is oiled"),
];

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.unwrap()
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

async fn add(library: &Library, (name, description, moment): (&str, &str, &str)) -> String {
    let mut incoming = library.incoming(None, 1 << 20).await.unwrap();
    incoming.write(name.as_bytes()).await.unwrap();
    let id = incoming.seal().await.unwrap().commit(name, "video/mp4", &summary()).await.unwrap().video.id;
    put(library, &id, TextKind::Description, description.to_owned()).await;
    let moments = json!([{"start": 3.0, "end": 5.0, "text": moment}]);
    put(library, &id, TextKind::Moments, moments.to_string()).await;
    id
}

/// A library with the clips, and search by meaning in it.
struct Searched {
    library: Library,
    meaning: Meaning,
    stub: EmbeddingStub,
    lifecycle: Lifecycle,
    ids: Vec<String>,
}

impl Searched {
    async fn new(data: &Path) -> Self {
        Self::of(data, &CLIPS).await
    }

    async fn of(data: &Path, clips: &[(&str, &str, &str)]) -> Self {
        let library = Library::open(data).await.unwrap();
        let mut ids = Vec::new();
        for &clip in clips {
            ids.push(add(&library, clip).await);
        }
        let (stub, lifecycle) = (EmbeddingStub::start().await, Lifecycle::default());
        let meaning = Meaning::open(Some(stub.source()), library.clone(), lifecycle.hard().clone()).unwrap();
        Self { library, meaning, stub, lifecycle, ids }
    }

    fn start(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.meaning.clone().upkeep(self.lifecycle.clone()))
    }

    fn parts(&self) -> &Parts {
        self.meaning.0.as_ref().unwrap()
    }

    /// Embeds what waits.
    async fn embed(&self) {
        within(self.meaning.embed_pending(self.lifecycle.soft())).await.unwrap();
    }

    async fn found(&self, text: &str) -> Vec<String> {
        let filter = Filter::default();
        let nearby = self.meaning.near_query(text, &filter).await.unwrap();
        let results = self.library.search_near(text, &filter, &nearby.near, 10, 0).await.unwrap();
        results.found.iter().map(|found| found.video.name.clone()).collect()
    }

    async fn state(&self, text: &str) -> MeaningState {
        self.meaning.near_query(text, &Filter::default()).await.unwrap().state
    }
}

#[tokio::test]
async fn a_library_of_one_video_or_of_one_subject_is_searched_by_meaning_too() {
    let snow = ("a.mp4", "Two children throw snowballs.", "snowballs fly");
    for clips in
        [vec![snow], vec![snow, ("b.mp4", "A snowman stands.", "a snowman"), ("c.mp4", "Winter.", "snow")]]
    {
        let data = tempfile::tempdir().unwrap();
        let searched = Searched::of(data.path(), &clips).await;
        searched.embed().await;
        assert_eq!(searched.found("winter snow").await.len(), clips.len());
        assert_eq!(searched.found("birthday").await, [""; 0]);
    }
}

#[tokio::test]
async fn other_words_for_the_same_are_found_and_nonsense_is_not() {
    let data = tempfile::tempdir().unwrap();
    let searched = Searched::new(data.path()).await;
    searched.embed().await;
    assert_eq!(searched.state("kids playing in the winter").await, MeaningState::Used);
    let mut found = searched.found("boys winter").await;
    found.sort();
    assert_eq!(found, ["a.mp4", "c.mp4"]);
    assert_eq!(searched.found("music").await, ["d.mp4"]);
    assert_eq!(searched.found("submarine").await, [""; 0]);
    assert_eq!(searched.found("music -candles").await, [""; 0]);
    assert_eq!(searched.found("\"music\"").await, [""; 0], "a quotation must occur");
    assert_eq!(searched.state("").await, MeaningState::Off, "there is nothing to look for");
    let progress = searched.meaning.progress().unwrap();
    assert_eq!(progress.model.as_deref(), Some("stub/embed"));
    assert_eq!((progress.counts.embedded, progress.counts.pending), (15, 0));
}

#[tokio::test]
async fn a_query_is_embedded_once() {
    let data = tempfile::tempdir().unwrap();
    let searched = Searched::new(data.path()).await;
    searched.embed().await;
    let before = searched.stub.requests();
    for _ in 0..3 {
        searched.found("music").await;
    }
    assert_eq!(searched.stub.requests(), before + 1);
}

#[tokio::test]
async fn new_texts_are_found_and_deleted_ones_are_not() {
    let data = tempfile::tempdir().unwrap();
    let searched = Searched::new(data.path()).await;
    let upkeep = searched.start();
    let pending = async |count: u64| {
        while searched.meaning.progress().unwrap().counts.embedded != count {
            tokio::task::yield_now().await;
        }
    };
    within(pending(15)).await;
    let id = add(&searched.library, ("f.mp4", "A song.", "she sings")).await;
    within(pending(18)).await;
    let mut found = searched.found("music").await;
    found.sort();
    assert_eq!(found, ["d.mp4", "f.mp4"]);
    searched.library.trash_video(&id).await.unwrap();
    assert_eq!(searched.found("music").await, ["d.mp4"]);
    searched.library.delete_trashed_video(&id).await.unwrap();
    assert_eq!(searched.found("music").await, ["d.mp4"]);
    searched.embed().await;
    let Opening::Ready(index) = searched.parts().opening.borrow().clone() else { panic!("not open") };
    assert_eq!(index.size().0, 15);
    searched.lifecycle.drain();
    within(upkeep).await.unwrap();
}

#[tokio::test]
async fn videos_like_one_are_found_without_itself_and_without_the_server() {
    let data = tempfile::tempdir().unwrap();
    let searched = Searched::new(data.path()).await;
    assert_eq!(
        searched.meaning.similar(&searched.ids[0], 3).await.unwrap().0,
        MeaningState::Unavailable,
        "nothing is embedded yet"
    );
    searched.embed().await;
    searched.stub.set(Fault::Down);
    let (state, videos) = searched.meaning.similar(&searched.ids[0], 3).await.unwrap();
    assert_eq!(state, MeaningState::Used);
    assert_eq!(videos.iter().map(|video| video.name.as_str()).collect::<Vec<_>>(), ["c.mp4"]);
    searched.library.trash_video(&searched.ids[2]).await.unwrap();
    assert!(searched.meaning.similar(&searched.ids[0], 3).await.unwrap().1.is_empty());
    let off = Meaning::default();
    assert_eq!(off.similar(&searched.ids[0], 3).await.unwrap(), (MeaningState::Off, Vec::new()));
}

#[tokio::test]
async fn words_alone_are_searched_while_the_server_fails_and_vectors_stay() {
    for fault in [Fault::Down, Fault::OtherDimension, Fault::NotANumber] {
        let data = tempfile::tempdir().unwrap();
        let searched = Searched::new(data.path()).await;
        searched.embed().await;
        searched.stub.set(fault);
        assert_eq!(searched.state("music").await, MeaningState::Unavailable, "{fault:?}");
        assert_eq!(searched.found("song").await, ["d.mp4"], "{fault:?}");
        add(&searched.library, ("f.mp4", "A song.", "she sings")).await;
        searched.meaning.embed_pending(searched.lifecycle.soft()).await.unwrap_err();
        assert_eq!(searched.meaning.near_question("music").await.unwrap().state, MeaningState::Unavailable);
        searched.stub.set(Fault::None);
        searched.embed().await;
        // The pause after a failure is over.
        *searched.parts().paused.lock().unwrap() = None;
        let mut found = searched.found("music").await;
        found.sort();
        assert_eq!(found, ["d.mp4", "f.mp4"], "{fault:?}");
        let counts = searched.meaning.progress().unwrap().counts;
        assert_eq!((counts.embedded, counts.pending), (18, 0));
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_delays_no_search() {
    let data = tempfile::tempdir().unwrap();
    let searched = Searched::new(data.path()).await;
    searched.stub.set(Fault::Down);
    let upkeep = searched.start();
    assert_eq!(within(searched.state("music")).await, MeaningState::Unavailable);
    let problem = async || {
        while searched.meaning.progress().unwrap().problem.is_none() {
            tokio::task::yield_now().await;
        }
    };
    within(problem()).await;
    searched.stub.set(Fault::None);
    // As a search does after its pause.
    searched.parts().wanted.notify_one();
    let done = async || {
        while searched.meaning.progress().unwrap().counts.embedded != 15 {
            tokio::task::yield_now().await;
        }
    };
    within(done()).await;
    searched.lifecycle.drain();
    within(upkeep).await.unwrap();
}

#[tokio::test]
async fn it_is_off_without_a_source() {
    let meaning = Meaning::default();
    let nearby = meaning.near_query("music", &Filter::default()).await.unwrap();
    assert_eq!(nearby, Nearby { state: MeaningState::Off, near: Vec::new() });
    assert!(meaning.progress().is_none() && meaning.embedder().is_none());
    within(meaning.upkeep(Lifecycle::default())).await;
}
