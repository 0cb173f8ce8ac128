//! What the project set itself, and whether it is met.

use std::fmt::Write as _;

use crate::metric::Metric;
use crate::report::Report;

/// One number of the proxy and how good it has to be.
struct Goal {
    metric: Metric,
    must: &'static [Bound],
    want: Bound,
}

/// At least where more is better, else at most.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// So much.
    Is(f64),
    /// So many times what this target has.
    Of(f64, &'static str),
    /// So many times what the best of the other proxies has.
    OfBest(f64),
}

/// A bound held against what was measured.
struct Verdict {
    text: String,
    /// Not known where one of the two was not measured.
    met: Option<bool>,
}

/// A row for each goal, and those of the musts that are missed.
pub(crate) fn goals(report: &Report, ours: usize, peers: &[usize]) -> (String, Vec<String>) {
    let mut text = String::from("| | measured | must | want |\n|---|---:|---|---|\n");
    let mut missed = Vec::new();
    for goal in GOALS {
        let Some(value) = report.median(goal.metric, ours) else { continue };
        let judge = |bound: &Bound| bound.judge(goal.metric, report, ours, peers);
        let must: Vec<Verdict> = goal.must.iter().map(judge).collect();
        let want = judge(&goal.want);
        if must.iter().any(|verdict| verdict.met == Some(false)) {
            missed.push(goal.metric.title().to_owned());
        }
        let must: Vec<String> = must.iter().map(Verdict::shown).collect();
        let (title, value) = (goal.metric.title(), goal.metric.format(value));
        let _ = writeln!(text, "| {title} | {value} | {} | {} |", must.join("; "), want.shown());
    }
    (text, missed)
}

// === impl Bound ===

impl Bound {
    fn judge(self, metric: Metric, report: &Report, ours: usize, peers: &[usize]) -> Verdict {
        let meets = |value: f64, bound: f64| if metric.rises() { value >= bound } else { value <= bound };
        let (factor, other) = match self {
            Self::Is(bound) => {
                let met = report.median(metric, ours).map(|value| meets(value, bound));
                return Verdict { text: metric.format(bound), met };
            }
            Self::Of(factor, name) => (factor, report.target(name)),
            Self::OfBest(factor) => (factor, report.best(metric, peers)),
        };
        let Some((other, ratio)) = other.and_then(|other| Some((other, report.ratio(metric, ours, other)?.median))) else {
            let name = if let Self::Of(_, name) = self { name } else { "the best" };
            return Verdict { text: format!("{factor} x {name}"), met: None };
        };
        Verdict { text: format!("{factor} x {}: {ratio:.2}", report.name(other)), met: Some(meets(ratio, factor)) }
    }
}

// === impl Verdict ===

impl Verdict {
    fn shown(&self) -> String {
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not known",
        };
        format!("{}, {verdict}", self.text)
    }
}

use Bound::{Is, Of, OfBest};

const GOALS: &[Goal] = &[
    Goal { metric: Metric::Rps32, must: &[Of(0.95, "hudsucker"), Of(1.8, "envoy"), Of(0.85, "relay")], want: OfBest(1.1) },
    Goal { metric: Metric::Rps256, must: &[Of(1.0, "hudsucker"), Of(2.0, "envoy")], want: OfBest(1.1) },
    Goal { metric: Metric::Cpu, must: &[Of(1.05, "hudsucker")], want: OfBest(0.9) },
    Goal { metric: Metric::AddedP50, must: &[Of(1.05, "hudsucker")], want: OfBest(0.9) },
    Goal { metric: Metric::AddedP99, must: &[Of(1.05, "hudsucker")], want: OfBest(0.9) },
    Goal { metric: Metric::Down, must: &[OfBest(0.95)], want: OfBest(1.1) },
    Goal { metric: Metric::Up, must: &[OfBest(0.95)], want: OfBest(1.1) },
    Goal { metric: Metric::Cached, must: &[Of(0.95, "hudsucker")], want: OfBest(1.1) },
    Goal { metric: Metric::Cold, must: &[Of(0.95, "hudsucker")], want: OfBest(1.1) },
    Goal { metric: Metric::Memory, must: &[Is(10.0)], want: Is(8.0) },
    Goal { metric: Metric::Memory2000, must: &[Is(64.0)], want: Is(40.0) },
    Goal { metric: Metric::ReadyNet, must: &[Is(30.0)], want: Is(10.0) },
];
