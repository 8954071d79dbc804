//! Two rings of samples: by the second, and by the minute.

use std::{collections::VecDeque, time::Duration};

/// Number of series.
pub(super) const SERIES: usize = 11;
/// Seconds, and minutes, that are kept.
const SECONDS: usize = 15 * 60;
const MINUTES: usize = 7 * 24 * 60;
/// Points of a line.
const POINTS: usize = 180;

/// One value per [`super::Series`]; NaN where there is none.
pub type Values = [f32; SERIES];

/// How far back samples are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Span {
    /// 15 minutes.
    #[default]
    Quarter,
    /// 6 hours.
    SixHours,
    /// 7 days.
    Week,
}

impl Span {
    /// All spans, as values of `span=`.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Quarter, "15m"), (Self::SixHours, "6h"), (Self::Week, "7d")];

    /// Returns how long it is.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Quarter => SECONDS as u64,
            Self::SixHours => 6 * 3600,
            Self::Week => 60 * MINUTES as u64,
        })
    }
}

/// The samples that are kept.
#[derive(Debug, Default)]
pub(super) struct History {
    seconds: VecDeque<Values>,
    minutes: VecDeque<Values>,
    /// Seconds of the minute that has begun.
    begun: Vec<Values>,
}

impl History {
    /// Adds a second.
    pub(super) fn push(&mut self, values: Values) {
        push(&mut self.seconds, values, SECONDS);
        self.begun.push(values);
        if self.begun.len() == 60 {
            push(&mut self.minutes, mean(self.begun.iter()), MINUTES);
            self.begun.clear();
        }
    }

    pub(super) fn last(&self, span: Span) -> Vec<Values> {
        let (ring, most) = match span {
            Span::Quarter => (&self.seconds, SECONDS),
            Span::SixHours => (&self.minutes, 6 * 60),
            Span::Week => (&self.minutes, MINUTES),
        };
        let part = most / POINTS;
        let kept: Vec<&Values> = ring.iter().skip(ring.len().saturating_sub(most)).collect();
        // Parts end with the newest sample, so that the last one is whole.
        let mut points: Vec<Values> = kept.rchunks(part).map(|part| mean(part.iter().copied())).collect();
        points.reverse();
        points
    }
}

fn push(ring: &mut VecDeque<Values>, values: Values, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(values);
}

/// Returns the mean of each series, of the samples that have a value.
fn mean<'a>(samples: impl Iterator<Item = &'a Values>) -> Values {
    let mut sums = [(0.0f64, 0u32); SERIES];
    for sample in samples {
        for (sum, value) in sums.iter_mut().zip(sample).filter(|(_, value)| value.is_finite()) {
            *sum = (sum.0 + f64::from(*value), sum.1 + 1);
        }
    }
    sums.map(|(sum, count)| if count == 0 { f32::NAN } else { (sum / f64::from(count)) as f32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f32) -> Values {
        let mut values = [f32::NAN; SERIES];
        values[0] = value;
        values
    }

    #[test]
    fn no_sample_and_one_sample_are_lines_of_no_and_one_point() {
        let mut history = History::default();
        assert!(history.last(Span::Quarter).is_empty() && history.last(Span::Week).is_empty());
        history.push(sample(3.0));
        let points = history.last(Span::Quarter);
        assert_eq!((points.len(), points[0][0]), (1, 3.0));
        assert!(points[0][1].is_nan(), "what has no value stays without one");
        assert!(history.last(Span::SixHours).is_empty(), "no minute has ended");
    }

    #[test]
    fn rings_keep_the_newest_and_points_are_means_of_equal_parts() {
        let mut history = History::default();
        let seconds = 8 * 24 * 3600;
        for second in 0..seconds {
            history.push(sample(second as f32 / 3600.0));
        }
        for (span, first) in [(Span::Quarter, 192.0 - 0.25), (Span::SixHours, 186.0), (Span::Week, 24.0)] {
            let points = history.last(span);
            assert_eq!(points.len(), POINTS, "{span:?}");
            let hours = span.duration().as_secs_f64() as f32 / 3600.0;
            let half = hours / POINTS as f32 / 2.0;
            assert!((points[0][0] - first - half).abs() < 0.02, "{span:?}: {}", points[0][0]);
            assert!((points[POINTS - 1][0] - 192.0 + half).abs() < 0.02, "{span:?}");
        }
    }
}
