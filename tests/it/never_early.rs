//! No request comes before its time: 200 clients behind the real proxy, judged by the simulated account, which sees only what arrives.
//!
//! The account closes again and again, names the wait in one form after the other, and counts who comes too early (`docs/scenarios.md`). The
//! clients keep a beat, as a program's threads do, so that while the account is closed new requests begin that were never refused themselves:
//! these are the ones that only a gate for all of them can hold back. The beat is the load, nothing waits for a time to pass.

use std::time::{Duration, Instant};

use batch_retry_proxy::shutdown::{self, Shutdown};
use batch_retry_proxy::simulator::{Ledger, Observer, Scenario, Simulator, SimulatorSettings};
use tempfile::NamedTempFile;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval_at};

use super::support::client::{Client, request};
use super::support::guard_for;
use super::support::metric::sum;
use super::support::proxy::{Builder, TestProxy};

/// What each client does to a task of its own.
const CALLS: [&str; 3] = ["POST", "GET", "DELETE"];

/// Side by side, each with its own connection.
const CLIENTS: usize = 200;

/// What all of them ask.
const CALLS_IN_ALL: u64 = (CLIENTS * CALLS.len()) as u64;

/// How often each client calls, if nothing holds it up.
const BEAT: Duration = Duration::from_secs(1);

/// Three windows in a run of three to four seconds, while all 200 have something to ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_sent_before_the_hint_has_passed() {
    for (form, window) in [("seconds", "2s"), ("date", "2s"), ("milliseconds", "2200ms")] {
        // What was on its way when the window closed may take a while on a machine that has much else to do.
        let throttle =
            format!("[[fault]]\nkind='throttle'\non=['all']\nevery=170\nfor='{window}'\nhint='{form}'\nallowance='1s'");
        let stage = Stage::set(&throttle, |it| {
            // What is tested is when requests come, not how slowly: the account goes on as fast as before.
            it.set("retry.throttle.initial_share", 1.0).set("retry.throttle.growth_per_second", 0.2)
        })
        .await;
        let begun = Instant::now();
        let failed = stage.play().await;
        let (ledger, throttled) = stage.end().await;
        println!(
            "never early, {form}: {} requests in {:.1} s, {throttled} refused, busiest second {}",
            ledger.requests,
            begun.elapsed().as_secs_f64(),
            ledger.busiest_second()
        );
        assert_eq!((ledger.early, failed), (0, Vec::new()), "{form}: requests that came early, calls that failed");
        assert_all_done(&ledger);
        // The first refusal of each window at least; 601 requests that are let in close it three times.
        assert!(throttled >= 3, "{form}: {throttled} refused");
    }
}

/// The account says no more than that it is too much, to 200 calls a second. Each client alone would come back within 100 ms, and some of them 20
/// times in vain; with a pace there are fewer refusals than calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_without_a_hint_is_met_by_a_pace() {
    let limit = "[limit]\nper_second=100\nburst=50\nhint='none'";
    let stage = Stage::set(limit, |it| it.set("retry.throttle.growth_per_second", 0.3)).await;
    let begun = Instant::now();
    let failed = stage.play().await;
    let (ledger, throttled) = stage.end().await;
    println!(
        "without hint: {} requests in {:.1} s, {throttled} refused, busiest second {}",
        ledger.requests,
        begun.elapsed().as_secs_f64(),
        ledger.busiest_second()
    );
    assert_eq!((ledger.early, failed), (0, Vec::new()));
    assert_all_done(&ledger);
    assert_eq!(ledger.past_limit(), throttled);
    assert!(throttled > 0 && throttled < CALLS_IN_ALL, "{throttled} refused");
}

/// The account, and the proxy before it.
struct Stage {
    proxy: TestProxy,
    host: String,
    observer: Observer,
    stop: Shutdown,
    serving: JoinHandle<()>,
}

// === impl Stage ===

impl Stage {
    async fn set(faults: &str, set: impl FnOnce(Builder) -> Builder) -> Self {
        let scenario = Scenario::parse("stage", &format!("name='stage'\ndescription='x'\n{faults}")).unwrap();
        let account = Simulator::bind(SimulatorSettings { scenario, ..SimulatorSettings::demo() }).await.unwrap();
        let (observer, host, address) = (account.observer(), account.host().to_owned(), account.address());
        let authority = NamedTempFile::new().unwrap();
        std::fs::write(authority.path(), account.ca_pem()).unwrap();
        let (stop, drain) = shutdown::channel();
        let serving = tokio::spawn(account.serve(drain));
        let proxy = set(TestProxy::builder().resolve(&format!("{host}:443"), address).trust(authority.path()))
            .set("retry.budget.min_per_second", 1000)
            // Longer than any wait here; who is kept out for that long is told so, before the test itself loses patience.
            .set("retry.deadline", "15s")
            .start()
            .await;
        Self { proxy, host, observer, stop, serving }
    }

    /// Lets the clients make their calls, and tells which failed.
    async fn play(&self) -> Vec<String> {
        let mut maker = self.proxy.client(&self.host).await;
        let made = maker.request(&self.call("POST", "/jobs", r#"{"id":"j"}"#)).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let mut connections = Vec::new();
        for _ in 0..CLIENTS {
            connections.push(self.proxy.client(&self.host).await);
        }
        let (begun, mut clients) = (tokio::time::Instant::now(), JoinSet::new());
        for (number, connection) in connections.into_iter().enumerate() {
            let calls = CALLS.map(|method| match method {
                "POST" => {
                    (method, self.call(method, "/jobs/j/tasks", &format!(r#"{{"id":"t{number}","commandLine":"x"}}"#)))
                }
                _ => (method, self.call(method, &format!("/jobs/j/tasks/t{number}"), "")),
            });
            let first = begun + BEAT * u32::try_from(number).unwrap() / u32::try_from(CLIENTS).unwrap();
            clients.spawn(keep_the_beat(connection, calls, first));
        }
        guard_for(Duration::from_secs(60), "the clients' end", clients.join_all()).await.concat()
    }

    /// What the account saw, and how many refusals the proxy did.
    async fn end(self) -> (Ledger, u64) {
        let throttled = sum(&self.proxy.metrics().await, "batch_retry_proxy_throttled_responses_total", &[]);
        self.proxy.finish().await;
        self.stop.drain(Duration::ZERO);
        guard_for(Duration::from_secs(20), "the account's end", self.serving).await.unwrap();
        (self.observer.ledger(), throttled as u64)
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let fields = [("Authorization", "Bearer x"), ("Content-Type", "application/json")];
        request(method, &format!("{path}?api-version=2024-07-01.20.0"), &self.host, &fields, body)
    }
}

/// Makes the calls, one at each beat or as soon as the one before is answered. Tells which failed.
async fn keep_the_beat(
    mut connection: Client,
    calls: [(&'static str, Vec<u8>); CALLS.len()],
    first: tokio::time::Instant,
) -> Vec<String> {
    let (mut beat, mut failed) = (interval_at(first, BEAT), Vec::new());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for (method, call) in calls {
        beat.tick().await;
        let response = connection.request(&call).await;
        if !(200..300).contains(&response.status) {
            let marks = response.header("proxy-status").unwrap_or_default();
            failed.push(format!("{method} {} {marks} {}", response.status, response.text()));
        }
    }
    failed
}

/// Every call was done, and once.
fn assert_all_done(ledger: &Ledger) {
    assert_eq!((ledger.tasks_made(), ledger.tasks_doubled()), (CLIENTS, 0));
    assert_eq!((ledger.deletions(), ledger.executed_twice.len()), (CLIENTS as u64, 0));
    let done: u64 = ledger.let_in.values().sum();
    assert_eq!(done, CALLS_IN_ALL + 1, "the job and each client's calls");
}
