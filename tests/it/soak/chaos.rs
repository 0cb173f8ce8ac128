//! Chaos: the same work while everything around the proxy fails.
//!
//! The proxy is a process of its own, before the account lies a stretch of network with faults, and round after round the proxy is ended and
//! started again, its settings change, its disk is full, it is short of descriptors, the clock jumps, names are not found, the account moves,
//! and nothing passes. [`rounds`] has the story, [`stage`] what it is played on, [`proxy`] the process.
//!
//! `SOAK_FOR` says for how long; in the first half the proxy is restarted, in the second it lives through everything, so that a leak shows. At
//! the end the account's register is compared as ever, and memory and descriptors with what they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::ground::Ground;
use super::judge::Creates;
use super::worker::{Finding, Share, Worker};
use super::{SETTLED, WORKERS, assert_all_was_met, audit, setting, staff, told};

mod clock;
mod disk;
mod dns;
mod proxy;
mod rounds;
mod stage;

use self::rounds::Story;
use self::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_everything_around_the_proxy_fails() {
    let seed = setting("SOAK_SEED").unwrap_or(1);
    let time = setting::<humantime::Duration>("SOAK_FOR").map(Duration::from);
    println!("chaos: SOAK_SEED={seed}");
    let ground = Arc::new(Ground::fickle());
    let stage = Stage::set_up(seed, ground.clone()).await;
    let observer = stage.observer();
    let mut story = Story::begin(stage).await;

    let begun = Instant::now();
    let goes_on = Arc::new(AtomicBool::new(true));
    let mut working = staff(story.place(), seed, Creates::Verify, &ground, &Share::While(goes_on.clone()));
    let mut workers: Vec<Worker> = Vec::new();
    tokio::select! {
        () = story.play(time) => {}
        // A worker that finds something wrong works no more, and without it nothing is awaited.
        Some(ended) = working.join_next() => workers.push(ended.unwrap()),
    }
    goes_on.store(false, Ordering::Relaxed);
    workers.extend(working.join_all().await);
    let seconds = begun.elapsed().as_secs_f64();

    let ledger = observer.ledger_at(SystemTime::now() + SETTLED);
    let operations: usize = workers.iter().map(Worker::operations).sum();
    let unknown: usize = workers.iter().map(Worker::unknown).sum();
    let mut findings: Vec<Finding> = workers.iter().flat_map(|worker| worker.findings(&ledger)).collect();
    findings.extend(audit::account(&ledger, WORKERS));
    println!(
        "chaos: seed {seed}, {} rounds, {operations} operations by {WORKERS} workers in {seconds:.1} s, {unknown} of unknown end; \
         the account received {} requests, dealt {} faults and lost {} answers of writes; {}; {} findings",
        story.rounds(),
        ledger.requests,
        ledger.faults_dealt(),
        ledger.answers_lost(),
        story.told(),
        findings.len(),
    );
    assert!(findings.is_empty(), "{}", told(&findings, seed));
    assert_all_was_met(&ledger);
    story.end().await;
}
