//! What is shared by the benchmark program and the tests: clips whose truth is known, loads, figures.

pub mod compare;
pub mod draw;
pub mod engine;
pub mod figures;
pub mod limits;
pub mod page;
pub mod report;
pub mod serve;
