//! The watched directory: copies new files into the library once they have stopped growing. The files stay.
//! It polls, because network shares do not support inotify.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use homereel_library::LibraryError;
use tokio::io::AsyncReadExt as _;

use super::{ImportContext, ImportError, add};
use crate::ask_error::AskErrorKind;

/// Interval between listings. A file that is unchanged in two listings has stopped growing.
const PERIOD: Duration = Duration::from_secs(2);

/// Maximum depth of subdirectories.
const MAX_DEPTH: usize = 16;

/// Maximum number of files.
const MAX_FILES: usize = 100_000;

/// Extensions of unfinished files.
const UNFINISHED: [&str; 5] = ["part", "partial", "tmp", "crdownload", "download"];

/// Size and modification time of a file in one listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    size: u64,
    modified_ms: i64,
}

/// Watches `directory` until the server drains.
pub async fn watch(cx: ImportContext, directory: PathBuf) {
    let mut before: HashMap<PathBuf, FileStamp> = HashMap::new();
    let mut period = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            () = cx.lifecycle.soft().cancelled() => return,
            _ = period.tick() => {}
        }
        let listed = directory.clone();
        let now = tokio::task::spawn_blocking(move || list(&listed)).await.unwrap_or_default();
        for (path, seen) in &now {
            if before.get(path) != Some(seen) {
                continue;
            }
            if cx.lifecycle.draining() {
                return;
            }
            if let Err(error) = import_once(&cx, path, *seen).await {
                // An error of the disk or the database; the next listing retries.
                tracing::warn!(%error, path = %path.display(), "failed to import a watched file, will retry");
            }
        }
        before = now;
    }
}

/// Imports a file unless it is known already.
async fn import_once(cx: &ImportContext, path: &Path, seen: FileStamp) -> Result<(), ImportError> {
    let key = path.to_string_lossy();
    if cx.library.is_watched(&key, seen.size, seen.modified_ms).await? {
        return Ok(());
    }
    let outcome = match import(cx, path).await {
        Ok(id) => {
            tracing::info!(path = %path.display(), video.id = id, "imported a watched file");
            "imported".to_owned()
        }
        // A retry would fail the same way.
        Err(ImportError::Probe(error))
            if matches!(error.kind(), AskErrorKind::Invalid | AskErrorKind::TimedOut) =>
        {
            tracing::warn!(%error, path = %path.display(), "skipped a watched file that is not a video");
            error.to_string()
        }
        Err(ImportError::Library(error @ (LibraryError::Invalid(_) | LibraryError::TooLarge { .. }))) => {
            tracing::warn!(%error, path = %path.display(), "skipped a watched file that the library rejected");
            error.to_string()
        }
        Err(error) => return Err(error),
    };
    Ok(cx.library.set_watched(&key, seen.size, seen.modified_ms, &outcome).await?)
}

async fn import(cx: &ImportContext, path: &Path) -> Result<String, ImportError> {
    let mut file = tokio::fs::File::open(path).await.map_err(LibraryError::from)?;
    let size = file.metadata().await.map_err(LibraryError::from)?.len();
    let mut incoming = cx.library.incoming(Some(size), cx.max_upload_bytes).await?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).await.map_err(LibraryError::from)?;
        if read == 0 {
            break;
        }
        incoming.write(&buffer[..read]).await?;
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stored = add(cx, incoming.seal().await?, &name).await?;
    Ok(stored.video.id)
}

/// Lists regular files below `directory`, without symbolic links, hidden files and unfinished files.
fn list(directory: &Path) -> HashMap<PathBuf, FileStamp> {
    let mut files = HashMap::new();
    let mut open = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') || files.len() >= MAX_FILES {
                continue;
            }
            // Metadata of the entry itself, not of the target of a link.
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            if metadata.is_dir() && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            } else if metadata.is_file() && metadata.len() > 0 && !unfinished(&path) {
                let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let modified_ms = modified.map_or(0, |at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
                files.insert(path, FileStamp { size: metadata.len(), modified_ms });
            }
        }
    }
    files
}

fn unfinished(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| UNFINISHED.contains(&ending.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hidden_and_unfinished_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for name in ["a.mp4", "2024/b.mov", ".c.mp4", ".hidden/d.mp4", "e.mp4.part", "f.CRDOWNLOAD"] {
            write(name);
        }
        fs::write(dir.path().join("empty.mp4"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("g.mp4")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let mut found: Vec<PathBuf> = list(dir.path()).into_keys().collect();
        found.sort();
        assert_eq!(found, [dir.path().join("2024/b.mov"), dir.path().join("a.mp4")]);
        assert!(list(Path::new("/nonexistent")).is_empty());
    }
}
