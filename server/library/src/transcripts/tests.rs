//! Transcripts in a temporary library: appended and resumed, found by search, corrected, made again, and removed with their video.

use std::time::Duration;

use super::*;
use crate::{
    Filter, JobState, Lane, Library, LibraryError, PieceKind, Step, Video, backup, restore, tests::add,
};

const LEASE: Duration = Duration::from_secs(60);

async fn library() -> (tempfile::TempDir, Library, Video) {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(&data.path().join("library")).await.unwrap();
    let video = add(&library, b"bytes", "a.mp4").await.video;
    (data, library, video)
}

fn line(start: f64, text: &str) -> NewLine {
    NewLine { start, end: start + 1.5, text: text.into(), language: Some("en".into()), confidence: 0.9 }
}

/// Finds the second of the best match of `words`.
async fn found(library: &Library, words: &str) -> Option<(PieceKind, Option<f64>)> {
    let results = library.search(words, &Filter::default(), 10, 0).await.unwrap();
    let hit = results.found.first()?.places.first()?;
    assert_eq!(hit.answer_id, None);
    Some((hit.kind, hit.start))
}

/// Stores a complete transcript of two lines.
async fn transcribed(library: &Library, id: &str) {
    library.begin_transcript(id, "tiny").await.unwrap();
    let lines = [line(2.0, "Grandma, look at the frog!"), line(61.25, "It jumps into the pond.")];
    library.append_transcript(id, &lines, 63.0, Some("en")).await.unwrap();
    library.finish_transcript(id, None).await.unwrap();
}

#[tokio::test]
async fn a_transcription_that_was_interrupted_goes_on_where_it_was() {
    let (data, library, video) = library().await;
    let id = &video.id;
    assert_eq!(library.transcript(id).await.unwrap(), None);
    let missing = library.append_transcript(id, &[], 1.0, None).await;
    assert!(matches!(missing, Err(LibraryError::NotFound { .. })), "it has not begun");
    let begun = library.begin_transcript(id, "tiny").await.unwrap();
    assert_eq!((begun.state, begun.position, begun.line_count), (TranscriptState::Listening, 0.0, 0));
    let first = [line(2.0, "one"), line(5.0, "two")];
    assert_eq!(library.append_transcript(id, &first, 30.0, Some("en")).await.unwrap(), 0);
    library.close().await;
    drop(library);

    let library = Library::open(&data.path().join("library")).await.unwrap();
    let again = library.begin_transcript(id, "tiny").await.unwrap();
    assert_eq!((again.position, again.line_count, again.language.as_deref()), (30.0, 2, Some("en")));
    library.append_transcript(id, &[line(31.0, "three")], 60.0, None).await.unwrap();
    library.finish_transcript(id, None).await.unwrap();
    let lines = library.transcript_lines(id, 1, 10).await.unwrap();
    assert_eq!(
        lines.iter().map(|line| (line.index, &*line.text)).collect::<Vec<_>>(),
        [(1, "two"), (2, "three")]
    );
    let done = library.transcript(id).await.unwrap().unwrap();
    assert_eq!((done.state, done.position, done.line_count), (TranscriptState::Done, 60.0, 3));
    assert!(done.done_ms.is_some());
    let between = library.transcript_between(id, 6.0, 31.5, 10).await.unwrap();
    assert_eq!(between.iter().map(|line| line.index).collect::<Vec<_>>(), [1, 2]);
    for (second, index) in [(0.0, 0), (5.0, 1), (30.9, 1), (99.0, 2)] {
        assert_eq!(library.transcript_line_at(id, second).await.unwrap(), index, "{second}");
    }
}

#[tokio::test]
async fn what_is_said_is_found_with_its_second_and_so_is_what_a_person_corrects() {
    let (_data, library, video) = library().await;
    let id = &video.id;
    library.begin_transcript(id, "tiny").await.unwrap();
    library.append_transcript(id, &[line(2.0, "Look at the frog!")], 30.0, None).await.unwrap();
    assert_eq!(found(&library, "frog").await, None, "not indexed yet");
    library.index_transcript(id).await.unwrap();
    assert_eq!(found(&library, "frogs").await, Some((PieceKind::Speech, Some(2.0))));
    library.append_transcript(id, &[line(61.25, "It jumps into the bond.")], 63.0, None).await.unwrap();
    library.finish_transcript(id, None).await.unwrap();
    assert_eq!(found(&library, "jump \"the bond\"").await, Some((PieceKind::Speech, Some(61.25))));

    let edited = library.edit_transcript_line(id, 1, " It jumps into the pond. ").await.unwrap();
    assert_eq!((edited.text.as_str(), edited.start), ("It jumps into the pond.", 61.25));
    assert!(edited.edited_ms.is_some());
    assert_eq!(found(&library, "bond").await, None);
    assert_eq!(found(&library, "pond").await, Some((PieceKind::Speech, Some(61.25))));
    assert_eq!(found(&library, "frog").await, Some((PieceKind::Speech, Some(2.0))), "the other line stays");
    let recalled = library.recall("Where does it jump?", &[], 5).await.unwrap();
    assert_eq!((recalled[0].kind, recalled[0].start), (PieceKind::Speech, Some(61.25)));

    let with = library.transcript_lines_with(id, "POND", 5).await.unwrap();
    assert_eq!(with.iter().map(|line| line.index).collect::<Vec<_>>(), [1]);
    assert!(library.transcript_lines_with(id, "%", 5).await.unwrap().is_empty(), "not a pattern");
    for bad in ["", "  ", "a\nb", &"x".repeat(MAX_LINE_CHARS + 1)] {
        let refused = library.edit_transcript_line(id, 1, bad).await;
        assert!(matches!(refused, Err(LibraryError::Invalid(_))), "{bad:?}");
    }
    let none = library.edit_transcript_line(id, 2, "x").await;
    assert!(matches!(none, Err(LibraryError::NotFound { .. })));
}

#[tokio::test]
async fn lines_are_bounded() {
    let (_data, library, video) = library().await;
    library.begin_transcript(&video.id, "tiny").await.unwrap();
    let long = NewLine { confidence: f64::from(7), end: 0.0, ..line(1.0, &"é".repeat(MAX_LINE_CHARS + 5)) };
    library.append_transcript(&video.id, &[long], 2.0, None).await.unwrap();
    let stored = library.transcript_lines(&video.id, 0, 9).await.unwrap().remove(0);
    assert_eq!((stored.text.chars().count(), stored.confidence, stored.end), (MAX_LINE_CHARS, 1.0, 1.0));
    let many: Vec<NewLine> = (0..100).map(|at| line(f64::from(at), "x")).collect();
    sqlx::query("UPDATE transcripts SET lines = ?")
        .bind(i64::try_from(MAX_LINES).unwrap() - 40)
        .execute(&library.pool)
        .await
        .unwrap();
    assert_eq!(library.append_transcript(&video.id, &many, 99.0, None).await.unwrap(), 60);
    let full = library.transcript(&video.id).await.unwrap().unwrap();
    assert_eq!((full.line_count, full.position), (MAX_LINES, 99.0));
}

#[tokio::test]
async fn each_video_is_queued_once_and_new_ones_go_first() {
    let (_data, library, old) = library().await;
    let described = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
    library.finish_job(&described.id, &[]).await.unwrap();
    let new = add(&library, b"more", "b.mp4").await.video;
    assert_eq!(library.queue_missing_transcripts().await.unwrap(), 2);
    assert_eq!(library.queue_missing_transcripts().await.unwrap(), 0);
    library.queue_transcript(&new.id).await.unwrap();
    let newest = library.jobs_not_done(&[&new.id]).await.unwrap();
    assert_eq!(newest[&new.id].kind, "ingest", "what processes the video");
    let mut leased = Vec::new();
    while let Some(job) = library.lease_job(Lane::Speech, LEASE, &[]).await.unwrap() {
        assert_eq!((job.kind.as_str(), job.step), ("speech", Step::Transcribe));
        leased.push(job);
    }
    let order: Vec<&str> = leased.iter().map(|job| job.video_id.as_str()).collect();
    assert_eq!(order, [new.id.as_str(), old.id.as_str()]);

    let progress = library.transcript_progress(&new.id).await.unwrap();
    assert!(progress.is_going_on && !progress.covers(1.0));
    library.begin_transcript(&new.id, "tiny").await.unwrap();
    library.append_transcript(&new.id, &[], 30.0, None).await.unwrap();
    let progress = library.transcript_progress(&new.id).await.unwrap();
    assert!(progress.covers(30.0) && !progress.covers(31.0));
    library.fail_job(&leased[0].id, "the server is away", Some(LEASE)).await.unwrap();
    assert!(library.transcript_progress(&new.id).await.unwrap().covers(31.0), "nobody waits for it");
    library.finish_job(&leased[1].id, &[]).await.unwrap();
    assert_eq!(library.queue_missing_transcripts().await.unwrap(), 0, "done, or to be retried");
    // Switched off and on again.
    library.dismiss_transcripts().await.unwrap();
    assert_eq!(library.queue_missing_transcripts().await.unwrap(), 1);
}

#[tokio::test]
async fn a_transcript_is_made_again_and_goes_with_its_video() {
    let (data, library, video) = library().await;
    let id = &video.id;
    transcribed(&library, id).await;
    let copy = data.path().join("copy.db");
    backup(&data.path().join("library"), &copy).await.unwrap();
    library.transcribe_again(id).await.unwrap();
    assert!(matches!(library.transcribe_again(id).await, Err(LibraryError::Conflict(_))), "twice");
    assert_eq!((library.transcript(id).await.unwrap(), found(&library, "frog").await), (None, None));
    let job = library.jobs_of(id).await.unwrap().remove(0);
    assert_eq!((job.kind.as_str(), job.state), ("speech", JobState::Queued));

    transcribed(&library, id).await;
    library.trash_video(id).await.unwrap();
    assert_eq!(found(&library, "frog").await, None);
    assert!(library.recall("the frog", &[], 5).await.unwrap().is_empty());
    library.restore_video(id).await.unwrap();
    assert!(found(&library, "frog").await.is_some());
    library.trash_video(id).await.unwrap();
    library.delete_trashed_video(id).await.unwrap();
    for table in ["transcripts", "transcript_lines", "pieces", "documents"] {
        let sql = format!("SELECT count(*) FROM {table}");
        let rows: i64 = sqlx::query_scalar(&sql).fetch_one(&library.pool).await.unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    library.close().await;
    drop(library);
    restore(&data.path().join("library"), &copy, false).await.unwrap();
    let library = Library::open(&data.path().join("library")).await.unwrap();
    assert_eq!(library.transcript_lines(id, 0, 9).await.unwrap().len(), 2);
    assert_eq!(found(&library, "frog").await, Some((PieceKind::Speech, Some(2.0))));
}

#[tokio::test]
async fn a_description_that_waits_is_woken() {
    let (_data, library, video) = library().await;
    let job = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
    library.hand_over_job(&job.id, Step::Describe, &[]).await.unwrap();
    let job = library.lease_job(Lane::Model, LEASE, &[]).await.unwrap().unwrap();
    library.set_awaits_speech(&job.id, true).await.unwrap();
    library.release_job(&job.id, LEASE, None).await.unwrap();
    assert!(library.lease_job(Lane::Model, LEASE, &[]).await.unwrap().is_none());
    library.wake_description(&video.id).await.unwrap();
    assert_eq!(library.lease_job(Lane::Model, LEASE, &[]).await.unwrap().unwrap().id, job.id);
}
