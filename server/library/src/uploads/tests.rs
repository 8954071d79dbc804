//! Tests of resumable uploads in a temporary directory: durable offsets, interruption, resumption, a newer writer,
//! expiry.

use std::fs;

use sha2::{Digest as _, Sha256};

use super::{
    upload::{KEEP, MAX_OPEN_EACH, millis},
    *,
};
use crate::{Library, LibraryError, LibraryErrorKind, Stored, now_ms, tests::probe};

const LIMIT: u64 = 1 << 30;

async fn begin(library: &Library, length: u64) -> Upload {
    let new = NewUpload { name: "a/b.mp4".into(), length, claimed: Some("c".into()), ..NewUpload::default() };
    library.create_upload(new, LIMIT).await.unwrap()
}

async fn store(library: &Library, upload: &Upload) -> Stored {
    let Storing::Bytes { sealed, .. } = library.seal_upload(upload).await.unwrap() else { panic!("known") };
    let stored = sealed.commit(&upload.name, "video/mp4", &probe()).await.unwrap();
    library.upload_done(&upload.id, &stored).await.unwrap();
    stored
}

#[tokio::test]
async fn pieces_become_the_file_and_its_hash_is_counted_once() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let upload = begin(&library, 10).await;
    assert_eq!((upload.name.as_str(), upload.received), ("b.mp4", 0));
    let mut first = library.receive(&upload.id, 0, true).await.unwrap();
    first.write(b"0123").await.unwrap();
    assert_eq!(first.accept().await.unwrap().received, 4);
    let wrong = library.receive(&upload.id, 3, true).await;
    assert!(matches!(wrong, Err(LibraryError::OffsetMismatch { offset: 3, received: 4 })));
    let mut second = library.receive(&upload.id, 4, true).await.unwrap();
    second.write(b"456789").await.unwrap();
    assert!(matches!(second.write(b"x").await, Err(LibraryError::TooLarge { limit: 10 })));
    drop(second);
    let mut second = library.receive(&upload.id, 4, true).await.unwrap();
    second.write(b"456789").await.unwrap();
    let complete = second.accept().await.unwrap();
    assert_eq!(complete.state, UploadState::Storing);
    let stored = store(&library, &complete).await;
    assert_eq!(fs::read(library.original_path(&stored.video.sha256)).unwrap(), b"0123456789");
    assert_eq!(library.upload(&upload.id).await.unwrap().video_id, Some(stored.video.id));
    assert!(matches!(library.receive(&upload.id, 10, true).await, Err(LibraryError::Ended(_))));
    assert_eq!(fs::read_dir(data.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_was_not_counted_is_cut_off_and_what_was_survives_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let upload = begin(&library, 6).await;
    let mut writer = library.receive(&upload.id, 0, true).await.unwrap();
    writer.write(b"abc").await.unwrap();
    writer.accept().await.unwrap();
    // Bytes that reached the file but never the row, as after kill -9.
    fs::write(library.upload_path(&upload.id), b"abcXY").unwrap();
    fs::write(data.path().join("uploads/nameless"), b"x").unwrap();
    drop(library);
    let library = Library::open(data.path()).await.unwrap();
    assert!(!data.path().join("uploads/nameless").exists());
    assert_eq!(library.settled_upload(&upload.id).await.unwrap().received, 3);
    let mut writer = library.receive(&upload.id, 3, true).await.unwrap();
    writer.write(b"def").await.unwrap();
    let complete = writer.accept().await.unwrap();
    // Killed after the bytes were complete: found again at the start.
    drop(library);
    let library = Library::open(data.path()).await.unwrap();
    assert_eq!(library.uploads_to_store().await.unwrap(), std::slice::from_ref(&complete));
    let stored = store(&library, &complete).await;
    assert_eq!(fs::read(library.original_path(&stored.video.sha256)).unwrap(), b"abcdef");
    assert_eq!(stored.video.sha256, format!("{:x}", Sha256::digest(b"abcdef")));
}

#[tokio::test]
async fn without_acceptance_nothing_counts_under_a_checksum() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let upload = begin(&library, 40 << 20).await;
    let mut writer = library.receive(&upload.id, 0, false).await.unwrap();
    writer.write(&vec![1; 20 << 20]).await.unwrap();
    drop(writer);
    assert_eq!(library.upload(&upload.id).await.unwrap().received, 0);
    let mut writer = library.receive(&upload.id, 0, true).await.unwrap();
    writer.write(&vec![2; 20 << 20]).await.unwrap();
    drop(writer);
    assert_eq!(library.upload(&upload.id).await.unwrap().received, 20 << 20, "a checkpoint counts");
}

#[tokio::test]
async fn a_newer_writer_sends_an_older_one_away() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let upload = begin(&library, 4).await;
    let mut old = library.receive(&upload.id, 0, true).await.unwrap();
    old.write(b"ab").await.unwrap();
    let leaving = async {
        old.sent_away().await;
        old.accept().await.unwrap();
    };
    let (settled, ()) = tokio::join!(library.settled_upload(&upload.id), leaving);
    assert_eq!(settled.unwrap().received, 2);
}

#[tokio::test]
async fn room_is_taken_at_once_and_given_back() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let huge = NewUpload { name: "x".into(), length: 1 << 60, ..NewUpload::default() };
    assert!(matches!(library.create_upload(huge, u64::MAX).await, Err(LibraryError::NoSpace { .. })));
    let upload = begin(&library, 8 << 20).await;
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(library.upload_path(&upload.id)).unwrap();
    assert_eq!(metadata.len(), 0);
    assert!(metadata.blocks() * 512 >= 8 << 20, "{} blocks", metadata.blocks());
    assert_eq!(
        library.upload_claimed("c", 8 << 20).await.unwrap().map(|found| found.id),
        Some(upload.id.clone())
    );
    library.delete_upload(&upload.id).await.unwrap();
    assert_eq!(fs::read_dir(data.path().join("uploads")).unwrap().count(), 0);
    assert!(matches!(library.upload(&upload.id).await, Err(LibraryError::NotFound { .. })));
}

#[tokio::test]
async fn uploads_that_stopped_are_forgotten_after_their_term() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let (old, new) = (begin(&library, 4).await, begin(&library, 4).await);
    sqlx::query("UPDATE uploads SET expires_ms = 1 WHERE id = ?")
        .bind(&old.id)
        .execute(&library.pool)
        .await
        .unwrap();
    assert_eq!(library.expire_uploads(now_ms()).await.unwrap(), 1);
    assert_eq!(library.uploads_of(None, 9).await.unwrap(), [new]);
}

#[tokio::test]
async fn an_upload_that_stops_for_an_hour_goes_on_and_one_that_stops_for_days_is_tidied_away() {
    let data = tempfile::tempdir().unwrap();
    let mut library = Library::open(data.path()).await.unwrap();
    let upload = begin(&library, 6).await;
    let mut writer = library.receive(&upload.id, 0, true).await.unwrap();
    writer.write(b"abc").await.unwrap();
    writer.accept().await.unwrap();
    let later = async |library: &Library, hours: i64| {
        // The clock goes on by so much: all that is noted is so much longer ago.
        sqlx::query("UPDATE uploads SET created_ms = created_ms - ?1, expires_ms = expires_ms - ?1")
            .bind(hours * 3_600_000)
            .execute(&library.pool)
            .await
            .unwrap();
    };
    for restart in [false, true] {
        later(&library, 1).await;
        if restart {
            drop(library);
            library = Library::open(data.path()).await.unwrap();
        }
        assert_eq!(library.expire_uploads(now_ms()).await.unwrap(), 0);
        assert_eq!(library.settled_upload(&upload.id).await.unwrap().received, 3);
    }
    // Each piece is a new term.
    let mut writer = library.receive(&upload.id, 3, true).await.unwrap();
    writer.write(b"d").await.unwrap();
    assert!(writer.accept().await.unwrap().expires_ms > now_ms() + millis(KEEP) - 60_000);
    later(&library, 71).await;
    assert_eq!(library.expire_uploads(now_ms()).await.unwrap(), 0);
    let file = library.upload_path(&upload.id);
    assert!(file.exists());
    later(&library, 2).await;
    assert_eq!(library.expire_uploads(now_ms()).await.unwrap(), 1);
    assert!(!file.exists(), "its room is given back");
    let gone = library.receive(&upload.id, 4, true).await.map(|_| ()).map_err(|error| error.kind());
    assert_eq!(gone, Err(LibraryErrorKind::NotFound));
}

#[tokio::test]
async fn a_file_that_has_its_new_name_and_no_row_yet_is_not_lost() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let upload = begin(&library, 3).await;
    let mut writer = library.receive(&upload.id, 0, true).await.unwrap();
    writer.write(b"abc").await.unwrap();
    let complete = writer.accept().await.unwrap();
    // As far as a process comes that is killed between the rename and the row.
    let Storing::Bytes { sealed, _writer } = library.seal_upload(&complete).await.unwrap() else {
        panic!("known")
    };
    let sha256 = sealed.sha256.clone();
    drop((sealed, _writer));
    fs::rename(library.upload_path(&upload.id), library.original_path(&sha256)).unwrap();
    fs::write(library.original_path(&"e".repeat(64)), b"a raw upload").unwrap();
    drop(library);
    let library = Library::open(data.path()).await.unwrap();
    let nameless: Vec<String> =
        library.nameless_originals().await.unwrap().into_iter().map(|s| s.sha256).collect();
    assert_eq!(nameless, ["e".repeat(64)], "the upload's own is its upload's business");
    assert_eq!(store(&library, &complete).await.video.sha256, sha256);
}

#[tokio::test]
async fn one_user_s_unfinished_uploads_do_not_stop_those_of_others() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let new = |owner: Option<&str>| NewUpload {
        name: "a.mp4".into(),
        length: 4,
        owner: owner.map(str::to_owned),
        ..NewUpload::default()
    };
    // Concurrently, as a program would that wants them all.
    let mut creations = tokio::task::JoinSet::new();
    for _ in 0..2 * MAX_OPEN_EACH {
        let (library, new) = (library.clone(), new(Some("user Eve")));
        creations.spawn(async move { library.create_upload(new, LIMIT).await });
    }
    let created = creations.join_all().await.into_iter().filter_map(Result::ok).collect::<Vec<_>>();
    assert_eq!(i64::try_from(created.len()).unwrap(), MAX_OPEN_EACH);
    let refused = library.create_upload(new(Some("user Eve")), LIMIT).await.unwrap_err();
    assert_eq!(refused.kind(), LibraryErrorKind::Conflict);
    assert!(refused.to_string().contains("100 of your uploads are unfinished"), "{refused}");
    for other in [Some("key Eve"), Some("user Oma"), None] {
        library.create_upload(new(other), LIMIT).await.unwrap();
    }
    library.delete_upload(&created[0].id).await.unwrap();
    library.create_upload(new(Some("user Eve")), LIMIT).await.unwrap();
}
