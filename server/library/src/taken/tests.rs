//! Dates of videos in a temporary library: from files, from people, from earlier releases.

use super::*;
use crate::{Filter, Library, Stored, tests::probe};

/// A probe whose tags give this date.
fn dated(time: &str, source: DateSource) -> ProbeSummary {
    ProbeSummary { creation_time: Some(time.into()), creation_source: Some(source), ..probe() }
}

async fn add(library: &Library, name: &str, modified_ms: Option<i64>, probe: &ProbeSummary) -> Video {
    let mut incoming = library.incoming(None, 1 << 20).await.unwrap();
    incoming.write(name.as_bytes()).await.unwrap();
    let mut sealed = incoming.seal().await.unwrap();
    sealed.modified_ms = modified_ms;
    let Stored { video, .. } = sealed.commit(name, "video/mp4", probe).await.unwrap();
    video
}

fn text(video: &Video) -> Option<(String, DateSource, bool)> {
    video.taken.as_ref().map(|taken| (taken.time.to_string(), taken.source, taken.guessed))
}

#[tokio::test]
async fn a_video_is_dated_by_its_tags_its_name_or_its_file() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let july = Some(1_310_601_600_000);
    let tagged = dated("2023-10-06T08:00:00+09:00", DateSource::Camera);
    let video = add(&library, "VID-20190215-WA0001.mp4", july, &tagged).await;
    assert_eq!(text(&video), Some(("2023-10-06T08:00:00+09:00".into(), DateSource::Camera, false)));
    assert_eq!(video.taken_ms, 1_696_546_800_000);
    assert_eq!(video.local().to_string(), "2023-10-06T08:00:00");
    let video = add(&library, "VID-20190215-WA0002.mp4", july, &probe()).await;
    assert_eq!(text(&video), Some(("2019-02-15".into(), DateSource::FileName, true)));
    let video = add(&library, "MVI_0042.mp4", july, &probe()).await;
    assert_eq!(text(&video), Some(("2011-07-14T00:00:00Z".into(), DateSource::FileTime, true)));
    let video = add(&library, "MVI_0043.mp4", None, &probe()).await;
    assert_eq!((text(&video), video.taken_ms), (None, video.created_ms));
}

#[tokio::test]
async fn lists_and_filters_go_by_the_local_day_of_the_place() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let names = ["tokyo.mp4", "hawaii.mp4", "local.mp4", "1987-06-14 Birthday.mp4"];
    let tags = ["2023-10-06T08:00:00+09:00", "2023-10-05T22:00:00-10:00", "2023-10-06T00:30:00"];
    let mut ids = Vec::new();
    for (name, tag) in names.iter().zip(tags) {
        ids.push(add(&library, name, None, &dated(tag, DateSource::Camera)).await.id);
    }
    ids.push(add(&library, names[3], None, &probe()).await.id);
    let listed: Vec<String> =
        library.video_rows(10, 0).await.unwrap().into_iter().map(|video| video.name).collect();
    assert_eq!(listed, [names[0], names[2], names[1], names[3]]);
    let middle = library.video(&ids[2]).await.unwrap();
    let beside = library.neighbours(&middle).await.unwrap();
    assert_eq!((beside.previous.as_ref(), beside.next.as_ref()), (Some(&ids[0]), Some(&ids[1])));
    let day = |text: &str| Some(local_ms(text.parse::<jiff::civil::Date>().unwrap().at(0, 0, 0, 0)));
    for (from, before, expected) in [
        ("2023-10-06", "2023-10-07", vec![names[0], names[2]]),
        ("2023-10-05", "2023-10-06", vec![names[1]]),
        ("1987-06-14", "1987-06-15", vec![names[3]]),
    ] {
        let filter = Filter { from_ms: day(from), before_ms: day(before), ..Filter::default() };
        let found = library.search("", &filter, 10, 0).await.unwrap();
        let found: Vec<&str> = found.found.iter().map(|found| found.video.name.as_str()).collect();
        assert_eq!(found, expected, "{from}");
    }
    let notes = library.recall("birthday", &[], 5).await.unwrap();
    assert_eq!(notes[0].day.unwrap().to_string(), "1987-06-14");
}

#[tokio::test]
async fn what_a_person_entered_stays() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let id = add(&library, "2019-02-15 wrong.mp4", None, &probe()).await.id;
    let entered: TakenTime = "1968-07-02T15:00:00".parse().unwrap();
    let video = library.set_taken(&id, Some(entered)).await.unwrap();
    assert_eq!(text(&video), Some(("1968-07-02T15:00:00".into(), DateSource::Person, false)));
    library.set_probe(&id, &dated("2015-03-02T01:00:00Z", DateSource::Container)).await.unwrap();
    drop(library);
    let library = Library::open(data.path()).await.unwrap();
    sqlx::query("DELETE FROM settings").execute(&library.pool).await.unwrap();
    settle(&library.pool).await.unwrap();
    assert_eq!(
        library.video(&id).await.unwrap(),
        Video { probe: library.video(&id).await.unwrap().probe, ..video }
    );
    let video = library.set_taken(&id, None).await.unwrap();
    assert_eq!(text(&video), Some(("2015-03-02T01:00:00Z".into(), DateSource::Container, false)));
    for bad in ["1887-01-01", "1904-01-01", "9999-01-01"] {
        let refused = library.set_taken(&id, Some(bad.parse().unwrap())).await;
        assert!(matches!(refused, Err(LibraryError::Invalid(_))), "{bad}");
    }
    let nobody = library.set_taken("00000000000000000000000000000000", None).await;
    assert!(matches!(nobody, Err(LibraryError::NotFound { .. })));
}

#[tokio::test]
async fn a_new_name_does_not_change_the_date() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let id = add(&library, "2019-02-15.mp4", None, &probe()).await.id;
    library.rename_video(&id, "Party 2020-01-01.mp4").await.unwrap();
    library.set_probe(&id, &probe()).await.unwrap();
    assert_eq!(text(&library.video(&id).await.unwrap()).unwrap().0, "2019-02-15");
}

#[tokio::test]
async fn videos_of_an_earlier_release_are_dated_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let tagged = add(&library, "a.mp4", None, &dated("2023-10-06T08:00:00+09:00", DateSource::Camera)).await;
    let named = add(&library, "2019-02-15.mp4", None, &probe()).await;
    let sql = "UPDATE videos SET taken = NULL, taken_source = NULL, file_name = NULL, local_ms = NULL";
    sqlx::query(sql).execute(&library.pool).await.unwrap();
    drop(library);
    let library = Library::open(data.path()).await.unwrap();
    assert_eq!(library.video(&tagged.id).await.unwrap(), tagged);
    assert_eq!(library.video(&named.id).await.unwrap(), named);
}
