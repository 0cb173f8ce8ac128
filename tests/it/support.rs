//! What the tests stand on: a scripted origin, raw clients, gates, fixtures and the proxy itself.
//!
//! Everything listens on loopback at a port the system picks. Tests wait for events and gates, never for time: [`guard`] holds
//! the only timer, and it turns a wait that will not end into a failure that says what was waited for.

use std::future::Future;
use std::time::Duration;

pub(crate) mod action;
pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod echo;
pub(crate) mod fixture;
pub(crate) mod gate;
pub(crate) mod metric;
pub(crate) mod origin;
pub(crate) mod pki;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod wire;

/// Awaits `future`, and fails the test with `what` when it takes longer than any healthy run would.
pub(crate) async fn guard<F: Future>(what: &str, future: F) -> F::Output {
    guard_for(PATIENCE, what, future).await
}

/// [`guard`] for what is slow by nature, such as another program.
pub(crate) async fn guard_for<F: Future>(patience: Duration, what: &str, future: F) -> F::Output {
    match tokio::time::timeout(patience, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {patience:?} in vain: {what}"),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
