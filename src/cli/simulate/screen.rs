//! What a person at the terminal sees while the account runs: a few lines that are drawn anew each second.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::simulator::{Ledger, Observer};

/// The lines, or nothing where nobody watches.
pub(super) struct Screen {
    bar: ProgressBar,
}

// === impl Screen ===

impl Screen {
    /// On a terminal only: a file is told once, at the end.
    pub(super) fn new() -> Self {
        let watched = io::stdout().is_terminal() && io::stderr().is_terminal();
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self { bar: bar.with_style(style) }
    }

    /// Draws until dropped.
    pub(super) async fn follow(&self, observer: Observer) {
        if self.bar.is_hidden() {
            return std::future::pending().await;
        }
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut before = 0;
        loop {
            seconds.tick().await;
            let ledger = observer.ledger();
            self.bar.set_message(lines(&ledger, ledger.requests - before));
            before = ledger.requests;
        }
    }

    /// Makes room for what is printed next.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// The state of the account; `recent` requests came in the last second.
fn lines(ledger: &Ledger, recent: u64) -> String {
    let mut text = String::new();
    let let_in: u64 = ledger.let_in.values().sum();
    let active = ledger.jobs.values().filter(|state| *state != "completed").count();
    // A string takes every line.
    let _ = writeln!(text, "\nrequests      {}, {recent} in the last second, {let_in} let in", ledger.requests);
    let _ = writeln!(text, "  most asked  {}", most(&ledger.operations));
    let _ = writeln!(text, "faults dealt  {}", most(&ledger.faults));
    let _ = writeln!(text, "answers lost  {}", most(&ledger.lost));
    let _ =
        writeln!(text, "jobs          {}, {active} not completed; tasks made {}", ledger.jobs.len(), ledger.tasks_made());
    let twice = ledger.tasks_doubled() as u64 + ledger.executed_twice.values().sum::<u64>();
    let _ = write!(
        text,
        "not as it should be: {} came too early, {twice} done twice, {} unauthenticated",
        ledger.early, ledger.unauthenticated
    );
    text
}

/// The largest counts, as many as a line holds.
fn most(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let shown: Vec<String> = sorted.iter().take(SHOWN).map(|(name, count)| format!("{name} {count}")).collect();
    match sorted.len() {
        0 => "none".to_owned(),
        all if all > SHOWN => format!("{}, {} others", shown.join(", "), all - SHOWN),
        _ => shown.join(", "),
    }
}

/// Names in one line.
const SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_shows_what_counts_most_and_what_should_not_be() {
        let mut ledger = Ledger { requests: 9, early: 2, unauthenticated: 1, ..Ledger::default() };
        assert!(lines(&ledger, 0).contains("faults dealt  none\n"));
        ledger.operations = [("a", 1), ("b", 4), ("c", 2), ("d", 2)].map(|(name, count)| (name.to_owned(), count)).into();
        ledger.let_in.extend([(0, 5), (1, 2)]);
        ledger.jobs.extend([("i".to_owned(), "active".to_owned()), ("j".to_owned(), "completed".to_owned())]);
        ledger.executed_twice.insert("Nodes_RebootNode".to_owned(), 3);
        let text = lines(&ledger, 4);
        for part in [
            "requests      9, 4 in the last second, 7 let in\n",
            "  most asked  b 4, c 2, d 2, 1 others\n",
            "jobs          2, 1 not completed; tasks made 0\n",
            "2 came too early, 3 done twice, 1 unauthenticated",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
