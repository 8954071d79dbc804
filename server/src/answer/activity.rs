//! What the answers of this process were: tokens, and the stages of the last ones.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::StagesMs;

/// Answers whose stages are kept.
const KEPT: usize = 100;

/// Counts what answers consist of.
#[derive(Debug, Default)]
pub struct Activity {
    tokens: AtomicU64,
    answers: Mutex<VecDeque<(Instant, StagesMs)>>,
}

impl Activity {
    /// Counts a token.
    pub(super) fn token(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the stages of an answer that has ended.
    pub(super) fn ended(&self, stages: StagesMs) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() == KEPT {
            answers.pop_front();
        }
        answers.push_back((Instant::now(), stages));
    }

    /// Returns the number of tokens since the start.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Returns the stages of the last answers, at most 100, oldest first.
    #[must_use]
    pub fn stages(&self) -> Vec<StagesMs> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().map(|(_, stages)| *stages).collect()
    }

    /// Returns median and 95th percentile of the milliseconds to the first token, of the answers of the last `within`. `None` if there
    /// were none.
    #[must_use]
    pub fn ttft(&self, within: Duration) -> Option<(f64, f64)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = answers.iter().filter(|(at, _)| at.elapsed() <= within);
        let mut times: Vec<f64> = recent.map(|(_, stages)| stages.ttft).collect();
        drop(answers);
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some((at(50)?, at(95)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_recent_answers_and_only_the_last_are_kept() {
        let activity = Activity::default();
        assert_eq!(activity.ttft(Duration::MAX), None);
        for ms in 1..=120 {
            activity.ended(StagesMs { ttft: f64::from(ms), ..StagesMs::default() });
        }
        // 21 to 120 are kept.
        assert_eq!(activity.ttft(Duration::MAX), Some((70.0, 115.0)));
        assert_eq!(activity.stages().len(), KEPT);
    }
}
