//! Plots of results as SVG that stands alone: latency against load, throughput against concurrency, stages as stacked
//! bars. Knows the fields of a result and nothing of where plots go.

use plotters::prelude::*;
use serde_json::Value;

/// Why a plot can't be drawn.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlotError(String);

/// Pixels of a plot.
const SIZE: (u32, u32) = (720, 360);
/// Colours of lines and stages, told apart by people who see few colours (Okabe and Ito).
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
/// Stages in the order in which they happen, as in a result's `stages_ms`.
const STAGES: [&str; 8] = [
    "queue_ms",
    "probe_ms",
    "decode_ms",
    "preprocess_ms",
    "vision_ms",
    "prefill_ms",
    "generate_ms",
    "other_ms",
];

/// How many times the shortest request the longest may take before bars show shares.
const FAR_APART: f64 = 20.0;

/// One line of a plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws median and tail of TTFT and E2EL against the load of each result; the median E2EL alone where several labels have
/// loads that differ. None where none has.
///
/// # Errors
/// When the plot can't be drawn.
pub fn latency(results: &[Value]) -> Result<Option<String>, PlotError> {
    let fields = [
        ("median E2EL", "median_e2el_ms"),
        ("median TTFT", "median_ttft_ms"),
        ("P99 TTFT", "p99_ttft_ms"),
        ("P99 E2EL", "p99_e2el_ms"),
    ];
    let (axis, lines) = lines(results, &fields);
    plot("Latency against load", axis, "milliseconds", &lines)
}

/// Draws output tokens and seconds of video per second against the load of each result; tokens alone for several labels.
///
/// # Errors
/// When the plot can't be drawn.
pub fn throughput(results: &[Value]) -> Result<Option<String>, PlotError> {
    let fields = [("output tokens/s", "output_throughput"), ("video seconds/s", "rtfx_video")];
    let (axis, lines) = lines(results, &fields);
    plot("Throughput against load", axis, "per second", &lines)
}

/// The axis of the load (concurrency where it is bounded, else the request rate), and a line for each field. Results that
/// share a label are of one server: where several labels have loads that differ, each gets one line, of the first field.
fn lines(results: &[Value], fields: &[(&str, &str)]) -> (&'static str, Vec<Line>) {
    let bounded = results.iter().all(|one| one["max_concurrency"].is_u64());
    let (axis, load) = if bounded {
        ("max concurrency", "max_concurrency")
    } else {
        ("requests per second", "request_throughput")
    };
    let number = |one: &Value, field: &str| one[field].as_f64().unwrap_or_default();
    let mut groups: Vec<(&str, Vec<&Value>)> = Vec::new();
    for one in results {
        let label = one["label"].as_str().unwrap_or_default();
        match groups.iter_mut().find(|(known, _)| *known == label) {
            Some((_, group)) => group.push(one),
            None => groups.push((label, vec![one])),
        }
    }
    groups.retain(|(_, group)| group.iter().any(|one| number(one, load) != number(group[0], load)));
    let alone = groups.len() == 1;
    let wanted = if alone { fields } else { &fields[..1] };
    let line = |label: &str, group: &[&Value], (name, field): &(&str, &str)| Line {
        name: if alone { (*name).to_owned() } else { format!("{label}: {name}") },
        points: group.iter().map(|one| (number(one, load), number(one, field))).collect(),
    };
    let lines = groups.iter().flat_map(|(label, group)| wanted.iter().map(|field| line(label, group, field)));
    (axis, lines.collect())
}

fn plot(title: &str, x: &str, y: &str, lines: &[Line]) -> Result<Option<String>, PlotError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (left, right) =
        points().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), p| (low.min(p.0), high.max(p.0)));
    let top = points().map(|p| p.1).fold(0.0, f64::max);
    if left >= right || top <= 0.0 {
        return Ok(None);
    }
    let mut svg = String::new();
    let mut draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right * 1.05, 0.0..top * 1.1)?;
        chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(TRANSPARENT).draw()?;
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

/// Draws where the time of a request went, one bar for each result that tells: in milliseconds, or in percent where one
/// takes so much longer than another that nothing of that would be seen. None where none tells.
///
/// # Errors
/// When the plot can't be drawn.
pub fn stages(results: &[(String, Value)]) -> Result<Option<String>, PlotError> {
    let told: Vec<&(String, Value)> =
        results.iter().filter(|(_, one)| one["stages_ms"].is_object()).collect();
    let whole = |one: &Value| one["stages_ms"]["e2el_ms"].as_f64().unwrap_or_default();
    let longest = told.iter().map(|(_, one)| whole(one)).fold(0.0, f64::max);
    let shortest = told.iter().map(|(_, one)| whole(one)).fold(f64::INFINITY, f64::min);
    if longest <= 0.0 {
        return Ok(None);
    }
    let shares = longest > FAR_APART * shortest;
    let (widest, unit) = if shares { (100.0, "%") } else { (longest, "mean, ms") };
    let mut svg = String::new();
    // Wide enough for the longest name, with its milliseconds; letters of this size take some 6.5 pixels.
    let letters = told.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default() as u32 + 10;
    let names_width = (letters * 13 / 2).clamp(120, SIZE.0 / 2);
    // High enough for the legend of all stages.
    let height = 210.max(90 + 36 * told.len() as u32);
    let mut draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(&mut svg, (SIZE.0, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let rows = told.len() as f64;
        let mut chart = ChartBuilder::on(&root)
            .caption(format!("Where the time of a request goes ({unit})"), ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(24)
            .y_label_area_size(names_width)
            .build_cartesian_2d(0.0..widest * 1.35, 0.0..rows)?;
        let name = |y: &f64| {
            let row = rows - y.ceil();
            let in_middle = (y.fract() - 0.5).abs() < 1e-9;
            told.get(row as usize).filter(|_| in_middle).map_or_else(String::new, |(name, one)| {
                if shares { format!("{name}, {:.0} ms", whole(one)) } else { name.clone() }
            })
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .y_labels(2 * told.len() + 1)
            .y_label_formatter(&name)
            .draw()?;
        for (stage, colour) in STAGES.into_iter().zip(PALETTE) {
            let bars = told.iter().enumerate().map(|(row, (_, one))| {
                let scale = if shares { 100.0 / whole(one).max(f64::MIN_POSITIVE) } else { 1.0 };
                let ms = |stage: &str| scale * one["stages_ms"][stage].as_f64().unwrap_or_default().max(0.0);
                let before: f64 = STAGES.iter().take_while(|one| **one != stage).map(|one| ms(one)).sum();
                let bottom = rows - row as f64;
                Rectangle::new(
                    [(before, bottom - 0.25), (before + ms(stage), bottom - 0.75)],
                    colour.filled(),
                )
            });
            chart
                .draw_series(bars)?
                .label(stage.trim_end_matches("_ms"))
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| PlotError(format!("failed to draw the stages: {error}")))?;
    Ok(Some(svg))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(concurrency: u32, ttft: f64) -> Value {
        json!({
            "max_concurrency": concurrency, "median_ttft_ms": ttft, "p99_ttft_ms": 2.0 * ttft,
            "median_e2el_ms": 3.0 * ttft, "p99_e2el_ms": 4.0 * ttft, "output_throughput": 10.0 * f64::from(concurrency),
            "stages_ms": { "decode_ms": 30.0, "vision_ms": 50.0, "other_ms": 20.0, "e2el_ms": 100.0 },
        })
    }

    #[test]
    fn plots_hold_what_they_are_of() {
        let results = [result(1, 20.0), result(4, 60.0)];
        let svg = latency(&results).unwrap().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("P99 E2EL") && svg.contains("max concurrency"));
        assert!(throughput(&results).unwrap().unwrap().contains("output tokens/s"));
        let named = results.map(|one| ("one clip".to_owned(), one));
        let svg = stages(&named).unwrap().unwrap();
        assert!(svg.contains("vision") && svg.contains("one clip"), "{svg}");
    }

    #[test]
    fn servers_are_lines_of_their_own_and_far_apart_bars_are_shares() {
        let labelled = |label: &str, concurrency: u32, ttft: f64| {
            let mut one = result(concurrency, ttft);
            one["label"] = label.into();
            one
        };
        let results =
            [labelled("x", 1, 20.0), labelled("x", 4, 60.0), labelled("y", 1, 30.0), labelled("y", 4, 70.0)];
        let svg = latency(&results).unwrap().unwrap();
        assert!(
            svg.contains("x: median E2EL") && svg.contains("y: median E2EL") && !svg.contains("P99"),
            "{svg}"
        );
        // Two servers under one load each make no line.
        assert_eq!(latency(&[labelled("x", 1, 20.0), labelled("y", 4, 30.0)]).unwrap(), None);
        let mut slow = result(1, 1.0);
        slow["stages_ms"] = json!({ "prefill_ms": 9000.0, "e2el_ms": 9000.0 });
        let svg = stages(&[("fast".into(), result(1, 1.0)), ("slow".into(), slow)]).unwrap().unwrap();
        assert!(svg.contains("(%)") && svg.contains("slow, 9000 ms"), "{svg}");
    }

    #[test]
    fn one_load_makes_no_line() {
        assert_eq!(latency(&[result(1, 20.0)]).unwrap(), None);
        assert_eq!(stages(&[("a".into(), json!({}))]).unwrap(), None);
    }
}
