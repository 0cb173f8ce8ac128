//! The soak: the real proxy before an account that loses answers, random operations, and a comparison with the account's own register.
//!
//! Each worker has its own connection, credential and resources, and is the only one that touches them. So it knows after each answer
//! what must be true ([`model`]); [`plan`] draws what is asked next, from a seed alone, [`judge`] says which answers are right, and
//! [`audit`] compares the end with what the account says.
//!
//! `SOAK_OPERATIONS` and `SOAK_SEED` say how much and which; [`chaos`] does the same work in worse circumstances, for `SOAK_FOR`.
//! `docs/scenarios.md` tells more.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use batch_retry_proxy::shutdown;
use batch_retry_proxy::simulator::{Ledger, Scenario, Simulator, SimulatorSettings};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use self::call::{Caller, Credential};
use self::ground::Ground;
use self::judge::Creates;
use self::worker::{Finding, Share, Worker};
use super::support::guard_for;
use super::support::metric::sum;
use super::support::proxy::TestProxy;

mod audit;
mod call;
mod chaos;
mod ground;
mod judge;
mod model;
mod plan;
mod worker;

/// A client with a bearer token has its creates verified, one with Shared Key is told of each echo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_creates_are_verified() {
    soak(Creates::Verify).await;
}

/// Where the user says that nobody else makes these resources, every create succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_creates_are_trusted() {
    soak(Creates::Trust).await;
}

async fn soak(creates: Creates) {
    let seed = setting("SOAK_SEED").unwrap_or(1);
    let share = share();
    println!("soak with retry.echo.creates = {:?}, SOAK_SEED={seed}", creates.as_str());
    let scenario = Scenario::parse("soak", FAULTS).unwrap();
    let account = Simulator::bind(SimulatorSettings { scenario, seed, ..SimulatorSettings::demo() }).await.unwrap();
    let (observer, host, address) = (account.observer(), account.host().to_owned(), account.address());
    let authority = NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), account.ca_pem()).unwrap();
    let (stop, drain) = shutdown::channel();
    let serving = tokio::spawn(account.serve(drain));
    let proxy = TestProxy::builder()
        .resolve(&format!("{host}:443"), address)
        .trust(authority.path())
        .set("retry.echo.creates", creates.as_str())
        // Faults come whatever the pace is, so no pace avoids them and the budget is none.
        .set("retry.throttle.initial_share", 1.0)
        .set("retry.throttle.cut", 0.95)
        .set("retry.throttle.growth_per_second", 1.0)
        .set("retry.budget.min_per_second", 1_000_000)
        .set("retry.max_attempts", 40)
        .set("retry.deadline", "15s")
        .set("retry.backoff.initial", "2ms")
        .set("retry.backoff.max", "20ms")
        .start()
        .await;

    let begun = Instant::now();
    let place = (proxy.address(), proxy.ca_pem(), host.as_str());
    let workers = staff(place, seed, creates, &Arc::new(Ground::default()), &share);
    let workers = workers.join_all().await;
    let seconds = begun.elapsed().as_secs_f64();

    let ledger = observer.ledger_at(SystemTime::now() + SETTLED);
    let metrics = proxy.metrics().await;
    let operations: usize = workers.iter().map(Worker::operations).sum();
    let unknown: usize = workers.iter().map(Worker::unknown).sum();
    let unverified: usize = workers.iter().map(Worker::unverified).sum();
    // The sum of no series at all is a negative zero.
    let echoes = |resolution| sum(&metrics, "batch_retry_proxy_echoes_total", &[("resolution", resolution)]).abs();
    println!(
        "soak: seed {seed}, {operations} operations by {WORKERS} workers in {seconds:.1} s, {unknown} of unknown end; \
         the account received {} requests, dealt {} faults and lost {} answers of writes; \
         echoes resolved {}, verified {}, trusted {}, passed {}, of these {unverified} for want of an answer to the proxy's own question",
        ledger.requests,
        ledger.faults_dealt(),
        ledger.answers_lost(),
        echoes("resolved"),
        echoes("verified"),
        echoes("trusted"),
        echoes("passed"),
    );
    let mut findings: Vec<Finding> = workers.iter().flat_map(|worker| worker.findings(&ledger)).collect();
    findings.extend(audit::account(&ledger, WORKERS));
    assert!(findings.is_empty(), "{}", told(&findings, seed));
    if operations >= ENOUGH {
        for resolution in creates.resolutions() {
            assert!(echoes(resolution) > 0.0, "no echo was {resolution}: nothing was proved");
        }
        // The question meets a fault as often as any request: seldom.
        assert!(unverified as f64 <= echoes("verified"), "{unverified} creates that could be verified were not");
        assert_all_was_met(&ledger);
    }

    proxy.finish().await;
    stop.drain(Duration::ZERO);
    guard_for(Duration::from_secs(20), "the account's end", serving).await.unwrap();
}

/// What a run needs to prove anything: every fault was dealt, and every class of writes lost answers.
fn assert_all_was_met(ledger: &Ledger) {
    for kind in ["refuse", "refuse-after-work", "reset-after-work", "reset-before-work", "stall", "throttle", "truncate"] {
        assert!(ledger.faults.contains_key(kind), "no {kind} was dealt: {:?}", ledger.faults);
    }
    for class in [&["Create"][..], &["Delete"], &["Terminate", "Disable", "Enable"], &["Update", "Replace"]] {
        let is_of_class = |operation: &String| class.iter().any(|word| operation.contains(word));
        assert!(ledger.lost.keys().any(is_of_class), "no {class:?} lost its answer: {:?}", ledger.lost);
    }
}

/// The first findings, and how to see them again.
fn told(findings: &[Finding], seed: u64) -> String {
    let shown: String = findings.iter().take(5).map(|finding| format!("\n* {finding}")).collect();
    format!("{} findings with SOAK_SEED={seed}:{shown}", findings.len())
}

fn share() -> Share {
    Share::Operations(setting("SOAK_OPERATIONS").unwrap_or(1000_usize).div_ceil(WORKERS))
}

/// All workers, at work on the proxy at an address that is trusted by a certificate, for a host.
fn staff(
    place: (SocketAddr, &str, &str),
    seed: u64,
    creates: Creates,
    ground: &Arc<Ground>,
    share: &Share,
) -> JoinSet<Worker> {
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let credential = if number % 2 == 0 { Credential::Bearer } else { Credential::SharedKey };
        let caller = Caller::new(place, credential, number, ground.clone());
        workers.spawn(Worker::new(number, seed, caller, ground.clone(), creates).run(share.clone()));
    }
    workers
}

fn setting<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Workers side by side; every second one signs with Shared Key.
const WORKERS: usize = 8;

/// From so many operations on, every sort of echo is met for certain.
const ENOUGH: usize = 1000;

/// Everything that takes time in the account has ended after this.
const SETTLED: Duration = Duration::from_hours(1);

/// A fifth of all requests meets a fault. What must not be done twice has a fault of its own, which it would otherwise be spared.
const FAULTS: &str = r#"
name = "soak"
description = "Everything that can go wrong, mostly after the work."

[[fault]]
kind = "throttle"
on = ["all"]
every = 700
for = "200ms"
hint = "milliseconds"

[[fault]]
kind = "reset-after-work"
on = ["all"]
probability = 0.06

[[fault]]
kind = "truncate"
on = ["all"]
probability = 0.04

[[fault]]
kind = "reset-after-work"
on = ["Nodes_RebootNode", "Tasks_ReactivateTask"]
probability = 0.2

[[fault]]
kind = "refuse-after-work"
on = ["creates"]
status = 429
probability = 0.04

[[fault]]
kind = "refuse-after-work"
on = ["writes"]
status = 500
probability = 0.03
burst = 2

[[fault]]
kind = "reset-before-work"
on = ["all"]
probability = 0.03

[[fault]]
kind = "refuse"
on = ["all"]
status = 503
probability = 0.02

[[fault]]
kind = "stall"
on = ["all"]
every = 150
hold = "5ms"
"#;
