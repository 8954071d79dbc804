//! What is shared by the benchmark program and the tests: clips whose truth is known, loads, figures, folders of clips.

pub mod compare;
pub mod draw;
pub mod figures;
pub mod media;
pub mod plot;
pub mod report;
pub mod serve;
