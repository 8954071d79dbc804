//! What is shared by the benchmark program and the tests: clips whose truth is known, loads, figures.

pub mod compare;
pub mod draw;
pub mod engine;
pub mod figures;
pub mod instant;
pub mod limits;
pub mod overhead;
pub mod page;
pub mod report;
pub mod serve;
