//! The cosine below which a text counts as unrelated to the query.
//!
//! Cosines of unrelated texts depend on the model: around 0.1 with all-MiniLM-L6-v2, from 0.7 on with the e5 models.
//! So the limit is relative to the scores of the [background](super::background), of which few are related to any query: their
//! median and spread, both of which a few related ones do not shift.

/// Spreads above the median from which a text counts as related.
const SPREADS: f32 = 3.0;

/// The share of the way from the median to the best score that a text must have come: what is much farther than the best is
/// not what was meant.
const SHARE_OF_BEST: f32 = 0.5;

/// The lowest limit: below it, no model sees a relation.
const LEAST: f32 = 0.3;

/// What makes the median deviation of a normal distribution its standard deviation.
const NORMAL: f32 = 1.4826;

/// Returns the limit, from the scores of the background and the best score.
pub(super) fn floor(mut background: Vec<f32>, best: f32) -> f32 {
    let Some(middle) = median(&mut background) else { return LEAST };
    let mut deviations: Vec<f32> = background.iter().map(|score| (score - middle).abs()).collect();
    let spread = NORMAL * median(&mut deviations).unwrap_or(0.0);
    let relative = middle + SHARE_OF_BEST * (best - middle);
    LEAST.max(relative).max(middle + SPREADS * spread)
}

fn median(values: &mut [f32]) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::{LEAST, floor};

    /// Scores of unrelated texts, around `middle`.
    fn sample(middle: f32, spread: f32) -> Vec<f32> {
        (0..1001i16).map(|at| middle + spread * f32::from(at - 500) / 500.0).collect()
    }

    #[test]
    fn scores_of_unrelated_texts_are_below_the_limit_whatever_the_model() {
        // As all-MiniLM-L6-v2 scores, and as the e5 models may.
        assert_eq!(floor(sample(0.05, 0.1), 0.2), LEAST);
        let e5 = floor(sample(0.75, 0.04), 0.78);
        assert!(e5 > 0.79, "nothing is related: {e5}");
        let e5 = floor(sample(0.75, 0.04), 0.88);
        assert!(e5 > 0.8 && e5 < 0.86, "{e5}");
    }

    #[test]
    fn related_texts_hardly_move_the_limit() {
        let mut scores = sample(0.05, 0.1);
        scores.extend([0.6; 200]);
        let limit = floor(scores, 0.6);
        assert!((LEAST..0.4).contains(&limit), "{limit}");
        assert_eq!(floor(Vec::new(), 0.0), LEAST);
    }

    #[test]
    fn what_is_far_behind_the_best_is_left_out() {
        assert!(floor(sample(0.05, 0.1), 0.9) > 0.45);
    }
}
