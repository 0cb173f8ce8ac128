//! How fast the proxy is, and what it costs, against a bare relay and other proxies.
//!
//! Every proxy runs alone as a child process on one core; origin and load generator share another, in this process. `make bench` builds what
//! is needed and runs it. docs/speed.md has the results and says how to read them.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use self::figure::Figure;
use self::goals::goals;
use self::machine::Cores;
use self::options::{OURS, Options};
use self::page::write_between;
use self::plan::Kind;
use self::report::Report;
use self::target::{Target, World};

mod bulk;
mod callgrind;
mod channel;
mod client;
mod figure;
mod goals;
mod http;
mod instructions;
mod load;
mod machine;
mod metric;
mod options;
mod origin;
mod pace;
#[path = "../shared/page.rs"]
mod page;
mod pki;
mod plan;
mod process;
mod pure;
mod record;
mod relay;
mod report;
mod request;
mod tally;
mod target;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("core", rest)) => return pure::run(rest),
        Some(("relay", rest)) => return runtime.block_on(relay::run(rest)),
        _ => {}
    }
    let options = Options::parse();
    let cores = Cores::pick()?;
    cores.pin_harness()?;
    machine::raise_file_limit()?;
    runtime.block_on(async {
        let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // A signal returns from here, so that the child is ended too.
        tokio::select! {
            ended = bench(&options, cores) => ended,
            _ = interrupted.recv() => Err("interrupted".into()),
            _ = terminated.recv() => Err("terminated".into()),
        }
    })
}

async fn bench(options: &Options, cores: Cores) -> Result<()> {
    let (targets, left_out) = options.targets()?;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/speed.md");
    if options.instructions {
        let folder = TempDir::with_prefix("speed-")?;
        let text = instructions::tables(&targets, &World::create(folder.path(), cores).await?).await?;
        println!("{text}");
        if options.write {
            write_between(&page, &[("instructions", &text)])?;
        }
        return Ok(());
    }
    let report = measure(options, &targets, cores).await?;

    let places = |wanted: fn(&Kind) -> bool| -> Vec<usize> {
        targets.iter().enumerate().filter(|(_, target)| wanted(&target.kind)).map(|(at, _)| at).collect()
    };
    // The first of our own is held against all others.
    let own = places(|kind| matches!(kind, Kind::Ours(_))).first().copied();
    let judged = report.target(OURS).map(|ours| goals(&report, ours, &places(Kind::is_peer)));
    let (judged, missed) = judged.unwrap_or_default();
    let (medians, ratios, notes) = (
        report.medians(),
        own.map(|own| report.ratios(own, &places(|kind| *kind != Kind::Direct))).unwrap_or_default(),
        notes(options, &targets, &left_out, &report),
    );
    println!("{notes}\n{medians}\n{ratios}\n{judged}");
    if options.write {
        let parts = [("notes", notes), ("medians", medians), ("ratios", ratios), ("goals", judged)];
        write_between(&page, &parts.each_ref().map(|(name, part)| (*name, part.as_str())))?;
    }
    if options.strict && !missed.is_empty() {
        return Err(format!("goals missed: {}", missed.join("; ")).into());
    }
    Ok(())
}

/// All rounds.
async fn measure(options: &Options, targets: &[Target], cores: Cores) -> Result<Report> {
    let folder = TempDir::with_prefix("speed-")?;
    let world = World::create(folder.path(), cores).await?;
    let length = Duration::from_secs_f64(options.seconds);

    let figures = if options.figures.is_empty() { Figure::value_variants() } else { &options.figures };
    let on_terminal = std::io::stderr().is_terminal();
    let mut report = Report::new(targets.iter().map(|target| target.name.clone()).collect());
    for round in 0..options.rounds {
        for figure in figures {
            for at in 0..targets.len() {
                // Another one begins each time, so that what comes with time or order is spread over all.
                let at = (at + round) % targets.len();
                let run = format!("round {} of {}: {}, {}", round + 1, options.rounds, figure.name(), targets[at].name);
                if on_terminal {
                    eprint!("\r\x1b[K{run}")
                } else {
                    eprintln!("{run}")
                }
                let measured = timeout(PATIENCE + 10 * length, figure.measure(&targets[at], &world, length)).await;
                let outcome = measured.unwrap_or_else(|_| Err("it did not come to an end".into()));
                report.add(round, at, *figure, outcome);
            }
        }
    }
    if on_terminal {
        eprint!("\r\x1b[K");
    }
    if let Some(direct) = targets.iter().position(|target| target.kind == Kind::Direct) {
        report.subtract(direct);
    }
    Ok(report)
}

/// What was measured where, and what went wrong.
fn notes(options: &Options, targets: &[Target], left_out: &[String], report: &Report) -> String {
    let versions = targets.iter().filter_map(|target| Some(format!("{} {}", target.name, target.kind.version()?)));
    let versions: Vec<String> = versions.collect();
    let mut text = format!(
        "{} rounds of {} s each on {}; {}.\n",
        options.rounds,
        options.seconds,
        machine::description(),
        versions.join(", ")
    );
    if !left_out.is_empty() {
        text += &format!("Left out, because not there: {}.\n", left_out.join(", "));
    }
    if report.disturbed > 0.05 {
        text += &format!(
            "The machine was not quiet: a proxy had to wait for its core up to {:.0} % of the time.\n",
            100.0 * report.disturbed
        );
    }
    if !report.failures().is_empty() {
        text += &format!("\nWhat went wrong, (!) in the table:\n\n* {}\n", report.failures().join("\n* "));
    }
    text
}

/// What a run may take besides the time it measures in.
const PATIENCE: Duration = Duration::from_secs(60);
