//! The machine: which core the proxy under test has for itself, and which one origin and load generator share.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// One core for the proxy, another for all the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    proxy: usize,
    harness: usize,
}

// === impl Cores ===

impl Cores {
    /// The first two that this process may use. An error where there is one only: what is measured would steal from what measures.
    pub(crate) fn pick() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(proxy), Some(harness)) = (cores.next(), cores.next()) else {
            return Err("this bench needs two cores: one for the proxy, one for origin and load generator".into());
        };
        Ok(Self { proxy, harness })
    }

    /// Keeps the calling thread, and what it starts, on the core of the harness.
    pub(crate) fn pin_harness(self) -> io::Result<()> {
        pin(self.harness)
    }

    /// Runs `start` on a thread that is bound to the proxy's core, so that a process it starts inherits the binding.
    pub(crate) fn on_proxy_core<T: Send>(self, start: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                pin(self.proxy)?;
                start()
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
        })
    }
}

/// Lets this process and those it starts open as many files as the system allows: 2,000 connections are 4,000 sockets on each side.
pub(crate) fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// The processor and the kernel, in words.
pub(crate) fn description() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("", |(_, model)| model.trim());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = processor.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores ({model}), Linux {}", kernel.trim())
}

fn pin(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    Ok(())
}
