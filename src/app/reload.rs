//! Reading the settings anew while the program runs: when somebody asks, and when the file has changed.
//!
//! What can be replaced is put in force for what begins from then on; what cannot is named and keeps its value. Settings that cannot be used
//! change nothing. Which is which is decided in [`crate::config`], and when a file counts as changed too.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::InForce;
use crate::config::{ConfigError, Loaded, Settings, Sight, Sources, Watch, needs_restart};
use crate::metrics::Metrics;
use crate::metrics::labels::ReloadResult;
use crate::proxy::{Proxy, Terms};
use crate::retry::policy::RetryPolicy;
use crate::telemetry::LogHandle;
use crate::tls::authority::CertificateAuthority;
use crate::upstream::{Destinations, Dialer, Upstream};

/// Settings that can be read anew.
#[derive(Debug)]
pub struct Reload {
    sources: Arc<Sources>,
    loaded: Loaded,
    /// `None` where nothing can be read again.
    watch: Option<Watch>,
    asked: Arc<Notify>,
}

/// Puts in force what is read.
pub(super) struct Reloader {
    pub(super) reload: Reload,
    pub(super) in_force: InForce,
    pub(super) proxy: Proxy,
    /// What the proxy works under now.
    pub(super) terms: Terms,
    /// How connections to Batch are verified.
    pub(super) tls: Arc<ClientConfig>,
    pub(super) authority: Arc<CertificateAuthority>,
    pub(super) metrics: Metrics,
    pub(super) logs: LogHandle,
}

/// What new settings came to.
struct Change {
    /// Keys that have other values from now on.
    taken: Vec<&'static str>,
    /// Keys that would have, after a restart.
    waiting: Vec<&'static str>,
}

// === impl Reload ===

impl Reload {
    /// Reads the settings for the first time.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn new(sources: Sources) -> Result<Self, ConfigError> {
        let text = sources.read_file()?;
        let loaded = Loaded::with_file(&sources, text.as_deref())?;
        // A pipe gives its content once; read again it would look like a file that sets nothing.
        let is_file = sources.file.as_ref().is_some_and(|path| fs::metadata(path).is_ok_and(|found| found.is_file()));
        let watch = text.filter(|_| is_file).map(Watch::new);
        Ok(Self { sources: Arc::new(sources), loaded, watch, asked: Arc::default() })
    }

    /// The settings as they were read.
    pub fn settings(&self) -> &Settings {
        self.loaded.settings()
    }

    /// The settings as a JSON text, secrets hidden.
    pub(super) fn text(&self) -> String {
        self.loaded.effective().to_json()
    }

    /// The file that is read.
    pub(super) fn file(&self) -> Option<String> {
        self.sources.file.as_ref().map(|path| path.display().to_string())
    }

    /// Notified, it makes the running program read the settings anew at once.
    pub fn asked(&self) -> Arc<Notify> {
        self.asked.clone()
    }
}

// === impl Reloader ===

impl Reloader {
    /// Reads whenever it is worth it. Does not end by itself.
    pub(super) async fn run(mut self) {
        loop {
            let asked = tokio::select! {
                () = self.reload.asked.notified() => true,
                () = sleep(INTERVAL), if self.reload.watch.is_some() => false,
            };
            let Some(watch) = &mut self.reload.watch else {
                warn!("asked to read the settings anew, but there is no file that they can be read from again");
                continue;
            };
            let sources = self.reload.sources.clone();
            // A network drive may take its time.
            let Ok(found) = spawn_blocking(move || look(&sources)).await else { return };
            let found = if asked {
                watch.take(found.clone());
                Some(found)
            } else {
                watch.look(found)
            };
            if let Some(found) = found {
                self.take(found);
            }
        }
    }

    /// Judges what was found. It is counted and logged when all of it is done.
    fn take(&mut self, found: Sight) {
        match found.and_then(|text| self.apply(&text).map_err(|error| error.to_string())) {
            Ok(change) => {
                self.metrics.reloaded(change.result());
                change.log();
            }
            Err(reason) => {
                let reason = reason.replace('\n', "; ");
                self.in_force.refuse(reason.clone());
                self.metrics.reloaded(ReloadResult::Failed);
                error!(reason, "the settings cannot be used, those before them stay in force");
            }
        }
    }

    fn apply(&mut self, text: &[u8]) -> Result<Change, ConfigError> {
        let former = &self.reload.loaded;
        let read = Loaded::with_file(&self.reload.sources, Some(text))?;
        let vouched_for = self.authority.covers(&read.settings().route.intercept);
        let must_wait = |key: &&str| needs_restart(key) || *key == INTERCEPT_HOSTS && !vouched_for;
        let (waiting, taken): (Vec<_>, Vec<_>) = former.differences(&read).into_iter().partition(must_wait);
        let read = read.keeping(former, &waiting)?;
        let (old, new) = (former.settings(), read.settings());
        if !taken.is_empty() {
            if new.upstream != old.upstream {
                // The connections there are end with the requests on them.
                (self.terms.dialer, self.terms.upstream) = connect(new, self.tls.clone());
            }
            self.terms = terms(new, self.terms.dialer.clone(), self.terms.upstream.clone());
            self.proxy.replace(self.terms.clone());
        }
        // One set by hand stays until the settings name another.
        if new.log.level != old.log.level {
            self.logs.set_level(new.log.level);
        }
        self.in_force.replace(new, read.effective().to_json(), waiting.clone());
        self.reload.loaded = read;
        Ok(Change { taken, waiting })
    }
}

// === impl Change ===

impl Change {
    fn result(&self) -> ReloadResult {
        if self.taken.is_empty() { ReloadResult::Unchanged } else { ReloadResult::Applied }
    }

    fn log(&self) {
        for key in &self.waiting {
            warn!(key, "this setting has another value now, which takes effect after a restart");
        }
        if self.taken.is_empty() {
            info!("settings read anew, nothing to change");
        } else {
            info!(changed = self.taken.join(", "), "settings reloaded");
        }
    }
}

fn look(sources: &Sources) -> Sight {
    sources.read_file().map(Option::unwrap_or_default).map_err(|error| error.to_string())
}

/// What reaches Batch under these settings.
pub(super) fn connect(settings: &Settings, tls: Arc<ClientConfig>) -> (Dialer, Upstream) {
    let dialer = Dialer::new(&settings.upstream, Destinations::of(settings.listen.address));
    let upstream = Upstream::new(&settings.upstream, dialer.clone(), tls);
    (dialer, upstream)
}

/// What the proxy works under with these settings.
pub fn terms(settings: &Settings, dialer: Dialer, upstream: Upstream) -> Terms {
    Terms {
        listen: settings.listen.clone(),
        route: settings.route.clone(),
        bodies: settings.bodies.clone(),
        body_idle_timeout: settings.upstream.body_idle_timeout,
        policy: RetryPolicy::new(settings.retry.clone()),
        throttle: settings.throttle,
        dialer,
        upstream,
    }
}

/// Between two looks at the file: nothing next to the minute that Kubernetes takes to bring a change, and a few hundred bytes cost nothing.
const INTERVAL: Duration = Duration::from_secs(2);

/// Reloads as far as the authority may vouch for the hosts.
const INTERCEPT_HOSTS: &str = "intercept.hosts";
