//! Whether the proxy should be sent traffic. It says nothing about Batch: a proxy that is up while Batch is down is exactly
//! what a program needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Set by the application as it starts and drains, read by the probes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    reached: Arc<AtomicU8>,
}

// === impl Readiness ===

impl Readiness {
    /// The proxy accepts connections.
    pub fn set_listening(&self) {
        self.reached.fetch_or(LISTENING, Ordering::AcqRel);
    }

    /// The files by which clients trust the proxy are in place, or none were asked for.
    pub fn set_published(&self) {
        self.reached.fetch_or(PUBLISHED, Ordering::AcqRel);
    }

    /// The proxy takes no new work, for good.
    pub fn set_draining(&self) {
        self.reached.fetch_or(DRAINING, Ordering::AcqRel);
    }

    /// Whether the proxy has begun to drain.
    pub fn is_draining(&self) -> bool {
        self.reached.load(Ordering::Acquire) & DRAINING != 0
    }

    /// Whether the proxy is ready.
    ///
    /// # Errors
    ///
    /// The reason why it is not.
    pub fn check(&self) -> Result<(), &'static str> {
        let reached = self.reached.load(Ordering::Acquire);
        if reached & DRAINING != 0 {
            return Err("draining");
        }
        if reached & LISTENING == 0 {
            return Err("not listening yet");
        }
        if reached & PUBLISHED == 0 {
            return Err("certificates are not published yet");
        }
        Ok(())
    }
}

const LISTENING: u8 = 1;
const PUBLISHED: u8 = 2;
const DRAINING: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_listening_and_published_in_either_order_until_it_drains() {
        for published_first in [true, false] {
            let readiness = Readiness::default();
            assert!(readiness.check().is_err());
            if published_first {
                readiness.set_published();
                assert_eq!(readiness.check(), Err("not listening yet"));
                readiness.set_listening();
            } else {
                readiness.set_listening();
                assert_eq!(readiness.check(), Err("certificates are not published yet"));
                readiness.set_published();
            }
            assert_eq!(readiness.check(), Ok(()));
            readiness.clone().set_draining();
            assert_eq!(readiness.check(), Err("draining"));
            readiness.set_listening();
            readiness.set_published();
            assert_eq!(readiness.check(), Err("draining"));
        }
    }
}
