//! The metrics of one backend, scraped at several moments and shown side by side.

use anyhow::{Context as _, Result};
use dispatcher_lab::{Daemon, sample};

use crate::show::Show;

/// A metric's name, and its labels in addition to service and backend.
pub(crate) type Series = (&'static str, &'static str);

/// Pages as Prometheus would get them.
#[derive(Debug)]
pub(crate) struct Scrapes {
    labels: [String; 2],
    pages: Vec<(&'static str, String)>,
}

impl Scrapes {
    /// No pages yet, for this backend of a service.
    pub(crate) fn of(service: &str, backend: &str) -> Self {
        let labels = [format!("service=\"{service}\""), format!("backend=\"{backend}\"")];
        Self { labels, pages: Vec::new() }
    }

    /// A metric's value now.
    ///
    /// # Errors
    /// When the metric is missing.
    pub(crate) fn now(&self, daemon: &Daemon, series: Series) -> Result<f64> {
        self.sample(&daemon.metrics()?, series)?.with_context(|| format!("no {} now", series.0))
    }

    /// Scrapes now, and keeps the page.
    ///
    /// # Errors
    /// When the page cannot be read.
    pub(crate) fn take(&mut self, when: &'static str, daemon: &Daemon) -> Result<()> {
        self.pages.push((when, daemon.metrics()?));
        Ok(())
    }

    /// A metric's value at each moment.
    ///
    /// # Errors
    /// When it was missing at one of the moments.
    pub(crate) fn values(&self, series: Series) -> Result<Vec<f64>> {
        let values = self.pages.iter().map(|(when, page)| {
            self.sample(page, series)?.with_context(|| format!("no {} {when}", series.0))
        });
        values.collect()
    }

    /// Shows all moments, one row for each metric; `-` where the metric was missing.
    ///
    /// # Errors
    /// When a value is no number.
    pub(crate) fn show(&self, show: &Show, all: &[Series]) -> Result<()> {
        show.command(&format!("curl -s 127.0.0.1:9464/metrics | grep '{}'", self.labels.join(",")));
        let cells = |cells: Vec<String>| -> String {
            cells.iter().map(|cell| format!("  {cell:>8}")).collect()
        };
        let heads = self.pages.iter().map(|(when, _)| (*when).to_owned());
        show.say(&format!("{:50}{}", "", cells(heads.collect())));
        for series in all {
            let values = self.pages.iter().map(|(_, page)| {
                let value = self.sample(page, *series)?;
                Ok(value.map_or("-".to_owned(), short))
            });
            show.say(&format!("{:50}{}", name(*series), cells(values.collect::<Result<_>>()?)));
        }
        Ok(())
    }

    fn sample(&self, page: &str, (name, more): Series) -> Result<Option<f64>> {
        let [service, backend] = &self.labels;
        sample(page, name, &[service, backend, more])
    }
}

fn name((name, more): Series) -> String {
    if more.is_empty() { name.to_owned() } else { format!("{name}{{{more}}}") }
}

/// Shows whole numbers unchanged, and others with three decimal places.
fn short(value: f64) -> String {
    if value.fract() == 0.0 { value.to_string() } else { format!("{value:.3}") }
}
