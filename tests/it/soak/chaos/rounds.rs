//! The story: what happens to the proxy, one thing after the other, each until it was felt.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::proxy::{Footprint, Proxy};
use super::stage::{Changing, Stage};
use crate::support::guard_for;
use crate::support::relay::Weather;

/// The stage and the proxy that is on it now.
pub(super) struct Story {
    stage: Stage,
    proxy: Proxy,
    ca_pem: String,
    host: String,
    rounds: u32,
    restarts: u32,
    /// What the proxy took of the machine at each rest since it was started.
    rests: Vec<Footprint>,
}

// === impl Story ===

impl Story {
    pub(super) async fn begin(stage: Stage) -> Self {
        stage.write_settings(CALM);
        let mut proxy = Proxy::start(stage.command()).await;
        let (ca_pem, host) = (proxy.ca_pem().await, stage.host().to_owned());
        Self { stage, proxy, ca_pem, host, rounds: 0, restarts: 0, rests: Vec::new() }
    }

    /// Where workers ask, by which certificate they trust it, and for what.
    pub(super) fn place(&self) -> (SocketAddr, &str, &str) {
        (self.stage.proxy(), &self.ca_pem, &self.host)
    }

    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Rounds with restarts in the first half of `time` and rounds without in the second; one of each where there is no time.
    pub(super) async fn play(&mut self, time: Option<Duration>) {
        let begun = Instant::now();
        loop {
            let restarts = time.map_or(self.rounds == 0, |time| begun.elapsed() < time / 2);
            if restarts {
                self.restart().await;
            }
            self.reload().await;
            self.partition().await;
            self.lose().await;
            self.forget_names().await;
            self.move_account().await;
            self.starve().await;
            self.jump().await;
            self.rest().await;
            self.rounds += 1;
            let over = time.is_none_or(|time| begun.elapsed() >= time);
            if !restarts && over {
                return;
            }
        }
    }

    /// What it came to, in words.
    pub(super) fn told(&self) -> String {
        let told = |footprint: &Footprint| format!("{} descriptors and {} KiB", footprint.descriptors, footprint.memory);
        let (first, last) = (self.rests.first().map(told), self.rests.last().map(told));
        format!(
            "{} restarts, then {} at the first rest and {} at the last of {}",
            self.restarts,
            first.unwrap_or_default(),
            last.unwrap_or_default(),
            self.rests.len()
        )
    }

    /// Ends what is left, and says whether anything leaked.
    pub(super) async fn end(mut self) {
        if let [first, .., last] = self.rests[..] {
            assert!(last.descriptors <= first.descriptors + SPARE_DESCRIPTORS, "descriptors leak: {:?}", self.rests);
            assert!(last.memory <= first.memory + SPARE_MEMORY, "memory leaks: {:?}", self.rests);
        }
        self.proxy.end().await;
        self.stage.end().await;
    }

    /// The proxy is ended and started again; the first start finds no room for the files that clients need.
    async fn restart(&mut self) {
        self.stage.ground.answers_more(SOME).await;
        self.stage.ground.turn();
        self.proxy.end().await;
        if let Some(disk) = &self.stage.disk {
            let before = disk.files();
            disk.fill();
            let failed = self.stage.fail_to_start().await;
            let said = String::from_utf8_lossy(&failed.stderr);
            assert_eq!(failed.status.code(), Some(69), "{said}");
            assert!(said.contains("`ca.publish`: cannot write"), "{said}");
            assert!(disk.files() == before, "a full disk left something else than what was there");
            disk.clear();
        }
        self.proxy = Proxy::start(self.stage.command()).await;
        assert_eq!(self.proxy.ca_pem().await, self.ca_pem, "another authority");
        let published = std::fs::read_to_string(self.stage.published().join("ca.pem")).unwrap();
        assert!(published.ends_with(&self.ca_pem), "{published}");
        self.stage.ground.turn();
        self.restarts += 1;
        self.rests.clear();
    }

    /// The settings change and change back, once when asked and once by themselves; between them are some that cannot be used.
    async fn reload(&mut self) {
        let applied = self.proxy.sum(RELOADS, &[("result", "applied")]).await;
        let failed = self.proxy.sum(RELOADS, &[("result", "failed")]).await;
        self.stage.write_settings(OTHER);
        self.proxy.program.signal("HUP").await;
        self.proxy.until(RELOADS, &[("result", "applied")], applied + 1.0).await;
        self.stage.ground.answers_more(SOME).await;
        self.stage.write_file("retry.deadline = \"not long\"\n");
        self.proxy.program.signal("HUP").await;
        self.proxy.until(RELOADS, &[("result", "failed")], failed + 1.0).await;
        self.stage.write_settings(CALM);
        self.proxy.until(RELOADS, &[("result", "applied")], applied + 2.0).await;
        self.stage.ground.answers_more(SOME).await;
    }

    /// Nothing passes until several requests were given up at least once.
    async fn partition(&mut self) {
        let before = self.errors(&["response_timeout", "connect_timeout"]).await;
        self.stage.relay.set(Weather { partitioned: true, ..Weather::default() });
        self.until_errors(&["response_timeout", "connect_timeout"], before + 3.0).await;
        self.stage.relay.set(Weather::default());
        self.stage.ground.answers_more(SOME).await;
    }

    /// Much comes late, and connections break anywhere.
    async fn lose(&self) {
        self.stage.relay.set(Weather { late: 0.1, delay: Duration::from_millis(200), reset: 0.05, partitioned: false });
        self.stage.ground.answers_more(MANY).await;
        self.stage.relay.set(Weather::default());
    }

    /// The account's name cannot be looked up: first the server says so, then it says nothing.
    async fn forget_names(&mut self) {
        for (silently, failures) in [(false, &["dns_failed"][..]), (true, &["dns_failed", "connect_timeout"])] {
            let before = self.errors(failures).await;
            if !self.stage.fail_names(silently) {
                return;
            }
            self.stage.relay.cut();
            self.until_errors(failures, before + 2.0).await;
        }
        self.stage.mend_names();
        self.stage.ground.answers_more(SOME).await;
    }

    /// The account has another address, and its old one is dead.
    async fn move_account(&mut self) {
        let old = self.stage.move_account().await;
        if self.stage.has_address_in_settings() {
            let applied = self.proxy.sum(RELOADS, &[("result", "applied")]).await;
            self.stage.write_settings(CALM);
            self.proxy.program.signal("HUP").await;
            self.proxy.until(RELOADS, &[("result", "applied")], applied + 1.0).await;
            // What has begun goes on by the settings before.
            drop(self.stage.ground.rest().await);
        }
        drop(old);
        self.stage.relay.until_accepted(1).await;
        self.stage.ground.answers_more(SOME).await;
    }

    /// No descriptor is left, neither for clients nor for the account.
    async fn starve(&mut self) {
        let before = (self.proxy.times(STARVED), self.errors(&["connect_failed", "dns_failed"]).await);
        self.proxy.limit_descriptors(Some(NO_MORE));
        self.stage.relay.cut();
        let waits = TcpStream::connect(self.stage.proxy()).await.unwrap();
        self.proxy.until_said(STARVED, before.0).await;
        self.until_errors(&["connect_failed", "dns_failed"], before.1 + 2.0).await;
        self.proxy.limit_descriptors(None);
        drop(waits);
        self.stage.ground.answers_more(SOME).await;
    }

    /// The clock is put forward past half of a leaf's life, then back behind its beginning, and a bit further. The clients are on the same
    /// machine.
    async fn jump(&mut self) {
        let ground = self.stage.ground.clone();
        let Some(clock) = &self.stage.clock else { return };
        let made = [("result", "issued")];
        let before = self.proxy.sum(LEAVES, &made).await;
        for step in 1..=4 {
            // Less than a signature lives, so that none grows old on the way.
            ground.clock.set(600 * step);
            clock.set(600 * step);
            ground.answers_more(FEW).await;
        }
        self.proxy.until(LEAVES, &made, before + 1.0).await;
        // The clients follow once nobody is shown a leaf of the future any more.
        clock.set(0);
        self.proxy.until(LEAVES, &made, before + 2.0).await;
        ground.answers_more(FEW).await;
        for seconds in [0, -120, 0] {
            clock.set(seconds);
            ground.clock.set(seconds);
            ground.answers_more(FEW).await;
        }
    }

    /// Everybody rests, and the proxy must have let go of everything.
    async fn rest(&mut self) {
        let ground = self.stage.ground.clone();
        let resting = ground.rest().await;
        self.proxy.until_none("batch_retry_proxy_connections").await;
        self.stage.relay.until_idle().await;
        for gauge in ["batch_retry_proxy_replay_memory_bytes", "batch_retry_proxy_throttle_gate_waiting"] {
            assert!(self.proxy.sum(gauge, &[]).await.abs() < 0.5, "{gauge}");
        }
        assert!(self.proxy.sum("batch_retry_proxy_panics_total", &[]).await.abs() < 0.5, "it panicked");
        let footprint = self.proxy.footprint();
        println!("chaos: round {}, {} answers, {footprint:?}", self.rounds + 1, ground.answers());
        self.rests.push(footprint);
        drop(resting);
    }

    async fn errors(&mut self, failures: &[&str]) -> f64 {
        let mut errors = 0.0;
        for failure in failures {
            errors += self.proxy.sum(ERRORS, &[("failure", failure)]).await;
        }
        errors
    }

    async fn until_errors(&mut self, failures: &[&str], want: f64) {
        guard_for(PATIENCE, &format!("{failures:?} at {want}"), async {
            while self.errors(failures).await < want {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
    }
}

const CALM: Changing = Changing { backoff_max: "500ms", connect_timeout: "1s" };
const OTHER: Changing = Changing { backoff_max: "400ms", connect_timeout: "1200ms" };

/// Answers in which a change is felt.
const FEW: u64 = 20;
const SOME: u64 = 60;
const MANY: u64 = 300;

/// Below what every process has open.
const NO_MORE: u64 = 8;

/// More than at the first rest: what a library opens once.
const SPARE_DESCRIPTORS: usize = 2;

/// More than at the first rest, in KiB: what an allocator keeps, and what is counted for each operation seen.
const SPARE_MEMORY: u64 = 16 * 1024;

const ERRORS: &str = "batch_retry_proxy_upstream_errors_total";
const LEAVES: &str = "batch_retry_proxy_leaf_certificates_total";
const RELOADS: &str = "batch_retry_proxy_config_reloads_total";
const STARVED: &str = "cannot accept connections";

/// Between two looks at what tells nobody that it changes.
const LOOK: Duration = Duration::from_millis(20);

const PATIENCE: Duration = Duration::from_secs(60);
