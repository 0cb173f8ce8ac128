//! A point of a script that holds until the test lets it pass, and tells the test that it was reached.

use std::sync::Arc;

use tokio::sync::watch;

use super::guard;

/// Clones share one gate. Once open it stays open.
#[derive(Clone)]
pub(crate) struct Gate {
    arrivals: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
}

// === impl Gate ===

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self { arrivals: Arc::new(watch::Sender::new(0)), open: Arc::new(watch::Sender::new(false)) }
    }

    /// Waits until something stands before the gate or has passed it.
    pub(crate) async fn arrived(&self) {
        self.arrivals_reached(1).await;
    }

    /// Waits until `count` visits have been made in all.
    pub(crate) async fn arrivals_reached(&self, count: usize) {
        let mut arrivals = self.arrivals.subscribe();
        let reached = guard("an arrival at a gate", arrivals.wait_for(|seen| *seen >= count)).await;
        drop(reached.expect("the gate holds its own sender"));
    }

    /// Lets everything pass, now and later.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Reports the arrival and waits until the gate is open, without a time limit.
    pub(crate) async fn pass(&self) {
        self.arrivals.send_modify(|seen| *seen += 1);
        let mut open = self.open.subscribe();
        drop(open.wait_for(|open| *open).await.expect("the gate holds its own sender"));
    }
}
