//! Creates, changes and deletes albums. Videos are added and removed by [`crate::Library::add_to_album`].

use sqlx::SqliteConnection;

use super::album::{Album, MAX_ALBUMS, fitting};
use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{new_id, now_ms, shorten},
};

/// What changes about an album. `None` means that it stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlbumChange<'a> {
    /// The name.
    pub name: Option<&'a str>,
    /// Id of the video that is the cover; `Some(None)` means the latest video with a poster.
    pub cover: Option<Option<&'a str>>,
    /// Whether it is ordered by hand, in the present order to begin with, or by date taken.
    pub by_hand: Option<bool>,
}

/// Orders an album by hand or by date taken.
async fn order(connection: &mut SqliteConnection, id: &str, by_hand: bool) -> Result<(), LibraryError> {
    let sql = "UPDATE albums SET by_hand = ?1 WHERE id = ?2 AND by_hand <> ?1";
    let set = sqlx::query(sql).bind(by_hand).bind(id).execute(&mut *connection).await?;
    if set.rows_affected() == 0 {
        return Ok(());
    }
    // With the trash, whose videos may come back.
    let keys = if by_hand {
        "UPDATE album_videos SET sort_key = n.place FROM (
             SELECT video_id, row_number() OVER (ORDER BY sort_key, video_id) AS place
                 FROM album_videos WHERE album_id = ?1) n
             WHERE album_id = ?1 AND album_videos.video_id = n.video_id"
    } else {
        "UPDATE album_videos SET sort_key = f.taken_ms FROM facts f
             WHERE album_id = ?1 AND f.video_id = album_videos.video_id"
    };
    sqlx::query(keys).bind(id).execute(connection).await?;
    Ok(())
}

impl Library {
    /// Creates an empty album.
    ///
    /// # Errors
    /// `Invalid` for a name that does not fit; `Conflict` for one that an album has, or beyond [`MAX_ALBUMS`]; `Database`.
    pub async fn create_album(&self, name: &str) -> Result<Album, LibraryError> {
        let name = fitting(name)?;
        let id = new_id();
        let mut transaction = self.begin().await?;
        let albums: i64 =
            sqlx::query_scalar("SELECT count(*) FROM albums").fetch_one(&mut *transaction).await?;
        if albums >= i64::from(MAX_ALBUMS) {
            return Err(LibraryError::Conflict(format!(
                "there are {albums} albums, which is the limit; delete one first"
            )));
        }
        let insert = "INSERT INTO albums (id, name, folded, created_ms) VALUES (?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(&id)
            .bind(name)
            .bind(name.to_lowercase())
            .bind(now_ms())
            .execute(&mut *transaction)
            .await
            .map_err(|error| taken_name(error, name))?;
        transaction.commit().await?;
        self.announce(Change::Album { id: id.clone() });
        self.album(&id).await
    }

    /// Returns the album with this name regardless of case, and creates it if there is none.
    ///
    /// # Errors
    /// As [`Library::create_album`], except that an album with this name is no conflict.
    pub async fn album_named(&self, name: &str) -> Result<Album, LibraryError> {
        let name = fitting(name)?;
        let sql = "SELECT id FROM albums WHERE folded = ?";
        let id: Option<String> =
            sqlx::query_scalar(sql).bind(name.to_lowercase()).fetch_optional(&self.pool).await?;
        match id {
            Some(id) => self.album(&id).await,
            None => self.create_album(name).await,
        }
    }

    /// Changes an album: all that `edit` has, or nothing.
    ///
    /// # Errors
    /// `Invalid` for a name that does not fit or a cover that is not in the album, `Conflict` for a name that another album has,
    /// `NotFound`, `Database`.
    pub async fn edit_album(&self, id: &str, edit: &AlbumChange<'_>) -> Result<Album, LibraryError> {
        let album = self.album(id).await?;
        let mut transaction = self.begin().await?;
        if let Some(name) = edit.name {
            let name = fitting(name)?;
            sqlx::query("UPDATE albums SET name = ?, folded = ? WHERE id = ?")
                .bind(name)
                .bind(name.to_lowercase())
                .bind(id)
                .execute(&mut *transaction)
                .await
                .map_err(|error| taken_name(error, name))?;
        }
        if let Some(cover) = edit.cover {
            let sql = "UPDATE albums SET cover = ?1 WHERE id = ?2 AND (?1 IS NULL OR EXISTS
                       (SELECT 1 FROM album_videos WHERE album_id = ?2 AND video_id = ?1))";
            let set = sqlx::query(sql).bind(cover).bind(id).execute(&mut *transaction).await?;
            if let Some(video_id) = cover.filter(|_| set.rows_affected() == 0) {
                return Err(not_in(&album, video_id));
            }
        }
        if let Some(by_hand) = edit.by_hand {
            order(&mut transaction, id, by_hand).await?;
        }
        transaction.commit().await?;
        self.changed_album(id).await
    }

    /// Renames an album.
    ///
    /// # Errors
    /// As [`Library::edit_album`].
    pub async fn rename_album(&self, id: &str, name: &str) -> Result<Album, LibraryError> {
        self.edit_album(id, &AlbumChange { name: Some(name), ..AlbumChange::default() }).await
    }

    /// Chooses the cover of an album; `None` means the latest video with a poster.
    ///
    /// # Errors
    /// As [`Library::edit_album`].
    pub async fn set_album_cover(&self, id: &str, video_id: Option<&str>) -> Result<Album, LibraryError> {
        self.edit_album(id, &AlbumChange { cover: Some(video_id), ..AlbumChange::default() }).await
    }

    /// Orders an album by hand, in the present order to begin with, or by date taken.
    ///
    /// # Errors
    /// As [`Library::edit_album`].
    pub async fn order_album(&self, id: &str, by_hand: bool) -> Result<Album, LibraryError> {
        self.edit_album(id, &AlbumChange { by_hand: Some(by_hand), ..AlbumChange::default() }).await
    }

    /// Moves a video one place towards the beginning of an album, or towards its end. The album is ordered by hand from then on.
    ///
    /// # Errors
    /// `Invalid` for a video that is not in the album or in the trash, `NotFound`, `Database`.
    pub async fn move_in_album(
        &self,
        id: &str,
        video_id: &str,
        earlier: bool,
    ) -> Result<Album, LibraryError> {
        let album = self.order_album(id, true).await?;
        let mut transaction = self.begin().await?;
        let own = "SELECT sort_key FROM album_videos WHERE album_id = ? AND video_id = ? AND hidden = 0";
        let own: Option<i64> =
            sqlx::query_scalar(own).bind(id).bind(video_id).fetch_optional(&mut *transaction).await?;
        let Some(own) = own else { return Err(not_in(&album, video_id)) };
        let (sign, order) = if earlier { ("<", "DESC") } else { (">", "") };
        let other = format!(
            "SELECT sort_key, video_id FROM album_videos WHERE album_id = ? AND hidden = 0
             AND (sort_key, video_id) {sign} (?, ?) ORDER BY sort_key {order}, video_id {order} LIMIT 1"
        );
        let other: Option<(i64, String)> = sqlx::query_as(&other)
            .bind(id)
            .bind(own)
            .bind(video_id)
            .fetch_optional(&mut *transaction)
            .await?;
        // At the end there is no place to move to.
        if let Some((key, other)) = other {
            let set = "UPDATE album_videos SET sort_key = ? WHERE album_id = ? AND video_id = ?";
            for (key, video_id) in [(key, video_id), (own, other.as_str())] {
                sqlx::query(set).bind(key).bind(id).bind(video_id).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        self.changed_album(id).await
    }

    /// Deletes an album. Its videos stay.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn delete_album(&self, id: &str) -> Result<(), LibraryError> {
        let deleted = sqlx::query("DELETE FROM albums WHERE id = ?").bind(id).execute(&self.pool).await?;
        if deleted.rows_affected() == 0 {
            return Err(LibraryError::NotFound { what: "album", id: shorten(id) });
        }
        self.announce(Change::Album { id: id.into() });
        Ok(())
    }

    async fn changed_album(&self, id: &str) -> Result<Album, LibraryError> {
        let album = self.album(id).await?;
        self.announce(Change::Album { id: id.into() });
        Ok(album)
    }
}

fn not_in(album: &Album, video_id: &str) -> LibraryError {
    LibraryError::Invalid(format!(
        "the album {:?} has no video with the id {}",
        album.name,
        shorten(video_id)
    ))
}

/// Names the album if it has the same name as another one.
fn taken_name(error: sqlx::Error, name: &str) -> LibraryError {
    if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) {
        return LibraryError::Conflict(format!("there is an album {name:?} already; choose another name"));
    }
    error.into()
}
