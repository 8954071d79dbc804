//! Functions that compilers vectorize where they are inlined into a loop of a SIMD dispatch: without branches and calls.
//! Closures in such loops are marked for inlining as well, since a call loses the processor's features that the dispatch
//! chose: a fused multiplication and addition then becomes a call of the C library.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E, SQRT_2};

/// Sums that run side by side, so that an addition need not wait for the one before.
const LANES: usize = 32;

/// Returns eˣ with an error of at most two units in the last place; below e⁻⁸⁷ and above e⁸⁸ the nearest of these two.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer, which then is in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x.mul_add(LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    // The polynomial of the Cephes library.
    let p = 1.987_569_1e-4_f32
        .mul_add(r, 1.398_2e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 1.666_666_5e-1)
        .mul_add(r, 0.5);
    let y = p.mul_add(r * r, r + 1.0);
    y * f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

/// Returns `x · sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Returns the approximation of GELU with tanh.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    // (1 + tanh u) / 2 = 1 / (1 + e⁻²ᵘ), and u has the factor √(2/π).
    const FACTOR: f32 = -SQRT_2 * FRAC_2_SQRT_PI;
    x / (1.0 + exp(FACTOR * (0.044_715 * x * x).mul_add(x, x)))
}

/// Returns GELU by the error function, with an error of at most 1.5e-7 of `x`.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    // erfc by formula 7.1.26 of Abramowitz and Stegun.
    const P: f32 = 0.327_591_1 * FRAC_1_SQRT_2;
    let t = P.mul_add(x.abs(), 1.0).recip();
    let polynomial = 1.061_405_4_f32
        .mul_add(t, -1.453_152)
        .mul_add(t, 1.421_413_7)
        .mul_add(t, -0.284_496_74)
        .mul_add(t, 0.254_829_6);
    let half = 0.5 * polynomial * t * exp(-0.5 * x * x);
    x * if x < 0.0 { half } else { 1.0 - half }
}

/// Replaces every value by what `f` returns for it.
#[inline(always)]
pub(crate) fn replace(values: &mut [f32], f: impl Fn(f32) -> f32) {
    for value in values {
        *value = f(*value);
    }
}

/// Adds `others` value by value.
#[inline(always)]
pub(crate) fn add(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}

/// Returns the sum of `f` over the values.
#[inline(always)]
pub(crate) fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f(value);
    }
    sums.iter().sum()
}

/// Returns the largest value; negative infinity for none.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, &value) in most.iter_mut().zip(chunk) {
            *most = most.max(value);
        }
    }
    for (most, &value) in most.iter_mut().zip(rest) {
        *most = most.max(value);
    }
    most.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_as_exact_as_f32_allows() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) - want).abs() <= 2.5e-7 * want, "e^{x} is {}, not {want}", exp(x));
            let want = f64::from(x) / (1.0 + f64::from(-x).exp());
            assert!((f64::from(silu(x)) - want).abs() <= 5e-7 * want.abs() + 1e-35, "silu({x}): {}", silu(x));
            let wide = f64::from(x);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3));
            let want = 0.5 * wide * (1.0 + u.tanh());
            assert!((f64::from(gelu_tanh(x)) - want).abs() <= 1e-6 * want.abs() + 1e-6, "gelu({x})");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
        assert!(silu(f32::NAN).is_nan() && gelu_tanh(f32::NAN).is_nan() && gelu(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_equals_the_integral_of_the_normal_distribution() {
        // x Φ(x), with Φ summed up in f64 by the trapezoidal rule.
        let step = 1e-4;
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let (mut below, mut x) = (0.0, -9.0);
        while x < 9.0 {
            assert!((f64::from(gelu(x as f32)) - x * below).abs() < 1e-6, "gelu({x}): {}", gelu(x as f32));
            for _ in 0..100 {
                below += 0.5 * step * (density(x) + density(x + step));
                x += step;
            }
        }
        assert!(gelu(-1e4).abs() < 1e-30 && gelu(0.0) == 0.0 && gelu(1e4) == 1e4);
    }

    #[test]
    fn sums_and_largest_values_take_every_value() {
        for count in [0, 1, LANES - 1, LANES, 2 * LANES + 5] {
            let values: Vec<f32> = (0..count).map(|i| i as f32 - 3.0).collect();
            assert_eq!(sum_of(&values, |value| 2.0 * value), values.iter().sum::<f32>() * 2.0);
            assert_eq!(largest(&values), count as f32 - if count == 0 { f32::INFINITY } else { 4.0 });
        }
    }
}
