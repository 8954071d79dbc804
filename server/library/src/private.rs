//! Files and directories that only the library's own user can read, whatever the umask is.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

/// Creates a directory and what is missing above it.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a file that does not exist yet.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Copies a file to a new one. Unlike with `fs::copy`, it does not get the source's mode.
pub(crate) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = create_file(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

/// Takes the data directory and the database from everybody else: earlier versions created them with the user's umask. What
/// cannot be changed is logged, and links are not followed.
pub(crate) fn tighten(root: &Path) {
    // Without a slash at the end, which would follow a link.
    let root: PathBuf = root.components().collect();
    let database = |ending: &str| root.join(format!("homereel.db{ending}"));
    for path in [&root, &database(""), &database("-wal"), &database("-shm")] {
        match tighten_one(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return tracing::warn!(%error, path = %path.display(), "failed to remove other users' access to the library; other users of this machine may read it");
            }
            _ => {}
        }
    }
}

fn tighten_one(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    // A directory such as /tmp is not the library's own.
    if mode.contains(Mode::SVTX) || !mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Ok(());
    }
    rustix::fs::fchmod(&file, mode.intersection(Mode::RWXU))?;
    tracing::info!(path = %path.display(), was = format!("{:o}", mode.bits()), "removed other users' access to the library, because its permissions allowed them to read it");
    Ok(())
}

/// Creates the database file if it does not exist. SQLite gives its log the mode of the database.
pub(crate) fn create_database(path: &Path) -> io::Result<()> {
    match create_file(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;
    use crate::Library;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn a_library_is_private_and_an_earlier_one_becomes_so() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("new");
        let library = Library::open(&root).await.unwrap();
        for directory in ["", "originals", "incoming", "uploads", "files", "posters", "sprites", "renditions"]
        {
            assert_eq!(mode(&root.join(directory)), 0o700, "{directory}");
        }
        for file in ["homereel.db", "homereel.db-wal", "homereel.db-shm"] {
            assert_eq!(mode(&root.join(file)), 0o600, "{file}");
        }
        library.close().await;
        drop(library);

        // As an earlier version created it.
        set_mode(&root, 0o755);
        set_mode(&root.join("homereel.db"), 0o644);
        let outside = parent.path().join("videos");
        fs::create_dir(&outside).unwrap();
        set_mode(&outside, 0o755);
        fs::remove_dir(root.join("originals")).unwrap();
        symlink(&outside, root.join("originals")).unwrap();
        let library = Library::open(&root).await.unwrap();
        assert_eq!((mode(&root), mode(&root.join("homereel.db"))), (0o700, 0o600));
        assert_eq!(mode(&outside), 0o755, "what a link names is not the library's own");
        library.close().await;
        drop(library);

        set_mode(&root, 0o755);
        let link = parent.path().join("link");
        symlink(&root, &link).unwrap();
        Library::open(&link.join("")).await.unwrap();
        assert_eq!(mode(&root), 0o755);
    }
}
