//! From the vectors of a text's tokens to the vector of the text.

use super::config::PoolingMode;

/// What torch's `normalize` divides by at least.
const SHORTEST: f32 = 1e-12;

/// Pools token vectors [tokens, width], sequence by sequence, into one vector per sequence. A sequence without tokens becomes
/// zeros.
pub(super) fn pool(hidden: &[f32], lengths: &[usize], width: usize, mode: PoolingMode) -> Vec<Vec<f32>> {
    let mut rest = hidden;
    lengths
        .iter()
        .map(|&length| {
            let (own, after) = rest.split_at(length * width);
            rest = after;
            one(own, width, mode)
        })
        .collect()
}

fn one(tokens: &[f32], width: usize, mode: PoolingMode) -> Vec<f32> {
    let mut rows = tokens.chunks_exact(width);
    let Some(first) = rows.next() else { return vec![0.0; width] };
    let mut vector = first.to_vec();
    let combine = match mode {
        PoolingMode::Cls => return vector,
        PoolingMode::Mean => |sum: f32, value: f32| sum + value,
        PoolingMode::Max => f32::max,
    };
    for row in rows {
        vector.iter_mut().zip(row).for_each(|(all, value)| *all = combine(*all, *value));
    }
    if mode == PoolingMode::Mean {
        let count = (tokens.len() / width) as f32;
        vector.iter_mut().for_each(|value| *value /= count);
    }
    vector
}

/// Scales a vector to length 1; zeros stay zeros.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(SHORTEST);
    vector.iter_mut().for_each(|value| *value /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_pools_only_its_own_tokens() {
        let hidden = [1.0, -4.0, 3.0, -2.0, 9.0, 9.0];
        let pooled = |mode| pool(&hidden, &[2, 0, 1], 2, mode);
        assert_eq!(pooled(PoolingMode::Mean), [[2.0, -3.0], [0.0, 0.0], [9.0, 9.0]]);
        assert_eq!(pooled(PoolingMode::Cls), [[1.0, -4.0], [0.0, 0.0], [9.0, 9.0]]);
        assert_eq!(pooled(PoolingMode::Max), [[3.0, -2.0], [0.0, 0.0], [9.0, 9.0]]);
    }

    #[test]
    fn lengths_become_one_and_zeros_stay() {
        let mut vector = [3.0, -4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, -0.8]);
        let mut zeros = [0.0; 3];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }
}
