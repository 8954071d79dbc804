//! The work of SQLite for every list does not grow with the library. It is counted in steps of its virtual machine, so that the
//! test depends on no clock.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use homereel_video::fixtures::summary;

use super::*;
use crate::{Filter, JobState, Library, albums::Collection};

/// Steps between two counts.
const STEP: i32 = 20;

/// Videos of the small and of the large library.
const SMALL: usize = 100;
const LARGE: usize = 2000;

/// A library whose statements are counted.
struct Counted {
    _data: tempfile::TempDir,
    library: Library,
    steps: Arc<AtomicU64>,
    album: Collection,
    key: ListKey,
}

impl Counted {
    async fn filled(videos: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap();
        fill(&library, videos).await;
        let album = library.create_album("All").await.unwrap();
        sqlx::query("INSERT INTO album_videos SELECT ?, video_id, taken_ms, deleted FROM facts")
            .bind(&album.id)
            .execute(&library.pool)
            .await
            .unwrap();
        let middle: (i64, String) = sqlx::query_as(
            "SELECT taken_ms, video_id FROM facts WHERE deleted = 0 ORDER BY taken_ms LIMIT 1 OFFSET ?",
        )
        .bind(videos as i64 / 2)
        .fetch_one(&library.pool)
        .await
        .unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        // All connections, each once.
        let mut held = Vec::new();
        for _ in 0..library.pool.options().get_max_connections() {
            let mut connection = library.pool.acquire().await.unwrap();
            let steps = Arc::clone(&steps);
            connection.lock_handle().await.unwrap().set_progress_handler(STEP, move || {
                steps.fetch_add(1, Ordering::Relaxed);
                true
            });
            held.push(connection);
        }
        let key = ListKey { value: middle.0, id: middle.1 };
        Self { _data: data, library, steps, album: Collection::Album(album.id), key }
    }

    /// Returns the counts of each list.
    async fn count(&self) -> Vec<(String, u64)> {
        let library = &self.library;
        let mut counts = Vec::new();
        let mut before = 0;
        let mut note = |name: String| {
            let now = self.steps.load(Ordering::Relaxed);
            counts.push((name, now - before));
            before = now;
        };
        let filters = [
            ListFilter::default(),
            ListFilter { favourite: true, ..ListFilter::default() },
            ListFilter { undated: true, ..ListFilter::default() },
            ListFilter { place: Some("place 1".into()), ..ListFilter::default() },
            ListFilter { camera: Some("camera 1".into()), ..ListFilter::default() },
            ListFilter { length: Some(LengthClass::Minute), ..ListFilter::default() },
            ListFilter { period: Some("2017".parse().unwrap()), ..ListFilter::default() },
            ListFilter { day: Some((7, 14)), ..ListFilter::default() },
            ListFilter { favourite: true, camera: Some("camera 1".into()), ..ListFilter::default() },
        ];
        let cursors = [
            ("from the start", Cursor::Start),
            ("before a key", Cursor::Before(self.key.clone())),
            ("after a key", Cursor::After(self.key.clone())),
        ];
        for filter in &filters {
            for (place, cursor) in &cursors {
                library.list(filter, Order::Taken, cursor, 5).await.unwrap();
                note(format!("{filter:?} {place}"));
            }
            if filter.day.is_none() && filter.conditions() < 2 {
                library.list_count(filter).await.unwrap();
                note(format!("count of {filter:?}"));
            }
        }
        for filter in &filters[..3] {
            library.list(filter, Order::Added, &Cursor::Start, 5).await.unwrap();
            note(format!("recently added, {filter:?}"));
        }
        for (place, cursor) in &cursors {
            library.collection(&self.album, cursor, 5).await.unwrap();
            note(format!("album {place}"));
            library.collection(&Collection::Tag("TAG 1".into()), cursor, 5).await.unwrap();
            note(format!("tag {place}"));
        }
        library.albums(5, 0).await.unwrap();
        note("albums".into());
        library.tags(5, 0).await.unwrap();
        note("tags".into());
        for kind in [FacetKind::Month, FacetKind::Camera, FacetKind::Place] {
            library.facets(kind, 100).await.unwrap();
            note(format!("{kind:?}"));
        }
        library.trash(5, 0).await.unwrap();
        note("trash".into());
        library.trash_size().await.unwrap();
        note("size of the trash".into());
        library.storage().await.unwrap();
        note("storage".into());
        library.job_board(5, 0).await.unwrap();
        note("board of jobs".into());
        library.job_counts().await.unwrap();
        note("counts of jobs".into());
        library.jobs(5).await.unwrap();
        note("newest jobs".into());
        library.count_of_other_models("model").await.unwrap();
        note("descriptions of other models".into());
        library.unwatched_seconds().await.unwrap();
        note("what is left to watch".into());
        let newest = library.video_rows(5, 0).await.unwrap();
        note("videos by offset".into());
        let ids: Vec<&str> = newest.iter().map(|video| video.id.as_str()).collect();
        library.descriptions_begin(&ids, 100).await.unwrap();
        note("beginnings of descriptions".into());
        library.jobs_not_done(&ids).await.unwrap();
        note("jobs of videos".into());
        library.jobs_of(ids[0]).await.unwrap();
        note("jobs of a video".into());
        library.albums_of(ids[0]).await.unwrap();
        note("albums of a video".into());
        library.neighbours(&newest[2]).await.unwrap();
        note("neighbours".into());
        library.cameras().await.unwrap();
        note("cameras".into());
        counts
    }
}

/// Adds videos over ten years: each tenth is a favourite, without a date, and in the trash; 20 places, cameras and tags.
async fn fill(library: &Library, videos: usize) {
    let mut probe = summary();
    let mut transaction = library.begin().await.unwrap();
    for number in 0..videos {
        probe.camera = Some(format!("camera {}", number % 20));
        probe.duration_s = [5.0, 100.0, 1000.0, 5000.0][number % 4];
        let (id, deleted) = (format!("{number:032x}"), (number % 10 == 3).then_some(number as i64));
        let taken = 1_400_000_000_000 + (number * 315_360_000 / videos) as i64 * 1000;
        sqlx::query(
            "INSERT INTO videos (id, sha256, name, size, mime, created_ms, local_ms, taken, probe, place, favourite, deleted_ms, poster)
             VALUES (?1, ?1 || ?1, 'a.mp4', 1, 'video/mp4', ?2, ?2, ?3, ?4, ?5, ?6, ?7, 'ready')",
        )
        .bind(&id)
        .bind(taken)
        .bind((number % 10 != 5).then_some("2017-01-01"))
        .bind(serde_json::to_string(&probe).unwrap())
        .bind(format!("place {}", number % 20))
        .bind(number % 10 == 1)
        .bind(deleted)
        .execute(&mut *transaction)
        .await
        .unwrap();
        for (kind, content) in
            [("description", "A boat.".to_owned()), ("tags", format!(r#"["tag {}"]"#, number % 20))]
        {
            sqlx::query(
                "INSERT INTO texts (video_id, kind, content, model, settings, created_ms) VALUES (?, ?, ?, 'model', '{}', 1)",
            )
            .bind(&id)
            .bind(kind)
            .bind(content)
            .execute(&mut *transaction)
            .await
            .unwrap();
        }
        // A short queue, as it is most of the time.
        let state = if number < 10 { JobState::Queued } else { JobState::Done };
        sqlx::query(
            "INSERT INTO jobs (id, kind, video_id, state, step, run_after_ms, created_ms, updated_ms)
             VALUES (?1, 'ingest', ?1, ?2, 'probe', 1, 1, ?3)",
        )
        .bind(&id)
        .bind(if state == JobState::Queued { "queued" } else { "done" })
        .bind(taken)
        .execute(&mut *transaction)
        .await
        .unwrap();
    }
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn no_list_takes_longer_in_a_larger_library() {
    let (small, large) = (Counted::filled(SMALL).await, Counted::filled(LARGE).await);
    // The count itself can fail.
    let found = large.library.search("", &Filter::default(), 5, 0).await.unwrap();
    assert!(found.total == LARGE * 9 / 10 && large.steps.swap(0, Ordering::Relaxed) > 20);
    for ((name, few), (same, many)) in small.count().await.into_iter().zip(large.count().await) {
        assert_eq!(name, same);
        assert!(
            many <= 2 * few + 20,
            "{name}: {few} counts of {STEP} steps, but {many} with 20 times the videos"
        );
    }
}
