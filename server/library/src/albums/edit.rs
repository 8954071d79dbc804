//! Creates, changes and deletes albums. Videos are added and removed by [`crate::Library::add_to_album`].

use super::album::{Album, MAX_ALBUMS, fitting};
use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{new_id, now_ms, shorten},
};

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

    /// Renames an album.
    ///
    /// # Errors
    /// `Invalid` for a name that does not fit, `Conflict` for one that another album has, `NotFound`, `Database`.
    pub async fn rename_album(&self, id: &str, name: &str) -> Result<Album, LibraryError> {
        let name = fitting(name)?;
        sqlx::query("UPDATE albums SET name = ?, folded = ? WHERE id = ?")
            .bind(name)
            .bind(name.to_lowercase())
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(|error| taken_name(error, name))?;
        self.changed_album(id).await
    }

    /// Chooses the cover of an album; `None` means the latest video with a poster.
    ///
    /// # Errors
    /// `Invalid` for a video that is not in the album, `NotFound`, `Database`.
    pub async fn set_album_cover(&self, id: &str, video_id: Option<&str>) -> Result<Album, LibraryError> {
        let sql = "UPDATE albums SET cover = ?1 WHERE id = ?2 AND (?1 IS NULL OR EXISTS
                   (SELECT 1 FROM album_videos WHERE album_id = ?2 AND video_id = ?1))";
        let set = sqlx::query(sql).bind(video_id).bind(id).execute(&self.pool).await?;
        let album = self.changed_album(id).await?;
        match video_id {
            Some(video_id) if set.rows_affected() == 0 => Err(not_in(&album, video_id)),
            _ => Ok(album),
        }
    }

    /// Orders an album by hand, in the present order to begin with, or by date taken.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn order_album(&self, id: &str, by_hand: bool) -> Result<Album, LibraryError> {
        let mut transaction = self.begin().await?;
        let sql = "UPDATE albums SET by_hand = ?1 WHERE id = ?2 AND by_hand <> ?1";
        let set = sqlx::query(sql).bind(by_hand).bind(id).execute(&mut *transaction).await?;
        if set.rows_affected() > 0 {
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
            sqlx::query(keys).bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.changed_album(id).await
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
