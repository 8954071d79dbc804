//! The charts of `/system`, and `GET /api/system/samples`.

use axum::{Json, extract::State};
use homereel_web::{
    Words,
    chart::{self, Chart, ChartLine, ChartRow},
    format,
    views::{StageShare, TimeSpent},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer::StagesMs,
    http::{
        error::{Failure, Problem, shown},
        extract::Query,
    },
    samples::{Capacity, Series, Span, Values},
    state::AppState,
};

/// Points that fill the width of a chart.
const SLOTS: usize = 180;

/// How far back to look.
#[derive(Debug, Default, Deserialize)]
pub(in crate::http) struct SpanQuery {
    span: Option<String>,
}

impl SpanQuery {
    /// Parses the span; 15 minutes where it is missing.
    pub(in crate::http) fn parsed(&self) -> Result<Span, Failure> {
        let Some(text) = self.span.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(Span::default());
        };
        let known = Span::ALL.iter().find(|(_, name)| *name == text).map(|(span, _)| *span);
        known.ok_or_else(|| {
            Failure::invalid("span", format!("span is {}; 15m, 6h or 7d would fit", shown(text)))
        })
    }
}

/// `GET /api/system/samples?span=15m`: at most 180 samples, oldest first.
pub(in crate::http) async fn api(
    State(state): State<AppState>,
    Query(query): Query<SpanQuery>,
) -> Result<Json<Value>, Problem> {
    let span = query.parsed()?;
    let (samples, capacity) = state.samples.last(span);
    let step = span.duration().as_secs() / SLOTS as u64;
    Ok(Json(json!({
        "step_s": step, "memory_bytes": capacity.memory_bytes, "disk_bytes": capacity.disk_bytes,
        "samples": samples.iter().map(sample).collect::<Vec<_>>(),
    })))
}

/// A sample as JSON: one member per series, `null` where there is no value.
pub(in crate::http) fn sample(values: &Values) -> Value {
    let member = |(series, name): &(Series, &str)| {
        let value = values[*series as usize];
        ((*name).to_owned(), if value.is_finite() { json!(value) } else { Value::Null })
    };
    Value::Object(Series::ALL.iter().map(member).collect())
}

/// How values of a chart are written.
#[derive(Clone, Copy)]
enum Unit {
    Number,
    Seconds,
    Bytes,
    Percent,
    Degrees,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            _ if !value.is_finite() => String::new(),
            Self::Number if value.fract() == 0.0 || value >= 10.0 => format!("{value:.0}"),
            Self::Number => format!("{value:.1}"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format::size(value as u64),
            Self::Percent => format!("{value:.0} %"),
            Self::Degrees => format!("{value:.0} °C"),
        }
    }
}

/// What a chart shows.
struct Plan {
    id: &'static str,
    unit: Unit,
    /// The lines; the name of each is the message `chart-…` with the name of its series.
    lines: &'static [Series],
    /// The value at the upper edge; `None` follows the values.
    top: Option<f64>,
}

/// Returns the charts of a span.
pub(super) fn charts(words: &Words, state: &AppState, span: Span) -> Vec<Chart> {
    let (samples, capacity) = state.samples.last(span);
    plans(capacity)
        .iter()
        .filter(|plan| {
            // Machines without a GPU have no charts of it.
            !matches!(plan.unit, Unit::Percent | Unit::Degrees)
                || samples.iter().any(|values| values[plan.lines[0] as usize].is_finite())
        })
        .map(|plan| draw(words, plan, &samples, span))
        .collect()
}

fn plans(capacity: Capacity) -> [Plan; 8] {
    let plan = |id, unit, lines, top| Plan { id, unit, lines, top };
    [
        plan("chart-tokens", Unit::Number, &[Series::Tokens], None),
        plan("chart-queue", Unit::Number, &[Series::Running, Series::Waiting], None),
        plan("chart-ttft", Unit::Seconds, &[Series::TtftMedian, Series::TtftP95], None),
        plan("chart-frames", Unit::Number, &[Series::Frames], None),
        plan("chart-memory", Unit::Bytes, &[Series::Memory, Series::Resident], Some(capacity.memory_bytes)),
        plan("chart-disk", Unit::Bytes, &[Series::Disk], Some(capacity.disk_bytes)),
        plan("chart-gpu", Unit::Percent, &[Series::Gpu], Some(100.0)),
        plan("chart-temperature", Unit::Degrees, &[Series::GpuTemperature], Some(100.0)),
    ]
}

fn draw(words: &Words, plan: &Plan, samples: &[Values], span: Span) -> Chart {
    let values = |series: Series| -> Vec<f64> {
        samples.iter().map(|values| f64::from(values[series as usize])).collect()
    };
    let lines: Vec<Vec<f64>> = plan.lines.iter().map(|series| values(*series)).collect();
    let most = lines.iter().flatten().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    let top = plan.top.filter(|top| *top > 0.0).unwrap_or_else(|| chart::round_top(most));
    let newest: Vec<String> =
        lines.iter().filter_map(|line| line.last()).map(|value| plan.unit.write(*value)).collect();
    let step_s = span.duration().as_secs_f64() / SLOTS as f64;
    let row = |index: usize| ChartRow {
        ago: ago(words, (samples.len() - 1 - index) as f64 * step_s),
        values: lines.iter().map(|line| plan.unit.write(line[index])).collect(),
    };
    Chart {
        id: plan.id,
        title: words.t(plan.id),
        value: newest.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(" / "),
        top: plan.unit.write(top),
        lines: plan
            .lines
            .iter()
            .zip(&lines)
            .map(|(series, line)| ChartLine {
                series: name(*series),
                name: words.t(&format!("series-{}", name(*series).replace('_', "-"))),
                parts: chart::parts(line, SLOTS, top),
            })
            .collect(),
        rows: chart::rows(samples.len()).map(row).collect(),
    }
}

fn name(series: Series) -> &'static str {
    Series::ALL[series as usize].1
}

fn ago(words: &Words, seconds: f64) -> String {
    if seconds < 1.0 {
        words.t("chart-now")
    } else {
        words.with("chart-ago", &[("time", &format::rough_duration(seconds))])
    }
}

/// A stage, and how long it took in an answer, in milliseconds.
type Stage = (&'static str, fn(&StagesMs) -> f64);

/// Returns the mean time of each stage of the last answers, with its place in a bar of 100 units. `None` if nothing was answered.
pub(super) fn time_spent(words: &Words, answers: &[StagesMs]) -> Option<TimeSpent> {
    let count = answers.len();
    let stages: [Stage; 6] = [
        ("queue", |stages| stages.queue),
        ("decode", |stages| stages.probe + stages.decode + stages.preprocess),
        ("vision", |stages| stages.vision),
        ("prefill", |stages| stages.prefill),
        ("generate", |stages| stages.generate),
        // Between the stages, such as waiting for a job slot.
        ("other", |stages| {
            let known = stages.queue + stages.probe + stages.decode + stages.preprocess + stages.vision;
            (stages.total - known - stages.prefill - stages.generate).max(0.0)
        }),
    ];
    let means = stages.map(|(key, of)| (key, answers.iter().map(of).sum::<f64>() / count.max(1) as f64));
    let total: f64 = means.iter().map(|(_, ms)| ms).sum();
    if total <= 0.0 || !total.is_finite() {
        return None;
    }
    let mut from = 0.0;
    let shares = means.map(|(key, ms)| {
        let width = 100.0 * ms / total;
        let share = StageShare {
            key,
            name: words.t(&format!("stage-mean-{key}")),
            time: format!("{:.2} s", ms / 1e3),
            x: format!("{from:.2}"),
            width: format!("{width:.2}"),
        };
        from += width;
        share
    });
    Some(TimeSpent {
        title: words.n("time-spent", count as u64),
        shares: shares.into_iter().filter(|share| share.width != "0.00").collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_fill_the_bar_and_no_answer_has_none() {
        let words = Words::english();
        assert_eq!(time_spent(words, &[]), None);
        assert_eq!(time_spent(words, &[StagesMs::default()]), None, "an answer that took no time");
        let answer =
            StagesMs { queue: 100.0, decode: 300.0, generate: 500.0, total: 1000.0, ..StagesMs::default() };
        let spent = time_spent(words, &[answer, answer]).unwrap();
        let bar: Vec<_> =
            spent.shares.iter().map(|share| (share.key, share.x.as_str(), share.width.as_str())).collect();
        assert_eq!(
            bar,
            [
                ("queue", "0.00", "10.00"),
                ("decode", "10.00", "30.00"),
                ("generate", "40.00", "50.00"),
                ("other", "90.00", "10.00")
            ]
        );
    }

    #[test]
    fn values_are_written_with_their_units() {
        assert_eq!(Unit::Number.write(0.25), "0.2");
        assert_eq!(Unit::Number.write(128.4), "128");
        assert_eq!(Unit::Bytes.write(5.1e9), "5.1 GB");
        assert_eq!(Unit::Percent.write(f64::NAN), "");
    }

    #[test]
    fn the_names_of_series_are_those_of_the_api() {
        for (index, (series, _)) in Series::ALL.iter().enumerate() {
            assert_eq!(*series as usize, index);
        }
        let mut values = [f32::NAN; 11];
        values[Series::Waiting as usize] = 2.0;
        let json = sample(&values);
        assert_eq!((&json["requests_waiting"], &json["tokens_per_s"]), (&json!(2.0), &Value::Null));
        assert!(SpanQuery { span: Some("1y".into()) }.parsed().is_err());
    }
}
