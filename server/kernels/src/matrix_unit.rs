//! Products in bf16 on a processor's matrix unit: both factors are rounded to bf16, the sums are f32.

#[cfg_attr(all(target_arch = "x86_64", target_os = "linux"), path = "matrix_unit/amx.rs")]
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), path = "matrix_unit/absent.rs")]
mod unit;

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use crate::{bf16, rounded, vectorized};
pub(crate) use unit::MatrixUnit;

/// Pairs of values in a row of a tile.
const PAIRS: usize = 16;

/// Rows of a tile.
const TILE: usize = 16;

/// Rows and columns of the block of sums that the unit computes at a time: two tiles by two tiles, so that each tile that is
/// loaded takes part in two products.
const BLOCK: usize = 2 * TILE;

/// One row of a tile: pairs of neighbouring values in bf16, the bits of the first one in the lower half. It is aligned to a cache
/// line, since loading a row from two lines takes twice as long.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; PAIRS]);

/// Sums of a block.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([[f32; BLOCK]; BLOCK]);

/// Values of a row in one step.
const STEP: usize = 2 * PAIRS;

/// With fewer rows, the products of few rows are as fast, which do not round `x`.
const FEWEST_ROWS: usize = 16;

/// Steps of a block of weights that are multiplied with all packed rows before the next ones: 16 KiB, so that those of
/// two threads stay in one first cache.
const STEPS: usize = 8;

/// Bytes of packed rows that are multiplied with the whole matrix before the next ones, so that they stay in a cache.
const ROWS_BYTES: usize = 2 << 20;

impl MatrixUnit {
    /// Returns the unit for products of `rows` rows. `None` means that there is none, or that it is not faster.
    pub(crate) fn for_rows(rows: usize) -> Option<Self> {
        if rows < FEWEST_ROWS { None } else { Self::get() }
    }
}

/// Returns `x W^T`, row by row, for rows of `inputs` in `x` and a matrix of `outputs` rows, of which `row(output, values)` writes
/// one to `values`.
pub(crate) fn product(
    unit: MatrixUnit,
    x: &[f32],
    inputs: usize,
    outputs: usize,
    row: impl Fn(usize, &mut [bf16]) + Sync,
) -> Vec<f32> {
    let rows = x.len() / inputs;
    let mut y = vec![0f32; rows * outputs];
    let most = (ROWS_BYTES / (2 * inputs)).max(4 * BLOCK);
    // Parts of the same size: the matrix is packed for each, however few its rows are.
    let at_once = rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(BLOCK);
    for (x, y) in x.chunks(at_once * inputs).zip(y.chunks_mut(at_once * outputs)) {
        rows_by_matrix(unit, x, inputs, outputs, &row, y);
    }
    y
}

fn rows_by_matrix(
    unit: MatrixUnit,
    x: &[f32],
    inputs: usize,
    outputs: usize,
    row: &(impl Fn(usize, &mut [bf16]) + Sync),
    y: &mut [f32],
) {
    let lines = inputs.div_ceil(STEP) * BLOCK;
    let mut packed = vec![Line([0; PAIRS]); x.len().div_ceil(BLOCK * inputs) * lines];
    packed.par_chunks_mut(lines).zip(x.par_chunks(BLOCK * inputs)).for_each(|(block, x)| {
        vectorized(
            #[inline(always)]
            || pack_pairs(x, inputs, block),
        );
    });
    let at_once = outputs.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(BLOCK);
    by_columns(y, outputs, at_once).into_par_iter().enumerate().for_each(|(part, mut y)| {
        let mut weight = vec![Line([0; PAIRS]); lines];
        let mut pairs = vec![0u32; lines / BLOCK * PAIRS];
        let mut sums = vec![Sums([[0.0; BLOCK]; BLOCK]); y.len().div_ceil(BLOCK)];
        let columns = y.first().map_or(0, |y| y.len());
        for from in (0..columns).step_by(BLOCK) {
            let columns = from..columns.min(from + BLOCK);
            for (output, column) in columns.clone().enumerate() {
                row(part * at_once + column, &mut cast_slice_mut(&mut pairs)[..inputs]);
                pack_row(&pairs, output, &mut weight);
            }
            sums.fill(Sums([[0.0; BLOCK]; BLOCK]));
            for (index, weight) in weight.chunks(STEPS * BLOCK).enumerate() {
                for (x, sums) in packed.chunks(lines).zip(&mut sums) {
                    let from = index * STEPS * BLOCK;
                    unit.multiply(weight, &x[from..from + weight.len()], sums);
                }
            }
            for (rows, sums) in y.chunks_mut(BLOCK).zip(&sums) {
                for (row, y) in rows.iter_mut().enumerate() {
                    let column: [f32; BLOCK] = std::array::from_fn(|output| sums.0[output][row]);
                    let y = &mut y[columns.clone()];
                    match y.as_mut_array() {
                        Some(y) => *y = column,
                        None => y.copy_from_slice(&column[..y.len()]),
                    }
                }
            }
        }
    });
}

/// Splits `y`, rows of `outputs`, into parts of `width` columns, so that threads can write to different parts.
fn by_columns(y: &mut [f32], outputs: usize, width: usize) -> Vec<Vec<&mut [f32]>> {
    let mut parts: Vec<Vec<&mut [f32]>> = (0..outputs.div_ceil(width)).map(|_| Vec::new()).collect();
    for row in y.chunks_mut(outputs) {
        parts.iter_mut().zip(row.chunks_mut(width)).for_each(|(part, columns)| part.push(columns));
    }
    parts
}

/// Packs up to 32 rows of `inputs` pair by pair: a line has the same pair of 16 rows.
#[inline(always)]
fn pack_pairs(x: &[f32], inputs: usize, lines: &mut [Line]) {
    for (tile, x) in x.chunks(TILE * inputs).enumerate() {
        for (step, lines) in lines.chunks_exact_mut(BLOCK).enumerate() {
            let mut square = [[0u32; PAIRS]; TILE];
            for (row, x) in square.iter_mut().zip(x.chunks_exact(inputs)) {
                let x = &x[step * STEP..inputs.min((step + 1) * STEP)];
                match x.as_array() {
                    Some(x) => *row = paired(x),
                    None => {
                        let mut whole = [0.0; STEP];
                        whole[..x.len()].copy_from_slice(x);
                        *row = paired(&whole);
                    }
                }
            }
            for (pair, line) in lines[tile * TILE..][..TILE].iter_mut().enumerate() {
                line.0 = std::array::from_fn(|row| square[row][pair]);
            }
        }
    }
}

/// Returns the values of one step in bf16, as pairs.
#[inline(always)]
fn paired(x: &[f32; STEP]) -> [u32; PAIRS] {
    let bits = |at: usize| u32::from(rounded(x[at]).to_bits());
    std::array::from_fn(|pair| bits(2 * pair) | bits(2 * pair + 1) << 16)
}

/// Packs a row of whole steps, as pairs, as the row `output` of 32.
fn pack_row(pairs: &[u32], output: usize, lines: &mut [Line]) {
    let (pairs, _) = pairs.as_chunks::<PAIRS>();
    for (pairs, lines) in pairs.iter().zip(lines.chunks_exact_mut(BLOCK)) {
        lines[output].0 = *pairs;
    }
}
