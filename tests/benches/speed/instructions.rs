//! How many instructions a request takes, counted by callgrind: the same for the same binary on any machine, loaded or not.
//!
//! Each number is the difference of two runs that differ only in how often something is done, divided by that, so start and end count nothing.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use crate::Result;
use crate::callgrind::{self, Count};
use crate::client::Client;
use crate::metric::with_commas;
use crate::plan::{Kind, Setup};
use crate::pure::PIECES;
use crate::request::{PIECE, Subject, host};
use crate::target::{Running, Target, World};

/// What is counted of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// One after the other on one connection.
    Kept(Subject),
    /// Connections made for one request each.
    New,
    /// As on a kept connection, but the origin's first answer to each is an error.
    Replayed,
}

/// Counts everything, and puts it into tables.
pub(crate) async fn tables(targets: &[Target], world: &World) -> Result<String> {
    callgrind::check()?;
    let counted = |target: &&Target| matches!(target.kind, Kind::Ours(_) | Kind::Relay | Kind::Hudsucker(_));
    let targets: Vec<&Target> = targets.iter().filter(counted).collect();
    let own = targets.iter().position(|target| matches!(target.kind, Kind::Ours(_)));
    let names = targets.iter().map(|target| target.name.clone());
    let against = (0..targets.len()).filter(|other| Some(*other) != own);
    let ratios = own.into_iter().flat_map(|own| {
        let targets = &targets;
        against.clone().map(move |other| format!("{} : {}", targets[own].name, targets[other].name))
    });
    let titles: Vec<String> = names.chain(ratios).collect();
    let mut text = format!("| instructions | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
    for work in WORK {
        let mut counts = Vec::new();
        for target in &targets {
            eprintln!("{}, {}", work.title(), target.name);
            counts.push(if work.is_done_by(&target.kind) { Some(work.count(target, world).await?) } else { None });
        }
        let shown = |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), |value| with_commas(value, 0));
        let ratio = |other: usize| Some(counts[own?]? / counts[other]?);
        let ratios = against.clone().filter(|_| own.is_some()).map(ratio);
        let ratios = ratios.map(|ratio| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
        let cells: Vec<String> = counts.iter().map(shown).chain(ratios).collect();
        let _ = writeln!(text, "| {} | {} |", work.title(), cells.join(" | "));
    }
    text += "\n| the core, one call | instructions |\n|---|---:|\n";
    for piece in PIECES {
        eprintln!("{}", piece.title);
        let (few, many) = CALLS;
        let per_call = (core(piece.name, many)? - core(piece.name, few)?) / (many - few) as f64;
        let _ = writeln!(text, "| {} | {} |", piece.title, with_commas(per_call, 0));
    }
    Ok(text)
}

/// All of a run in which a function of the core is called so often.
fn core(name: &str, calls: u64) -> Result<f64> {
    let folder = TempDir::with_prefix("speed-")?;
    let count = Count::new(folder.path());
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["core", name, &calls.to_string()]);
    let status = count.wrap(&command).stdin(Stdio::null()).status()?;
    if status.success() { count.read() } else { Err(format!("core {name}: {status}").into()) }
}

// === impl Work ===

impl Work {
    fn title(self) -> &'static str {
        match self {
            Self::Kept(Subject::Part) => "a download of 1 MiB",
            Self::Kept(Subject::Piece) => "an upload of 64 KiB",
            Self::Kept(_) => "a request on a kept connection",
            Self::New => "a new connection with one request",
            Self::Replayed => "a request that is replayed once, after a 500",
        }
    }

    /// How often in the one run and in the other.
    fn times(self) -> (usize, usize) {
        match self {
            Self::Kept(Subject::Task) => (200, 1_200),
            Self::Replayed => (100, 600),
            // valgrind plays each instruction of AES by a function, so that many bytes take long.
            Self::Kept(Subject::Part) => (5, 25),
            Self::Kept(_) | Self::New => (20, 120),
        }
    }

    fn is_done_by(self, kind: &Kind) -> bool {
        self != Self::Replayed || matches!(kind, Kind::Ours(_))
    }

    /// Instructions for one.
    async fn count(self, target: &Target, world: &World) -> Result<f64> {
        let (few, many) = self.times();
        let per_time = self.total(target, world, many).await? - self.total(target, world, few).await?;
        Ok(per_time / (many - few) as f64)
    }

    /// Instructions of a whole run.
    async fn total(self, target: &Target, world: &World, times: usize) -> Result<f64> {
        let folder = TempDir::with_prefix("speed-")?;
        let count = Count::new(folder.path());
        let setup = Setup { hasty: self == Self::Replayed, ..Setup::default() };
        let running = target.start_as(world, setup, PATIENCE, |command| count.wrap(&command)).await?;
        world.origin.fail_every(if self == Self::Replayed { 2 } else { 0 });
        let worked = timeout(PATIENCE, self.work(&running, times)).await;
        world.origin.fail_every(0);
        worked.unwrap_or_else(|_| Err(format!("{}, {}: no end", self.title(), target.name).into()))?;
        if let Some(process) = running.process {
            process.end(PATIENCE).await?;
        }
        count.read()
    }

    async fn work(self, running: &Running, times: usize) -> Result<()> {
        let subject = if let Self::Kept(subject) = self { subject } else { Subject::Task };
        let mut kept: Option<Client> = None;
        for number in 0..times {
            let mut client = match kept.take() {
                Some(client) => client,
                None => running.door.open(&host(0)).await?,
            };
            let mut request = client.request(subject, number);
            let answer = match subject {
                Subject::Piece => client.upload(&mut request, &[b'x'; PIECE]).await?,
                _ => client.ask(&mut request).await?,
            };
            answer.wanted()?;
            if self == Self::New {
                client.close().await?;
            } else {
                kept = Some(client);
            }
        }
        Ok(())
    }
}

const WORK: [Work; 5] =
    [Work::Kept(Subject::Task), Work::Replayed, Work::New, Work::Kept(Subject::Piece), Work::Kept(Subject::Part)];

/// How often a function of the core is called in the one run and in the other.
const CALLS: (u64, u64) = (1_000, 11_000);

/// Under callgrind everything takes fifty times as long.
const PATIENCE: Duration = Duration::from_secs(180);
