//! Line charts of values over time, as points of SVG lines that a template draws: without inline styles, in both themes, and also without
//! scripts.

/// Width and height of the coordinates of a chart. A chart is stretched to the width that the page has.
pub const WIDTH: f64 = 180.0;
/// See [`WIDTH`].
pub const HEIGHT: f64 = 48.0;

/// Rows of the table of a chart.
const ROWS: usize = 12;

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Id of its element.
    pub id: &'static str,
    /// Title.
    pub title: String,
    /// The newest value, formatted; empty if there is none.
    pub value: String,
    /// What the upper edge means, formatted.
    pub top: String,
    /// The lines.
    pub lines: Vec<ChartLine>,
    /// Values at a few times, formatted, the newest first; for people who do not see the lines.
    pub rows: Vec<ChartRow>,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartLine {
    /// Name of its series in the API.
    pub series: &'static str,
    /// Name for readers.
    pub name: String,
    /// The attribute `points` of each part of the line; where values are missing, it is interrupted.
    pub parts: Vec<String>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartRow {
    /// How long ago, formatted.
    pub ago: String,
    /// One value per line, formatted.
    pub values: Vec<String>,
}

/// Returns the points of a line, `slots` of which fill the width, the last one at the right edge. `top` is the value at the upper edge.
/// Values that are no numbers interrupt the line; a single one becomes a short line.
#[must_use]
pub fn parts(values: &[f64], slots: usize, top: f64) -> Vec<String> {
    let step = WIDTH / slots.saturating_sub(1).max(1) as f64;
    let first = slots.saturating_sub(values.len());
    let top = if top.is_finite() && top > 0.0 { top } else { 1.0 };
    let mut parts: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (index, value) in values.iter().enumerate() {
        if !value.is_finite() {
            parts.push(Vec::new());
            continue;
        }
        let x = (first + index) as f64 * step;
        let y = HEIGHT - HEIGHT * (value / top).clamp(0.0, 1.0);
        if let Some(part) = parts.last_mut() {
            part.push((x, y));
        }
    }
    let points = |part: Vec<(f64, f64)>| {
        let short = (part.len() == 1).then(|| (part[0].0 - step.min(1.0), part[0].1));
        let all = short.into_iter().chain(part).map(|(x, y)| format!("{x:.1},{y:.1}"));
        all.collect::<Vec<_>>().join(" ")
    };
    parts.into_iter().filter(|part| !part.is_empty()).map(points).collect()
}

/// Returns the number at the upper edge for values up to `most`: 1, 2 or 5 times a power of ten.
#[must_use]
pub fn round_top(most: f64) -> f64 {
    if !most.is_finite() || most <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|top| *top >= most).unwrap_or(most)
}

/// Returns the places of the rows of a table of `count` values, the newest first.
pub fn rows(count: usize) -> impl Iterator<Item = usize> {
    let step = count.div_ceil(ROWS).max(1);
    (0..count).rev().step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_no_line_and_one_value_is_a_short_one() {
        assert!(parts(&[], 180, 1.0).is_empty());
        assert!(parts(&[f64::NAN; 5], 180, 1.0).is_empty());
        assert_eq!(parts(&[0.5], 181, 1.0), ["179.0,24.0 180.0,24.0"]);
    }

    #[test]
    fn lines_end_at_the_right_and_are_interrupted_where_values_are_missing() {
        let line = parts(&[0.0, 1.0, f64::NAN, 2.0, 9.0], 181, 2.0);
        assert_eq!(line, ["176.0,48.0 177.0,24.0", "179.0,0.0 180.0,0.0"]);
        assert_eq!(parts(&[1.0, 1.0], 2, 0.0), ["0.0,0.0 180.0,0.0"], "no top");
    }

    #[test]
    fn the_top_is_a_round_number() {
        for (most, top) in [(0.0, 1.0), (f64::NAN, 1.0), (0.3, 0.5), (1.0, 1.0), (7.0, 10.0), (130.0, 200.0)]
        {
            assert!((round_top(most) - top).abs() < 1e-9, "{most}");
        }
    }

    #[test]
    fn a_table_has_the_newest_value_and_few_rows() {
        assert_eq!(rows(0).count(), 0);
        assert_eq!(rows(1).collect::<Vec<_>>(), [0]);
        let all: Vec<_> = rows(180).collect();
        assert_eq!((all[0], all.len()), (179, ROWS));
    }
}
