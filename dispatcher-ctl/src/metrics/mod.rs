//! Prometheus metrics: the text of `GET /metrics` for a [`Status`]. [`families`] declares them, [`server`] serves them.

use std::slice;

use prometheus::{
    TEXT_FORMAT, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::api::types::{ResponseBucket, Status};

pub mod families;
#[cfg(test)]
mod reference;
pub mod server;

use families::{Family, Kind, Reading, Value};

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Renders the metrics in Prometheus' text format.
///
/// # Errors
/// A metric breaks the format's rules.
pub fn render(status: &Status) -> prometheus::Result<String> {
    let mut text = String::new();
    let mut readings = Vec::new();
    let mut metrics = Vec::new();
    for declared in families::ALL {
        (declared.read)(status, &mut readings);
        if readings.is_empty() {
            continue;
        }
        metrics.truncate(readings.len());
        for (i, reading) in readings.drain(..).enumerate() {
            // Neighbouring families describe the same services and backends: reuse their labels, which are most of the
            // work.
            match metrics.get_mut(i) {
                Some(metric) if is_labelled(metric, declared, &reading) => {}
                Some(metric) => *metric = labelled(declared, &reading),
                None => metrics.push(labelled(declared, &reading)),
            }
            set(&mut metrics[i], declared.kind, reading.value);
        }
        let mut family = family(declared, metrics);
        TextEncoder::new().encode_utf8(slice::from_ref(&family), &mut text)?;
        metrics = family.take_metric();
    }
    Ok(text)
}

fn family(declared: &Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(declared.name.to_owned());
    family.set_help(declared.help.to_owned());
    family.set_field_type(match declared.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(metrics);
    family
}

/// A metric with a reading's labels and no value.
fn labelled(declared: &Family, reading: &Reading<'_>) -> Metric {
    let label = |(name, value): (&&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    Metric::from_label(declared.labels.iter().zip(reading.labels).map(label).collect())
}

/// Whether a metric of another family has the same labels as a reading.
fn is_labelled(metric: &Metric, declared: &Family, reading: &Reading<'_>) -> bool {
    let labels = metric.get_label();
    labels.len() == declared.labels.len()
        && labels
            .iter()
            .zip(declared.labels.iter().zip(reading.labels))
            .all(|(label, (name, value))| label.name() == *name && label.value() == value)
}

fn set(metric: &mut Metric, kind: Kind, value: Value<'_>) {
    match (kind, value) {
        (Kind::Counter, Value::Number(value)) => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        (_, Value::Number(value)) => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        (_, Value::Histogram(seconds)) => {
            let bucket = |of: &ResponseBucket| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(of.le);
                bucket.set_cumulative_count(of.count);
                bucket
            };
            let mut histogram = Histogram::default();
            histogram.set_sample_count(seconds.count);
            histogram.set_sample_sum(seconds.sum);
            histogram.set_bucket(seconds.buckets.iter().map(bucket).collect());
            metric.set_histogram(histogram);
        }
    }
}
