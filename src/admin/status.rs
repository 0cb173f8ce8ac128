//! The `/status` document.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::history::{History, Recent};
use super::page::AdminContext;
use crate::metrics::{Replay, Summary};

/// When the program started, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) instant: Instant,
    time: SystemTime,
}

/// Where the settings came from, and what came of reading them anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigStatus {
    /// The file among their sources.
    pub file: Option<String>,
    /// When those in force were read.
    #[serde(serialize_with = "utc")]
    pub loaded: SystemTime,
    /// Where what was read last cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedReload>,
    /// Keys that have other values in the file than in force.
    pub waiting_for_restart: Vec<&'static str>,
}

/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedReload {
    /// What is wrong with them.
    pub reason: String,
    /// Since when there was nothing that can.
    #[serde(serialize_with = "utc")]
    pub since: SystemTime,
}

/// Where things stand. Field names are what users script against.
#[derive(Serialize)]
pub(super) struct Status<'a> {
    version: &'a str,
    revision: &'a str,
    started: String,
    uptime_seconds: u64,
    ready: bool,
    draining: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready_because: Option<&'static str>,
    proxy_address: SocketAddr,
    admin_address: Option<SocketAddr>,
    ca: Ca<'a>,
    config: ConfigStatus,
    #[serde(flatten)]
    summary: Summary,
    last_15_minutes: Recent,
    /// The oldest first.
    #[serde(serialize_with = "each")]
    replays: Vec<Arc<Replay>>,
}

#[derive(Serialize)]
struct Ca<'a> {
    subject: &'a str,
    fingerprint: &'a str,
    not_after: String,
}

// === impl Start ===

impl Start {
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    /// In milliseconds of Unix time: tells one process from the next.
    pub(super) fn process(self) -> u128 {
        self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis()
    }
}

// === impl Status ===

impl<'a> Status<'a> {
    /// How things stand, without replays.
    pub(super) fn of(context: &'a AdminContext, start: Start, history: &History, admin_address: Option<SocketAddr>) -> Self {
        let ready = context.readiness.check();
        Self {
            version: context.build.version,
            revision: context.build.revision,
            started: rfc3339(start.time),
            uptime_seconds: start.instant.elapsed().as_secs(),
            ready: ready.is_ok(),
            draining: context.readiness.is_draining(),
            not_ready_because: ready.err(),
            proxy_address: context.proxy_address,
            admin_address,
            ca: Ca {
                subject: &context.authority.subject,
                fingerprint: &context.authority.fingerprint,
                not_after: rfc3339(context.authority.not_after),
            },
            config: (context.config_status)(),
            summary: context.metrics.summary(),
            last_15_minutes: history.recent(Instant::now(), context.metrics.requests_by_fate()),
            replays: Vec::new(),
        }
    }

    /// The same with these replays.
    pub(super) fn with(self, replays: Vec<Arc<Replay>>) -> Self {
        Self { replays, ..self }
    }

    /// The same whenever it is asked for.
    pub(super) fn without_uptime(self) -> Self {
        Self { uptime_seconds: 0, ..self }
    }
}

fn each<S: Serializer>(replays: &[Arc<Replay>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(replays.iter().map(Arc::as_ref))
}

fn utc<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// In UTC, to the second. Empty for a year of five digits, which the format cannot write.
fn rfc3339(time: SystemTime) -> String {
    let mut text = String::new();
    if write!(text, "{}", humantime::format_rfc3339_seconds(time)).is_err() {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_in_utc_and_one_past_the_format_is_empty() {
        let at = |seconds| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(at(300_000_000_000), "");
    }
}
