//! Due times of requests: all at the start (closed loop), or random gaps at a rate (open loop), as in `vllm bench serve`.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, Gamma};

/// Returns the due time of each of `count` requests, from the start of the run.
///
/// The gaps follow a gamma distribution of mean `1 / rate` and shape `burstiness` (1 is a Poisson process, less is burstier,
/// more is more even). As in vLLM, the gaps are then scaled so that all together take `count / rate`: any two seeds offer the
/// same load. Without a `rate` all requests are due at the start.
#[must_use]
pub fn due(count: usize, rate: Option<f64>, burstiness: f64, seed: u64) -> Vec<Duration> {
    let Some(rate) = rate else { return vec![Duration::ZERO; count] };
    let Ok(gaps) = Gamma::new(burstiness, 1.0 / (rate * burstiness)) else {
        return vec![Duration::ZERO; count];
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut time = 0.0;
    let times: Vec<f64> = (0..count)
        .map(|_| {
            time += gaps.sample(&mut rng);
            time
        })
        .collect();
    let scale = if time > 0.0 { count as f64 / rate / time } else { 0.0 };
    times.into_iter().map(|time| Duration::from_secs_f64(time * scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offered_load_equals_the_rate() {
        for burstiness in [0.3, 1.0, 50.0] {
            let times = due(200, Some(8.0), burstiness, 7);
            assert!(times.is_sorted());
            assert!((times[199].as_secs_f64() - 25.0).abs() < 1e-6);
            let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
            let summary = crate::statistics::summarize(&gaps, &[]).unwrap();
            // The coefficient of variation of a gamma distribution is 1 / sqrt(shape).
            let variation = summary.std / summary.mean * f64::sqrt(burstiness);
            assert!((0.7..1.4).contains(&variation), "{burstiness}: {variation}");
        }
        assert_eq!(due(3, None, 1.0, 7), [Duration::ZERO; 3]);
    }
}
