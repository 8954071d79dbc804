//! The cosine below which a text counts as unrelated to the query.
//!
//! Cosines of unrelated texts depend on the model: around 0.05 with all-MiniLM-L6-v2, around 0.75 with multilingual-e5-small.
//! So the limit is relative to the scores of all texts, of which few are related to any query: their median and spread, both of
//! which a few related ones do not shift.

/// Spreads above the median from which a text counts as related.
const SPREADS: f32 = 3.0;

/// The share of the way from the median to the best score that a text must have come: what is much farther than the best is
/// not what was meant.
const SHARE_OF_BEST: f32 = 0.5;

/// The lowest limit: below it, no model sees a relation.
const LEAST: f32 = 0.25;

/// What makes the median deviation of a normal distribution its standard deviation.
const NORMAL: f32 = 1.4826;

/// Returns the limit, from the scores of a sample of all texts and the best score.
pub(super) fn floor(mut sample: Vec<f32>, best: f32) -> f32 {
    let Some(middle) = median(&mut sample) else { return LEAST };
    let mut deviations: Vec<f32> = sample.iter().map(|score| (score - middle).abs()).collect();
    let spread = NORMAL * median(&mut deviations).unwrap_or(0.0);
    let relative = middle + SHARE_OF_BEST * (best - middle);
    LEAST.max(relative).max(middle + SPREADS * spread)
}

fn median(values: &mut [f32]) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}
