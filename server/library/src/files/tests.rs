//! Tests of files: owners, shared contents, quotas, expiry, and what a killed process leaves.

use std::time::Duration;

use super::*;
use crate::{Library, LibraryError, NewUpload, Storing, new_id, now_ms, tests::add};

const DAY: i64 = 24 * 3600 * 1000;

fn new(owner: Option<&str>) -> NewFile {
    NewFile {
        id: new_id(),
        owner: owner.map(str::to_owned),
        name: "dir/a.mp4".into(),
        purpose: "user_data".into(),
        keep_ms: DAY,
    }
}

async fn put(library: &Library, bytes: &[u8], new: NewFile) -> Result<StoredFile, LibraryError> {
    let mut incoming = library.incoming_file(None, 1 << 20).await?;
    incoming.write(bytes).await?;
    incoming.seal().await?.commit_file(new).await
}

fn contents(library: &Library) -> usize {
    std::fs::read_dir(library.root.join(FILES)).unwrap().count()
}

#[tokio::test]
async fn files_belong_to_their_owner_and_are_no_videos() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let mut ids = Vec::new();
    for owner in [Some("key a"), Some("key a"), None] {
        ids.push(put(&library, b"bytes", new(owner)).await.unwrap().id);
    }
    let file = library.file(&ids[0], Some("key a")).await.unwrap();
    assert_eq!((file.name.as_str(), file.size), ("a.mp4", 5));
    for other in [None, Some("key b"), Some("user a")] {
        assert!(matches!(library.file(&ids[0], other).await, Err(LibraryError::NotFound { .. })));
        assert!(library.open_file(&ids[0], other).await.is_err());
        assert!(library.delete_file(&ids[0], other).await.is_err());
    }
    let list = async |owner, query: FileQuery| -> Vec<String> {
        let files = library.files(owner, &query).await.unwrap();
        files.into_iter().map(|file| file.id).collect()
    };
    let query = FileQuery { limit: 10, ..FileQuery::default() };
    assert_eq!(list(Some("key a"), query.clone()).await, [ids[1].clone(), ids[0].clone()]);
    assert_eq!(list(None, query.clone()).await, [ids[2].clone()]);
    let after = FileQuery { after: Some(ids[1].clone()), ..query.clone() };
    assert_eq!(list(Some("key a"), after).await, [ids[0].clone()]);
    let ascending = FileQuery { after: Some(ids[0].clone()), ascending: true, ..query.clone() };
    assert_eq!(list(Some("key a"), ascending).await, [ids[1].clone()]);
    let purpose = FileQuery { purpose: Some("vision".into()), ..query };
    assert!(list(Some("key a"), purpose).await.is_empty());
    assert_eq!(
        (library.video_count().await.unwrap(), library.nameless_originals().await.unwrap().len()),
        (0, 0)
    );
}

#[tokio::test]
async fn a_shared_content_goes_with_the_last_file_and_its_last_reader() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let first = put(&library, b"bytes", new(None)).await.unwrap();
    let second = put(&library, b"bytes", new(Some("key a"))).await.unwrap();
    assert_eq!((contents(&library), library.storage().await.unwrap().files_bytes), (1, 5));
    library.delete_file(&first.id, None).await.unwrap();
    assert_eq!(contents(&library), 1);
    std::fs::create_dir_all(library.frames_dir().join(&second.sha256)).unwrap();
    let (_, reading) = library.open_file(&second.id, Some("key a")).await.unwrap();
    let (_, again) = library.open_file(&second.id, Some("key a")).await.unwrap();
    library.delete_file(&second.id, Some("key a")).await.unwrap();
    assert!(!library.frames_dir().join(&second.sha256).exists(), "cached frames go at once");
    drop(again);
    assert_eq!(std::fs::read(reading.path()).unwrap(), b"bytes");
    // The same content comes back while it is read: it stays.
    let third = put(&library, b"bytes", new(None)).await.unwrap();
    drop(reading);
    assert_eq!(contents(&library), 1);
    library.delete_file(&third.id, None).await.unwrap();
    assert_eq!((contents(&library), library.storage().await.unwrap().files_bytes), (0, 0));
}

#[tokio::test]
async fn frames_of_a_video_with_the_same_content_stay() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let video = add(&library, b"bytes", "a.mp4").await.video;
    let file = put(&library, b"bytes", new(None)).await.unwrap();
    std::fs::create_dir_all(library.frames_dir().join(&video.sha256)).unwrap();
    library.delete_file(&file.id, None).await.unwrap();
    assert!(library.frames_dir().join(&video.sha256).exists());
    assert!(library.original_path(&video.sha256).exists());
}

#[tokio::test]
async fn both_quotas_count_files_and_their_uploads() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap().with_quota(Some(200)).with_files_quota(100);
    put(&library, &[1; 40], new(None)).await.unwrap();
    let upload = NewUpload { length: 30, purpose: Some("vision".into()), ..NewUpload::default() };
    let upload = library.create_upload(upload, 1000).await.unwrap();
    let over = put(&library, &[2; 31], new(None)).await.unwrap_err();
    assert!(matches!(over, LibraryError::FilesFull { needed: 31, left: 30, quota: 100 }), "{over}");
    assert!(library.incoming_file(Some(31), 1000).await.is_err());
    assert!(library.incoming(Some(131), 1000).await.is_err(), "both count against the quota of all");
    assert!(library.incoming(Some(130), 1000).await.is_ok());
    library.delete_upload(&upload.id).await.unwrap();
    put(&library, &[2; 60], new(None)).await.unwrap();
    assert_eq!(library.storage().await.unwrap().files_bytes, 100);
}

#[tokio::test]
async fn an_expired_file_is_not_found_and_then_deleted() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let short = put(&library, b"short", NewFile { keep_ms: 3_600_000, ..new(None) }).await.unwrap();
    let long = put(&library, b"long", new(None)).await.unwrap();
    let now = now_ms();
    assert_eq!(library.expire_at(now).await.unwrap().files, 0);
    assert_eq!(library.expire_at(now + 3_601_000).await.unwrap().files, 1);
    assert!(library.file(&short.id, None).await.is_err());
    assert!(library.file(&long.id, None).await.is_ok());
    assert_eq!(contents(&library), 1);
    let past = "UPDATE files SET expires_ms = 1";
    sqlx::query(past).execute(&library.pool).await.unwrap();
    assert!(library.file(&long.id, None).await.is_err(), "before housekeeping ran");
    assert!(library.files(None, &FileQuery { limit: 9, ..FileQuery::default() }).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_killed_process_leaves_is_finished_or_removed() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let file = put(&library, b"bytes", new(None)).await.unwrap();
    let upload =
        NewUpload { name: "b.mp4".into(), length: 4, purpose: Some("vision".into()), ..NewUpload::default() };
    let upload = library.create_upload(upload, 100).await.unwrap();
    let mut receiving = library.receive(&upload.id, 0, true).await.unwrap();
    receiving.write(b"more").await.unwrap();
    let upload = receiving.accept().await.unwrap();
    assert!(
        library.uploads_of(None, 9).await.unwrap().is_empty(),
        "it is not listed with those of the library"
    );
    // Killed between the rename and the row.
    let Storing::Bytes { sealed, _writer } = library.seal_upload(&upload).await.unwrap() else {
        panic!("bytes")
    };
    std::fs::rename(sealed.path(), library.content_path(&sealed.sha256)).unwrap();
    drop((sealed, _writer));
    std::fs::write(library.content_path(&"0".repeat(64)), "nobody's").unwrap();
    library.close().await;
    drop(library);

    let library = Library::open(data.path()).await.unwrap();
    assert_eq!(contents(&library), 2, "the file's and the upload's");
    let [pending] = &library.uploads_to_store().await.unwrap()[..] else { panic!("one") };
    for _ in 0..2 {
        // The second time as if the process had been killed before the upload was marked as done.
        let Storing::Bytes { sealed, .. } = library.seal_upload(pending).await.unwrap() else {
            panic!("bytes")
        };
        let again = NewFile { id: pending.id.clone(), name: pending.name.clone(), ..new(None) };
        assert_eq!(sealed.commit_file(again).await.unwrap().id, pending.id);
    }
    library.upload_became_file(&pending.id).await.unwrap();
    assert_eq!(library.file(&pending.id, None).await.unwrap().name, "b.mp4");
    let (_, content) = library.open_file(&file.id, None).await.unwrap();
    assert_eq!(std::fs::read(content.path()).unwrap(), b"bytes");
    tokio::time::timeout(Duration::from_secs(10), library.close()).await.unwrap();
}

#[tokio::test]
async fn a_backup_has_no_files() {
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("library");
    let library = Library::open(&root).await.unwrap();
    let file = put(&library, b"bytes", new(None)).await.unwrap();
    let copy = data.path().join("copy.db");
    crate::backup(&root, &copy).await.unwrap();
    library.close().await;
    drop(library);
    crate::restore(&root, &copy, false).await.unwrap();
    let library = Library::open(&root).await.unwrap();
    assert!(library.file(&file.id, None).await.is_err());
    assert_eq!(contents(&library), 0);
}
