//! Files derived from an original: poster, scrub sprites, and the rendition for browsers. Each is published by a
//! rename, so that no reader sees a partial file. Partial files are removed: those of a killed process at the next
//! start, those of a full disk at once.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use homereel_video::{Posters, Sprites};

use crate::{
    directories::{FRAMES, RENDITIONS, SPRITES, remove},
    error::LibraryError,
    library::Library,
};

const LAYOUT: &str = "layout.json";

impl Library {
    /// Returns the path of the rendition (MP4) of the original with this hash; `None` means that there is none.
    #[must_use]
    pub fn rendition_path(&self, sha256: &str) -> PathBuf {
        self.root.join(RENDITIONS).join(format!("{sha256}.mp4"))
    }

    /// Returns the path of sheet `number` (JPEG) of the original's scrub sprites; `None` means that there is none.
    #[must_use]
    pub fn sprites_path(&self, sha256: &str, number: usize) -> PathBuf {
        self.root.join(SPRITES).join(sha256).join(format!("{number}.jpg"))
    }

    /// Returns the layout of the scrub sprites of an original; `None` means that there are none yet.
    pub async fn sprites(&self, sha256: &str) -> Option<Sprites> {
        let text = tokio::fs::read(self.root.join(SPRITES).join(sha256).join(LAYOUT)).await.ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Stores the poster of an original in both sizes.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub async fn put_poster(&self, sha256: &str, posters: Posters) -> Result<(), LibraryError> {
        let files = [(self.card_path(sha256), posters.card), (self.poster_path(sha256), posters.full)];
        let write = move || {
            files.iter().try_for_each(|(place, jpeg)| {
                let part = place.with_extension("part");
                let written = write_file(&part, jpeg).and_then(|()| fs::rename(&part, place));
                written.or_else(|error| remove(&part).and(Err(error)))
            })
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Stores the scrub sprites of an original.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub async fn put_sprites(
        &self,
        sha256: &str,
        layout: Sprites,
        sheets: Vec<Bytes>,
    ) -> Result<(), LibraryError> {
        let place = self.root.join(SPRITES).join(sha256);
        let write = move || -> io::Result<()> {
            let part = place.with_extension("part");
            remove(&part)?;
            let written = || {
                fs::create_dir(&part)?;
                for (number, sheet) in sheets.iter().enumerate() {
                    write_file(&part.join(format!("{number}.jpg")), sheet)?;
                }
                write_file(&part.join(LAYOUT), &serde_json::to_vec(&layout)?)?;
                remove(&place)?;
                fs::rename(&part, &place)
            };
            written().or_else(|error| remove(&part).and(Err(error)))
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Creates an empty file for a rendition; [`NewRendition::publish`] completes it.
    ///
    /// # Errors
    /// `Io`.
    pub fn new_rendition(&self, sha256: &str) -> Result<NewRendition, LibraryError> {
        let place = self.rendition_path(sha256);
        let part = place.with_extension("part");
        let file = File::create(&part)?;
        Ok(NewRendition { file, part: Some(part), place })
    }

    /// Returns the directory for cached frames, which has a directory per original, named by its hash.
    #[must_use]
    pub fn frames_dir(&self) -> PathBuf {
        self.root.join(FRAMES)
    }

    /// Removes all files derived from an original. Failures are logged.
    pub(crate) async fn remove_derived(&self, sha256: &str) {
        let folder = |name: &str| self.root.join(name).join(sha256);
        let paths = [folder(SPRITES), folder(FRAMES), self.rendition_path(sha256)];
        let removal = move || {
            for path in paths {
                if let Err(error) = remove(&path) {
                    tracing::warn!(
                        %error,
                        path = %path.display(),
                        "failed to remove the derived files of a deleted video; remove this path by hand"
                    );
                }
            }
        };
        // Only after a panic of the task or during shutdown.
        let _ = tokio::task::spawn_blocking(removal).await;
    }
}

/// A rendition that is being written. Its file is removed when it is dropped unpublished.
#[derive(Debug)]
pub struct NewRendition {
    file: File,
    part: Option<PathBuf>,
    place: PathBuf,
}

impl NewRendition {
    /// Returns a handle to write to.
    ///
    /// # Errors
    /// `Io`.
    pub fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Moves the complete file to its final name and syncs it.
    ///
    /// # Errors
    /// `Io`.
    pub async fn publish(mut self) -> io::Result<()> {
        let publish = move || {
            self.file.sync_all()?;
            if let Some(part) = &self.part {
                fs::rename(part, &self.place)?;
            }
            self.part = None;
            Ok(())
        };
        tokio::task::spawn_blocking(publish).await.map_err(io::Error::other)?
    }
}

impl Drop for NewRendition {
    fn drop(&mut self) {
        if let Some(part) = &self.part
            && let Err(error) = remove(part)
        {
            tracing::warn!(
                %error,
                path = %part.display(),
                "failed to remove an unfinished rendition; the next start of the server removes it"
            );
        }
    }
}

/// Writes and syncs a whole file.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Sprites {
        Sprites { interval_s: 10.0, duration_s: 5.0, count: 1, width: 32, height: 18, columns: 1, rows: 1 }
    }

    #[tokio::test]
    async fn what_is_not_finished_is_never_seen_and_does_not_stay() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap();
        let new = library.new_rendition("abc").unwrap();
        new.writer().unwrap().write_all(b"half").unwrap();
        assert!(!library.rendition_path("abc").exists());
        drop(new);
        let left = || fs::read_dir(data.path().join(RENDITIONS)).unwrap().count();
        assert_eq!(left(), 0);

        // A process that is killed leaves its part; the next start removes it.
        std::mem::forget(library.new_rendition("abc").unwrap());
        fs::create_dir(data.path().join("sprites/abc.part")).unwrap();
        assert_eq!(left(), 1);
        library.close().await;
        drop(library);
        let library = Library::open(data.path()).await.unwrap();
        assert_eq!((left(), data.path().join("sprites/abc.part").exists()), (0, false));

        let new = library.new_rendition("abc").unwrap();
        new.writer().unwrap().write_all(b"whole").unwrap();
        new.publish().await.unwrap();
        assert_eq!(fs::read(library.rendition_path("abc")).unwrap(), b"whole");
        assert_eq!(library.sprites("abc").await, None);
        for sheet in ["one", "two"] {
            library.put_sprites("abc", layout(), vec![Bytes::from(sheet)]).await.unwrap();
            assert_eq!(fs::read(library.sprites_path("abc", 0)).unwrap(), sheet.as_bytes());
            assert_eq!(library.sprites("abc").await, Some(layout()));
        }
        library.remove_derived("abc").await;
        assert_eq!((left(), library.sprites("abc").await), (0, None));
    }
}
