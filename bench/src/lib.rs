//! What is shared by the benchmark program and the tests: clips whose truth is known, loads, figures, folders of clips.

pub mod compare;
pub mod engine;
pub mod statistics;
pub mod stub_backend;
pub mod media;
pub mod overhead;
pub mod page;
pub mod report;
pub mod serve;
