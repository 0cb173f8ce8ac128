//! All numbers of all rounds, and the tables made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::Result;
use crate::figure::{Figure, Outcome};
use crate::metric::Metric;

/// What was measured so far. Targets go by their place.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The targets, in the order they are shown in.
    names: Vec<String>,
    /// One number for each round; `None` where the run failed.
    values: BTreeMap<(Metric, usize), Vec<Option<f64>>>,
    /// What is shown as flawed, because something went wrong meanwhile.
    flawed: BTreeSet<(Metric, usize)>,
    failures: Vec<String>,
    /// The greatest share of the time in which something else had the core of a proxy that was ready.
    pub(crate) disturbed: f64,
}

/// One target against another: the median of the ratios of one round, or for a difference the ratio of the medians.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// The least and the greatest of several rounds.
    range: Option<(f64, f64)>,
}

// === impl Report ===

impl Report {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Takes in what a run of `target` gave in `round`.
    pub(crate) fn add(&mut self, round: usize, target: usize, figure: Figure, outcome: Result<Outcome>) {
        let run = format!("{}, {}, round {}", self.names[target], figure.name(), round + 1);
        match outcome {
            Ok(outcome) => {
                self.disturbed = self.disturbed.max(outcome.disturbed);
                for (metric, value) in outcome.values {
                    if outcome.first_failure.is_some() {
                        self.flawed
                            .extend([Some(metric), metric.net()].into_iter().flatten().map(|metric| (metric, target)));
                    }
                    let rounds = self.values.entry((metric, target)).or_default();
                    rounds.resize(round, None);
                    rounds.push(Some(value));
                }
                if let Some(first) = outcome.first_failure {
                    self.failures.push(format!("{run}: {} failures, the first: {first}", outcome.failures));
                }
            }
            Err(error) => self.failures.push(format!("{run}: {error}")),
        }
    }

    /// Takes what the harness itself needs off what has it in it, which is what `direct` needs.
    pub(crate) fn subtract(&mut self, direct: usize) {
        let gross: Vec<(Metric, Metric)> = self.metrics().filter_map(|metric| Some((metric, metric.net()?))).collect();
        for (metric, net) in gross {
            for target in (0..self.names.len()).filter(|target| *target != direct) {
                let pairs = self.rounds(metric, target).iter().zip(self.rounds(metric, direct));
                let values = pairs.map(|(target, direct)| Some((*target)? - (*direct)?)).collect();
                self.values.insert((net, target), values);
            }
        }
    }

    /// The place of a target.
    pub(crate) fn target(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    pub(crate) fn name(&self, target: usize) -> &str {
        &self.names[target]
    }

    pub(crate) fn median(&self, metric: Metric, target: usize) -> Option<f64> {
        median(self.rounds(metric, target).iter().flatten().copied().collect())
    }

    /// Which of `targets` has the best median.
    pub(crate) fn best(&self, metric: Metric, targets: &[usize]) -> Option<usize> {
        let known = targets.iter().filter_map(|target| Some((self.median(metric, *target)?, *target)));
        let best =
            known.max_by(|(one, _), (other, _)| if metric.rises() { one.total_cmp(other) } else { other.total_cmp(one) });
        best.map(|(_, target)| target)
    }

    pub(crate) fn ratio(&self, metric: Metric, one: usize, other: usize) -> Option<Ratio> {
        if metric.is_net() {
            // Of two differences near zero in one round a ratio says nothing.
            return Some(Ratio { median: self.median(metric, one)? / self.median(metric, other)?, range: None });
        }
        let pairs = self.rounds(metric, one).iter().zip(self.rounds(metric, other));
        let ratios: Vec<f64> = pairs.filter_map(|(one, other)| Some((*one)? / (*other)?)).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let range = (ratios.len() > 1).then_some((least, greatest));
        Some(Ratio { median: median(ratios)?, range })
    }

    /// The medians, a row for each metric.
    pub(crate) fn medians(&self) -> String {
        let all: Vec<usize> = (0..self.names.len()).collect();
        let show = |metric: Metric, target: &usize| {
            let mark = if self.flawed.contains(&(metric, *target)) { " (!)" } else { "" };
            self.median(metric, *target).map(|value| metric.format(value) + mark)
        };
        self.table(&self.names, &all, show)
    }

    /// `own` against each of the others, a row for each metric.
    pub(crate) fn ratios(&self, own: usize, others: &[usize]) -> String {
        let others: Vec<usize> = others.iter().copied().filter(|other| *other != own).collect();
        if others.is_empty() {
            return String::new();
        }
        let titles: Vec<String> = others.iter().map(|other| format!("{} : {}", self.name(own), self.name(*other))).collect();
        self.table(&titles, &others, |metric, other| self.ratio(metric, own, *other).map(|ratio| ratio.to_string()))
    }

    /// What went wrong, a line for each.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    fn table<T>(&self, titles: &[String], columns: &[T], cell: impl Fn(Metric, &T) -> Option<String>) -> String {
        let mut text = format!("| | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
        for metric in self.metrics() {
            let cells: Vec<String> =
                columns.iter().map(|column| cell(metric, column).unwrap_or_else(|| "-".to_owned())).collect();
            let _ = writeln!(text, "| {} | {} |", metric.title(), cells.join(" | "));
        }
        text
    }

    fn metrics(&self) -> impl Iterator<Item = Metric> {
        let mut metrics: Vec<Metric> = self.values.keys().map(|(metric, _)| *metric).collect();
        metrics.dedup();
        metrics.into_iter()
    }

    fn rounds(&self, metric: Metric, target: usize) -> &[Option<f64>] {
        self.values.get(&(metric, target)).map_or(&[], Vec::as_slice)
    }
}

// === impl Ratio ===

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", self.median)?;
        self.range.map_or(Ok(()), |(least, greatest)| write!(f, " ({least:.2} to {greatest:.2})"))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    Some(if values.len() % 2 == 1 { values[middle] } else { (values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0 })
}
