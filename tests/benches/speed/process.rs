//! A proxy that runs as a child process, with all the processes it starts: what they use, and their end.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine::Cores;

/// A child and its descendants. Dropped, all are killed.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// The threads whose time on a core is counted. Looked up once, because going through all processes takes milliseconds.
pub(crate) struct Meter {
    tasks: Vec<PathBuf>,
}

/// Time of the threads of a [`Meter`], all together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) on_core: Duration,
    /// Ready to run while another thread had the core.
    pub(crate) waiting: Duration,
}

// === impl Process ===

impl Process {
    /// Starts `command` on the proxy's core; what it says goes into the file `log`.
    pub(crate) fn start(mut command: Command, cores: Cores, log: &Path) -> io::Result<Self> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = cores.on_proxy_core(move || command.spawn())?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// An error with its last words if it has ended.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        Err(io::Error::other(format!("ended with {status}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" / "))))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(mut self, patience: Duration) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > patience {
                return Err(io::Error::other("it was asked to end and did not"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Counts the time on a core of every thread there is now.
    pub(crate) fn meter(&self) -> Meter {
        let threads = |process: Pid| fs::read_dir(folder(process).join("task")).into_iter().flatten().flatten();
        let tasks = self.members().into_iter().flat_map(threads).map(|task| task.path().join("schedstat"));
        Meter { tasks: tasks.collect() }
    }

    /// Resident memory of all its processes together, in MiB. What they share counts for each.
    pub(crate) fn resident(&self) -> f64 {
        let kilobytes = |process: Pid| {
            let status = fs::read_to_string(folder(process).join("status")).ok()?;
            status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok())
        };
        self.members().into_iter().filter_map(kilobytes).sum::<f64>() / 1024.0
    }

    /// It and all that descend from it. Some put their helpers into process groups of their own, so the groups do not tell.
    fn members(&self) -> Vec<Pid> {
        let parents: Vec<(Pid, Pid)> = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(parent).collect();
        let mut members = vec![Pid::from_child(&self.child)];
        let mut looked_at = 0;
        while let Some(parent) = members.get(looked_at).copied() {
            members.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
            looked_at += 1;
        }
        members
    }
}

fn folder(process: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", process.as_raw_pid()))
}

/// The process of a folder in /proc, and its parent.
fn parent(entry: DirEntry) -> Option<(Pid, Pid)> {
    let process = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
    let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
    // The name before it may contain anything, also brackets and spaces: then follow state and parent.
    let (_, fields) = stat.rsplit_once(')')?;
    Some((process, Pid::from_raw(fields.split_ascii_whitespace().nth(1)?.parse().ok()?)?))
}

impl Drop for Process {
    fn drop(&mut self) {
        for process in self.members() {
            // It may be gone already.
            let _ = kill_process(process, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

// === impl Meter ===

impl Meter {
    /// Counts nothing.
    pub(crate) fn none() -> Self {
        Self { tasks: Vec::new() }
    }

    /// Time on a core so far, and time spent waiting for one.
    pub(crate) fn read(&self) -> Usage {
        let mut usage = Usage::default();
        for task in &self.tasks {
            let text = fs::read_to_string(task).unwrap_or_default();
            let mut fields = text.split(' ').map(|field| Duration::from_nanos(field.parse().unwrap_or(0)));
            usage.on_core += fields.next().unwrap_or_default();
            usage.waiting += fields.next().unwrap_or_default();
        }
        usage
    }
}

// === impl Usage ===

impl Usage {
    /// From an earlier reading to this one.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { on_core: self.on_core.saturating_sub(earlier.on_core), waiting: self.waiting.saturating_sub(earlier.waiting) }
    }
}
