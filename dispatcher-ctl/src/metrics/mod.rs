//! Prometheus metrics: what `GET /metrics` tells of a [`Status`]. [`families`] declares them, [`server`] serves them.

use prometheus::{
    Encoder as _, TEXT_FORMAT, TextEncoder,
    proto::{LabelPair, Metric, MetricFamily, MetricType},
};

use crate::api::types::Status;

pub mod families;
pub mod server;

use families::{Kind, Reading};

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// The metrics in Prometheus' text format.
///
/// # Errors
/// Where a metric breaks the format's rules.
pub fn render(status: &Status) -> prometheus::Result<String> {
    let families: Vec<MetricFamily> = families::ALL
        .iter()
        .map(|declared| {
            let mut readings = Vec::new();
            (declared.read)(status, &mut readings);
            family(declared, readings)
        })
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
}

fn family(declared: &families::Family, readings: Vec<Reading<'_>>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(declared.name.to_owned());
    family.set_help(declared.help.to_owned());
    family.set_field_type(match declared.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    });
    let metric = |reading: Reading<'_>| {
        let label = |(name, value): (&&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_owned());
            pair
        };
        let labels = declared.labels.iter().zip(reading.labels).map(label).collect();
        let mut metric = Metric::from_label(labels);
        match declared.kind {
            Kind::Counter => {
                let mut counter = prometheus::proto::Counter::default();
                counter.set_value(reading.value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = prometheus::proto::Gauge::default();
                gauge.set_value(reading.value);
                metric.set_gauge(gauge);
            }
        }
        metric
    };
    family.set_metric(readings.into_iter().map(metric).collect());
    family
}
