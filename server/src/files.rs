//! Opens files whose paths somebody else can change meanwhile. What counts is the opened file, checked after opening:
//! a check before it could be about another file.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2},
    io::Errno,
};

/// Opening must neither wait for the writer of a pipe nor make a terminal the controlling one.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a regular file for reading, also through symbolic links. Never waits.
///
/// # Errors
/// `InvalidInput` for directories, devices and pipes; otherwise why the file cannot be opened.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    regular(openat(CWD, path, READ, Mode::empty())?)
}

/// Opens a directory, also through symbolic links.
///
/// # Errors
/// Why it cannot be opened.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, READ | OFlags::DIRECTORY, Mode::empty())?)
}

/// Opens a regular file for reading below `root`. Follows no symbolic link and never waits.
///
/// # Errors
/// As [`open_regular`]; `ELOOP` or `ENOTDIR` for a symbolic link.
pub(crate) fn open_regular_beneath(root: impl AsFd, path: &Path) -> io::Result<File> {
    regular(beneath(root.as_fd(), path, READ)?)
}

/// Opens a directory below `root`. Follows no symbolic link.
///
/// # Errors
/// As [`open_regular_beneath`].
pub(crate) fn open_directory_beneath(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    beneath(root.as_fd(), path, READ | OFlags::DIRECTORY)
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
    if kind == FileType::RegularFile {
        return Ok(File::from(file));
    }
    let message = format!("not a regular file but a {kind:?}; a regular file would fit");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn beneath(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
        // Linux before 5.6, and filters that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => by_component(root, path, flags),
        result => Ok(result?),
    }
}

/// Opens one component after the other, none of which may be a symbolic link.
fn by_component(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let directory = READ | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut at = openat(root, ".", directory, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            let message = format!("the path {} leaves its directory", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        let flags = if components.peek().is_some() { directory } else { flags | OFlags::NOFOLLOW };
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use rustix::fs::mknodat;

    use super::*;

    type Opener = fn(&OwnedFd, &Path, OFlags) -> io::Result<OwnedFd>;
    const WAYS: [(&str, Opener); 2] = [
        ("openat2", |root, path, flags| beneath(root, path, flags)),
        ("by component", |root, path, flags| by_component(root, path, flags)),
    ];

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/sub")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(dir.path().join("root/sub/clip"), "clip").unwrap();
        symlink("../secret", dir.path().join("root/link")).unwrap();
        symlink("sub", dir.path().join("root/alias")).unwrap();
        symlink("..", dir.path().join("root/up")).unwrap();
        mknodat(CWD, dir.path().join("root/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        dir
    }

    #[test]
    fn links_do_not_lead_out_of_a_directory() {
        let dir = tree();
        let root = open_directory(&dir.path().join("root")).unwrap();
        for (way, open) in WAYS {
            let read = |path: &str| open(&root, Path::new(path), READ).and_then(regular);
            let mut text = String::new();
            read("sub/clip").unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "clip", "{way}");
            for path in
                ["link", "alias/clip", "up/secret", "../secret", "sub/../../secret", "/etc/passwd", "sub"]
            {
                assert!(read(path).is_err(), "{way}: {path}");
            }
            assert!(open(&root, Path::new("sub"), READ | OFlags::DIRECTORY).is_ok(), "{way}");
            assert!(open(&root, Path::new("alias"), READ | OFlags::DIRECTORY).is_err(), "{way}");
        }
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_its_writer() {
        let dir = tree();
        let root = open_directory(&dir.path().join("root")).unwrap();
        for (way, open) in WAYS {
            let error = open(&root, Path::new("pipe"), READ).and_then(regular).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{way}");
        }
        assert!(open_regular(&dir.path().join("root/pipe")).is_err());
        assert!(open_regular(Path::new("/dev/zero")).is_err());
        assert!(open_regular(&dir.path().join("root/link")).is_ok());
    }
}
