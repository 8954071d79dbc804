//! Reduces the number of background parts while people's questions wait longer for their first token than usual.
//!
//! Additive increase, multiplicative decrease: a slow first token halves the limit, and each quick one raises it by one. What is usual is learnt from this server's own questions; a long prompt may take longer.

/// A first token below this is never slow, in milliseconds.
const QUICK_MS: f64 = 250.0;

/// How many times longer than usual a first token may take.
const SLOWDOWN: f64 = 2.0;

/// Weight of a new observation in the average.
const WEIGHT: f64 = 0.2;

/// Tokens that the fixed cost of a question is worth.
const FIXED_TOKENS: f64 = 256.0;

/// The state of the control loop.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Slots that are withheld.
    withheld: usize,
    /// The last limit.
    limit: usize,
    /// Usual milliseconds per prompt token, of questions while no job used the model, or the least that was seen.
    usual: Option<f64>,
}

impl Backoff {
    /// Returns the number of slots, of `most`.
    pub(super) fn limit(&mut self, most: usize) -> usize {
        self.limit = most.saturating_sub(self.withheld).max(1);
        self.limit
    }

    /// Records a first token of a person's question; `busy` means that jobs used the model meanwhile.
    pub(super) fn observe(&mut self, ttft_ms: f64, prompt_tokens: usize, busy: bool) {
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let per_token = ttft_ms / (prompt_tokens as f64 + FIXED_TOKENS);
        let usual = *self.usual.get_or_insert(per_token);
        if !busy {
            self.usual = Some(usual + WEIGHT * (per_token - usual));
        } else if per_token < usual {
            self.usual = Some(per_token);
        }
        if busy && ttft_ms > QUICK_MS && per_token > SLOWDOWN * usual {
            // The limit itself counts: what is withheld above it would not help.
            self.withheld += self.limit.div_ceil(2).min(self.limit.saturating_sub(1));
            self.limit = self.limit.saturating_sub(self.limit.div_ceil(2)).max(1);
        } else {
            self.withheld = self.withheld.saturating_sub(1);
            self.limit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_first_tokens_halve_the_limit_and_quick_ones_raise_it_again() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.limit(16), 16);
        backoff.observe(400.0, 1000, false);
        assert_eq!(backoff.limit(16), 16);
        for limit in [8, 4, 2, 1, 1] {
            backoff.observe(4000.0, 1000, true);
            assert_eq!(backoff.limit(16), limit);
        }
        for limit in 2..=16 {
            backoff.observe(500.0, 1000, true);
            assert_eq!(backoff.limit(16), limit);
        }
        backoff.observe(500.0, 1000, true);
        assert_eq!(backoff.limit(16), 16);
    }

    #[test]
    fn long_prompts_and_short_waits_are_not_slow() {
        let mut backoff = Backoff::default();
        backoff.limit(8);
        backoff.observe(20.0, 100, false);
        backoff.observe(200.0, 100, true);
        backoff.observe(600.0, 12_000, true);
        assert_eq!(backoff.limit(8), 8);
    }
}
