//! The vectors in memory: rows of 8-bit integers, in blocks of one allocation per column.
//!
//! Rows are added at the end, in order of their ids. A scan reads a snapshot, which shares the blocks; a block that changes
//! meanwhile is copied. So neither waits for the other, and growing never copies more than one block.

use std::sync::Arc;

use super::vectors::Quantized;

/// Rows of a block.
pub(super) const ROWS: usize = 4096;

/// The document of a row that was removed. Ids of documents are counted from 1 and far below.
const REMOVED: u32 = u32::MAX;

/// Rows of vectors.
#[derive(Debug)]
pub(super) struct Block {
    /// Ids of the vectors, ascending.
    pub(super) ids: Vec<i64>,
    documents: Vec<u32>,
    /// What codes are multiplied with, per row.
    pub(super) scales: Vec<f32>,
    /// Row after row.
    pub(super) codes: Vec<i8>,
}

impl Block {
    fn new(width: usize) -> Self {
        Self {
            ids: Vec::with_capacity(ROWS),
            documents: Vec::with_capacity(ROWS),
            scales: Vec::with_capacity(ROWS),
            codes: Vec::with_capacity(ROWS * width),
        }
    }

    /// Returns the document of a row; `None` means that the row was removed.
    pub(super) fn document(&self, row: usize) -> Option<u32> {
        self.documents.get(row).copied().filter(|&document| document != REMOVED)
    }
}

/// With the capacity of a new one; a derived `clone` would have none.
impl Clone for Block {
    fn clone(&self) -> Self {
        let width = self.codes.len() / self.ids.len().max(1);
        let mut block = Self::new(width);
        block.ids.extend_from_slice(&self.ids);
        block.documents.extend_from_slice(&self.documents);
        block.scales.extend_from_slice(&self.scales);
        block.codes.extend_from_slice(&self.codes);
        block
    }
}

/// All rows.
#[derive(Debug)]
pub(super) struct Blocks {
    width: usize,
    blocks: Vec<Arc<Block>>,
    rows: usize,
    removed: usize,
}

impl Blocks {
    /// Creates an empty list of vectors of `width` values.
    pub(super) fn new(width: usize) -> Self {
        Self { width, blocks: Vec::new(), rows: 0, removed: 0 }
    }

    /// Returns what a scan reads.
    pub(super) fn snapshot(&self) -> Vec<Arc<Block>> {
        self.blocks.clone()
    }

    /// Returns the number of vectors.
    pub(super) fn len(&self) -> usize {
        self.rows - self.removed
    }

    /// Returns the bytes of all blocks.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * ROWS * (self.width + size_of::<i64>() + size_of::<u32>() + size_of::<f32>())
    }

    /// Adds a vector, whose id is larger than all others.
    pub(super) fn push(&mut self, id: i64, document: i64, vector: &Quantized<i8>) {
        self.add(id, u32::try_from(document).unwrap_or(REMOVED), &vector.codes, vector.scale);
    }

    fn add(&mut self, id: i64, document: u32, codes: &[i8], scale: f32) {
        if self.rows.is_multiple_of(ROWS) {
            self.blocks.push(Arc::new(Block::new(self.width)));
        }
        let Some(last) = self.blocks.last_mut() else { return };
        let block = Arc::make_mut(last);
        block.ids.push(id);
        block.documents.push(document);
        block.scales.push(scale);
        block.codes.extend_from_slice(codes);
        self.rows += 1;
    }

    /// Removes a vector, if it is there.
    pub(super) fn remove(&mut self, id: i64) {
        let at = self.blocks.partition_point(|block| block.ids.last().is_some_and(|last| *last < id));
        let Some(block) = self.blocks.get_mut(at) else { return };
        let Ok(row) = block.ids.binary_search(&id) else { return };
        if block.document(row).is_none() {
            return;
        }
        Arc::make_mut(block).documents[row] = REMOVED;
        self.removed += 1;
        if self.removed > ROWS.max(self.rows / 4) {
            self.compact();
        }
    }

    /// Frees the space of removed rows.
    fn compact(&mut self) {
        let mut kept = Self::new(self.width);
        // One block after the other is freed.
        for block in std::mem::take(&mut self.blocks) {
            for (row, id) in block.ids.iter().enumerate() {
                if let Some(document) = block.document(row) {
                    kept.add(
                        *id,
                        document,
                        &block.codes[row * self.width..][..self.width],
                        block.scales[row],
                    );
                }
            }
        }
        *self = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(id: i64) -> Quantized<i8> {
        Quantized { codes: vec![i8::try_from(id % 100).unwrap(); 4], scale: 1.0 }
    }

    fn ids(blocks: &[Arc<Block>]) -> Vec<i64> {
        let rows = blocks.iter().flat_map(|block| (0..block.ids.len()).map(move |row| (block, row)));
        rows.filter(|(block, row)| block.document(*row).is_some())
            .map(|(block, row)| block.ids[row])
            .collect()
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let mut blocks = Blocks::new(4);
        for id in 1..=3 {
            blocks.push(id, id, &vector(id));
        }
        let before = blocks.snapshot();
        blocks.push(4, 4, &vector(4));
        blocks.remove(2);
        blocks.remove(2);
        blocks.remove(77);
        assert_eq!((ids(&before), ids(&blocks.snapshot()), blocks.len()), (vec![1, 2, 3], vec![1, 3, 4], 3));
    }

    #[test]
    fn the_space_of_removed_rows_is_freed() {
        let mut blocks = Blocks::new(4);
        let rows = 3 * i64::try_from(ROWS).unwrap() + 5;
        for id in 1..=rows {
            blocks.push(id, id, &vector(id));
        }
        let full = blocks.bytes();
        for id in (1..=rows).filter(|id| id % 10 != 0) {
            blocks.remove(id);
        }
        let expected: Vec<i64> = (1..=rows).filter(|id| id % 10 == 0).collect();
        assert_eq!(ids(&blocks.snapshot()), expected);
        assert!(blocks.bytes() < full && blocks.len() == expected.len());
        let snapshot = blocks.snapshot();
        let last = *expected.last().unwrap();
        let place = |block: &Arc<Block>| Some((Arc::clone(block), block.ids.binary_search(&last).ok()?));
        let (block, row) = snapshot.iter().find_map(place).unwrap();
        assert_eq!(block.codes[row * 4..][..4], vector(last).codes);
    }
}
