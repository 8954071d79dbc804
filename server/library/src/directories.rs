//! Directories of derived files (posters, sprites, renditions): their creation, and the removal of incomplete files when a
//! library is opened. Also removes files that may not exist.

use std::{fs, io, path::Path};

use crate::private;

pub(crate) const POSTERS: &str = "posters";
pub(crate) const SPRITES: &str = "sprites";
pub(crate) const FRAMES: &str = "frames";
pub(crate) const RENDITIONS: &str = "renditions";

/// Creates the directories and removes incomplete files.
pub(crate) fn prepare(root: &Path) -> io::Result<()> {
    for folder in [POSTERS, SPRITES, RENDITIONS] {
        let folder = root.join(folder);
        private::create_dir(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

/// Removes a file or directory, if it exists.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { existing(fs::remove_dir_all(path)) } else { remove_file(path) }
}

/// Removes a file, if it exists.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    existing(fs::remove_file(path))
}

fn existing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
