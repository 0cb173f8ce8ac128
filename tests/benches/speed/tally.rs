//! What became of the requests of one run.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::Answer;
use crate::process::{Meter, Usage};

/// What became of the requests. Only what is counted between two readings is part of a figure.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    answers: AtomicU64,
    good: AtomicU64,
    failures: AtomicU64,
    /// Of these, and of the answers other than asked for.
    first_failure: Mutex<Option<String>>,
}

/// What happened in a window of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// Answers, those other than asked for included.
    pub(crate) answers: f64,
    /// Answers of 200 with what was asked for.
    pub(crate) good: f64,
    pub(crate) elapsed: Duration,
    /// Time of the proxy on its core.
    pub(crate) usage: Usage,
    /// What brought no answer from the beginning on, refused connections included.
    pub(crate) failures: u64,
    /// The first of these, or the first answer other than asked for.
    pub(crate) first_failure: Option<String>,
}

// === impl Tally ===

impl Tally {
    /// Counts what became of a request.
    pub(crate) fn count(&self, answer: io::Result<Answer>) {
        match answer {
            Ok(Answer::Good) => {
                self.answers.fetch_add(1, Relaxed);
                self.good.fetch_add(1, Relaxed);
            }
            Ok(other) => {
                self.answers.fetch_add(1, Relaxed);
                self.note(&other.to_string());
            }
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Counts what brought no answer.
    pub(crate) fn fail(&self, what: &str) {
        self.failures.fetch_add(1, Relaxed);
        self.note(what);
    }

    fn note(&self, what: &str) {
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| what.to_owned());
    }

    /// What was counted in all, in no certain time.
    pub(crate) fn total(&self) -> Window {
        Window {
            answers: self.answers.load(Relaxed) as f64,
            good: self.good.load(Relaxed) as f64,
            failures: self.failures.load(Relaxed),
            first_failure: self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..Window::default()
        }
    }

    /// What is counted from now on for `length`.
    pub(crate) async fn window(&self, length: Duration, meter: &Meter) -> Window {
        let (before, began, usage) = (self.total(), Instant::now(), meter.read());
        tokio::time::sleep(length).await;
        let (after, elapsed) = (self.total(), began.elapsed());
        let usage = meter.read().since(usage);
        Window { answers: after.answers - before.answers, good: after.good - before.good, elapsed, usage, ..after }
    }
}

// === impl Window ===

impl Window {
    /// Answers in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answers / self.elapsed.as_secs_f64()
    }

    /// Seconds on the proxy's core for so many answers.
    pub(crate) fn cpu_of(&self, answers: f64) -> f64 {
        answers * self.usage.on_core.as_secs_f64() / self.answers
    }
}
