//! Fills a library with rows as uploads and models would, without files.

use homereel::state::AppState;
use homereel_library::{AnswerStatus, Library, Role, new_id, now_ms};
use homereel_video::{ProbeSummary, fixtures};
use serde_json::json;
use sqlx::{Sqlite, Transaction};

/// Moments of each video.
const MOMENTS: usize = 20;

/// Videos per transaction.
const AT_ONCE: usize = 500;

/// Albums, and videos of each; one has all videos.
const ALBUMS: usize = 60;
const IN_ALBUM: usize = 200;

/// Ids of what the library has, for URLs.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) video: String,
    pub(crate) album: String,
    pub(crate) question: String,
    /// Key of a page in the middle.
    pub(crate) key: String,
}

/// Fills the library, and returns what URLs need.
pub(crate) async fn fill(state: &AppState, videos: usize) -> Filled {
    let library = &state.library;
    let mut probe = fixtures::summary();
    let mut ids = Vec::with_capacity(videos);
    for first in (0..videos).step_by(AT_ONCE) {
        let mut transaction = library.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
        for number in first..(first + AT_ONCE).min(videos) {
            ids.push(video(&mut transaction, &mut probe, number, videos).await);
        }
        transaction.commit().await.unwrap();
    }
    let all = library.create_album("Everything").await.unwrap();
    for chunk in ids.chunks(5000) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        library.add_to_album(&all.id, &chunk).await.unwrap();
    }
    for number in 0..ALBUMS {
        let album = library.create_album(&format!("Album {number}")).await.unwrap();
        let some: Vec<&str> =
            ids.iter().skip(number * 7).step_by(videos / IN_ALBUM).map(String::as_str).collect();
        library.add_to_album(&album.id, &some).await.unwrap();
    }
    for number in 0..3 {
        state.auth.add_user(&format!("user {number}"), Role::Member, "correct horse".into()).await.unwrap();
        state.auth.add_key(&format!("key {number}"), Role::Viewer).await.unwrap();
    }
    let video = library.video_rows(1, videos as u32 / 2).await.unwrap().remove(0);
    transcript(library, &video.id).await;
    Filled {
        key: format!("{}_{}", homereel_library::local_ms(video.local()), video.id),
        question: question(library).await,
        video: video.id,
        album: all.id,
    }
}

/// Adds a transcript of 200 lines.
async fn transcript(library: &Library, id: &str) {
    sqlx::query(
        "INSERT INTO transcripts (video_id, state, position_s, lines, indexed, language, model, created_ms, done_ms)
             VALUES (?, 'done', 200, 200, 200, 'en', 'fake', 1, 1)",
    )
    .bind(id)
    .execute(library.pool())
    .await
    .unwrap();
    for line in 0..200 {
        sqlx::query(
            "INSERT INTO transcript_lines (video_id, number, start_s, end_s, text, confidence) VALUES (?1, ?2, ?2, ?2 + 1, 'Look there.', 1)",
        )
        .bind(id)
        .bind(line)
        .execute(library.pool())
        .await
        .unwrap();
    }
}

async fn question(library: &Library) -> String {
    let id = library.start_question("Who is there?", Some("fake"), &[]).await.unwrap();
    library.end_question(&id, AnswerStatus::Done, "Nobody.", None).await.unwrap();
    id
}

/// Adds a video with 20 moments; of 30 years, 50 places, 20 cameras and 200 tags. Each tenth is a favourite, each twentieth in the
/// trash, undated, or failed, and a hundred wait.
async fn video(
    transaction: &mut Transaction<'static, Sqlite>,
    probe: &mut ProbeSummary,
    number: usize,
    videos: usize,
) -> String {
    let (id, now) = (new_id(), now_ms());
    let taken = 700_000_000_000 + (number * 946_080_000 / videos) as i64 * 1000;
    probe.camera = Some(format!("camera {}", number % 20));
    probe.duration_s = [5.0, 40.0, 90.0, 700.0, 4000.0][number % 5];
    sqlx::query(
        "INSERT INTO videos (id, sha256, name, size, mime, created_ms, local_ms, taken, taken_source, probe, place, favourite,
             deleted_ms, poster)
         VALUES (?1, ?1 || ?1, ?2, 1000, 'video/mp4', ?3, ?4, ?5, 'camera', ?6, ?7, ?8, ?9, 'ready')",
    )
    .bind(&id)
    .bind(format!("clip {number:05}.mp4"))
    .bind(now)
    .bind(taken)
    .bind((number % 20 != 3).then_some("2019-07-14T12:00:00"))
    .bind(serde_json::to_string(probe).unwrap())
    .bind(number.is_multiple_of(3).then(|| format!("place {}", number % 50)))
    .bind(number.is_multiple_of(10))
    .bind((number % 20 == 7).then_some(now))
    .execute(&mut **transaction)
    .await
    .unwrap();
    let moments: Vec<_> = (0..MOMENTS)
        .map(|at| json!({"start": at, "end": at + 1, "text": format!("word{} word{} by the lake", (number + at) % 97, number * at % 1009)}))
        .collect();
    let tags = json!([format!("tag {}", number % 200), format!("tag {}", number % 13)]);
    for (kind, content) in [
        ("description", format!("A boat number {number} leaves the harbour. People wave.")),
        ("moments", json!(moments).to_string()),
        ("tags", tags.to_string()),
    ] {
        sqlx::query(
            "INSERT INTO texts (video_id, kind, content, model, settings, created_ms) VALUES (?, ?, ?, 'fake', '{}', ?)",
        )
        .bind(&id)
        .bind(kind)
        .bind(content)
        .bind(now)
        .execute(&mut **transaction)
        .await
        .unwrap();
    }
    let state = match number {
        0..100 => "queued",
        _ if number % 20 == 9 => "failed",
        _ => "done",
    };
    sqlx::query(
        "INSERT INTO jobs (id, kind, video_id, state, step, run_after_ms, created_ms, updated_ms)
         VALUES (?1, 'ingest', ?1, ?2, 'playback', ?3, ?3, ?3)",
    )
    .bind(&id)
    .bind(state)
    .bind(now)
    .execute(&mut **transaction)
    .await
    .unwrap();
    id
}
