//! The modules behind the commands of `homereel-bench`: one file per command, plus the flags and helpers that several
//! share. `main.rs` has the list of commands.

pub(crate) mod compare;
pub(crate) mod draw;
pub(crate) mod engine;
pub(crate) mod ingest;
pub(crate) mod media;
pub(crate) mod overhead;
pub(crate) mod page;
pub(crate) mod probe;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod stress;

mod interrupt;
mod output;
mod parsers;
mod process_groups;
mod williams_design;
mod workload;
