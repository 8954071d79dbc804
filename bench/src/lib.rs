//! Measurements of Homereel and of OpenAI-compatible servers: load generation, statistics, comparisons, reports.
//!
//! `homereel-bench` (`main.rs` and `cli/`) is the command line on top of this library. Results of [`serve`] are
//! [`homereel_web::bench_result::BenchResult`]. The clips come from the crate `homereel-clips`.

pub mod compare;
pub mod engine;
pub mod ingest;
pub mod media;
pub mod overhead;
pub mod page;
pub mod report;
pub mod serve;
pub mod statistics;
pub mod stress;
pub mod stub_backend;
