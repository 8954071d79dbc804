//! Restores a backup. It may be old, so sessions and API keys that were revoked since must not come back; and it may be
//! crafted, so no value of it becomes a path before it was checked.

use std::{collections::HashSet, fs, io::Read as _, path::Path};

use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use crate::{
    backup::{beside, clear_files},
    directories::remove_file,
    error::LibraryError,
    incoming::Scratch,
    library::lock,
    private,
    values::{is_hash, is_id, shorten},
};

/// First bytes of a SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Columns that become part of paths and URLs.
const IDS: [(&str, &str); 4] = [("videos", "id"), ("uploads", "id"), ("jobs", "id"), ("answers", "id")];
const ALBUM_IDS: [(&str, &str); 4] =
    [("albums", "id"), ("albums", "cover"), ("album_videos", "video_id"), ("tag_videos", "video_id")];
const HASHES: [(&str, &str); 3] = [("videos", "sha256"), ("doomed", "sha256"), ("uploads", "sha256")];

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Number of videos in the copy.
    pub videos: usize,
    /// Hashes of originals that are not in the data directory.
    pub missing: Vec<String>,
    /// Number of sessions in the copy, which are not restored.
    pub sessions_left_out: i64,
    /// Number of API keys in the copy that were not restored.
    pub keys_left_out: i64,
}

/// Replaces the database of the library in `data` by the copy `file`, without its sessions, one-time links and kept responses
/// and, unless `keep_keys`, without its API keys. No server may be using it; an existing database is kept as
/// `homereel.db.before-restore`.
///
/// # Errors
/// `InUse` while a server has it open, `Invalid` when `file` is no backup, `Conflict` when an earlier database was
/// kept already, `Database`, `Io`.
pub async fn restore(data: &Path, file: &Path, keep_keys: bool) -> Result<Restored, LibraryError> {
    let invalid = |why: &str| LibraryError::Invalid(format!("{} is no backup: {why}", file.display()));
    if !file.is_file() {
        return Err(invalid("there is no such file"));
    }
    let mut magic = [0; MAGIC.len()];
    fs::File::open(file)?.read_exact(&mut magic).map_err(|error| invalid(&error.to_string()))?;
    if magic != *MAGIC {
        return Err(invalid("it is no SQLite database"));
    }
    private::create_dir(data)?;
    let _lock = lock(data).await?;
    let database = data.join("homereel.db");
    let part = Scratch::new(beside(&database, "part"));
    remove_file(part.path())?;
    private::copy_file(file, part.path())?;
    let prepared = prepare(part.path(), keep_keys).await.map_err(|error| match error {
        LibraryError::Database(error) => invalid(&error.to_string()),
        LibraryError::Invalid(why) => invalid(&why),
        error => error,
    })?;
    keep_present(data, &database).await?;
    fs::File::open(part.path())?.sync_all()?;
    fs::rename(part.path(), &database)?;
    part.keep();
    let there: HashSet<String> = match fs::read_dir(data.join("originals")) {
        Ok(entries) => {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
        Err(_) => HashSet::new(),
    };
    let missing = prepared.missing.iter().filter(|hash| !there.contains(*hash)).cloned().collect();
    Ok(Restored { missing, ..prepared })
}

/// Checks a copy and removes what must not come back. All originals count as missing yet.
async fn prepare(part: &Path, keep_keys: bool) -> Result<Restored, LibraryError> {
    // Without a log beside it, so that the file is complete.
    let options = SqliteConnectOptions::new().filename(part).journal_mode(SqliteJournalMode::Delete);
    let mut copy = SqliteConnection::connect_with(&options).await?;
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut copy).await?;
    if sound != "ok" {
        return Err(LibraryError::Invalid(sound));
    }
    check_columns(&mut copy, &IDS, is_id, "an id of 32 hexadecimal digits").await?;
    // Backups of earlier versions have no albums.
    if has_table(&mut copy, "albums").await? {
        check_columns(&mut copy, &ALBUM_IDS, is_id, "an id of 32 hexadecimal digits").await?;
    }
    check_columns(&mut copy, &HASHES, is_hash, "a SHA-256 of 64 lower-case hexadecimal digits").await?;
    clear(&mut copy, "login_links").await?;
    clear_files(&mut copy).await?;
    // Kept for a day only, and without their media. Backups of earlier versions have none.
    for table in ["response_uses", "response_media", "responses"] {
        if has_table(&mut copy, table).await? {
            clear(&mut copy, table).await?;
        }
    }
    let sessions_left_out = clear(&mut copy, "sessions").await?;
    let keys_left_out = if keep_keys { 0 } else { clear(&mut copy, "api_keys").await? };
    let missing: Vec<String> = sqlx::query_scalar("SELECT sha256 FROM videos").fetch_all(&mut copy).await?;
    copy.close().await?;
    Ok(Restored { videos: missing.len(), missing, sessions_left_out, keys_left_out })
}

async fn has_table(copy: &mut SqliteConnection, name: &str) -> Result<bool, LibraryError> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?";
    Ok(sqlx::query(sql).bind(name).fetch_optional(copy).await?.is_some())
}

/// Deletes all rows of a table and returns their number.
async fn clear(copy: &mut SqliteConnection, table: &str) -> Result<i64, LibraryError> {
    let count = format!("SELECT count(*) FROM {table}");
    let rows = sqlx::query_scalar(&count).fetch_one(&mut *copy).await?;
    sqlx::query(&format!("DELETE FROM {table}")).execute(&mut *copy).await?;
    // A trigger may have put them back.
    let left: i64 = sqlx::query_scalar(&count).fetch_one(&mut *copy).await?;
    if left > 0 {
        return Err(LibraryError::Invalid(format!("{left} rows of {table} cannot be deleted")));
    }
    Ok(rows)
}

async fn check_columns(
    copy: &mut SqliteConnection,
    columns: &[(&str, &str)],
    fits: fn(&str) -> bool,
    expected: &str,
) -> Result<(), LibraryError> {
    for (table, column) in columns {
        let sql = format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL");
        let values: Vec<String> = sqlx::query_scalar(&sql).fetch_all(&mut *copy).await?;
        if let Some(value) = values.iter().find(|value| !fits(value)) {
            let value = shorten(value);
            return Err(LibraryError::Invalid(format!(
                "{table}.{column} is {value:?}; {expected} would fit"
            )));
        }
    }
    Ok(())
}

/// Moves the present database, if any, out of the way.
async fn keep_present(data: &Path, database: &Path) -> Result<(), LibraryError> {
    let kept = data.join("homereel.db.before-restore");
    if database.exists() {
        if kept.exists() {
            return Err(LibraryError::Conflict(format!(
                "{} is there from an earlier restore; move it away first",
                kept.display()
            )));
        }
        // The write-ahead log of a database that was not closed holds part of its contents.
        let mut old = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(database)).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut old).await?;
        old.close().await?;
        fs::rename(database, &kept)?;
    }
    for log in ["homereel.db-wal", "homereel.db-shm"] {
        remove_file(&data.join(log))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

    use super::*;
    use crate::{Auth, Credential, Library, Role, backup, tests::add};

    /// A library with one video, and a backup of it.
    async fn backed_up() -> (tempfile::TempDir, Library, PathBuf) {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(&data.path().join("library")).await.unwrap();
        add(&library, b"bytes", "a.mp4").await;
        let file = data.path().join("copy.db");
        backup(&data.path().join("library"), &file).await.unwrap();
        (data, library, file)
    }

    async fn execute(database: &Path, sql: &str) {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_backup_of_a_library_at_work_brings_it_back() {
        let (data, library, file) = backed_up().await;
        let root = data.path().join("library");
        let video = library.videos(1, 0).await.unwrap().remove(0);
        let made = backup(&root, &data.path().join("second.db")).await.unwrap();
        assert_eq!((made.videos, made.bytes), (1, 5));
        let list = fs::read_to_string(&made.list).unwrap();
        assert_eq!(list, format!("{0}  originals/{0}\n", video.sha256));
        for private in [&file, &made.list] {
            assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let refused = backup(&root, &file).await;
        assert!(matches!(refused, Err(LibraryError::Conflict(_))), "never written over");
        // What comes after the backup is not in it.
        add(&library, b"more", "b.mp4").await;
        assert!(matches!(restore(&root, &file, false).await, Err(LibraryError::InUse { .. })));
        library.close().await;
        drop(library);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let back = restore(&root, &file, false).await.unwrap();
        assert_eq!(back, Restored { videos: 1, missing: Vec::new(), sessions_left_out: 0, keys_left_out: 0 });
        let mode = fs::metadata(root.join("homereel.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "not that of the backup");
        let library = Library::open(&root).await.unwrap();
        assert_eq!(library.videos(9, 0).await.unwrap().len(), 1);
        assert_eq!(library.video(&video.id).await.unwrap().name, "a.mp4");
        assert!(root.join("homereel.db.before-restore").is_file());
        drop(library);
        // Elsewhere the originals are missing, and it says which.
        let empty = data.path().join("new");
        assert_eq!(restore(&empty, &file, false).await.unwrap().missing, [video.sha256]);
    }

    #[tokio::test]
    async fn sessions_links_and_keys_of_a_backup_do_not_come_back() {
        let data = tempfile::tempdir().unwrap();
        let root = data.path().join("library");
        let library = Library::open(&root).await.unwrap();
        let auth = Auth::new(library.pool().clone(), true);
        auth.set_password("correct horse".into()).await.unwrap();
        let session = auth.log_in(None, "correct horse".into(), None).await.unwrap().token;
        let link = auth.make_link().await.unwrap();
        let (key, other) = (
            auth.add_key("phone", Role::Admin).await.unwrap(),
            auth.add_key("tv", Role::Viewer).await.unwrap(),
        );
        let file = data.path().join("copy.db");
        backup(&root, &file).await.unwrap();
        let valid = async |root: &Path| {
            let auth = Auth::open(root).await.unwrap();
            let valid = async |credential| auth.identify(credential).await.unwrap().is_some();
            (
                valid(Credential::Session(&session)).await || auth.link_lives(&link).await.unwrap(),
                valid(Credential::Key(&key.token)).await && valid(Credential::Key(&other.token)).await,
                auth.log_in(None, "correct horse".into(), None).await.is_ok(),
            )
        };
        let (new, keeping) = (data.path().join("new"), data.path().join("keeping"));
        let back = restore(&new, &file, false).await.unwrap();
        assert_eq!((back.sessions_left_out, back.keys_left_out), (1, 2));
        assert_eq!(valid(&new).await, (false, false, true));
        assert_eq!(restore(&keeping, &file, true).await.unwrap().keys_left_out, 0);
        assert_eq!(valid(&keeping).await, (false, true, true));
    }

    #[tokio::test]
    async fn what_is_no_backup_restores_nothing() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("x");
        fs::write(&file, b"not a database at all, but long enough to have a header of one").unwrap();
        for file in [file, data.path().join("none")] {
            let refused = restore(&data.path().join("library"), &file, false).await;
            assert!(matches!(refused, Err(LibraryError::Invalid(_))), "{refused:?}");
        }
        assert!(!data.path().join("library").exists());
        let none = backup(&data.path().join("library"), &data.path().join("y")).await;
        assert!(matches!(none, Err(LibraryError::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_backup_with_paths_in_it_is_refused_and_the_library_stays() {
        let (data, library, file) = backed_up().await;
        let root = data.path().join("library");
        library.close().await;
        drop(library);
        let crafted = data.path().join("crafted.db");
        for sql in [
            "UPDATE videos SET sha256 = '../../victim'",
            "UPDATE videos SET sha256 = upper(sha256)",
            "UPDATE videos SET sha256 = sha256 || char(0) || '/../../victim'",
            "UPDATE videos SET id = '../../../../../../../../victim'",
            "INSERT INTO doomed (sha256) VALUES ('../../victim')",
            "INSERT INTO uploads (id, name, length, created_ms, expires_ms) VALUES ('../victim', 'a', 1, 1, 1)",
            "INSERT INTO uploads (id, name, length, sha256, created_ms, expires_ms)
                 VALUES ('00000000000000000000000000000001', 'a', 1, '../victim', 1, 1)",
            "UPDATE jobs SET id = '../victim'",
            "INSERT INTO albums (id, name, folded, created_ms) VALUES ('../victim', 'a', 'a', 1)",
            "CREATE TRIGGER again AFTER DELETE ON login_links
                 BEGIN INSERT INTO login_links VALUES (old.token_hash, old.expires_ms); END;
             INSERT INTO login_links VALUES ('x', 1)",
        ] {
            fs::copy(&file, &crafted).unwrap();
            execute(&crafted, &format!("PRAGMA foreign_keys = OFF; {sql}")).await;
            let refused = restore(&root, &crafted, false).await.unwrap_err();
            assert!(matches!(refused, LibraryError::Invalid(_)), "{sql}: {refused}");
        }
        assert!(!root.join("homereel.db.before-restore").exists() && !root.join("homereel.db.part").exists());
        let library = Library::open(&root).await.unwrap();
        assert_eq!(library.videos(9, 0).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_row_with_a_path_in_it_names_no_file() {
        let (data, library, _) = backed_up().await;
        let (root, victim) = (data.path().join("library"), data.path().join("victim"));
        fs::write(&victim, b"not yours").unwrap();
        let id = library.videos(1, 0).await.unwrap().remove(0).id;
        library.trash_video(&id).await.unwrap();
        execute(
            &root.join("homereel.db"),
            "UPDATE videos SET sha256 = '../../victim';
             INSERT INTO doomed (sha256) VALUES ('../../victim');
             INSERT INTO uploads (id, name, length, created_ms, expires_ms)
                 VALUES ('../../victim', 'a', 9, 1, 1)",
        )
        .await;
        assert!(library.video(&id).await.unwrap_err().to_string().contains("64 lower-case hexadecimal"));
        assert!(library.empty_trash().await.is_err());
        assert!(library.receive("../../victim", 0, true).await.is_err());
        library.expire_uploads(crate::now_ms()).await.unwrap();
        assert!(library.delete_upload("../../victim").await.is_err());
        library.close().await;
        drop(library);
        // Nor when the server starts and removes what a killed process had begun to delete.
        Library::open(&root).await.unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"not yours");
    }
}
