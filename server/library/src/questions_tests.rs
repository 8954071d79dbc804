//! Tests of [`super`].

use super::*;
use crate::{search::PieceKind, tests::add};

fn note(video_id: &str, text: &str) -> Recalled {
    Recalled {
        video_id: video_id.into(),
        name: "lake.mp4".into(),
        day: None,
        kind: PieceKind::Moment,
        start: Some(4.5),
        text: text.into(),
    }
}

#[tokio::test]
async fn an_answer_is_kept_with_its_notes_and_loses_those_of_deleted_videos() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let one = add(&library, b"one", "lake.mp4").await.video.id;
    let two = add(&library, b"two", "sea.mp4").await.video.id;
    let notes = [note(&one, "Ben jumps"), note("gone", "nothing"), note(&two, "Waves")];
    let id = library.start_question("Who jumps?", Some("model"), &notes).await.unwrap();
    assert_eq!(library.question(&id).await.unwrap().status, AnswerStatus::Running);
    library.end_question(&id, AnswerStatus::Done, "Ben [1]", None).await.unwrap();
    let kept = library.question(&id).await.unwrap();
    assert_eq!((kept.answer.as_str(), kept.model.as_deref()), ("Ben [1]", Some("model")));
    let numbers = async || {
        let notes = library.question_notes(&id).await.unwrap();
        notes.into_iter().map(|(number, note)| (number, note.text)).collect::<Vec<_>>()
    };
    assert_eq!(numbers().await, [(1, "Ben jumps".to_owned()), (3, "Waves".to_owned())]);
    library.trash_video(&one).await.unwrap();
    assert_eq!(numbers().await, [(3, "Waves".to_owned())]);
    library.restore_video(&one).await.unwrap();
    assert_eq!(numbers().await.len(), 2);
    library.delete_question(&id).await.unwrap();
    assert!(library.question(&id).await.is_err() && library.delete_question(&id).await.is_err());
}

#[tokio::test]
async fn lists_go_back_in_time_and_what_was_running_has_failed_after_a_start() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(library.start_question(&format!("Question {number}"), None, &[]).await.unwrap());
    }
    let page = library.questions(None, 2).await.unwrap();
    assert_eq!(page.iter().map(|one| &one.id).collect::<Vec<_>>(), [&ids[4], &ids[3]]);
    let page = library.questions(Some(&ids[3]), 9).await.unwrap();
    assert_eq!(page.iter().map(|one| &one.id).collect::<Vec<_>>(), [&ids[2], &ids[1], &ids[0]]);
    library.fail_running_answers().await.unwrap();
    assert_eq!(library.question(&ids[0]).await.unwrap().status, AnswerStatus::Failed);
}
