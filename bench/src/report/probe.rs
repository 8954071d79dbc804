//! The result of `homereel-bench probe`: the limits of a machine.

use std::fmt::Write as _;

use homereel_web::bench_result::Machine;
use serde::{Deserialize, Serialize};

/// Limits of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Version of the file format.
    pub schema: String,
    /// The machine.
    pub machine: Machine,
    /// Memory bandwidth.
    pub memory: Bandwidth,
    /// Matrix products.
    pub products: Vec<MatrixProduct>,
    /// Gigabytes of weights that a token reads, if they were given.
    pub active_gb: Option<f64>,
    /// Tokens per second that the memory bandwidth permits for `active_gb`.
    pub max_tokens_per_s: Option<f64>,
}

/// Memory bandwidth in GB/s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Reading by all cores.
    pub read_gbs: f64,
    /// STREAM triad.
    pub triad_gbs: f64,
}

/// Speed of one matrix product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixProduct {
    /// `prefill` or `decode`.
    pub kind: String,
    /// Type of the weights.
    pub weights: String,
    /// Rows of the activations.
    pub rows: usize,
    /// Width of the activations.
    pub inner: usize,
    /// Width of the product.
    pub columns: usize,
    /// Arithmetic speed in GFLOP/s.
    pub gflops: f64,
    /// Weights read in GB/s.
    pub weights_gbs: f64,
}

impl ProbeResult {
    /// Schema of the file.
    pub const SCHEMA: &'static str = "homereel-bench.probe/1";

    pub(super) fn markdown(&self) -> String {
        let Bandwidth { read_gbs, triad_gbs } = self.memory;
        let mut out = format!(
            "Memory: {read_gbs:.1} GB/s read by all cores, {triad_gbs:.1} GB/s in a STREAM triad.\n\n\
             | product | weights | size | GFLOP/s | GB/s of weights |\n|---|---|---|---|---|\n"
        );
        for product in &self.products {
            let MatrixProduct { kind, weights, rows, inner, columns, gflops, weights_gbs } = product;
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "| {kind} | {weights} | {rows}x{inner}x{columns} | {gflops:.1} | {weights_gbs:.1} |"
            );
        }
        out
    }
}
