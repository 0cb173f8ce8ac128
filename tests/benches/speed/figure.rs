//! What is measured of a target, and how.

use std::time::Duration;

use crate::Result;
use crate::bulk::transfer;
use crate::load::{Hosts, closed_loop, idle_connections, new_connections};
use crate::metric::Metric;
use crate::pace::open_loop;
use crate::plan::Setup;
use crate::process::Process;
use crate::request::Subject;
use crate::tally::Window;
use crate::target::{Running, Target, World};

/// A run of one target, which gives several numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Figure {
    /// 64 MiB down and up
    Bulk,
    /// New connections a second
    Connections,
    /// Requests a second and CPU time while one in twenty answers is an error
    Faults,
    /// Latency at 200 requests a second
    Latency,
    /// Resident memory at start and with idle connections
    Memory,
    /// From the start to the first answer
    Ready,
    /// Requests a second on kept connections, and the CPU time for them
    Rps,
}

/// What one run gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) values: Vec<(Metric, f64)>,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
    /// The share of the time in which the proxy was ready and something else had its core.
    pub(crate) disturbed: f64,
}

// === impl Figure ===

impl Figure {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Starts `target`, measures, and ends it.
    pub(crate) async fn measure(self, target: &Target, world: &World, length: Duration) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let setup = match self {
            Self::Connections => Setup { accounts: 2_000 + (8_000.0 * length.as_secs_f64()) as usize, ..Setup::default() },
            Self::Faults => Setup { hasty: true, ..Setup::default() },
            _ => Setup::default(),
        };
        let mut running = target.start(world, setup).await?;
        match self {
            Self::Bulk => outcome.bulk(&running, length).await?,
            Self::Connections => {
                let hosts = target.kind.makes_leaves().then_some(Hosts::New(setup.accounts));
                outcome.connections(&running, hosts, length).await?;
            }
            Self::Faults => {
                world.origin.fail_every(20);
                let window = closed_loop(&running.door, 32, length, || running.meter()).await;
                world.origin.fail_every(0);
                outcome.faults(&running, &window?);
            }
            Self::Latency => outcome.latency(&running, length.mul_f64(2.5)).await?,
            Self::Memory => outcome.memory(&running).await?,
            Self::Ready => outcome.put(Metric::Ready, running.ready.as_secs_f64() * 1000.0),
            Self::Rps => outcome.requests(&running, length).await?,
        }
        if let Some(Err(ended)) = running.process.as_mut().map(Process::check) {
            outcome.failures += 1;
            outcome.first_failure = Some(ended.to_string());
        }
        Ok(outcome)
    }
}

// === impl Outcome ===

impl Outcome {
    fn put(&mut self, metric: Metric, value: f64) {
        self.values.push((metric, value));
    }

    async fn requests(&mut self, running: &Running, length: Duration) -> Result<()> {
        for (connections, metric) in [(1, Metric::Rps1), (32, Metric::Rps32), (256, Metric::Rps256)] {
            let window = closed_loop(&running.door, connections, length, || running.meter()).await?;
            self.put(metric, window.rate());
            if metric == Metric::Rps32 && running.process.is_some() {
                self.put(Metric::Cpu, window.cpu_of(100_000.0));
                self.disturbed = window.usage.waiting.as_secs_f64() / window.elapsed.as_secs_f64();
            }
            self.blame_all(&window);
        }
        Ok(())
    }

    async fn latency(&mut self, running: &Running, length: Duration) -> Result<()> {
        let (latencies, window) = open_loop(&running.door, length).await?;
        self.put(Metric::P50, latencies.percentile(50));
        self.put(Metric::P99, latencies.percentile(99));
        self.blame_all(&window);
        Ok(())
    }

    async fn bulk(&mut self, running: &Running, length: Duration) -> Result<()> {
        for (subject, rate, cpu) in
            [(Subject::File, Metric::Down, Metric::CpuDown), (Subject::Upload, Metric::Up, Metric::CpuUp)]
        {
            let transfers = match transfer(&running.door, subject, length, || running.meter()).await {
                Ok(transfers) => transfers,
                Err(error) => {
                    self.failures += 1;
                    self.first_failure.get_or_insert_with(|| format!("{}: {error}", rate.title()));
                    continue;
                }
            };
            self.put(rate, transfers.rate());
            if running.process.is_some() {
                self.put(cpu, transfers.cpu_of_gigabyte());
            }
        }
        Ok(())
    }

    async fn connections(&mut self, running: &Running, new: Option<Hosts>, length: Duration) -> Result<()> {
        let window = new_connections(&running.door, Hosts::Same, length, || running.meter()).await?;
        self.put(Metric::Cached, window.rate());
        if running.process.is_some() {
            self.put(Metric::CpuCached, window.cpu_of(10_000.0));
        }
        self.blame_all(&window);
        if let Some(hosts) = new {
            let window = new_connections(&running.door, hosts, length, || running.meter()).await?;
            self.put(Metric::Cold, window.rate());
            self.blame_all(&window);
        }
        Ok(())
    }

    async fn memory(&mut self, running: &Running) -> Result<()> {
        let Some(process) = &running.process else { return Ok(()) };
        let mut idle = Vec::new();
        for (connections, metric) in [(0, Metric::Memory), (256, Metric::Memory256), (2000, Metric::Memory2000)] {
            idle.extend(idle_connections(&running.door, connections - idle.len()).await?);
            tokio::time::sleep(SETTLE).await;
            self.put(metric, process.resident());
        }
        Ok(())
    }

    fn faults(&mut self, running: &Running, window: &Window) {
        self.put(Metric::FaultRps, window.rate());
        self.put(Metric::FaultGood, 100.0 * window.good / window.answers);
        if running.process.is_some() {
            self.put(Metric::FaultCpu, window.cpu_of(100_000.0));
        }
        // An answer that is an error counts in the share above; a broken connection is something else.
        if window.failures > 0 {
            self.blame(window.failures, window);
        }
    }

    fn blame_all(&mut self, window: &Window) {
        let others = (window.answers - window.good) as u64;
        if window.failures + others > 0 {
            self.blame(window.failures + others, window);
        }
    }

    fn blame(&mut self, failures: u64, window: &Window) {
        self.failures += failures;
        self.first_failure = self.first_failure.take().or_else(|| window.first_failure.clone());
    }
}

/// Until what was opened is at rest.
const SETTLE: Duration = Duration::from_millis(500);
