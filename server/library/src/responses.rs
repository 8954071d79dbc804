//! Responses of OpenAI's Responses API and the media of their conversations, kept for 24 hours.
//!
//! A row has everything that a follow-up needs: all items of the conversation, those of earlier responses included. Deleting
//! an earlier response therefore breaks no later one. Media that a request embedded are files `responses/SHA256`, each stored
//! once, however many responses use it, and removed with the last of them.
//!
//! **Invariant:** a row of `response_media` exists only while its file does. A file is in place before the row, and the row is
//! gone before the file; files without a row are removed when a library is opened.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sqlx::Row as _;

use crate::{
    directories::remove_file,
    error::LibraryError,
    incoming::Scratch,
    library::Library,
    private,
    values::{hash, is_hash, new_id, now_ms, shorten},
};

/// Directory of the media.
pub(crate) const DIRECTORY: &str = "responses";

/// How long a response is kept, in milliseconds.
const KEEP_MS: i64 = 24 * 3600 * 1000;

/// Limits of one owner. Beyond them, the oldest responses are deleted.
#[derive(Debug, Clone, Copy)]
struct OwnerLimits {
    responses: usize,
    /// JSON and media together; media that several responses use count once.
    bytes: u64,
}

const LIMITS: OwnerLimits = OwnerLimits { responses: 1000, bytes: 2 << 30 };

/// A file of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseMedia {
    /// SHA-256 of the content, in lower-case hexadecimal.
    pub sha256: String,
    /// Number of bytes.
    pub size: u64,
}

/// A response to keep.
#[derive(Debug, Clone, Default)]
pub struct NewResponse {
    /// Id, as [`new_id`] makes it.
    pub id: String,
    /// Who asked; `None` where no login is required.
    pub owner: Option<String>,
    /// The response as it is sent: a JSON object.
    pub object: String,
    /// The conversation before the answer: a JSON array of items.
    pub items: String,
    /// The media that the items refer to, each once, and where the bytes are now. The files must not change any more.
    pub media: Vec<(ResponseMedia, PathBuf)>,
}

/// A kept response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The response as it was sent: a JSON object.
    pub object: String,
    /// The conversation before the answer: a JSON array of items.
    pub items: String,
    /// The media that the items refer to.
    pub media: Vec<ResponseMedia>,
}

impl Library {
    /// Keeps a response for 24 hours: its row is durable when this returns. Deletes the owner's oldest responses where there
    /// are too many.
    ///
    /// # Errors
    /// `TooLarge` when it exceeds the owner's limit alone; `NoSpace`, `OverQuota`, `Io`, `Database`.
    pub async fn store_response(&self, new: NewResponse) -> Result<(), LibraryError> {
        self.store_response_within(new, LIMITS).await
    }

    async fn store_response_within(&self, new: NewResponse, limits: OwnerLimits) -> Result<(), LibraryError> {
        let files: Vec<PathBuf> = new.media.iter().map(|(_, path)| path.clone()).collect();
        // Takes a while for large files, and others can store theirs meanwhile.
        let synced = move || files.iter().try_for_each(|path| File::open(path)?.sync_all());
        tokio::task::spawn_blocking(synced).await.map_err(io::Error::other)??;
        let _turn = self.response_files.lock().await;
        let stored = self.place_and_insert(&new, limits).await;
        let placed = new.media.into_iter().map(|(media, _)| media.sha256);
        // Also after a failure, which leaves files without a row.
        let removed = self.remove_unused_media(placed.collect()).await;
        stored.and(removed)
    }

    async fn place_and_insert(&self, new: &NewResponse, limits: OwnerLimits) -> Result<(), LibraryError> {
        let kept: Vec<String> =
            sqlx::query_scalar("SELECT sha256 FROM response_media").fetch_all(&self.pool).await?;
        let kept: HashSet<String> = kept.into_iter().collect();
        let missing: Vec<_> =
            new.media.iter().filter(|(media, _)| !kept.contains(&media.sha256)).cloned().collect();
        let bytes = missing.iter().map(|(media, _)| media.size).sum();
        if bytes > limits.bytes {
            return Err(LibraryError::TooLarge { limit: limits.bytes });
        }
        self.check_room(bytes).await?;
        let directory = self.root.join(DIRECTORY);
        tokio::task::spawn_blocking(move || place(&directory, &missing))
            .await
            .map_err(io::Error::other)??;

        let mut transaction = self.begin().await?;
        let now = now_ms();
        sqlx::query(
            "INSERT INTO responses (id, owner, bytes, created_ms, expires_ms, object, items)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.owner)
        .bind(i64::try_from(new.object.len() + new.items.len()).unwrap_or(i64::MAX))
        .bind(now)
        .bind(now.saturating_add(KEEP_MS))
        .bind(&new.object)
        .bind(&new.items)
        .execute(&mut *transaction)
        .await?;
        for (media, _) in &new.media {
            sqlx::query("INSERT INTO response_media (sha256, size) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(&media.sha256)
                .bind(i64::try_from(media.size).unwrap_or(i64::MAX))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "INSERT INTO response_uses (response_id, sha256) VALUES (?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(&new.id)
            .bind(&media.sha256)
            .execute(&mut *transaction)
            .await?;
        }
        let surplus = surplus(&mut transaction, new.owner.as_deref(), limits).await?;
        if surplus.contains(&new.id) {
            return Err(LibraryError::TooLarge { limit: limits.bytes });
        }
        for id in surplus {
            sqlx::query("DELETE FROM responses WHERE id = ?").bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the response with this id.
    ///
    /// # Errors
    /// `NotFound` when there is none or another `owner` has it; `Database`.
    pub async fn response(&self, id: &str, owner: Option<&str>) -> Result<StoredResponse, LibraryError> {
        let row = sqlx::query("SELECT object, items FROM responses WHERE id = ? AND owner IS ?")
            .bind(id)
            .bind(owner)
            .fetch_optional(&self.pool)
            .await?
            .ok_or_else(|| not_found(id))?;
        let sql = "SELECT sha256, size FROM response_uses JOIN response_media USING (sha256)
                   WHERE response_id = ? ORDER BY sha256";
        let media = sqlx::query(sql).bind(id).fetch_all(&self.pool).await?;
        let media = media.iter().map(|row| {
            Ok(ResponseMedia { sha256: hash(row, "sha256")?, size: unsigned(row.try_get("size")?) })
        });
        Ok(StoredResponse {
            object: row.try_get("object")?,
            items: row.try_get("items")?,
            media: media.collect::<Result<_, sqlx::Error>>()?,
        })
    }

    /// Returns only the object of the response with this id: a JSON object.
    ///
    /// # Errors
    /// As [`Self::response`].
    pub async fn response_object(&self, id: &str, owner: Option<&str>) -> Result<String, LibraryError> {
        let object: Option<String> =
            sqlx::query_scalar("SELECT object FROM responses WHERE id = ? AND owner IS ?")
                .bind(id)
                .bind(owner)
                .fetch_optional(&self.pool)
                .await?;
        object.ok_or_else(|| not_found(id))
    }

    /// Deletes a response, and the media that no other one uses.
    ///
    /// # Errors
    /// `NotFound` when there is none or another `owner` has it; `Io`, `Database`.
    pub async fn delete_response(&self, id: &str, owner: Option<&str>) -> Result<(), LibraryError> {
        let _turn = self.response_files.lock().await;
        let deleted = sqlx::query("DELETE FROM responses WHERE id = ? AND owner IS ?")
            .bind(id)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        if deleted.rows_affected() == 0 {
            return Err(not_found(id));
        }
        self.remove_unused_media(Vec::new()).await
    }

    /// Returns the path of a file of kept conversations.
    ///
    /// # Errors
    /// `NotFound` when `sha256` is no hash.
    pub fn response_media_path(&self, sha256: &str) -> Result<PathBuf, LibraryError> {
        if !is_hash(sha256) {
            return Err(LibraryError::NotFound { what: "file of a response", id: shorten(sha256) });
        }
        Ok(self.root.join(DIRECTORY).join(sha256))
    }

    /// Deletes the responses that have expired at the retention time `now`; returns their number.
    pub(crate) async fn expire_responses(&self, now: i64) -> Result<usize, LibraryError> {
        let _turn = self.response_files.lock().await;
        let deleted = sqlx::query("DELETE FROM responses WHERE expires_ms < ?")
            .bind(now)
            .execute(&self.pool)
            .await?
            .rows_affected();
        self.remove_unused_media(Vec::new()).await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }

    /// Removes the files that an earlier process left behind without a row.
    pub(crate) async fn remove_stray_media(&self) -> Result<(), LibraryError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(DIRECTORY))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        self.remove_unused_media(names).await
    }

    /// Removes the rows and files of media that no response uses, and those of `files` that have no row.
    async fn remove_unused_media(&self, files: Vec<String>) -> Result<(), LibraryError> {
        let sql = "DELETE FROM response_media WHERE sha256 NOT IN (SELECT sha256 FROM response_uses)
                   RETURNING sha256";
        let mut unused: Vec<String> = sqlx::query_scalar(sql).fetch_all(&self.pool).await?;
        if !files.is_empty() {
            let kept: Vec<String> =
                sqlx::query_scalar("SELECT sha256 FROM response_media").fetch_all(&self.pool).await?;
            let kept: HashSet<String> = kept.into_iter().collect();
            unused.extend(files.into_iter().filter(|name| !kept.contains(name)));
        }
        let directory = self.root.join(DIRECTORY);
        tokio::task::spawn_blocking(move || {
            unused.iter().try_for_each(|name| remove_file(&directory.join(name)))
        })
        .await
        .map_err(io::Error::other)??;
        Ok(())
    }
}

/// Returns the owner's responses beyond the limits, which are the oldest ones.
async fn surplus(
    transaction: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    owner: Option<&str>,
    limits: OwnerLimits,
) -> Result<Vec<String>, LibraryError> {
    let sql = "SELECT id, bytes FROM responses WHERE owner IS ? ORDER BY created_ms DESC, id DESC";
    let responses: Vec<(String, i64)> = sqlx::query_as(sql).bind(owner).fetch_all(&mut **transaction).await?;
    let sql = "SELECT response_id, sha256, size FROM response_uses JOIN response_media USING (sha256)
               WHERE response_id IN (SELECT id FROM responses WHERE owner IS ?)";
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as(sql).bind(owner).fetch_all(&mut **transaction).await?;
    let mut uses: HashMap<String, Vec<(String, i64)>> = HashMap::new();
    for (id, sha256, size) in rows {
        uses.entry(id).or_default().push((sha256, size));
    }
    let (mut bytes, mut counted) = (0_u64, HashSet::new());
    let within = responses.iter().take(limits.responses).take_while(|(id, text)| {
        bytes = bytes.saturating_add(unsigned(*text));
        for (sha256, size) in uses.get(id).into_iter().flatten() {
            if counted.insert(sha256) {
                bytes = bytes.saturating_add(unsigned(*size));
            }
        }
        bytes <= limits.bytes
    });
    let within = within.count();
    Ok(responses.into_iter().skip(within).map(|(id, _)| id).collect())
}

/// Puts synced files into `directory`, durably. They are linked where the file system has hard links, else copied.
fn place(directory: &Path, files: &[(ResponseMedia, PathBuf)]) -> io::Result<()> {
    for (media, source) in files {
        let target = directory.join(&media.sha256);
        match fs::hard_link(source, &target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => {
                let part = Scratch::new(directory.join(format!("{}.part", new_id())));
                private::copy_file(source, part.path())?;
                fs::rename(part.path(), &target)?;
            }
        }
    }
    if files.is_empty() { Ok(()) } else { File::open(directory)?.sync_all() }
}

fn not_found(id: &str) -> LibraryError {
    LibraryError::NotFound { what: "response", id: format!("resp_{}", shorten(id)) }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests;
