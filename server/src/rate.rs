//! How long a kind of work takes, by the last times that it was done.

use std::sync::{Mutex, PoisonError};

/// Share of the sums that remains after each record, so that the costs follow the last twenty or so.
const REMAINS: f64 = 0.95;

/// Weight of the assumption that all terms of a record took equally long, which decides where the records do not.
const ASSUMED: f64 = 1e-3;

/// Least time of a record in milliseconds: below, the clock decides.
const LEAST_MS: f64 = 0.1;

/// Measured costs of work with `N` terms, such as one per request and one per pixel: those with the least squares of relative
/// errors over the last records.
#[derive(Debug)]
pub(crate) struct Rate<const N: usize>(Mutex<Sums<N>>);

/// Normal equations of the records, each divided by its time.
#[derive(Debug, Clone, Copy)]
struct Sums<const N: usize> {
    products: [[f64; N]; N],
    units: [f64; N],
}

impl<const N: usize> Default for Rate<N> {
    fn default() -> Self {
        Self(Mutex::new(Sums { products: [[0.0; N]; N], units: [0.0; N] }))
    }
}

impl<const N: usize> Rate<N> {
    /// Records that work of so many units of each term took `milliseconds`.
    pub(crate) fn record(&self, units: [f64; N], milliseconds: f64) {
        let units = units.map(|units| units / milliseconds.max(LEAST_MS));
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, unit) in sums.products.iter_mut().zip(units) {
            for (product, other) in row.iter_mut().zip(units) {
                *product = REMAINS * *product + unit * other;
            }
        }
        for (sum, unit) in sums.units.iter_mut().zip(units) {
            *sum = REMAINS * *sum + unit;
        }
    }

    /// Returns the expected time for work of so many units of each term, in seconds; `None` before the first record.
    pub(crate) fn expected_s(&self, units: [f64; N]) -> Option<f64> {
        let costs = self.0.lock().unwrap_or_else(PoisonError::into_inner).costs()?;
        Some(costs.iter().zip(units).map(|(cost, units)| cost * units).sum::<f64>() / 1e3)
    }
}

impl<const N: usize> Sums<N> {
    /// Returns the cost of each term in milliseconds per unit, none of them negative; `None` without records.
    fn costs(mut self) -> Option<[f64; N]> {
        if self.units.iter().all(|&units| units == 0.0) {
            return None;
        }
        for at in 0..N {
            self.products[at][at] *= 1.0 + ASSUMED;
        }
        // A term with a negative cost is left out, and the others are computed again.
        let mut used = [true; N];
        loop {
            let costs = self.solve(used);
            let least = (0..N).filter(|&at| used[at]).min_by(|&a, &b| costs[a].total_cmp(&costs[b]))?;
            if costs[least] >= 0.0 {
                return Some(costs);
            }
            used[least] = false;
        }
    }

    /// Solves the equations of the terms that are used, by elimination; the matrix is positive definite, so that it needs no
    /// pivoting. The other costs are 0, and so are those of terms that no record had.
    fn solve(&self, used: [bool; N]) -> [f64; N] {
        let (mut rows, mut right) = (self.products, self.units);
        for at in 0..N {
            if !used[at] || rows[at][at] <= 0.0 {
                continue;
            }
            let (pivot, pivot_right) = (rows[at], right[at]);
            for below in (0..N).filter(|&below| below != at && used[below]) {
                let factor = rows[below][at] / pivot[at];
                for (value, pivot) in rows[below].iter_mut().zip(pivot) {
                    *value -= factor * pivot;
                }
                right[below] -= factor * pivot_right;
            }
        }
        std::array::from_fn(|at| if used[at] && rows[at][at] > 0.0 { right[at] / rows[at][at] } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_one_term_follows_the_last_records() {
        let rate = Rate::default();
        assert_eq!(rate.expected_s([1.0]), None);
        rate.record([1e6], 1000.0);
        let expected = rate.expected_s([3e6]).unwrap();
        assert!((2.99..=3.0).contains(&expected), "{expected}");
        for _ in 0..200 {
            rate.record([1e6], 200.0);
        }
        let expected = rate.expected_s([1e6]).unwrap();
        assert!((0.199..0.201).contains(&expected), "{expected}");
    }

    #[test]
    fn records_of_different_work_tell_the_terms_apart() {
        let rate = Rate::default();
        let truth = |[a, b, c]: [f64; 3]| 20.0 * a + 3.0 * b + 0.5 * c;
        for units in [[1.0, 10.0, 90.0], [1.0, 400.0, 20.0], [1.0, 50.0, 900.0], [1.0, 1.0, 1.0]] {
            rate.record(units, truth(units));
        }
        for units in [[1.0, 0.0, 0.0], [1.0, 1000.0, 0.0], [1.0, 3.0, 4000.0]] {
            let (expected, want) = (rate.expected_s(units).unwrap(), truth(units) / 1e3);
            assert!((0.95..1.05).contains(&(expected / want)), "{expected}, not {want}");
        }
    }

    #[test]
    fn one_record_is_shared_among_its_terms() {
        let rate = Rate::default();
        rate.record([1.0, 50.0, 0.0], 30.0);
        let of = |units| rate.expected_s(units).unwrap();
        assert!((0.0149..0.0151).contains(&of([1.0, 0.0, 0.0])));
        assert!((0.0149..0.0151).contains(&of([0.0, 50.0, 0.0])));
        assert_eq!(of([0.0, 0.0, 9.0]), 0.0);
    }

    #[test]
    fn no_cost_is_negative() {
        let rate = Rate::default();
        // As if the larger work had taken less.
        rate.record([1.0, 100.0], 50.0);
        rate.record([1.0, 200.0], 20.0);
        let expected = rate.expected_s([0.0, 100.0]).unwrap();
        assert!(expected >= 0.0, "{expected}");
        assert!(rate.expected_s([1.0, 100.0]).unwrap() > 0.0);
    }
}
