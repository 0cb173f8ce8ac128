//! The load generator in an open loop: requests at fixed times, whether or not earlier ones are answered, as independent programs send them.
//!
//! A latency counts from the time a request was meant to be sent. That is told by a timer of the kernel, since the runtime's knows whole
//! milliseconds only.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::Door;
use crate::request::{Subject, host};
use crate::tally::{Tally, Window};

/// How long each request took, in order of size.
#[derive(Debug)]
pub(crate) struct Latencies(Vec<Duration>);

/// Two hundred requests a second for `length`, spread over a few connections. Gives also what went wrong.
pub(crate) async fn open_loop(door: &Door, length: Duration) -> io::Result<(Latencies, Window)> {
    let tally = Arc::new(Tally::default());
    let (mut lanes, mut workers) = (Vec::new(), JoinSet::new());
    for number in 0..CONNECTIONS {
        let mut client = door.open(&host(0)).await?;
        let (lane, mut due) = mpsc::unbounded_channel::<Instant>();
        let tally = tally.clone();
        lanes.push(lane);
        workers.spawn(async move {
            let mut request = client.request(Subject::Task, number);
            let mut latencies = Vec::new();
            while let Some(due) = due.recv().await {
                tally.count(client.ask(&mut request).await);
                latencies.push(due.elapsed());
            }
            // The first on a connection warm it up.
            latencies.split_off(latencies.len().min(UNCOUNTED))
        });
    }
    let count = (length.as_secs_f64() / EVERY.as_secs_f64()) as usize + CONNECTIONS * UNCOUNTED;
    // It blocks, so on a thread; on the core of the harness as this one.
    let pace = std::thread::spawn(move || keep_pace(count, &lanes));
    let mut latencies = Vec::new();
    while let Some(some) = workers.join_next().await {
        latencies.extend(some?);
    }
    pace.join().unwrap_or_else(|_| Err(io::Error::other("the timer's thread panicked")))?;
    latencies.sort_unstable();
    Ok((Latencies(latencies), tally.total()))
}

/// Tells one lane after the other that a request is due, `count` times in all.
fn keep_pace(count: usize, lanes: &[mpsc::UnboundedSender<Instant>]) -> io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let every = Timespec { tv_sec: 0, tv_nsec: EVERY.subsec_nanos().into() };
    let mut due = Instant::now();
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })?;
    let mut lanes = lanes.iter().cycle();
    let mut sent = 0;
    while sent < count {
        let mut expired = [0; 8];
        rustix::io::read(&timer, &mut expired)?;
        for lane in lanes.by_ref().take(u64::from_ne_bytes(expired) as usize) {
            due += EVERY;
            sent += 1;
            // It ends before its time only with the whole run.
            let _ = lane.send(due);
        }
    }
    Ok(())
}

// === impl Latencies ===

impl Latencies {
    /// The one that so many of a hundred do not exceed, in microseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }
}

const EVERY: Duration = Duration::from_millis(5);
const CONNECTIONS: usize = 8;
const UNCOUNTED: usize = 5;
