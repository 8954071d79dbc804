//! Tests of the library through its public API, in a temporary directory: uploads, job leases, texts, the trash, the exclusive
//! lock, recovery at start, and opening a library of version 0.1.0. Other test modules use its helpers.

use std::{fs, path::Path, time::Duration};

pub(crate) use homereel_video::fixtures::summary as probe;

use super::*;

const LEASE: Duration = Duration::from_secs(60);

pub(crate) async fn add(library: &Library, bytes: &[u8], name: &str) -> Stored {
    let mut incoming = library.incoming(None, 1 << 20).await.unwrap();
    incoming.write(bytes).await.unwrap();
    incoming.seal().await.unwrap().commit(name, "video/mp4", &probe()).await.unwrap()
}

#[tokio::test]
async fn an_upload_is_a_video_with_its_job() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let mut changes = library.subscribe();
    let Stored { video, duplicate, .. } = add(&library, b"bytes", "/home/eve/clip.mp4").await;
    assert!(!duplicate);
    assert_eq!((video.name.as_str(), video.size), ("clip.mp4", 5));
    assert_eq!(fs::read(library.original_path(&video.sha256)).unwrap(), b"bytes");
    assert_eq!(library.videos(10, 0).await.unwrap(), std::slice::from_ref(&video));
    let newest = library.jobs_not_done(&[&video.id, "no such video"]).await.unwrap();
    let jobs = library.jobs_of(&video.id).await.unwrap();
    assert_eq!(newest.get(&video.id), jobs.first());
    assert_eq!(newest.len(), 1);
    assert_eq!((jobs.len(), jobs[0].state, jobs[0].step), (1, JobState::Queued, Step::Poster));
    assert_eq!(changes.recv().await.unwrap(), Change::Video { id: video.id });
    assert_eq!(changes.recv().await.unwrap(), Change::Job { job: jobs[0].clone() });
}

#[tokio::test]
async fn the_same_bytes_are_the_same_video() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let first = add(&library, b"bytes", "a.mp4").await;
    let second = add(&library, b"bytes", "b.mp4").await;
    assert!(second.duplicate);
    assert_eq!(second.video, first.video);
    assert_eq!(library.jobs(10).await.unwrap().len(), 1);
    assert_eq!(fs::read_dir(library.scratch_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn uploads_are_bounded_and_leave_nothing() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    assert!(matches!(library.incoming(Some(11), 10).await, Err(LibraryError::TooLarge { limit: 10 })));
    assert!(matches!(library.incoming(Some(1 << 60), u64::MAX).await, Err(LibraryError::NoSpace { .. })));
    let mut incoming = library.incoming(None, 10).await.unwrap();
    incoming.write(b"12345678").await.unwrap();
    assert!(matches!(incoming.write(b"12345678").await, Err(LibraryError::TooLarge { .. })));
    drop(incoming);
    let empty = library.incoming(None, 10).await.unwrap().seal().await;
    assert!(matches!(empty, Err(LibraryError::Invalid(_))));
    assert_eq!(fs::read_dir(library.scratch_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn two_processes_cannot_share_a_directory() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    assert!(matches!(Library::open(data.path()).await, Err(LibraryError::InUse { .. })));
    library.close().await;
    drop(library);
    Library::open(data.path()).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_process_left_is_repaired() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let video = add(&library, b"bytes", "a.mp4").await.video;
    let leased = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
    library.advance_job(&leased.id, Step::Moments, &["a warning".into()]).await.unwrap();
    let new = NewAnswer {
        video_id: video.id.clone(),
        question: "q".into(),
        model: "m".into(),
        settings: serde_json::json!({}),
    };
    library.start_answer(&new).await.unwrap();
    fs::write(library.scratch_dir().join("half"), b"x").unwrap();
    // The lock goes with the process; here with the last clone.
    drop(library);

    let library = Library::open(data.path()).await.unwrap();
    let job = library.job(&leased.id).await.unwrap();
    assert_eq!((job.state, job.step, job.warnings.len()), (JobState::Queued, Step::Moments, 1));
    let answers = library.answers(&video.id, 10).await.unwrap();
    assert_eq!(answers[0].status, AnswerStatus::Failed);
    assert_eq!(fs::read_dir(library.scratch_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn jobs_are_leased_retried_and_given_up() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    add(&library, b"bytes", "a.mp4").await;
    for attempt in 1..=4 {
        let job = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
        assert_eq!(job.attempts, attempt);
        assert!(library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().is_none(), "leased twice");
        library.fail_job(&job.id, "broken", Some(Duration::ZERO)).await.unwrap();
    }
    let job = library.jobs(1).await.unwrap().remove(0);
    assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("broken")));
    assert!(matches!(library.cancel_job(&job.id).await, Err(LibraryError::Conflict(_))));
    assert_eq!(library.retry_job(&job.id).await.unwrap().state, JobState::Queued);
    assert_eq!(library.cancel_job(&job.id).await.unwrap().state, JobState::Cancelled);
    assert!(!library.heartbeat(&job.id, LEASE).await.unwrap());
}

#[tokio::test]
async fn a_job_changes_its_lane_and_keeps_its_place() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    for name in ["a.mp4", "b.mp4"] {
        add(&library, name.as_bytes(), name).await;
    }
    let lease = async |lane| library.lease_job(lane, LEASE, &[]).await.unwrap();
    assert!(lease(Lane::Model).await.is_none(), "facts and thumbnails come first");
    let (first, second) = (lease(Lane::Media).await.unwrap(), lease(Lane::Media).await.unwrap());
    assert!(lease(Lane::Media).await.is_none());
    for job in [&second, &first] {
        library.hand_over_job(&job.id, Step::Describe, &["a warning".into()]).await.unwrap();
    }
    assert!(lease(Lane::Media).await.is_none());
    let job = lease(Lane::Model).await.unwrap();
    assert_eq!(
        (&job.id, job.step, job.attempts),
        (&first.id, Step::Describe, 1),
        "the first stays the first"
    );
    assert_eq!(job.warnings, ["a warning"]);
    // Late sprites come after the poster of a newer video, and a rendition waits for neither.
    library.hand_over_job(&job.id, Step::LateSprites, &[]).await.unwrap();
    let third = add(&library, b"c", "c.mp4").await.video;
    assert_eq!(lease(Lane::Media).await.unwrap().video_id, third.id);
    assert_eq!(lease(Lane::Media).await.unwrap().id, first.id);
    library.hand_over_job(&first.id, Step::Playback, &[]).await.unwrap();
    assert!(lease(Lane::Media).await.is_none());
    assert_eq!(lease(Lane::Rendition).await.unwrap().id, first.id);
}

#[tokio::test]
async fn of_a_video_s_jobs_only_the_newest_can_be_not_done() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let id = add(&library, b"bytes", "a.mp4").await.video.id;
    let not_done = async || library.jobs_not_done(&[&id]).await.unwrap().remove(&id).map(|job| job.state);
    let lease = async |lane| library.lease_job(lane, LEASE, &[]).await.unwrap().unwrap().id;
    assert_eq!(not_done().await, Some(JobState::Queued));
    library.fail_job(&lease(Lane::Media).await, "damaged", None).await.unwrap();
    assert_eq!(not_done().await, Some(JobState::Failed));
    library.reread_video(&id).await.unwrap();
    assert_eq!(not_done().await, Some(JobState::Queued), "the newest");
    library.finish_job(&lease(Lane::Model).await, &[]).await.unwrap();
    assert_eq!(not_done().await, None, "the one that failed is older");
}

#[tokio::test]
async fn videos_of_another_model_are_described_again_behind_new_ones() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let mut ids = Vec::new();
    for (name, model) in [("a.mp4", "old"), ("b.mp4", "new"), ("c.mp4", "old")] {
        let id = add(&library, name.as_bytes(), name).await.video.id;
        let job = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
        library.finish_job(&job.id, &[]).await.unwrap();
        let text = Text {
            content: Some("a ball".into()),
            warning: None,
            model: model.into(),
            settings: serde_json::Value::Null,
            created_ms: now_ms(),
            edited_ms: None,
        };
        library.put_text(&id, TextKind::Description, text).await.unwrap();
        ids.push(id);
    }
    assert_eq!(library.count_of_other_models("new").await.unwrap(), 2);
    assert_eq!(library.unwatched_seconds().await.unwrap(), 0.0);
    assert_eq!(library.reread_other_models("new").await.unwrap(), 2);
    assert_eq!(
        (
            library.count_of_other_models("new").await.unwrap(),
            library.reread_other_models("new").await.unwrap()
        ),
        (0, 0)
    );
    let seconds = library.video(&ids[0]).await.unwrap().probe.unwrap().duration_s;
    assert!((library.unwatched_seconds().await.unwrap() - 2.0 * seconds).abs() < 1e-9);
    let fresh = add(&library, b"d", "d.mp4").await.video.id;
    let job = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
    library.hand_over_job(&job.id, Step::Describe, &[]).await.unwrap();
    for expected in [&fresh, &ids[0], &ids[2]] {
        let job = library.lease_job(Lane::Model, LEASE, &[]).await.unwrap().unwrap();
        assert_eq!((&job.video_id, job.step), (expected, Step::Describe));
    }
}

#[tokio::test]
async fn a_job_of_this_process_is_not_leased_again_when_the_clock_jumps() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    add(&library, b"bytes", "a.mp4").await;
    let job = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
    sqlx::query("UPDATE jobs SET lease_ms = 1").execute(&library.pool).await.unwrap();
    let running = [job.id.clone()];
    assert!(library.lease_job(Lane::Media, LEASE, &running).await.unwrap().is_none());
    assert_eq!(library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap().id, job.id);
}

#[tokio::test]
async fn a_job_that_waits_for_its_backoff_is_not_leased() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    add(&library, b"bytes", "a.mp4").await;
    let job = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
    library.fail_job(&job.id, "broken", Some(Duration::from_secs(3600))).await.unwrap();
    assert!(library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().is_none());
    assert_eq!(
        library.retry_job(&job.id).await.map(|_| ()).map_err(|error| error.kind()),
        Err(LibraryErrorKind::Conflict)
    );
}

#[tokio::test]
async fn texts_replace_earlier_ones_and_say_where_they_come_from() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let video = add(&library, b"bytes", "a.mp4").await.video;
    let text = |content: &str| Text {
        content: Some(content.to_owned()),
        warning: None,
        model: "m".into(),
        settings: serde_json::json!({ "prompt": "p" }),
        created_ms: 0,
        edited_ms: None,
    };
    let moments = r#"[{"start":0.0,"end":1.5,"text":"a"}]"#;
    for (kind, content) in [
        (TextKind::Description, "old"),
        (TextKind::Description, "new"),
        (TextKind::Moments, moments),
        (TextKind::Tags, r#"["x"]"#),
    ] {
        library.put_text(&video.id, kind, text(content)).await.unwrap();
    }
    let texts = library.video(&video.id).await.unwrap().texts;
    assert_eq!(texts.description.unwrap().content.as_deref(), Some("new"));
    assert_eq!(texts.moments.unwrap().content.unwrap()[0].end, 1.5);
    assert_eq!(texts.tags.unwrap().settings["prompt"], "p");
}

#[tokio::test]
async fn what_a_person_writes_outlives_a_reading_that_is_under_way() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let video = add(&library, b"bytes", "a.mp4").await.video;
    let text = |content: &str| Text {
        content: Some(content.to_owned()),
        warning: None,
        model: "m".into(),
        settings: serde_json::json!({}),
        created_ms: 0,
        edited_ms: None,
    };
    let read = async || {
        library.put_text(&video.id, TextKind::Description, text("by the model")).await.unwrap();
        library.put_text(&video.id, TextKind::Tags, text(r#"["model"]"#)).await.unwrap();
        let texts = library.video(&video.id).await.unwrap().texts;
        (texts.description.unwrap().content.unwrap(), texts.tags.unwrap().content.unwrap())
    };
    library.edit_text(&video.id, TextKind::Description, Some("by hand".into())).await.unwrap();
    library.edit_text(&video.id, TextKind::Tags, Some(r#"["Oma"]"#.into())).await.unwrap();
    assert_eq!(read().await, ("by hand".into(), vec!["Oma".to_owned()]));
    // A reading that is asked for later may write over the description, but no tag that a person added.
    let job = library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().unwrap();
    library.finish_job(&job.id, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    library.reread_video(&video.id).await.unwrap();
    assert_eq!(read().await, ("by the model".into(), vec!["Oma".to_owned()]));

    let tags = library.tags(10, 0).await.unwrap();
    assert_eq!(tags, [Tag { tag: "Oma".into(), videos: 1, cover: None }]);
    let collection = Collection::Tag("OMA".into());
    let videos = library.collection(&collection, &Cursor::Start, 10).await.unwrap().videos;
    assert_eq!((videos.len(), videos[0].id.as_str()), (1, video.id.as_str()));
    library.trash_video(&video.id).await.unwrap();
    assert!(library.tags(10, 0).await.unwrap().is_empty());
    assert_eq!(library.tag("Oma").await.unwrap(), None);
}

#[tokio::test]
async fn the_trash_hides_restores_and_in_the_end_takes_rows_and_files() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let video = add(&library, b"bytes", "a.mp4").await.video;
    fs::write(library.poster_path(&video.sha256), b"jpeg").unwrap();
    let refused = library.delete_trashed_video(&video.id).await;
    assert!(matches!(refused, Err(LibraryError::Conflict(_))), "first into the trash");
    let trashed = library.trash_video(&video.id).await.unwrap();
    assert!(trashed.deleted_ms.is_some());
    assert_eq!(library.trash_video(&video.id).await.unwrap().deleted_ms, trashed.deleted_ms, "no new term");
    assert!(library.videos(10, 0).await.unwrap().is_empty());
    assert_eq!(library.video_count().await.unwrap(), 0);
    assert!(library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().is_none(), "nothing is done for it");
    assert_eq!(library.trash(10, 0).await.unwrap().len(), 1);
    assert_eq!(library.storage().await.unwrap().trash_bytes, 5);
    // The same file again takes it out.
    let again = add(&library, b"bytes", "b.mp4").await;
    assert!(again.duplicate && again.restored);
    assert_eq!((again.video.id.as_str(), again.video.deleted_ms), (video.id.as_str(), None));
    assert!(library.lease_job(Lane::Media, LEASE, &[]).await.unwrap().is_some());
    library.trash_video(&video.id).await.unwrap();
    assert_eq!(library.expire_trash(now_ms()).await.unwrap(), 0, "30 days are not over");
    assert_eq!(library.empty_trash().await.unwrap(), 1);
    assert!(!library.original_path(&video.sha256).exists() && !library.poster_path(&video.sha256).exists());
    assert!(library.jobs(10).await.unwrap().is_empty());
    assert_eq!(
        library.video(&video.id).await.map_err(|error| error.kind()).map(|_| ()),
        Err(LibraryErrorKind::NotFound)
    );
    assert!(!add(&library, b"bytes", "a.mp4").await.duplicate);
    library.trash_video(&library.videos(1, 0).await.unwrap()[0].id).await.unwrap();
    sqlx::query("UPDATE videos SET deleted_ms = 1").execute(&library.pool).await.unwrap();
    assert_eq!(library.expire_trash(now_ms()).await.unwrap(), 1);
}

/// The library that version 0.1.0 left behind is opened by every later version. Migrations are only appended, never
/// changed, and neither is this fixture.
#[tokio::test]
async fn a_library_of_version_0_1_0_is_opened() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/library-0.1.0");
    let data = tempfile::tempdir().unwrap();
    copy(&fixture, data.path());
    let library = Library::open(data.path()).await.unwrap();
    let video = library.videos(10, 0).await.unwrap().remove(0);
    assert_eq!((video.name.as_str(), video.size, video.poster), ("Drawn clip.mp4", 5815, Poster::Ready));
    assert_eq!(video.probe.as_ref().unwrap().video.frame_count, 45);
    assert!(video.texts.description.as_ref().is_some_and(|text| text.content.is_some()));
    assert_eq!(fs::metadata(library.original_path(&video.sha256)).unwrap().len(), video.size);
    assert!(library.poster_path(&video.sha256).exists() && library.card_path(&video.sha256).exists());
    assert!(library.sprites(&video.sha256).await.is_some());
    assert_eq!(library.jobs_of(&video.id).await.unwrap()[0].state, JobState::Done);
    assert_eq!(library.answers(&video.id, 10).await.unwrap()[0].question, "What color is the object?");
    assert_eq!(library.search("drawn", &Filter::default(), 10, 0).await.unwrap().total, 1);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
