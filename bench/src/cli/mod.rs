//! The commands of `homereel-bench`: flags in, files and tables out.

pub(crate) mod compare;
pub(crate) mod draw;
pub(crate) mod engine;
pub(crate) mod media;
pub(crate) mod output;
pub(crate) mod overhead;
pub(crate) mod page;
pub(crate) mod probe;
pub(crate) mod workload;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod process_groups;
