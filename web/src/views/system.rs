//! What the pages of the system and of benchmarks show beside charts.

/// The newest benchmark beside the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchChange {
    /// Name of the earlier run.
    pub before: String,
    /// Name of the newest run.
    pub after: String,
    /// What was measured, the earlier value, the newest one, and the change.
    pub rows: Vec<[String; 4]>,
}

/// Where the time of the last answers went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSpent {
    /// Title, with the number of answers.
    pub title: String,
    /// The stages in order.
    pub shares: Vec<StageShare>,
}

/// The mean time of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageShare {
    /// The stage, which selects the colour.
    pub key: &'static str,
    /// Name for readers.
    pub name: String,
    /// Formatted mean time.
    pub time: String,
    /// Where it begins in a bar of 100 units.
    pub x: String,
    /// Its width in the bar.
    pub width: String,
}
