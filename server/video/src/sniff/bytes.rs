//! The bytes of a file, read in blocks, without moving its position.

use std::{fs::File, os::unix::fs::FileExt};

/// A file and the block of it that was read last.
pub(super) struct Bytes<'a> {
    file: &'a File,
    block: Vec<u8>,
    /// Position of the block.
    from: u64,
}

impl<'a> Bytes<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, block: Vec::new(), from: 0 }
    }

    /// Returns the byte at `position`; `None` behind the end.
    pub(super) fn at(&mut self, position: u64) -> Option<u8> {
        if let Some(byte) = self.known(position) {
            return Some(byte);
        }
        self.block.resize(1 << 16, 0);
        let read = self.file.read_at(&mut self.block, position).unwrap_or(0);
        self.block.truncate(read);
        self.from = position;
        self.known(position)
    }

    fn known(&self, position: u64) -> Option<u8> {
        let index = usize::try_from(position.checked_sub(self.from)?).ok()?;
        self.block.get(index).copied()
    }
}
