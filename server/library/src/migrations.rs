//! Migrates the schema of a library.
//!
//! Migrations only add, so that the previous release still runs on the result after a failed deploy is rolled back.
//!
//! Libraries of commit `c311871`, before the first release, were created by nine migrations that `0001_initial.sql` replaces.
//! The resulting schema is the same, so the new migration is recorded as applied instead of run.

use sqlx::{Row as _, SqlitePool, migrate::Migrator};

use crate::error::LibraryError;

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
}

/// Versions of the unreleased migrations. The first has the version of its replacement.
const UNRELEASED: [i64; 9] = [1, 30, 31, 32, 33, 34, 50, 60, 70];

/// Description of the first of them, which distinguishes it from its replacement.
const FIRST_UNRELEASED: &str = "library";

/// Applies the missing migrations.
///
/// # Errors
/// `OldSchema` for a library with only some of the unreleased migrations; `Migration`, `Database`.
pub(crate) async fn run(pool: &SqlitePool) -> Result<(), LibraryError> {
    adopt_unreleased(pool).await?;
    migrator().run(pool).await?;
    Ok(())
}

/// Records the first migration as applied where the unreleased ones were applied.
async fn adopt_unreleased(pool: &SqlitePool) -> Result<(), LibraryError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let table = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'");
    if table.fetch_optional(&mut *transaction).await?.is_none() {
        return Ok(());
    }
    let sql = "SELECT version, description FROM _sqlx_migrations WHERE success ORDER BY version";
    let applied = sqlx::query(sql).fetch_all(&mut *transaction).await?;
    let unreleased = applied.iter().any(|row| {
        row.get::<i64, _>("version") == 1 && row.get::<&str, _>("description") == FIRST_UNRELEASED
    });
    if !unreleased {
        return Ok(());
    }
    let applied: Vec<i64> = applied.iter().map(|row| row.get("version")).collect();
    if applied != UNRELEASED {
        return Err(LibraryError::OldSchema { applied });
    }
    let migrator = migrator();
    let Some(first) = migrator.iter().next() else { return Ok(()) };
    sqlx::query("DELETE FROM _sqlx_migrations").execute(&mut *transaction).await?;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (?, ?, TRUE, ?, 0)",
    )
    .bind(first.version)
    .bind(first.description.as_ref())
    .bind(first.checksum.as_ref())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    tracing::info!(
        migration = first.version,
        "opened a database of a pre-release and updated its migration records; its videos and texts are unchanged"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap, path::Path};

    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::*;
    use crate::{Library, video::Poster};

    const VIDEO: &str = "00000000000000000000000000000001";

    /// Makes the database of a library as commit `c311871` did, with its first `count` migrations.
    async fn old_library(data: &Path, count: usize) {
        let options = SqliteConnectOptions::new().filename(data.join("homereel.db")).create_if_missing(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/migrations-c311871");
        let mut migrator = Migrator::new(fixtures).await.unwrap();
        migrator.migrations = Cow::Owned(migrator.migrations[..count].to_vec());
        migrator.run(&pool).await.unwrap();
        pool.close().await;
    }

    async fn execute(data: &Path, sql: &str) {
        let options = SqliteConnectOptions::new().filename(data.join("homereel.db"));
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// Returns each object of the schema: columns of tables, text without comments and spaces of the others.
    async fn schema(pool: &SqlitePool) -> BTreeMap<String, String> {
        let sql =
            "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND sql IS NOT NULL";
        let mut schema = BTreeMap::new();
        for row in sqlx::query(sql).fetch_all(pool).await.unwrap() {
            let (kind, name, text): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
            let text = if kind == "table" {
                let sql = "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?)";
                let columns: Vec<(String, String, i64, Option<String>, i64, i64)> =
                    sqlx::query_as(sql).bind(name).fetch_all(pool).await.unwrap();
                format!("{columns:?}")
            } else {
                let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
                lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
            };
            schema.insert(format!("{kind} {name}"), text);
        }
        schema
    }

    #[tokio::test]
    async fn the_dates_of_existing_videos_are_kept() {
        let data = tempfile::tempdir().unwrap();
        old_library(data.path(), UNRELEASED.len()).await;
        let rows = [
            ("2001-02-03T04:05:06Z", "2001-02-03T04:05:06Z"),
            ("2023-10-06T08:00:00+09:00", "2023-10-06T08:00:00+09:00"),
            ("2016-05-31T17:01:35", "2016-05-31T17:01:35"),
        ];
        for (number, (stored, _)) in rows.iter().enumerate() {
            let mut probe = homereel_video::fixtures::summary();
            probe.creation_time = Some((*stored).into());
            let probe = serde_json::to_string(&probe).unwrap();
            let id = format!("{number:032}");
            let row = format!(
                "INSERT INTO videos (id, sha256, name, size, mime, created_ms, poster, probe)
                     VALUES ('{id}', '{id}{id}', 'Birthday.mp4', 7, 'video/mp4', 1000, 'ready', '{probe}')"
            );
            execute(data.path(), &row).await;
        }
        let library = Library::open(data.path()).await.unwrap();
        for (number, (_, expected)) in rows.iter().enumerate() {
            let taken = library.video(&format!("{number:032}")).await.unwrap().taken.unwrap();
            assert_eq!(taken.time.to_string(), *expected);
            let in_facts = "SELECT count(*) FROM facts JOIN videos v ON v.id = video_id WHERE facts.taken_ms = v.local_ms";
            let agree: i64 = sqlx::query_scalar(in_facts).fetch_one(&library.pool).await.unwrap();
            assert_eq!(agree, 3);
        }
    }

    #[tokio::test]
    async fn a_library_of_all_unreleased_migrations_is_opened_with_its_rows() {
        let data = tempfile::tempdir().unwrap();
        old_library(data.path(), UNRELEASED.len()).await;
        let rows = format!(
            "INSERT INTO videos (id, sha256, name, size, mime, created_ms, poster)
                 VALUES ('{VIDEO}', '{VIDEO}{VIDEO}', 'Birthday.mp4', 7, 'video/mp4', 1000, 'ready');
             INSERT INTO texts (video_id, kind, content, model, settings, created_ms)
                 VALUES ('{VIDEO}', 'description', 'A girl blows out candles.', 'm', '{{}}', 1000);"
        );
        execute(data.path(), &rows).await;
        for _ in 0..2 {
            let library = Library::open(data.path()).await.unwrap();
            let video = library.video(VIDEO).await.unwrap();
            assert_eq!((video.name.as_str(), video.poster), ("Birthday.mp4", Poster::Ready));
            let found = library.search("candles", &crate::Filter::default(), 10, 0).await.unwrap();
            assert_eq!(found.total, 1);
            let versions: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations")
                .fetch_all(library.pool())
                .await
                .unwrap();
            assert_eq!(versions, migrator().iter().map(|migration| migration.version).collect::<Vec<_>>());
            library.close().await;
        }
    }

    #[tokio::test]
    async fn the_initial_schema_equals_that_of_the_unreleased_migrations() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        old_library(old.path(), UNRELEASED.len()).await;
        let (old, new) = (Library::open(old.path()).await.unwrap(), Library::open(new.path()).await.unwrap());
        assert_eq!(schema(old.pool()).await, schema(new.pool()).await);
    }

    #[tokio::test]
    async fn a_library_with_only_some_of_them_is_refused() {
        let data = tempfile::tempdir().unwrap();
        old_library(data.path(), 3).await;
        let error = Library::open(data.path()).await.unwrap_err();
        assert!(matches!(&error, LibraryError::OldSchema { applied } if *applied == [1, 30, 31]), "{error}");
        assert!(error.to_string().contains("c311871"), "{error}");
    }
}
