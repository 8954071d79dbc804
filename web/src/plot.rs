//! Plots of benchmark results as self-contained SVG: latency against load, throughput against load, and stages as stacked
//! bars.

use plotters::prelude::*;

use crate::bench_result::{BenchResult, Latencies, StageMeans, Summary};

/// A plot that failed to draw.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlotError(String);

/// How wide a plot is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Width {
    /// 720 pixels.
    #[default]
    Wide,
    /// 360 pixels, for phones: the same text sizes on less room.
    Narrow,
}

impl Width {
    /// Returns width and height in pixels.
    fn size(self) -> (u32, u32) {
        match self {
            Self::Wide => (720, 360),
            Self::Narrow => (360, 320),
        }
    }
}

/// Returns a plot in light colours on dark paper: what is black and white in it changes, the colours of lines stay.
#[must_use]
pub fn dark(svg: &str) -> String {
    svg.replace("#FFFFFF", "#20201D").replace("#000000", "#EFEDE8")
}

/// Colours of lines and stages that colour-blind readers can tell apart (Okabe and Ito).
const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(240, 228, 66),
    RGBColor(120, 120, 120),
];

/// Ratio of the longest to the shortest request above which bars show percentages.
const MAX_RATIO: f64 = 20.0;

/// Name of an axis of whole numbers.
const CONCURRENCY: &str = "max concurrency";

/// One line of a plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A value that is plotted against the load: its name, and where a result has it.
type Series = (&'static str, fn(&BenchResult) -> Option<f64>);

fn median(of: fn(&Latencies) -> &Option<Summary>, result: &BenchResult) -> Option<f64> {
    of(&result.latencies).as_ref().map(|summary| summary.median)
}

fn p99(of: fn(&Latencies) -> &Option<Summary>, result: &BenchResult) -> Option<f64> {
    of(&result.latencies).as_ref()?.percentile(99.0)
}

/// Draws median and P99 of TTFT and E2EL against the load. Results with several labels get one line per label, of the median
/// E2EL. Returns `None` if no label has two different loads.
///
/// # Errors
/// When drawing fails.
pub fn latency(results: &[(String, BenchResult)], width: Width) -> Result<Option<String>, PlotError> {
    let series: [Series; 4] = [
        ("median E2EL", |result| median(|latencies| &latencies.e2el, result)),
        ("median TTFT", |result| median(|latencies| &latencies.ttft, result)),
        ("P99 TTFT", |result| p99(|latencies| &latencies.ttft, result)),
        ("P99 E2EL", |result| p99(|latencies| &latencies.e2el, result)),
    ];
    let (axis, lines) = lines(results, &series);
    plot("Latency against load", axis, "milliseconds", &lines, width)
}

/// Draws output tokens and seconds of video per second against the load; with several labels only the tokens. Returns `None`
/// if no label has two different loads.
///
/// # Errors
/// When drawing fails.
pub fn throughput(results: &[(String, BenchResult)], width: Width) -> Result<Option<String>, PlotError> {
    let series: [Series; 2] = [
        ("output tokens/s", |result| Some(result.output_throughput)),
        ("video seconds/s", |result| result.rtfx_video),
    ];
    let (axis, lines) = lines(results, &series);
    plot("Throughput against load", axis, "per second", &lines, width)
}

/// Returns the name of the load axis (concurrency where it is limited, else the request rate) and one line per series. Results
/// with the same label are of one server; if several labels have different loads, each gets one line, of the first series.
fn lines(results: &[(String, BenchResult)], series: &[Series]) -> (&'static str, Vec<Line>) {
    let limited = results.iter().all(|(_, result)| result.max_concurrency.is_some());
    let axis = if limited { CONCURRENCY } else { "requests per second" };
    let load = |result: &BenchResult| match result.max_concurrency {
        Some(concurrency) if limited => concurrency as f64,
        _ => result.request_throughput,
    };
    let mut groups: Vec<(&str, Vec<&BenchResult>)> = Vec::new();
    for (_, result) in results {
        let label = result.label.as_deref().unwrap_or_default();
        match groups.iter_mut().find(|(known, _)| *known == label) {
            Some((_, group)) => group.push(result),
            None => groups.push((label, vec![result])),
        }
    }
    groups.retain(|(_, group)| group.iter().any(|result| load(result) != load(group[0])));
    let single = groups.len() == 1;
    let shown = if single { series } else { &series[..1] };
    let line = |label: &str, group: &[&BenchResult], (name, value): &Series| Line {
        name: if single || label.is_empty() { (*name).to_owned() } else { format!("{label}: {name}") },
        points: group.iter().filter_map(|result| Some((load(result), value(result)?))).collect(),
    };
    let lines =
        groups.iter().flat_map(|(label, group)| shown.iter().map(|series| line(label, group, series)));
    (axis, lines.filter(|line| !line.points.is_empty()).collect())
}

fn plot(title: &str, x: &str, y: &str, lines: &[Line], width: Width) -> Result<Option<String>, PlotError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (left, right) =
        points().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), p| (low.min(p.0), high.max(p.0)));
    let top = points().map(|p| p.1).fold(0.0, f64::max);
    if left >= right || top <= 0.0 {
        return Ok(None);
    }
    let mut svg = String::new();
    let mut draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, width.size()).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right * 1.05, 0.0..top * 1.1)?;
        // There is no half request.
        let whole = |x: &f64| if x.fract() == 0.0 { format!("{x:.0}") } else { String::new() };
        let number = |x: &f64| format!("{x}");
        let label: &dyn Fn(&f64) -> String = if x == CONCURRENCY { &whole } else { &number };
        chart
            .configure_mesh()
            .x_desc(x)
            .y_desc(y)
            .x_label_formatter(label)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (line, colour) in lines.iter().zip(PALETTE) {
            let mut points = line.points.clone();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(line.name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        root.present()?;
        Ok(())
    };
    // plotters' errors are neither Send nor Sync.
    draw().map_err(|error| PlotError(format!("failed to draw '{title}': {error}")))?;
    Ok(Some(svg))
}

/// Draws one bar per row (name, value), with the value behind the name. Returns `None` without a positive value.
///
/// # Errors
/// When drawing fails.
pub fn bars(title: &str, unit: &str, rows: &[(String, f64)]) -> Result<Option<String>, PlotError> {
    let widest = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    if widest <= 0.0 {
        return Ok(None);
    }
    let names: Vec<String> = rows.iter().map(|(name, value)| format!("{name}, {value:.1}")).collect();
    let widths = rows.iter().map(|row| row.1.max(0.0)).collect();
    stacked_bars(&format!("{title} ({unit})"), &names, widest, &[("", widths)], Width::Wide).map(Some)
}

/// Draws the stages of a request, one bar per result that has them: in milliseconds, or in percent if one bar would be too
/// short to see beside the longest. Returns `None` if no result has stages.
///
/// # Errors
/// When drawing fails.
pub fn stages(results: &[(String, BenchResult)], width: Width) -> Result<Option<String>, PlotError> {
    let rows: Vec<(&str, StageMeans)> =
        results.iter().filter_map(|(name, result)| Some((name.as_str(), result.stages_ms?))).collect();
    let longest = rows.iter().map(|(_, stages)| stages.e2el_ms).fold(0.0, f64::max);
    let shortest = rows.iter().map(|(_, stages)| stages.e2el_ms).fold(f64::INFINITY, f64::min);
    if longest <= 0.0 {
        return Ok(None);
    }
    let percent = longest > MAX_RATIO * shortest;
    let (widest, unit) = if percent { (100.0, "%") } else { (longest, "mean, ms") };
    let name = |(name, stages): &(&str, StageMeans)| {
        if percent { format!("{name}, {:.0} ms", stages.e2el_ms) } else { (*name).to_owned() }
    };
    let names: Vec<String> = rows.iter().map(name).collect();
    let widths = |index: usize| {
        let of_stage = |(_, stages): &(&str, StageMeans)| {
            let scale = if percent { 100.0 / stages.e2el_ms.max(f64::MIN_POSITIVE) } else { 1.0 };
            scale * stages.stages()[index].1.max(0.0)
        };
        rows.iter().map(of_stage).collect()
    };
    let series: Vec<(&str, Vec<f64>)> =
        rows[0].1.stages().iter().enumerate().map(|(index, (stage, _))| (*stage, widths(index))).collect();
    stacked_bars(&format!("Time per stage of a request ({unit})"), &names, widest, &series, width).map(Some)
}

/// Draws horizontal bars, from the top: one per name, of the widths that each series (name, widths) has for it. `widest` is the
/// width of the widest bar. A single series has no legend.
fn stacked_bars(
    title: &str,
    names: &[String],
    widest: f64,
    series: &[(&str, Vec<f64>)],
    width: Width,
) -> Result<String, PlotError> {
    let legend = series.len() > 1;
    let mut svg = String::new();
    // Room for the longest name with its milliseconds, at about 6.5 pixels per character.
    let letters = names.iter().map(|name| name.chars().count()).max().unwrap_or_default() as u32 + 10;
    let names_width = (letters * 13 / 2).clamp(120, width.size().0 / 2);
    let bars_height = 90 + 36 * names.len() as u32;
    // Room for the legend of all stages.
    let height = if legend { bars_height.max(210) } else { bars_height };
    let mut draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, (width.size().0, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let count = names.len() as f64;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(24)
            .y_label_area_size(names_width)
            .build_cartesian_2d(0.0..widest * if legend { 1.35 } else { 1.1 }, 0.0..count)?;
        let name = |y: &f64| {
            let row = count - y.ceil();
            let in_middle = (y.fract() - 0.5).abs() < 1e-9;
            names.get(row as usize).filter(|_| in_middle).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .y_labels(2 * names.len() + 1)
            .y_label_formatter(&name)
            .draw()?;
        for (index, ((stage, widths), colour)) in series.iter().zip(PALETTE).enumerate() {
            let bars = widths.iter().enumerate().map(|(row, width)| {
                let left: f64 = series[..index].iter().map(|(_, widths)| widths[row]).sum();
                let bottom = count - row as f64;
                Rectangle::new([(left, bottom - 0.25), (left + width, bottom - 0.75)], colour.filled())
            });
            let drawn = chart.draw_series(bars)?;
            if legend {
                drawn
                    .label(*stage)
                    .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
            }
        }
        if legend {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::MiddleRight)
                .background_style(WHITE.mix(0.8))
                .draw()?;
        }
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| PlotError(format!("failed to draw '{title}': {error}")))?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(label: &str, concurrency: usize, ttft: f64) -> (String, BenchResult) {
        let committed = include_bytes!("../../bench/runs/2026-11-26-x86_64-2cores/demo-candle-f32.json");
        let mut result = BenchResult::parse(committed).unwrap();
        let summary = |median: f64| {
            Some(Summary { median, percentiles: vec![(99.0, 2.0 * median)], ..Summary::default() })
        };
        result.label = Some(label.to_owned());
        result.max_concurrency = Some(concurrency);
        result.latencies.ttft = summary(ttft);
        result.latencies.e2el = summary(3.0 * ttft);
        result.output_throughput = 10.0 * concurrency as f64;
        ("one clip".to_owned(), result)
    }

    #[test]
    fn bars_have_names_and_values() {
        let rows = [("direct".to_owned(), 32.6), ("homereel".to_owned(), 23.1)];
        let svg = bars("Describing clips", "hours per hour", &rows).unwrap().unwrap();
        assert!(svg.contains("direct, 32.6") && svg.contains("homereel, 23.1"), "{svg}");
        assert!(bars("nothing", "", &[]).unwrap().is_none());
    }

    #[test]
    fn plots_contain_their_series() {
        let results = [result("x", 1, 20.0), result("x", 4, 60.0)];
        let svg = latency(&results, Width::Wide).unwrap().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("P99 E2EL") && svg.contains("max concurrency"));
        assert!(throughput(&results, Width::Wide).unwrap().unwrap().contains("output tokens/s"));
        let svg = stages(&results, Width::Wide).unwrap().unwrap();
        assert!(svg.contains("vision") && svg.contains("one clip"), "{svg}");
    }

    #[test]
    fn an_unmeasured_series_has_no_line() {
        let results = [result("x", 1, 20.0), result("x", 4, 60.0)].map(|(name, mut result)| {
            result.rtfx_video = None;
            (name, result)
        });
        let svg = throughput(&results, Width::Wide).unwrap().unwrap();
        assert!(svg.contains("output tokens/s") && !svg.contains("video seconds/s"), "{svg}");
    }

    #[test]
    fn each_label_has_its_line_and_very_different_bars_are_percentages() {
        let results =
            [result("x", 1, 20.0), result("x", 4, 60.0), result("y", 1, 30.0), result("y", 4, 70.0)];
        let svg = latency(&results, Width::Wide).unwrap().unwrap();
        assert!(
            svg.contains("x: median E2EL") && svg.contains("y: median E2EL") && !svg.contains("P99"),
            "{svg}"
        );
        // Two servers under one load each make no line.
        assert_eq!(latency(&[result("x", 1, 20.0), result("y", 4, 30.0)], Width::Wide).unwrap(), None);
        let (_, mut slow) = result("x", 1, 1.0);
        let stages_ms = slow.stages_ms.as_mut().unwrap();
        (stages_ms.prefill_ms, stages_ms.e2el_ms) = (9000.0, 9000.0);
        let svg = stages(&[result("x", 1, 1.0), ("slow".into(), slow)], Width::Wide).unwrap().unwrap();
        assert!(svg.contains("(%)") && svg.contains("slow, 9000 ms"), "{svg}");
    }

    #[test]
    fn plots_fit_a_phone_and_a_dark_page_and_have_whole_numbers_of_requests() {
        let results = [result("", 1, 20.0), result("", 2, 60.0)];
        let svg = latency(&results, Width::Narrow).unwrap().unwrap();
        assert!(svg.contains("width=\"360\"") && !svg.contains(": median"), "{svg}");
        assert!(svg.contains("\n1\n") && !svg.contains("\n1.5\n") && !svg.contains("\n0.5\n"), "{svg}");
        let dark = dark(&svg);
        assert!(dark.contains("#20201D") && !dark.contains("#FFFFFF") && !dark.contains("#000000"), "{dark}");
    }

    #[test]
    fn one_load_makes_no_line() {
        let (name, mut alone) = result("x", 1, 20.0);
        assert_eq!(latency(&[(name.clone(), alone.clone())], Width::Wide).unwrap(), None);
        alone.stages_ms = None;
        assert_eq!(stages(&[(name, alone)], Width::Wide).unwrap(), None);
    }
}
