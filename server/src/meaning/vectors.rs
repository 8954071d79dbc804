//! Arithmetic on vectors: length 1, 8-bit integers with a scale, means.

/// The largest code; the smallest is its negative.
const MAX_CODE: f32 = 127.0;

/// A vector as integers: each value is a code times the scale.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantized<T> {
    pub(super) codes: Vec<T>,
    pub(super) scale: f32,
}

/// Scales a vector to length 1, so that products are cosines. One of zeros stays as it is.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = product(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// Returns the sum of the products of the values.
pub(super) fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Rounds a vector to 8-bit integers. `T` is wider where the codes are multiplied.
#[expect(clippy::cast_possible_truncation, reason = "codes are within ±127")]
pub(super) fn quantize<T: From<i8>>(vector: &[f32]) -> Quantized<T> {
    let largest = vector.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / MAX_CODE;
    let code = |value: &f32| if scale > 0.0 { (value / scale).round() as i8 } else { 0 };
    Quantized { codes: vector.iter().map(|value| code(value).into()).collect(), scale }
}

/// Returns the mean of vectors, of length 1; `None` if there are none.
pub(super) fn mean<'a>(mut vectors: impl Iterator<Item = &'a [f32]>) -> Option<Vec<f32>> {
    let mut sum = vectors.next()?.to_vec();
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
    }
    normalize(&mut sum);
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_within_half_a_step_of_the_values() {
        let vector: Vec<f32> = (0..384u16).map(|at| (f32::from(at) * 0.7).sin() * 0.05).collect();
        let Quantized { codes, scale } = quantize::<i8>(&vector);
        assert!(codes.iter().any(|code| code.abs() == 127));
        for (code, value) in codes.iter().zip(&vector) {
            assert!((f32::from(*code) * scale - value).abs() <= scale * 0.501, "{code} for {value}");
        }
        assert_eq!(quantize::<i16>(&[0.0, 0.0]), Quantized { codes: vec![0, 0], scale: 0.0 });
    }

    #[test]
    fn a_mean_has_length_one_and_zeros_stay_zeros() {
        let mean = mean([[2.0, 0.0].as_slice(), &[0.0, 2.0]].into_iter()).unwrap();
        assert!((mean[0] - 0.5f32.sqrt()).abs() < 1e-6 && (product(&mean, &mean) - 1.0).abs() < 1e-6);
        let mut zeros = [0.0; 3];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
        assert_eq!(super::mean(std::iter::empty()), None);
    }
}
