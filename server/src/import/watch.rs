//! The watched directory: copies new files into the library once they have stopped growing and are whole. The files stay.
//! It polls, because network shares do not support inotify.
//!
//! Whoever writes to the directory can swap a file between listing and opening. A file is therefore opened below the
//! opened directory, without following symbolic links or waiting for a pipe, and must be the file that was listed.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io::{self, Seek as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use homereel_library::LibraryError;
use rustix::fs::{AtFlags, Dir, FileType, Stat, fstat, statat};
use tokio::io::AsyncReadExt as _;

use super::{ImportContext, ImportError, add, whole::is_whole};
use crate::{ask_error::AskErrorKind, files};

/// Interval between listings. A file that is unchanged in two listings has stopped growing.
const PERIOD: Duration = Duration::from_secs(2);

/// Listings in which a file that is not whole has to stay the same before it is imported as it is: 10 minutes. A copy over a slow
/// network pauses for less, and a file that was damaged long ago is imported, too.
const PATIENCE: u32 = 300;

/// Maximum depth of subdirectories.
const MAX_DEPTH: usize = 16;

/// Maximum number of files.
const MAX_FILES: usize = 100_000;

/// Extensions of unfinished files.
const UNFINISHED: [&str; 5] = ["part", "partial", "tmp", "crdownload", "download"];

/// Directories in which devices and systems keep thumbnails, previews, deleted files and snapshots.
const NOT_OURS: [&str; 10] = [
    "@eadir",
    "#recycle",
    "#snapshot",
    "@recycle",
    "@recently-snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbnails",
    "thumbs",
];

/// Size and modification time of a file in one listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    size: u64,
    modified_ms: i64,
}

/// A file in one listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ListedFile {
    stamp: FileStamp,
    device: u64,
    inode: u64,
}

impl ListedFile {
    fn of(stat: &Stat) -> Self {
        // A negative time is before 1970; its fraction does not matter.
        let modified_ms = stat
            .st_mtime
            .saturating_mul(1000)
            .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0) / 1_000_000);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Self { stamp: FileStamp { size, modified_ms }, device: stat.st_dev, inode: stat.st_ino }
    }
}

/// The files below a directory, by their path in it.
#[derive(Debug)]
struct Listing {
    root: OwnedFd,
    files: HashMap<PathBuf, ListedFile>,
}

/// How long a file has stayed the same.
#[derive(Debug, Clone, Copy)]
struct Unchanged {
    stamp: FileStamp,
    /// Listings after the first one with this stamp.
    listings: u32,
}

/// A file of a listing, to be imported.
#[derive(Debug, Clone, Copy)]
struct WatchedFile<'a> {
    /// The opened directory.
    root: &'a OwnedFd,
    directory: &'a Path,
    /// Path below the directory.
    path: &'a Path,
    seen: ListedFile,
}

/// Watches `directory` until the server drains.
pub async fn watch(cx: ImportContext, directory: PathBuf) {
    let mut before: HashMap<PathBuf, Unchanged> = HashMap::new();
    let mut period = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            () = cx.lifecycle.soft().cancelled() => return,
            _ = period.tick() => {}
        }
        let listed = directory.clone();
        // A directory that cannot be opened, such as a share that is not mounted, counts as empty.
        let Some(now) = tokio::task::spawn_blocking(move || list(&listed).ok()).await.ok().flatten() else {
            before.clear();
            continue;
        };
        let unchanged = now.files.iter().map(|(path, file)| {
            let listings = before.get(path).filter(|before| before.stamp == file.stamp);
            let listings = listings.map_or(0, |before| before.listings.saturating_add(1));
            (path.clone(), Unchanged { stamp: file.stamp, listings })
        });
        before = unchanged.collect();
        for (path, seen) in &now.files {
            let listings = before.get(path).map_or(0, |unchanged| unchanged.listings);
            if listings == 0 {
                continue;
            }
            if cx.lifecycle.draining() {
                return;
            }
            let file = WatchedFile { root: &now.root, directory: &directory, path, seen: *seen };
            if let Err(error) = import_once(&cx, file, listings >= PATIENCE).await {
                // An error of the disk or the database, or a swapped file; the next listing retries.
                tracing::warn!(%error, path = %directory.join(path).display(), "failed to import a file of a watched folder; will retry");
            }
        }
    }
}

/// Imports a file unless it is known already, or not whole and `patient` is false.
async fn import_once(cx: &ImportContext, file: WatchedFile<'_>, patient: bool) -> Result<(), ImportError> {
    let path = file.directory.join(file.path);
    let key = path.to_string_lossy();
    let FileStamp { size, modified_ms } = file.seen.stamp;
    if cx.library.is_watched(&key, size, modified_ms).await? {
        return Ok(());
    }
    let mut opened = open_listed(file.root, file.path, file.seen).map_err(LibraryError::from)?;
    let checked = tokio::task::spawn_blocking(move || {
        let whole = patient || is_whole(&mut opened)?;
        opened.rewind()?;
        Ok::<_, io::Error>(whole.then_some(opened))
    });
    let Some(opened) =
        checked.await.map_err(io::Error::other).and_then(|checked| checked).map_err(LibraryError::from)?
    else {
        tracing::debug!(path = %path.display(), "a file of a watched folder is not whole yet; will wait");
        return Ok(());
    };
    let outcome = match import(cx, opened, file).await {
        Ok(id) => {
            tracing::info!(path = %path.display(), video.id = id, "imported a file of a watched folder");
            "imported".to_owned()
        }
        // A retry would fail the same way.
        Err(ImportError::Probe(error))
            if matches!(error.kind(), AskErrorKind::Invalid | AskErrorKind::TimedOut) =>
        {
            tracing::warn!(%error, path = %path.display(), "a file of a watched folder is not a readable video; will skip it until it changes");
            error.to_string()
        }
        Err(ImportError::Library(error @ (LibraryError::Invalid(_) | LibraryError::TooLarge { .. }))) => {
            tracing::warn!(%error, path = %path.display(), "the library rejected a file of a watched folder; will skip it until it changes");
            error.to_string()
        }
        Err(error) => return Err(error),
    };
    Ok(cx.library.set_watched(&key, size, modified_ms, &outcome).await?)
}

async fn import(
    cx: &ImportContext,
    opened: File,
    WatchedFile { path, seen, .. }: WatchedFile<'_>,
) -> Result<String, ImportError> {
    let mut file = tokio::fs::File::from_std(opened);
    let size = seen.stamp.size;
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
    let mut sealed = incoming.seal().await?;
    sealed.modified_ms = Some(seen.stamp.modified_ms);
    let stored = add(cx, sealed, &name).await?;
    Ok(stored.video.id)
}

/// Opens a file of a listing. Fails if the path now leads to anything else.
fn open_listed(root: &OwnedFd, path: &Path, seen: ListedFile) -> io::Result<File> {
    let file = files::open_regular_beneath(root, path)?;
    if ListedFile::of(&fstat(&file)?) == seen {
        return Ok(file);
    }
    Err(io::Error::other("the file changed after it was listed; one that stays the same would fit"))
}

/// Lists regular files below `directory`, without symbolic links, hidden files, unfinished files and what is in directories of
/// [`NOT_OURS`].
fn list(directory: &Path) -> io::Result<Listing> {
    let root = files::open_directory(directory)?;
    let mut found = HashMap::new();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((directory, depth)) = open.pop() {
        let opened = match depth {
            0 => root.try_clone(),
            _ => files::open_directory_beneath(&root, &directory),
        };
        let Ok(opened) = opened else { continue };
        let Ok(mut entries) = Dir::read_from(&opened) else { continue };
        while let Some(Ok(entry)) = entries.read() {
            let name = entry.file_name();
            if name.to_bytes().starts_with(b".") || found.len() >= MAX_FILES {
                continue;
            }
            // Of the entry itself, not of the target of a link.
            let Ok(stat) = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let path = directory.join(OsStr::from_bytes(name.to_bytes()));
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if depth < MAX_DEPTH && !not_ours(&path) => open.push((path, depth + 1)),
                FileType::RegularFile if stat.st_size > 0 && !unfinished(&path) => {
                    found.insert(path, ListedFile::of(&stat));
                }
                _ => {}
            }
        }
    }
    Ok(Listing { root, files: found })
}

fn unfinished(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| UNFINISHED.contains(&ending.as_str()))
}

fn not_ours(directory: &Path) -> bool {
    let name = directory.file_name().map(|name| name.to_string_lossy().to_lowercase());
    name.is_some_and(|name| NOT_OURS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    #[test]
    fn a_file_swapped_after_the_listing_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (watched, secret) = (dir.path().join("watched"), dir.path().join("secret"));
        fs::create_dir_all(watched.join("sub")).unwrap();
        fs::create_dir(&secret).unwrap();
        let names =
            ["kept.mp4", "link.mp4", "pipe.mp4", "other.mp4", "gone.mp4", "grown.mp4", "sub/clip.mp4"];
        for name in names {
            fs::write(watched.join(name), "clip").unwrap();
        }
        fs::write(secret.join("clip.mp4"), "secret").unwrap();
        let listing = list(&watched).unwrap();
        assert_eq!(listing.files.len(), names.len());
        let open = |name: &str| open_listed(&listing.root, Path::new(name), listing.files[Path::new(name)]);
        for name in names {
            assert!(open(name).is_ok(), "{name}");
        }

        let swap = |name: &str| {
            fs::rename(watched.join(name), watched.join(format!("was-{name}"))).unwrap();
            watched.join(name)
        };
        symlink(secret.join("clip.mp4"), swap("link.mp4")).unwrap();
        mknodat(CWD, swap("pipe.mp4"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::write(swap("other.mp4"), "clip").unwrap();
        let _ = swap("gone.mp4");
        fs::write(watched.join("grown.mp4"), "clip and more").unwrap();
        symlink(&secret, swap("sub")).unwrap();
        for name in &names[1..] {
            assert!(open(name).is_err(), "{name}");
        }
        assert!(open("kept.mp4").is_ok());
        let path = Path::new("sub/clip.mp4");
        assert!(!list(&watched).unwrap().files.contains_key(path), "a linked directory was listed");
    }

    #[test]
    fn links_hidden_and_unfinished_files_and_those_of_devices_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        let not_ours = ["@eaDir/a.mp4/SYNOPHOTO_FILM_M.mp4", "2024/#recycle/b.mov", "$RECYCLE.BIN/c.mp4"];
        let hidden = [".c.mp4", ".hidden/d.mp4", ".stfolder/d.mp4", "e.mp4.part", "f.CRDOWNLOAD"];
        for name in ["a.mp4", "2024/b.mov"].into_iter().chain(not_ours).chain(hidden) {
            write(name);
        }
        fs::write(dir.path().join("empty.mp4"), "").unwrap();
        symlink("/etc/passwd", dir.path().join("g.mp4")).unwrap();
        symlink("/", dir.path().join("root")).unwrap();
        let mut found: Vec<PathBuf> = list(dir.path()).unwrap().files.into_keys().collect();
        found.sort();
        assert_eq!(found, [Path::new("2024/b.mov"), Path::new("a.mp4")]);
        assert!(list(Path::new("/nonexistent")).is_err());
    }
}
