//! Families whose number of labels is part of their type, so that a look-up cannot fail.
//!
//! A look-up that finds its child allocates nothing. The library finds children by a hash over the label values written one
//! after the other without a separator, so two sets of values that read the same when joined would share a child. They do
//! not: account names are lower case and operation names start in upper case, and no value of a closed set ends in another
//! value of that set.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Counters told apart by `N` labels.
#[derive(Debug)]
pub(super) struct Counters<const N: usize>(IntCounterVec);

/// Gauges told apart by `N` labels.
#[derive(Debug)]
pub(super) struct Gauges<const N: usize>(IntGaugeVec);

/// Gauges with fractions, told apart by `N` labels.
#[derive(Debug)]
pub(super) struct Levels<const N: usize>(GaugeVec);

/// Histograms told apart by `N` labels.
#[derive(Debug)]
pub(super) struct Histograms<const N: usize>(HistogramVec);

/// One series: its label values by name, and its count or level.
pub(super) struct Sample {
    labels: Vec<(String, String)>,
    /// The counter's or gauge's value; zero for other types.
    pub(super) value: f64,
}

// === impl Counters ===

impl<const N: usize> Counters<N> {
    /// A family in `registry`. Labels are written in the order of `names` everywhere.
    pub(super) fn register(registry: &Registry, name: &str, help: &str, names: [&str; N]) -> Self {
        let family = IntCounterVec::new(opts(name, help), &names).expect(VALID);
        registry.register(Box::new(family.clone())).expect(DISTINCT);
        Self(family)
    }

    /// The counter with these label values.
    pub(super) fn with(&self, values: [&str; N]) -> IntCounter {
        self.0.with_label_values(&values)
    }

    /// Every series so far.
    pub(super) fn samples(&self) -> Vec<Sample> {
        samples(&self.0)
    }
}

// === impl Gauges ===

impl<const N: usize> Gauges<N> {
    /// A family in `registry`.
    pub(super) fn register(registry: &Registry, name: &str, help: &str, names: [&str; N]) -> Self {
        let family = IntGaugeVec::new(opts(name, help), &names).expect(VALID);
        registry.register(Box::new(family.clone())).expect(DISTINCT);
        Self(family)
    }

    /// The gauge with these label values.
    pub(super) fn with(&self, values: [&str; N]) -> IntGauge {
        self.0.with_label_values(&values)
    }

    /// Every series so far.
    pub(super) fn samples(&self) -> Vec<Sample> {
        samples(&self.0)
    }
}

// === impl Levels ===

impl<const N: usize> Levels<N> {
    /// A family in `registry`.
    pub(super) fn register(registry: &Registry, name: &str, help: &str, names: [&str; N]) -> Self {
        let family = GaugeVec::new(opts(name, help), &names).expect(VALID);
        registry.register(Box::new(family.clone())).expect(DISTINCT);
        Self(family)
    }

    /// The gauge with these label values.
    pub(super) fn with(&self, values: [&str; N]) -> Gauge {
        self.0.with_label_values(&values)
    }

    /// Forgets every series.
    pub(super) fn clear(&self) {
        self.0.reset();
    }
}

// === impl Histograms ===

impl<const N: usize> Histograms<N> {
    /// A family in `registry` with these upper bounds, which must rise.
    pub(super) fn register(registry: &Registry, name: &str, help: &str, buckets: &[f64], names: [&str; N]) -> Self {
        let opts = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
        let family = HistogramVec::new(opts, &names).expect(VALID);
        registry.register(Box::new(family.clone())).expect(DISTINCT);
        Self(family)
    }

    /// The histogram with these label values.
    pub(super) fn with(&self, values: [&str; N]) -> prometheus::Histogram {
        self.0.with_label_values(&values)
    }

    /// What all series observed, added up.
    pub(super) fn sum(&self) -> f64 {
        let families = self.0.collect();
        families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_histogram().get_sample_sum()).sum()
    }
}

// === impl Sample ===

impl Sample {
    /// The value of the label `name`, empty if there is none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn samples(family: &impl Collector) -> Vec<Sample> {
    let families = family.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    metrics
        .map(|metric| Sample {
            labels: metric.get_label().iter().map(|l| (l.name().to_owned(), l.value().to_owned())).collect(),
            // A series has one of the two; the other reads as zero.
            value: metric.get_counter().get_value() + metric.get_gauge().get_value(),
        })
        .collect()
}

/// What every name but `process_*` begins with.
pub(super) const NAMESPACE: &str = "batch_retry_proxy";
const VALID: &str = "names, labels and buckets are constants that the tests have built";
const DISTINCT: &str = "names are constants that the tests have registered together";
