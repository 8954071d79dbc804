//! How long a kind of work takes per unit of it, by the last times that it was done.

use std::sync::{Mutex, PoisonError};

/// Share of the sums that remains after each record, so that the rate follows the last ten or so.
const REMAINS: f64 = 0.9;

/// A measured rate: both sums have the same decay, so that much work weighs more than little.
#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<Sums>);

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    milliseconds: f64,
    units: f64,
}

impl Rate {
    /// Records that `units` of work took `milliseconds`.
    pub(crate) fn record(&self, units: f64, milliseconds: f64) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.milliseconds = REMAINS * sums.milliseconds + milliseconds;
        sums.units = REMAINS * sums.units + units;
    }

    /// Returns the expected time for `units` of work, in seconds; `None` before the first record.
    pub(crate) fn expected_s(&self, units: f64) -> Option<f64> {
        let sums = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (sums.units > 0.0).then(|| sums.milliseconds / sums.units * units / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_last_records() {
        let rate = Rate::default();
        assert_eq!(rate.expected_s(1.0), None);
        rate.record(1e6, 1000.0);
        assert_eq!(rate.expected_s(3e6), Some(3.0));
        for _ in 0..60 {
            rate.record(1e6, 200.0);
        }
        let expected = rate.expected_s(1e6).unwrap();
        assert!((0.2..0.21).contains(&expected), "{expected}");
    }
}
