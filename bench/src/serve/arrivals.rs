//! When requests start: at once (closed loop), or at a rate with random gaps (open loop), as `vllm bench serve` does.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, Gamma};

/// Returns when each of `count` requests is due, counted from the start.
///
/// The gaps follow a gamma distribution of mean `1 / rate` and shape `burstiness` (1 is Poisson's process, less is
/// burstier, more is more even). Like vLLM's, the gaps are then scaled so that the whole takes `count / rate`: two
/// seeds offer the same load. No `rate` means that all are due at once.
#[must_use]
pub fn due(count: usize, rate: Option<f64>, burstiness: f64, seed: u64) -> Vec<Duration> {
    let Some(rate) = rate else { return vec![Duration::ZERO; count] };
    let Ok(gaps) = Gamma::new(burstiness, 1.0 / (rate * burstiness)) else {
        return vec![Duration::ZERO; count];
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut at = 0.0;
    let times: Vec<f64> = (0..count)
        .map(|_| {
            at += gaps.sample(&mut rng);
            at
        })
        .collect();
    let scale = if at > 0.0 { count as f64 / rate / at } else { 0.0 };
    times.into_iter().map(|time| Duration::from_secs_f64(time * scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_offered_is_the_rate_asked_for() {
        for burstiness in [0.3, 1.0, 50.0] {
            let times = due(200, Some(8.0), burstiness, 7);
            assert!(times.is_sorted());
            assert!((times[199].as_secs_f64() - 25.0).abs() < 1e-6);
            let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
            let figures = crate::statistics::Figures::of(&gaps, &[]);
            // The gamma distribution's variation is 1 / sqrt(shape).
            let variation = figures.std / figures.mean * f64::sqrt(burstiness);
            assert!((0.7..1.4).contains(&variation), "{burstiness}: {variation}");
        }
        assert_eq!(due(3, None, 1.0, 7), [Duration::ZERO; 3]);
    }
}
