//! The same change of many videos at once, in one transaction.

use serde::Serialize;
use sqlx::SqliteConnection;

use crate::{
    albums::MAX_ALBUM_VIDEOS,
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{now_ms, to_json},
};

/// Maximum number of videos of one change.
pub const MAX_BATCH: usize = 5000;

/// Changes up to which each is announced by itself; more would be more than listeners keep up with.
const ANNOUNCED: usize = 50;

/// The result of a change of many videos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Changed {
    /// Videos that were changed.
    pub changed: u64,
    /// Videos that were so before, or that the change does not concern, such as those in the trash.
    pub unchanged: u64,
    /// Ids that no video has.
    pub unknown: u64,
    /// Ids of the videos that were changed, so that exactly these can be changed back.
    pub ids: Vec<String>,
}

/// Condition that selects the videos of a JSON array of ids, the first parameter.
pub(crate) const CHOSEN: &str = "id IN (SELECT value FROM json_each(?1))";

impl Library {
    /// Marks videos as favourites, or removes the mark. Videos in the trash stay as they are.
    ///
    /// # Errors
    /// `Invalid` for more than [`MAX_BATCH`] ids; `Database`.
    pub async fn set_favourites(&self, ids: &[&str], favourite: bool) -> Result<Changed, LibraryError> {
        let sql = format!(
            "UPDATE videos SET favourite = {} WHERE {CHOSEN} AND deleted_ms IS NULL AND favourite <> {0} RETURNING id",
            u8::from(favourite)
        );
        self.change(ids, &sql, |id| Change::Video { id }).await
    }

    /// Moves videos to the trash.
    ///
    /// # Errors
    /// As [`Library::set_favourites`].
    pub async fn trash_videos(&self, ids: &[&str]) -> Result<Changed, LibraryError> {
        let sql = format!(
            "UPDATE videos SET deleted_ms = {} WHERE {CHOSEN} AND deleted_ms IS NULL RETURNING id",
            now_ms()
        );
        self.change(ids, &sql, |id| Change::VideoDeleted { id }).await
    }

    /// Restores videos from the trash.
    ///
    /// # Errors
    /// As [`Library::set_favourites`].
    pub async fn restore_videos(&self, ids: &[&str]) -> Result<Changed, LibraryError> {
        let sql = format!(
            "UPDATE videos SET deleted_ms = NULL WHERE {CHOSEN} AND deleted_ms IS NOT NULL RETURNING id"
        );
        self.change(ids, &sql, |id| Change::Video { id }).await
    }

    /// Restores everything from the trash; returns the number of videos.
    ///
    /// # Errors
    /// `Database`.
    pub async fn restore_all(&self) -> Result<u64, LibraryError> {
        let sql = "UPDATE videos SET deleted_ms = NULL WHERE deleted_ms IS NOT NULL";
        let restored = sqlx::query(sql).execute(&self.pool).await?.rows_affected();
        self.announce(Change::Videos);
        Ok(restored)
    }

    /// Adds videos to an album. Videos in the trash are not added.
    ///
    /// # Errors
    /// `NotFound` for the album; `Conflict` if it would have more than [`MAX_ALBUM_VIDEOS`]; otherwise as
    /// [`Library::set_favourites`].
    pub async fn add_to_album(&self, album_id: &str, ids: &[&str]) -> Result<Changed, LibraryError> {
        let json = checked(ids)?;
        let album = self.album(album_id).await?;
        let mut transaction = self.begin().await?;
        // Behind the others of an album that is ordered by hand, in the order in which they were taken.
        let sql = "INSERT INTO album_videos (album_id, video_id, sort_key, hidden)
                   SELECT ?2, f.video_id, CASE WHEN ?3 THEN
                           row_number() OVER (ORDER BY f.taken_ms, f.video_id)
                           + (SELECT coalesce(max(sort_key), 0) FROM album_videos WHERE album_id = ?2)
                       ELSE f.taken_ms END, 0
                   FROM facts f WHERE f.video_id IN (SELECT value FROM json_each(?1)) AND f.deleted = 0
                   AND NOT EXISTS (SELECT 1 FROM album_videos m WHERE m.album_id = ?2 AND m.video_id = f.video_id)
                   RETURNING video_id";
        let added: Vec<String> = sqlx::query_scalar(sql)
            .bind(&json)
            .bind(album_id)
            .bind(album.by_hand)
            .fetch_all(&mut *transaction)
            .await?;
        let sql = "SELECT count(*) FROM album_videos WHERE album_id = ?";
        let videos: i64 = sqlx::query_scalar(sql).bind(album_id).fetch_one(&mut *transaction).await?;
        if videos > i64::from(MAX_ALBUM_VIDEOS) {
            return Err(LibraryError::Conflict(format!(
                "the album {:?} would have {videos} videos; an album has at most {MAX_ALBUM_VIDEOS}",
                album.name
            )));
        }
        let changed = counted(&mut transaction, &json, &added).await?;
        transaction.commit().await?;
        self.announce_all(added, |id| Change::Video { id });
        self.announce(Change::Album { id: album_id.into() });
        Ok(changed)
    }

    /// Removes videos from an album. They stay in the library.
    ///
    /// # Errors
    /// `NotFound` for the album; otherwise as [`Library::set_favourites`].
    pub async fn remove_from_album(&self, album_id: &str, ids: &[&str]) -> Result<Changed, LibraryError> {
        let json = checked(ids)?;
        self.album(album_id).await?;
        let mut transaction = self.begin().await?;
        let sql =
            "DELETE FROM album_videos WHERE album_id = ?2 AND video_id IN (SELECT value FROM json_each(?1))
                   RETURNING video_id";
        let removed: Vec<String> =
            sqlx::query_scalar(sql).bind(&json).bind(album_id).fetch_all(&mut *transaction).await?;
        let changed = counted(&mut transaction, &json, &removed).await?;
        transaction.commit().await?;
        self.announce_all(removed, |id| Change::Video { id });
        self.announce(Change::Album { id: album_id.into() });
        Ok(changed)
    }

    /// Runs a statement that returns the ids of the videos it changed.
    async fn change(
        &self,
        ids: &[&str],
        sql: &str,
        change: fn(String) -> Change,
    ) -> Result<Changed, LibraryError> {
        let json = checked(ids)?;
        let mut transaction = self.begin().await?;
        let changed: Vec<String> = sqlx::query_scalar(sql).bind(&json).fetch_all(&mut *transaction).await?;
        let result = counted(&mut transaction, &json, &changed).await?;
        transaction.commit().await?;
        self.announce_all(changed, change);
        Ok(result)
    }

    fn announce_all(&self, ids: Vec<String>, change: fn(String) -> Change) {
        if ids.len() > ANNOUNCED {
            return self.announce(Change::Videos);
        }
        for id in ids {
            self.announce(change(id));
        }
    }
}

/// Returns the ids as a JSON array: SQLite has no list parameters.
pub(crate) fn checked(ids: &[&str]) -> Result<String, LibraryError> {
    if ids.len() > MAX_BATCH {
        return Err(LibraryError::Invalid(format!(
            "{} videos are selected; at most {MAX_BATCH} can be changed at once",
            ids.len()
        )));
    }
    to_json("video ids", &ids)
}

/// Returns the result of a change of the videos `changed`, and counts the ids that it did not concern.
pub(crate) async fn counted(
    connection: &mut SqliteConnection,
    json: &str,
    changed: &[String],
) -> Result<Changed, LibraryError> {
    let sql = "SELECT count(DISTINCT value), count(DISTINCT v.id) FROM json_each(?) LEFT JOIN videos v ON v.id = value";
    let (distinct, known): (i64, i64) = sqlx::query_as(sql).bind(json).fetch_one(connection).await?;
    let number = |count: i64| u64::try_from(count).unwrap_or_default();
    Ok(Changed {
        changed: changed.len() as u64,
        unchanged: number(known).saturating_sub(changed.len() as u64),
        unknown: number(distinct) - number(known),
        ids: changed.to_vec(),
    })
}
