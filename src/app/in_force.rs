//! The settings in force, for those who ask while the program runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::admin::{ConfigStatus, FailedReload};
use crate::config::Settings;

/// What is in force, and what came of reading settings anew. Clones share it.
#[derive(Clone, Debug)]
pub struct InForce(Arc<watch::Sender<State>>);

#[derive(Debug)]
struct State {
    grace: Duration,
    delay: Duration,
    allow_shutdown: bool,
    /// Every setting, as JSON.
    text: String,
    status: ConfigStatus,
}

// === impl InForce ===

impl InForce {
    /// What the program starts with.
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Arc::new(watch::Sender::new(State {
            grace: settings.shutdown_grace,
            delay: settings.shutdown_delay,
            allow_shutdown: settings.admin.allow_shutdown,
            text: String::new(),
            status: ConfigStatus { file: None, loaded: SystemTime::now(), failed: None, waiting_for_restart: Vec::new() },
        })))
    }

    /// How long requests may take to finish once draining begins (`shutdown.grace`).
    pub fn grace(&self) -> Duration {
        self.0.borrow().grace
    }

    /// How long everything goes on as before when SIGTERM comes (`shutdown.delay`).
    pub fn delay(&self) -> Duration {
        self.0.borrow().delay
    }

    /// Whether `POST /shutdown` is obeyed (`admin.allow_shutdown`).
    pub(super) fn allow_shutdown(&self) -> bool {
        self.0.borrow().allow_shutdown
    }

    /// Every setting as a JSON text, secrets hidden.
    pub(super) fn text(&self) -> String {
        self.0.borrow().text.clone()
    }

    /// What came of reading settings anew.
    pub(super) fn status(&self) -> ConfigStatus {
        self.0.borrow().status.clone()
    }

    /// The settings as text, and the file among their sources.
    pub(super) fn describe(&self, text: String, file: Option<String>) {
        self.0.send_modify(|state| {
            state.text = text;
            state.status.file = file;
        });
    }

    /// These settings are in force now; those of `waiting_for_restart` have other values in the file.
    pub(super) fn replace(&self, settings: &Settings, text: String, waiting_for_restart: Vec<&'static str>) {
        self.0.send_modify(|state| {
            state.grace = settings.shutdown_grace;
            state.delay = settings.shutdown_delay;
            state.allow_shutdown = settings.admin.allow_shutdown;
            state.text = text;
            state.status.loaded = SystemTime::now();
            state.status.failed = None;
            state.status.waiting_for_restart = waiting_for_restart;
        });
    }

    /// What was read cannot be used. Of many faults the first are told: the text is part of each status.
    pub(super) fn refuse(&self, mut reason: String) {
        if reason.len() > LONGEST_REASON {
            reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
            reason.push_str(" ...");
        }
        self.0.send_modify(|state| {
            let since = state.status.failed.as_ref().map_or_else(SystemTime::now, |failed| failed.since);
            state.status.failed = Some(FailedReload { reason, since });
        });
    }
}

/// Some ten faults.
const LONGEST_REASON: usize = 2048;
