//! The proxy as a process, one after the other, all of the same settings and certificate authority.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::Command;

use crate::command::Program;
use crate::support::client::{Client, request};
use crate::support::guard_for;
use crate::support::metric::sum;

/// A running proxy, and a connection on which its metrics are read even while it accepts none.
pub(super) struct Proxy {
    pub(super) program: Program,
    admin: Client,
}

/// What a proxy takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footprint {
    pub(super) descriptors: usize,
    /// `RssAnon`: what it has of its own in memory, in KiB.
    pub(super) memory: u64,
}

// === impl Proxy ===

impl Proxy {
    pub(super) async fn start(command: Command) -> Self {
        let program = Program::spawn(command).await;
        let admin = Client::connect(program.admin).await;
        Self { program, admin }
    }

    /// The certificate that its clients trust.
    pub(super) async fn ca_pem(&mut self) -> String {
        self.fetch("/ca.pem").await
    }

    /// The sum of a metric's series.
    pub(super) async fn sum(&mut self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum(&self.fetch("/metrics").await, name, labels)
    }

    /// Waits until a metric has grown to `want` or more.
    pub(super) async fn until(&mut self, name: &str, labels: &[(&str, &str)], want: f64) {
        guard_for(PATIENCE, &format!("{name}{labels:?} at {want}"), async {
            while self.sum(name, labels).await < want {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
    }

    /// Waits until the log has more than `count` lines with `words`.
    pub(super) async fn until_said(&self, words: &str, count: usize) {
        guard_for(PATIENCE, &format!("a line with {words:?}"), async {
            while self.times(words) <= count {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
    }

    /// How many lines of the log have `words`.
    pub(super) fn times(&self, words: &str) -> usize {
        self.program.stderr().lines().filter(|line| line.contains(words)).count()
    }

    /// Waits until a gauge is at zero.
    pub(super) async fn until_none(&mut self, name: &str) {
        guard_for(PATIENCE, &format!("{name} at 0"), async {
            while self.sum(name, &[]).await > 0.5 {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
    }

    pub(super) fn footprint(&self) -> Footprint {
        let folder = format!("/proc/{}", self.program.id());
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).unwrap().count();
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        Footprint { descriptors, memory: memory.trim_end_matches("kB").trim().parse().unwrap() }
    }

    /// Lets it have no more descriptors, or as many as ever.
    pub(super) fn limit_descriptors(&self, limit: Option<u64>) {
        let id = Pid::from_raw(i32::try_from(self.program.id()).unwrap());
        let unchanged = rustix::process::getrlimit(Resource::Nofile);
        let maximum = unchanged.maximum;
        prlimit(id, Resource::Nofile, Rlimit { current: limit.or(unchanged.current), maximum }).unwrap();
    }

    /// Ends it as a supervisor does, and waits. It must finish what it was asked.
    pub(super) async fn end(&mut self) {
        self.program.signal("TERM").await;
        // With its grace over it would say something else instead.
        guard_for(PATIENCE, "the end of a proxy", self.program.said("\"stopped\"")).await;
        assert_eq!(guard_for(PATIENCE, "the end of its process", self.program.ended()).await, Some(0));
    }

    async fn fetch(&mut self, path: &str) -> String {
        let asked = request("GET", path, "localhost", &[], "");
        match self.admin.exchange(&asked).await {
            Ok(response) => response.text(),
            // It ends connections on which nothing was asked for a while.
            Err(_) => {
                self.admin = Client::connect(self.program.admin).await;
                self.admin.request(&asked).await.text()
            }
        }
    }
}

/// Between two looks at what tells nobody that it changes.
const LOOK: Duration = Duration::from_millis(20);

/// Longer than a drain takes.
const PATIENCE: Duration = Duration::from_secs(60);
