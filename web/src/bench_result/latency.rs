//! Latency summaries of a benchmark result. In JSON they are flat fields such as `median_ttft_ms` and `p99_ttft_ms`, as
//! `vllm bench serve` writes them; in Rust they are one [`Summary`] per metric.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Names of the metrics in JSON, in the order of [`Latencies::summaries`].
const METRICS: [&str; 5] = ["ttft_ms", "tpot_ms", "itl_ms", "e2el_ms", "send_delay_ms"];

/// Latencies of a run in milliseconds, counted from when a request was due. `None` means that no request has a value: answers
/// of one token have no time per further token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latencies {
    /// Time to first token.
    pub ttft: Option<Summary>,
    /// Time per output token after the first.
    pub tpot: Option<Summary>,
    /// Gaps between chunks that contain tokens, of all requests together.
    pub itl: Option<Summary>,
    /// End-to-end latency: time to the last token.
    pub e2el: Option<Summary>,
    /// Time from when a request was due to when it was sent.
    pub send_delay: Option<Summary>,
}

/// Summary statistics of one metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// 50th percentile.
    pub median: f64,
    /// Standard deviation of the population.
    pub std: f64,
    /// Further percentiles: (percentile, value).
    pub percentiles: Vec<(f64, f64)>,
}

impl Summary {
    /// Returns the `p`th percentile, if it was recorded.
    #[must_use]
    pub fn percentile(&self, p: f64) -> Option<f64> {
        self.percentiles.iter().find(|(known, _)| (known - p).abs() < 1e-9).map(|&(_, value)| value)
    }
}

impl Latencies {
    fn summaries(&self) -> [&Option<Summary>; 5] {
        [&self.ttft, &self.tpot, &self.itl, &self.e2el, &self.send_delay]
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (metric, summary) in METRICS.into_iter().zip(self.summaries()) {
            let summary = summary.as_ref();
            map.serialize_entry(&format!("mean_{metric}"), &summary.map(|summary| summary.mean))?;
            map.serialize_entry(&format!("median_{metric}"), &summary.map(|summary| summary.median))?;
            map.serialize_entry(&format!("std_{metric}"), &summary.map(|summary| summary.std))?;
            for (p, value) in summary.into_iter().flat_map(|summary| &summary.percentiles) {
                map.serialize_entry(&format!("p{p}_{metric}"), value)?;
            }
        }
        map.end()
    }
}

/// The fields of one metric while they are read.
#[derive(Debug, Clone, Default)]
struct Partial {
    mean: Option<f64>,
    median: Option<f64>,
    std: Option<f64>,
    percentiles: Vec<(f64, f64)>,
}

impl Partial {
    fn set(&mut self, statistic: Statistic, value: Option<f64>) {
        match statistic {
            Statistic::Mean => self.mean = value,
            Statistic::Median => self.median = value,
            Statistic::Std => self.std = value,
            Statistic::Percentile(p) => self.percentiles.extend(value.map(|value| (p, value))),
        }
    }

    /// `Err` names the missing statistic.
    fn finish(self) -> Result<Option<Summary>, &'static str> {
        let Self { mean, median, std, percentiles } = self;
        if mean.is_none() && median.is_none() && std.is_none() && percentiles.is_empty() {
            return Ok(None);
        }
        Ok(Some(Summary {
            mean: mean.ok_or("mean")?,
            median: median.ok_or("median")?,
            std: std.ok_or("std")?,
            percentiles,
        }))
    }
}

#[derive(Debug, Clone, Copy)]
enum Statistic {
    Mean,
    Median,
    Std,
    Percentile(f64),
}

/// Splits a field name such as `p99_ttft_ms` into the statistic and the index of the metric.
fn parse_name(name: &str) -> Option<(Statistic, usize)> {
    let (statistic, metric) = name.split_once('_')?;
    let statistic = match statistic {
        "mean" => Statistic::Mean,
        "median" => Statistic::Median,
        "std" => Statistic::Std,
        other => Statistic::Percentile(other.strip_prefix('p')?.parse().ok()?),
    };
    Some((statistic, METRICS.iter().position(|known| *known == metric)?))
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Latencies;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("latencies such as `median_ttft_ms`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Latencies, A::Error> {
                let mut partial: [Partial; 5] = Default::default();
                while let Some(name) = map.next_key::<String>()? {
                    // All fields that `BenchResult` does not have arrive here, so that this is where unknown ones are found.
                    let Some((statistic, metric)) = parse_name(&name) else {
                        return Err(A::Error::custom(format!("unknown field `{name}`")));
                    };
                    let value = map.next_value::<Option<f64>>();
                    let value =
                        value.map_err(|error| A::Error::custom(format!("field `{name}`: {error}")))?;
                    partial[metric].set(statistic, value);
                }
                let mut summaries: [Option<Summary>; 5] = Default::default();
                for (metric, partial) in partial.into_iter().enumerate() {
                    summaries[metric] = partial.finish().map_err(|statistic| {
                        A::Error::custom(format!("missing field `{statistic}_{}`", METRICS[metric]))
                    })?;
                }
                let [ttft, tpot, itl, e2el, send_delay] = summaries;
                Ok(Latencies { ttft, tpot, itl, e2el, send_delay })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl JsonSchema for Latencies {
    fn schema_name() -> Cow<'static, str> {
        "Latencies".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = METRICS
            .iter()
            .flat_map(|metric| ["mean", "median", "std"].map(|statistic| format!("{statistic}_{metric}")));
        let properties: Map<String, Value> =
            names.map(|name| (name, json!({ "type": ["number", "null"] }))).collect();
        let percentile = format!("^p[0-9]+(\\.[0-9]+)?_({})$", METRICS.join("|"));
        json_schema!({
            "type": "object",
            "properties": properties,
            "patternProperties": { percentile: { "type": "number" } },
        })
    }
}
