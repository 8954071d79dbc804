//! Tests of the vectors of texts: which texts wait, what happens to vectors of texts that change, and changes of the model.

use serde_json::json;

use super::*;
use crate::{Text, TextKind, tests::add};

const DIMENSION: usize = 4;

async fn put(library: &Library, id: &str, kind: TextKind, content: &str) {
    let text = Text {
        content: Some(content.to_owned()),
        warning: None,
        model: "m".into(),
        settings: json!({}),
        created_ms: 0,
        edited_ms: None,
    };
    library.put_text(id, kind, text).await.unwrap();
}

/// A library with a video, whose name, description, two moments and two tags are texts.
async fn library(data: &std::path::Path) -> (Library, String) {
    let library = Library::open(data).await.unwrap();
    let video = add(&library, b"bytes", "Birthday.mp4").await.video;
    put(&library, &video.id, TextKind::Description, "A girl blows out candles.").await;
    let moments =
        json!([{"start": 1.0, "end": 2.0, "text": "guests sing"}, {"start": 3.0, "end": 4.0, "text": " "}]);
    put(&library, &video.id, TextKind::Moments, &moments.to_string()).await;
    put(&library, &video.id, TextKind::Tags, "[\"birthday\", \"cake\"]").await;
    (library, video.id)
}

async fn pending(library: &Library) -> Vec<String> {
    let mut texts: Vec<String> =
        library.pending_texts(100).await.unwrap().into_iter().map(|pending| pending.text).collect();
    texts.sort();
    texts
}

/// Embeds everything that waits; the vector is the number of bytes.
async fn embed_all(library: &Library, model: EmbeddingModel) -> usize {
    let texts = library.pending_texts(100).await.unwrap();
    let embedded: Vec<_> = texts
        .into_iter()
        .map(|text| {
            let value = text.text.len() as f32;
            (text, vec![value; DIMENSION])
        })
        .collect();
    library.store_embeddings(model, &embedded).await.unwrap()
}

async fn ids(library: &Library, model: EmbeddingModel) -> Vec<i64> {
    library.embeddings_after(model, 0, 100).await.unwrap().iter().map(|stored| stored.id).collect()
}

#[tokio::test]
async fn texts_with_a_meaning_wait_until_they_have_a_vector() {
    let data = tempfile::tempdir().unwrap();
    let (library, id) = library(data.path()).await;
    let expected = ["A girl blows out candles.", "Birthday.mp4", "guests sing"];
    assert_eq!(pending(&library).await, expected);
    let model = library.embedding_model("m", DIMENSION).await.unwrap();
    assert_eq!(pending(&library).await, expected, "the first model finds the same");
    assert_eq!(embed_all(&library, model).await, 3);
    assert_eq!(library.embedding_counts(model).await.unwrap(), EmbeddingCounts { embedded: 3, pending: 0 });
    let of_video = library.embeddings_of_video(model, &id).await.unwrap();
    assert_eq!(of_video.iter().map(|stored| stored.vector[0]).collect::<Vec<_>>(), [25.0, 11.0]);
    let by_id = library.embeddings_by_id(model, &ids(&library, model).await).await.unwrap();
    assert_eq!(by_id.len(), 3);
    assert!(by_id.iter().all(|vector| vector.document == of_video[0].document));
}

#[tokio::test]
async fn a_text_that_changed_loses_its_vector_and_waits_again() {
    let data = tempfile::tempdir().unwrap();
    let (library, id) = library(data.path()).await;
    let model = library.embedding_model("m", DIMENSION).await.unwrap();
    let before = library.pending_texts(100).await.unwrap();
    put(&library, &id, TextKind::Description, "A cake.").await;
    let late: Vec<_> = before.into_iter().map(|text| (text, vec![1.0; DIMENSION])).collect();
    assert_eq!(library.store_embeddings(model, &late).await.unwrap(), 2, "not of the former description");
    assert_eq!(pending(&library).await, ["A cake."]);
    embed_all(&library, model).await;
    let all = ids(&library, model).await;
    // As the text of one piece is edited in place.
    sqlx::query("UPDATE pieces SET text = 'guests dance' WHERE text = 'guests sing'")
        .execute(&library.pool)
        .await
        .unwrap();
    assert_eq!(pending(&library).await, ["guests dance"]);
    let left = ids(&library, model).await;
    let removed: Vec<i64> = all.into_iter().filter(|id| !left.contains(id)).collect();
    assert_eq!((left.len(), &library.removed_embeddings(10).await.unwrap()), (2, &removed));
    library.confirm_removed_embeddings(&removed).await.unwrap();
    assert!(library.removed_embeddings(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deleted_video_takes_its_vectors_with_it() {
    let data = tempfile::tempdir().unwrap();
    let (library, id) = library(data.path()).await;
    let model = library.embedding_model("m", DIMENSION).await.unwrap();
    embed_all(&library, model).await;
    put(&library, &id, TextKind::Description, "waits").await;
    library.trash_video(&id).await.unwrap();
    assert_eq!(ids(&library, model).await.len(), 2, "it may be restored");
    library.delete_trashed_video(&id).await.unwrap();
    assert_eq!(library.embedding_counts(model).await.unwrap(), EmbeddingCounts { embedded: 0, pending: 0 });
    assert_eq!(library.removed_embeddings(10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn another_model_begins_anew_and_the_former_s_vectors_stay_until_it_has_done() {
    let data = tempfile::tempdir().unwrap();
    let (library, id) = library(data.path()).await;
    let first = library.embedding_model("m", DIMENSION).await.unwrap();
    embed_all(&library, first).await;
    let second = library.embedding_model("m", 2 * DIMENSION).await.unwrap();
    assert_eq!(pending(&library).await.len(), 3);
    assert!(ids(&library, second).await.is_empty(), "vectors of two models are never mixed");
    // Back again, with one new text.
    put(&library, &id, TextKind::Description, "new").await;
    assert_eq!(library.embedding_model("m", DIMENSION).await.unwrap(), first);
    assert_eq!(pending(&library).await, ["new"]);
    let third = library.embedding_model("n", DIMENSION).await.unwrap();
    embed_all(&library, third).await;
    assert!(library.forget_other_models(third).await.unwrap());
    assert_eq!((ids(&library, first).await.len(), ids(&library, third).await.len()), (0, 3));
    let models: Vec<String> =
        sqlx::query_scalar("SELECT name FROM embedding_models").fetch_all(&library.pool).await.unwrap();
    assert_eq!(models, ["n"]);
}

#[tokio::test]
async fn texts_that_fail_go_to_the_end_of_the_queue() {
    let data = tempfile::tempdir().unwrap();
    let (library, _) = library(data.path()).await;
    let first = library.pending_texts(1).await.unwrap();
    library.postpone_texts(&first).await.unwrap();
    let queue = library.pending_texts(10).await.unwrap();
    assert_eq!(queue.iter().map(|text| text.tries).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(queue[2].text, first[0].text);
}

#[tokio::test]
async fn vectors_that_do_not_fit_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let (library, _) = library(data.path()).await;
    let model = library.embedding_model("m", DIMENSION).await.unwrap();
    for vector in [vec![1.0; DIMENSION + 1], vec![], vec![f32::NAN; DIMENSION]] {
        let text = library.pending_texts(1).await.unwrap().remove(0);
        let error = library.store_embeddings(model, &[(text, vector)]).await.unwrap_err();
        assert!(matches!(error, LibraryError::Invalid(_)), "{error}");
    }
    assert_eq!(pending(&library).await.len(), 3);
}
