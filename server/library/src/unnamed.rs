//! Files of one response. They have no name, so that nothing stays behind when the server stops.

use std::fs::File;

use crate::{
    error::LibraryError,
    incoming::{Scratch, reserve},
    library::Library,
    reservation::SpaceUse,
    values::new_id,
};

impl Library {
    /// Creates an empty file without a name, with disk space for `bytes`. The space is free again when the file is closed.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub async fn unnamed_file(&self, bytes: u64) -> Result<File, LibraryError> {
        self.reserve_room(SpaceUse::Scratch, bytes).await?;
        let path = Scratch::new(self.root.join("incoming").join(new_id()));
        let file = File::options().read(true).write(true).create_new(true).open(path.path())?;
        if bytes > 0 {
            reserve(&file, bytes)?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn a_file_without_a_name_leaves_nothing_behind_and_has_to_fit() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap();
        let mut file = library.unnamed_file(100).await.unwrap();
        assert_eq!(std::fs::read_dir(data.path().join("incoming")).unwrap().count(), 0);
        file.write_all(b"clip").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "clip");
        let full = library.unnamed_file(u64::MAX).await.unwrap_err();
        assert!(matches!(full, LibraryError::NoSpace { .. }), "{full}");
    }
}
