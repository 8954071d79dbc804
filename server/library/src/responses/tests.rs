//! Keeping responses and their media.

use super::*;
use crate::{Library, retention::Expired};

/// A file with `content` as a request leaves it, and its description.
fn scratch(library: &Library, content: &str) -> (ResponseMedia, PathBuf) {
    use sha2::Digest as _;
    let path = library.scratch_dir().join(new_id());
    fs::write(&path, content).unwrap();
    let sha256 = format!("{:x}", sha2::Sha256::digest(content));
    (ResponseMedia { sha256, size: content.len() as u64 }, path)
}

fn new(owner: Option<&str>, media: Vec<(ResponseMedia, PathBuf)>) -> NewResponse {
    let owner = owner.map(str::to_owned);
    NewResponse { id: new_id(), owner, object: "{}".into(), items: "[1]".into(), media }
}

fn files(library: &Library) -> usize {
    fs::read_dir(library.root.join(DIRECTORY)).unwrap().count()
}

#[tokio::test]
async fn media_are_stored_once_and_removed_with_the_last_response_that_uses_them() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let clip = scratch(&library, "clip");
    let (first, second) = (new(None, vec![clip.clone()]), new(None, vec![clip.clone()]));
    library.store_response(first.clone()).await.unwrap();
    library.store_response(second.clone()).await.unwrap();
    // The request's own file goes away.
    fs::remove_file(&clip.1).unwrap();
    let stored = library.response(&second.id, None).await.unwrap();
    assert_eq!((stored.items.as_str(), &stored.media[..]), ("[1]", &[clip.0.clone()][..]));
    assert_eq!(library.storage().await.unwrap().responses_bytes, 4);
    library.delete_response(&first.id, None).await.unwrap();
    let path = library.response_media_path(&clip.0.sha256).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"clip");
    library.delete_response(&second.id, None).await.unwrap();
    assert!(!path.exists());
    assert!(matches!(library.response(&second.id, None).await, Err(LibraryError::NotFound { .. })));
}

#[tokio::test]
async fn a_response_is_its_owners_alone() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let kept = new(Some("key a"), Vec::new());
    library.store_response(kept.clone()).await.unwrap();
    for other in [None, Some("key b"), Some("user a")] {
        assert!(library.response(&kept.id, other).await.is_err(), "{other:?}");
        assert!(library.delete_response(&kept.id, other).await.is_err(), "{other:?}");
    }
    assert!(library.response(&kept.id, Some("key a")).await.is_ok());
}

#[tokio::test]
async fn beyond_the_limits_the_oldest_are_deleted_and_too_large_ones_refused() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let limits = OwnerLimits { responses: 3, bytes: 100 };
    let other = new(Some("b"), Vec::new());
    library.store_response_within(other.clone(), limits).await.unwrap();
    let mut ids = Vec::new();
    let clip = scratch(&library, &"x".repeat(60));
    for _ in 0..4 {
        let response = new(Some("a"), vec![clip.clone()]);
        ids.push(response.id.clone());
        // The clip counts once.
        library.store_response_within(response, limits).await.unwrap();
    }
    assert!(library.response(&ids[0], Some("a")).await.is_err());
    assert!(library.response(&ids[1], Some("a")).await.is_ok());
    // Another clip drives out all that use the first one.
    let large = new(Some("a"), vec![scratch(&library, &"y".repeat(90))]);
    library.store_response_within(large.clone(), limits).await.unwrap();
    assert!(library.response(&ids[3], Some("a")).await.is_err());
    assert_eq!(files(&library), 1);
    for too_large in ["z".repeat(96), "z".repeat(200)] {
        let too_large = new(Some("a"), vec![scratch(&library, &too_large)]);
        let error = library.store_response_within(too_large, limits).await.unwrap_err();
        assert!(matches!(error, LibraryError::TooLarge { limit: 100 }), "{error}");
        assert_eq!(files(&library), 1, "nothing of it is left");
    }
    assert!(library.response(&large.id, Some("a")).await.is_ok());
    assert!(library.response(&other.id, Some("b")).await.is_ok());
}

#[tokio::test]
async fn responses_expire_after_a_day_and_survive_a_restart_until_then() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let kept = new(None, vec![scratch(&library, "clip")]);
    library.store_response(kept.clone()).await.unwrap();
    fs::write(data.path().join(DIRECTORY).join("0".repeat(64)), "left by a crash").unwrap();
    library.close().await;
    drop(library);
    let library = Library::open(data.path()).await.unwrap();
    assert_eq!(files(&library), 1);
    let now = now_ms();
    assert_eq!(library.expire_at(now).await.unwrap(), Expired::default());
    let mut deleted = 0;
    for hours in 1..=5 {
        // By at most six hours per call.
        deleted += library.expire_at(now + hours * 6 * 3600 * 1000).await.unwrap().responses;
    }
    assert_eq!((deleted, files(&library)), (1, 0));
}

#[tokio::test]
async fn kept_media_count_against_the_quota() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap().with_quota(Some(10));
    library.store_response(new(None, vec![scratch(&library, "12345678")])).await.unwrap();
    let over = library.store_response(new(None, vec![scratch(&library, "abc")])).await.unwrap_err();
    assert!(matches!(over, LibraryError::OverQuota { needed: 3, left: 2, .. }), "{over}");
    assert!(matches!(library.incoming(Some(3), 100).await, Err(LibraryError::OverQuota { left: 2, .. })));
}
