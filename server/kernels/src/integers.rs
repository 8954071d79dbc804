//! Products of vectors of 8-bit integers, as search by meaning compares them.

use crate::vectorized;

/// Writes the product of `query` with each of `rows`, vectors as wide as it, to `out`: one value per row. The query has values of
/// 8 bits as well, widened once instead of once per row.
///
/// Sums of vectors of up to 100,000 values fit into an `i32`; those of longer ones wrap.
///
/// # Panics
/// When `rows` has fewer values than `out` has rows.
pub fn products_i8(rows: &[i8], query: &[i16], out: &mut [i32]) {
    assert!(
        rows.len() >= out.len() * query.len(),
        "{} rows of {} values are missing",
        out.len(),
        query.len()
    );
    if query.is_empty() {
        return out.fill(0);
    }
    vectorized(
        #[inline(always)]
        || {
            for (row, out) in rows.chunks_exact(query.len()).zip(out.iter_mut()) {
                *out = product_of(row, query);
            }
        },
    );
}

/// In this form, the compiler multiplies pairs of 16-bit values and adds them in one instruction.
#[inline(always)]
fn product_of(row: &[i8], query: &[i16]) -> i32 {
    let mut sum = 0i32;
    for (&a, &b) in row.iter().zip(query) {
        // Wrapping, because checks for overflow would prevent vector instructions.
        sum = sum.wrapping_add(i32::from(a).wrapping_mul(i32::from(b)));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::products_i8;

    #[test]
    fn products_equal_those_of_wide_integers() {
        for width in [0, 1, 7, 16, 33, 384, 1000] {
            let value = |at: usize| i8::try_from((at * 7919 + width) % 255).unwrap_or(-127);
            let query: Vec<i16> = (0..width).map(|at| value(at).into()).collect();
            let rows: Vec<i8> = (0..5 * width).map(|at| value(at * 31 + 5).wrapping_neg()).collect();
            let mut out = [7; 5];
            products_i8(&rows, &query, &mut out);
            for (at, got) in out.into_iter().enumerate() {
                let row = &rows[at * width..][..width];
                let want: i64 = row.iter().zip(&query).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
                assert_eq!(i64::from(got), want, "row {at} of {width}");
            }
        }
        let extreme = [i8::MIN; 2048];
        let mut out = [0];
        products_i8(&extreme, &extreme.map(i16::from), &mut out);
        assert_eq!(out, [128 * 128 * 2048]);
    }
}
