//! Tests of albums: what they contain, their order and cover, and what the search, the trash and backups make of them.

use homereel_video::TakenTime;

use super::*;
use crate::{
    Cursor, Filter, Library, LibraryError, MAX_BATCH, Neighbours, Poster, TextKind, backup, restore,
    tests::add,
};

async fn day(library: &Library, day: u8) -> String {
    let video = add(library, &[day], &format!("{day}.mp4")).await.video;
    let time: TakenTime = format!("2019-07-{day:02}").parse().unwrap();
    library.set_taken(&video.id, Some(time)).await.unwrap();
    video.id
}

async fn in_album(library: &Library, album: &Album) -> Vec<String> {
    let list = library.collection(&Collection::Album(album.id.clone()), &Cursor::Start, 100).await.unwrap();
    list.videos.into_iter().map(|video| video.id).collect()
}

fn owned(ids: &[&String]) -> Vec<String> {
    ids.iter().map(|&id| id.clone()).collect()
}

#[tokio::test]
async fn an_album_is_ordered_by_date_or_by_hand_and_shows_a_cover() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let (two, one, three) = (day(&library, 2).await, day(&library, 1).await, day(&library, 3).await);
    let album = library.create_album(" Summer 2019 ").await.unwrap();
    let changed = library.add_to_album(&album.id, &[&two, &one, &three, &one, "none"]).await.unwrap();
    assert_eq!((changed.changed, changed.unchanged, changed.unknown), (3, 0, 1));
    assert_eq!(in_album(&library, &album).await, owned(&[&one, &two, &three]));
    library.set_taken(&two, Some("2018-01-01".parse().unwrap())).await.unwrap();
    assert_eq!(in_album(&library, &album).await, owned(&[&two, &one, &three]), "a corrected date moves it");

    let album = library.move_in_album(&album.id, &three, true).await.unwrap();
    assert!(album.by_hand);
    assert_eq!(in_album(&library, &album).await, owned(&[&two, &three, &one]));
    library.move_in_album(&album.id, &two, true).await.unwrap();
    library.set_taken(&two, Some("2020-01-01".parse().unwrap())).await.unwrap();
    assert_eq!(in_album(&library, &album).await, owned(&[&two, &three, &one]), "not by date any more");
    let four = day(&library, 4).await;
    library.add_to_album(&album.id, &[&four]).await.unwrap();
    assert_eq!(in_album(&library, &album).await, owned(&[&two, &three, &one, &four]));
    let place = library.neighbours_in(&Collection::Album(album.id.clone()), &three).await.unwrap().unwrap();
    assert_eq!(
        place,
        Neighbours { previous: Some(two.clone()), next: Some(one.clone()), number: 2, count: 4 }
    );
    library.order_album(&album.id, false).await.unwrap();
    assert_eq!(in_album(&library, &album).await, owned(&[&one, &three, &four, &two]));

    assert_eq!(library.album(&album.id).await.unwrap().cover, None);
    library.set_poster(&one, Poster::Ready).await.unwrap();
    library.set_poster(&four, Poster::Ready).await.unwrap();
    assert_eq!(library.album(&album.id).await.unwrap().cover.as_ref(), Some(&four));
    assert_eq!(library.set_album_cover(&album.id, Some(&one)).await.unwrap().cover.as_ref(), Some(&one));
    let removed = library.remove_from_album(&album.id, &[&one, &one]).await.unwrap();
    assert_eq!((removed.changed, removed.unchanged), (1, 0));
    let album = library.album(&album.id).await.unwrap();
    assert_eq!((album.cover.as_ref(), album.videos), (Some(&four), 3));
    assert!(matches!(library.set_album_cover(&album.id, Some(&one)).await, Err(LibraryError::Invalid(_))));
}

#[tokio::test]
async fn names_are_bounded_and_unique_regardless_of_case() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let album = library.create_album("Straße É").await.unwrap();
    assert!(matches!(library.create_album("straße é").await, Err(LibraryError::Conflict(_))));
    assert_eq!(library.album_named("STRAßE é").await.unwrap(), album);
    let other = library.create_album(&"x".repeat(60)).await.unwrap();
    assert!(matches!(library.rename_album(&other.id, "straße É").await, Err(LibraryError::Conflict(_))));
    assert_eq!(library.rename_album(&album.id, "STRASSE").await.unwrap().name, "STRASSE");
    for bad in ["", "  ", "a\nb", &"x".repeat(61)] {
        assert!(matches!(library.create_album(bad).await, Err(LibraryError::Invalid(_))), "{bad:?}");
    }
    let many: Vec<String> = (0..=MAX_BATCH).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(library.add_to_album(&album.id, &many).await, Err(LibraryError::Invalid(_))));
    assert!(matches!(library.add_to_album("none", &[]).await, Err(LibraryError::NotFound { .. })));
}

#[tokio::test]
async fn the_search_finds_the_names_of_albums_and_the_trash_hides_their_videos() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let (one, two) = (day(&library, 1).await, day(&library, 2).await);
    let album = library.create_album("Gardasee").await.unwrap();
    library.add_to_album(&album.id, &[&one, &two]).await.unwrap();
    let found = async |words: &str| library.search(words, &Filter::default(), 10, 0).await.unwrap().total;
    assert_eq!(found("gardasee").await, 2);
    let tagged = Filter { tag: Some("gardasee".into()), ..Filter::default() };
    assert_eq!(library.search("", &tagged, 10, 0).await.unwrap().total, 2);
    // Texts of a model replace tags, not albums; and albums are no tags.
    library.edit_text(&one, TextKind::Tags, Some(r#"["boat"]"#.into())).await.unwrap();
    assert_eq!((found("gardasee").await, found("boat").await), (2, 1));
    let tags: Vec<String> = library.tags(9, 0).await.unwrap().into_iter().map(|tag| tag.tag).collect();
    assert_eq!(tags, ["boat"]);
    library.rename_album(&album.id, "Comer See").await.unwrap();
    assert_eq!((found("gardasee").await, found("comer").await), (0, 2));

    library.trash_video(&one).await.unwrap();
    assert_eq!(library.album(&album.id).await.unwrap().videos, 1);
    assert_eq!(in_album(&library, &album).await, owned(&[&two]));
    let skipped = library.add_to_album(&album.id, &[&one]).await.unwrap();
    assert_eq!((skipped.changed, skipped.unchanged), (0, 1));
    library.restore_video(&one).await.unwrap();
    assert_eq!(in_album(&library, &album).await, owned(&[&one, &two]));
    library.trash_video(&one).await.unwrap();
    library.empty_trash().await.unwrap();
    assert_eq!((library.album(&album.id).await.unwrap().videos, found("comer").await), (1, 1));
    library.delete_album(&album.id).await.unwrap();
    assert_eq!((found("comer").await, library.video_count().await.unwrap()), (0, 1));
    assert!(matches!(library.delete_album(&album.id).await, Err(LibraryError::NotFound { .. })));
}

#[tokio::test]
async fn albums_are_in_a_backup() {
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("library");
    let library = Library::open(&root).await.unwrap();
    let (one, two) = (day(&library, 1).await, day(&library, 2).await);
    let album = library.create_album("Summer").await.unwrap();
    library.add_to_album(&album.id, &[&one, &two]).await.unwrap();
    let album = library.move_in_album(&album.id, &two, true).await.unwrap();
    let file = data.path().join("copy.db");
    backup(&root, &file).await.unwrap();
    restore(&data.path().join("new"), &file, false).await.unwrap();
    let restored = Library::open(&data.path().join("new")).await.unwrap();
    assert_eq!(restored.albums(10, 0).await.unwrap(), std::slice::from_ref(&album));
    assert_eq!(in_album(&restored, &album).await, owned(&[&two, &one]));
    assert_eq!(restored.albums_of(&one).await.unwrap(), [album]);
}
