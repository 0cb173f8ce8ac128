//! What the demonstration showed, side by side.

use std::fmt;

use serde_json::{Value, json};

use super::workload::{Seen, deletions};
use crate::metrics::{Summary, Totals};
use crate::simulator::Ledger;

/// Both runs.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) scenario: String,
    pub(super) seed: u64,
    pub(super) tasks: usize,
    pub(super) straight: Run,
    pub(super) proxied: Run,
    /// Where the proxy's metrics were.
    pub(super) metrics: String,
}

/// One run: what the program saw, what the account did, what the proxy counted.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) seen: Seen,
    pub(super) ledger: Ledger,
    pub(super) seconds: f64,
    pub(super) proxy: Option<(Summary, Totals)>,
}

// === impl Report ===

impl Report {
    /// Whether the proxy kept its promise.
    ///
    /// # Errors
    /// What went wrong through the proxy.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let run = &self.proxied;
        let wrong = [
            (run.failed(), "calls failed"),
            (run.missing(self.tasks) as u64, "tasks are missing"),
            (run.ledger.tasks_doubled() as u64, "tasks were made twice"),
            ((self.tasks - run.seen.listed.min(self.tasks)) as u64, "tasks were not in the list"),
            (run.ledger.deletions().abs_diff(deletions(self.tasks)), "deletions too many or too few"),
        ];
        let wrong: Vec<String> =
            wrong.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("through the proxy {}", wrong.join(", "))) }
    }

    /// One object for machines.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "seed": self.seed,
            "tasks": self.tasks,
            "straight": self.straight.to_json(self.tasks),
            "proxied": self.proxied.to_json(self.tasks),
            "passed": self.verdict().is_ok(),
        })
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, what: &str, value: impl Fn(&Run) -> String) -> fmt::Result {
        writeln!(f, "  {what:<28}{:>14}{:>20}", value(&self.straight), value(&self.proxied))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, seed, tasks, .. } = self;
        writeln!(
            f,
            "Scenario {scenario}, seed {seed}, {tasks} tasks: the same work twice, the program itself never retries.\n"
        )?;
        writeln!(f, "{:<30}{:>14}{:>20}", "What the program saw", "straight", "through the proxy")?;
        self.row(f, "calls", |run| run.seen.calls.to_string())?;
        self.row(f, "calls that failed", |run| run.failed().to_string())?;
        let mut kinds: Vec<&String> = self.straight.seen.failures.keys().chain(self.proxied.seen.failures.keys()).collect();
        kinds.sort();
        kinds.dedup();
        for kind in kinds {
            self.row(f, &format!("  {kind}"), |run| run.seen.failures.get(kind).copied().unwrap_or(0).to_string())?;
        }
        self.row(f, "tasks in the list", |run| run.seen.listed.to_string())?;
        self.row(f, "seconds", |run| format!("{:.1}", run.seconds))?;
        writeln!(f, "\nWhat the service did")?;
        self.row(f, "requests it received", |run| run.ledger.requests.to_string())?;
        self.row(f, "faults it dealt", |run| run.ledger.faults_dealt().to_string())?;
        self.row(f, "changes it did not answer", |run| run.ledger.answers_lost().to_string())?;
        self.row(f, "tasks missing", |run| run.missing(*tasks).to_string())?;
        self.row(f, "tasks made twice", |run| run.ledger.tasks_doubled().to_string())?;
        self.row(f, "deletions", |run| run.ledger.deletions().to_string())?;
        if let Some((_, totals)) = &self.proxied.proxy {
            let (replays, waited) = (totals.replays, totals.waited.as_secs_f64());
            writeln!(
                f,
                "\nThe proxy replayed {replays} times and waited {waited:.1} s in all, requests side by side counted each."
            )?;
        }
        writeln!(
            f,
            "It takes a create that is refused as existing for its own, because nobody else uses this account (retry.echo.creates)."
        )?;
        writeln!(f, "Its metrics were at {}; a proxy of your own has them at http://127.0.0.1:9464/metrics.", self.metrics)?;
        match self.verdict() {
            Ok(()) => writeln!(
                f,
                "Passed: through the proxy nothing failed, no task is missing, and nothing was made or deleted twice."
            ),
            Err(wrong) => writeln!(f, "Not passed: {wrong}."),
        }
    }
}

// === impl Run ===

impl Run {
    fn failed(&self) -> u64 {
        self.seen.failures.values().sum()
    }

    fn missing(&self, tasks: usize) -> usize {
        tasks.saturating_sub(self.ledger.tasks_made())
    }

    fn to_json(&self, tasks: usize) -> Value {
        let proxy = self.proxy.as_ref().map(|(summary, totals)| {
            json!({
                "replays": totals.replays,
                "given_up": totals.given_up,
                "waited_seconds": totals.waited.as_secs_f64(),
                "accounts": summary.accounts,
            })
        });
        json!({
            "program": self.seen,
            "seconds": self.seconds,
            "service": {
                "requests": self.ledger.requests,
                "faults": self.ledger.faults,
                "answers_lost": self.ledger.lost,
                "early": self.ledger.early,
                "tasks_missing": self.missing(tasks),
                "tasks_doubled": self.ledger.tasks_doubled(),
                "deletions": self.ledger.deletions(),
            },
            "proxy": proxy,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::simulator::Life;

    fn run(tasks: usize) -> Run {
        let made = (0..tasks).map(|n| (format!("task-{n}"), 1)).collect();
        let deleted = Life { deleted_by: vec!["call".to_owned(); deletions(3) as usize], ..Life::default() };
        let lives = BTreeMap::from([("/jobs/demo".to_owned(), deleted)]);
        let ledger = Ledger { tasks: BTreeMap::from([("demo".to_owned(), made)]), lives, ..Ledger::default() };
        let seen = Seen { calls: 9, succeeded: 9, listed: tasks, ..Seen::default() };
        Run { seen, ledger, seconds: 1.0, proxy: None }
    }

    fn report(proxied: Run) -> Report {
        Report { scenario: "calm".into(), seed: 1, tasks: 3, straight: run(3), proxied, metrics: String::new() }
    }

    #[test]
    fn only_a_flawless_run_through_the_proxy_passes() {
        assert_eq!(report(run(3)).verdict(), Ok(()));
        let mut failed = run(3);
        failed.seen.failures.insert("500".into(), 2);
        let mut doubled = run(3);
        doubled.ledger.tasks.get_mut("demo").unwrap().insert("task-0".into(), 2);
        let mut undeleted = run(3);
        undeleted.ledger.lives.clear();
        for (proxied, wrong) in [
            (undeleted, "2 deletions too many or too few"),
            (failed, "2 calls failed"),
            (doubled, "1 tasks were made twice"),
            (run(2), "1 tasks are missing, 1 tasks were not in the list"),
        ] {
            assert_eq!(report(proxied).verdict(), Err(format!("through the proxy {wrong}")));
        }
    }
}
