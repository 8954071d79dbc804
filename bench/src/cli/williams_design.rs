//! The order in which several servers are asked the same question, as a Williams design: over time, each server is at each
//! position and follows each other server equally often, so that drift and carry-over effects are the same for all.

/// Returns the order of `count` servers for question `n`.
pub(super) fn order(n: usize, count: usize) -> Vec<usize> {
    let step = |k: usize| if k.is_multiple_of(2) { count - k / 2 } else { k.div_ceil(2) };
    let mut order: Vec<usize> = (0..count).map(|k| (step(k) + n) % count).collect();
    // An odd number of servers also needs the mirrored square.
    if count % 2 == 1 && (n / count) % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_each_position_and_each_predecessor_equally_often() {
        for count in 2..=5 {
            let rows: Vec<Vec<usize>> = (0..2 * count).map(|n| order(n, count)).collect();
            for a in 0..count {
                for position in 0..count {
                    assert_eq!(rows.iter().filter(|row| row[position] == a).count(), 2, "{count}: {rows:?}");
                }
                for b in (0..count).filter(|&b| b != a) {
                    let adjacent = |row: &Vec<usize>| row.windows(2).any(|pair| pair == [a, b]);
                    assert_eq!(
                        rows.iter().filter(|row| adjacent(row)).count(),
                        2,
                        "{count}, {a} {b}: {rows:?}"
                    );
                }
            }
        }
    }
}
