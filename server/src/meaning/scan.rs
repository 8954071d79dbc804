//! Scans all vectors for those nearest to a query: exact up to the rounding to integers, on at most two threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use homereel_kernels::products_i8;
use homereel_library::Documents;

use super::{blocks::Block, vectors::Quantized};

/// Rows below which a second thread does not pay.
const MIN_ROWS: usize = 16_384;

/// The documents that may be found, as bits.
#[derive(Debug)]
pub(super) struct Allowed {
    listed: Vec<u64>,
    /// Whether those listed are allowed, or the others.
    only: bool,
}

impl Allowed {
    pub(super) fn new(documents: &Documents) -> Self {
        let (ids, only) = match documents {
            Documents::AllBut(ids) => (ids, false),
            Documents::Only(ids) => (ids, true),
        };
        let mut listed = Vec::new();
        for id in ids.iter().filter_map(|id| u32::try_from(*id).ok()) {
            let word = id as usize / 64;
            if word >= listed.len() {
                listed.resize(word + 1, 0);
            }
            listed[word] |= 1 << (id % 64);
        }
        Self { listed, only }
    }

    fn contains(&self, document: u32) -> bool {
        let word = self.listed.get(document as usize / 64).copied().unwrap_or(0);
        (word >> (document % 64) & 1 == 1) == self.only
    }
}

/// The highest scores seen so far.
struct Best {
    count: usize,
    rows: Vec<(f32, i64)>,
    /// Scores up to this one are not among them.
    floor: f32,
}

impl Best {
    fn new(count: usize) -> Self {
        Self { count, rows: Vec::with_capacity(2 * count), floor: f32::NEG_INFINITY }
    }

    fn add(&mut self, score: f32, id: i64) {
        if score <= self.floor || self.count == 0 {
            return;
        }
        self.rows.push((score, id));
        // Only now and then, so that an addition takes constant time on average.
        if self.rows.len() == 2 * self.count {
            self.rows.select_nth_unstable_by(self.count - 1, |a, b| b.0.total_cmp(&a.0));
            self.floor = self.rows[self.count - 1].0;
            self.rows.truncate(self.count);
        }
    }
}

/// Finds the `count` vectors of allowed documents that are nearest to the query: their cosines and ids, the nearest first.
pub(super) fn scan(
    blocks: &[Arc<Block>],
    query: &Quantized<i16>,
    allowed: &Allowed,
    count: usize,
) -> Vec<(f32, i64)> {
    let rows: usize = blocks.iter().map(|block| block.ids.len()).sum();
    // A thread takes the next block when it has done one, since a processor may be busy with something else.
    let next = AtomicUsize::new(0);
    let taken = || std::iter::from_fn(|| blocks.get(next.fetch_add(1, Ordering::Relaxed)));
    let part = || scan_part(taken(), query, allowed, count);
    let (mut found, other) = match rows < MIN_ROWS {
        true => (part(), Vec::new()),
        false => thread::scope(|scope| {
            let other = thread::Builder::new().name("scan".into()).spawn_scoped(scope, part);
            let found = part();
            match other.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(other)) => (found, other),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // Without a thread, this one did everything.
                Err(_) => (found, Vec::new()),
            }
        }),
    };
    found.extend(other);
    found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    found.truncate(count);
    found
}

fn scan_part<'a>(
    blocks: impl Iterator<Item = &'a Arc<Block>>,
    query: &Quantized<i16>,
    allowed: &Allowed,
    count: usize,
) -> Vec<(f32, i64)> {
    let width = query.codes.len();
    let mut best = Best::new(count);
    let mut products = Vec::new();
    for block in blocks {
        products.clear();
        products.resize(block.ids.len(), 0);
        if !allowed.only {
            products_i8(&block.codes, &query.codes, &mut products);
        }
        for (row, product) in products.iter_mut().enumerate() {
            if !block.document(row).is_some_and(|document| allowed.contains(document)) {
                continue;
            }
            if allowed.only {
                // Few rows of a block: one by one.
                let codes = &block.codes[row * width..][..width];
                products_i8(codes, &query.codes, std::slice::from_mut(product));
            }
            let score = *product as f32 * block.scales[row] * query.scale;
            best.add(score, block.ids[row]);
        }
    }
    best.rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meaning::{
        blocks::Blocks,
        vectors::{normalize, product, quantize},
    };

    const WIDTH: usize = 48;

    /// A vector of length 1 that looks random.
    fn vector(seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut vector: Vec<f32> = (0..WIDTH)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            })
            .collect();
        normalize(&mut vector);
        vector
    }

    /// Vectors 1 to `count`, ten of them per document.
    fn blocks(count: u64) -> Blocks {
        let mut blocks = Blocks::new(WIDTH);
        for id in 1..=count {
            let document = i64::try_from(id / 10 + 1).unwrap();
            blocks.push(i64::try_from(id).unwrap(), document, &quantize(&vector(id)));
        }
        blocks
    }

    fn exact(count: u64, query: &[f32], allowed: impl Fn(u64) -> bool) -> Vec<(f32, i64)> {
        let mut all: Vec<(f32, i64)> = (1..=count)
            .filter(|id| allowed(id / 10 + 1))
            .map(|id| (product(&vector(id), query), i64::try_from(id).unwrap()))
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all
    }

    #[test]
    fn a_scan_finds_the_nearest_on_one_thread_and_on_two() {
        for count in [0, 1, 700, 40_000] {
            let blocks = blocks(count);
            let query = vector(1_000_003);
            let allowed = Allowed::new(&Documents::AllBut(vec![3, 5_000_000]));
            let found = scan(&blocks.snapshot(), &quantize(&query), &allowed, 50);
            let exact = exact(count, &query, |document| document != 3);
            assert_eq!(found.len(), exact.len().min(50));
            for ((score, id), (expected, _)) in found.iter().zip(&exact) {
                let own = product(&vector(u64::try_from(*id).unwrap()), &query);
                assert!((score - own).abs() < 0.02 && own > expected - 0.04, "{score} for {own}");
            }
        }
    }

    #[test]
    fn only_allowed_documents_are_found() {
        let blocks = blocks(9000);
        let query = vector(1_000_033);
        let found =
            scan(&blocks.snapshot(), &quantize(&query), &Allowed::new(&Documents::Only(vec![7, 800])), 100);
        let mut ids: Vec<i64> = found.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (60..70).chain(7990..8000).collect::<Vec<i64>>());
        let none = Allowed::new(&Documents::Only(Vec::new()));
        assert!(scan(&blocks.snapshot(), &quantize(&query), &none, 100).is_empty());
    }

    #[test]
    fn removed_vectors_are_not_found() {
        let mut blocks = blocks(20);
        let all = Allowed::new(&Documents::AllBut(Vec::new()));
        let nearest = |blocks: &Blocks| {
            scan(&blocks.snapshot(), &quantize(&vector(11)), &all, 3).first().map(|(_, id)| *id)
        };
        assert_eq!(nearest(&blocks), Some(11));
        blocks.remove(11);
        assert_ne!(nearest(&blocks), Some(11));
    }
}
