//! `doctor`: what on this machine stands between a program and Batch through the proxy, and what to do about it.
//!
//! | part | task |
//! |---|---|
//! | `running` | the proxy that runs, its ports and files |
//! | `shell` | the proxy variables of the shell |
//! | `runtimes`, `outcome`, `child` | programs tried, what their attempts mean, their processes |
//! | `stage` | the proxy and the simulated account they are tried with |
//! | `account` | the user's account: DNS, connection, clock |
//! | `check`, `report` | what was found, and how it is told |
//!
//! It changes nothing and leaves nothing behind, but for what Go's compiler keeps in its cache.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::Builder;

use super::args::DoctorArgs;
use super::run::certificates::SYSTEM_FILES;
use super::run::child::Signals;
use super::{Failure, print};
use crate::config::{Effective, Settings};
use crate::telemetry::{self, LogHandle};
use crate::tls::roots::{Roots, RootsError};

mod account;
mod check;
mod child;
mod outcome;
mod report;
mod running;
mod runtimes;
mod shell;
mod stage;

pub(super) use account::Account;

use account::Choice;
use check::{Check, Section};
use outcome::Situation;
use report::{Paint, Report, Secrets};
use running::Found;
use runtimes::Runtimes;
use shell::Shell;
use stage::{Authority, Stage};

/// Looks at everything and tells what it found. The code is 69 where something failed.
pub(super) fn run(mut settings: Settings, effective: &Effective, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    if effective.is_default("log.level") {
        // The report says what matters.
        settings.log.level = None;
    }
    let logs = telemetry::init(settings.log);
    let shell = Shell::new(std::env::vars_os());
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            sections = examine(&settings, &shell, args, logs) => Ok::<_, Failure>(Ok(sections)),
            // Its programs and files go away with it.
            signal = signals.next() => Ok(Err(signal)),
        }
    });
    // A name that DNS does not answer for is not waited for.
    runtime.shutdown_background();
    let sections = match ended? {
        Ok(sections) => sections,
        Err(signal) => return Ok(ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX))),
    };
    let report = Report::new(sections, &Secrets::of(shell.texts()), &program(&shell));
    if args.json {
        print(format!("{}\n", report.to_json()).as_bytes())?;
    } else {
        print(report.to_text(Paint::of_terminal(io::stdout().is_terminal(), shell.raw("NO_COLOR").is_some())).as_bytes())?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn examine(settings: &Settings, shell: &Shell, args: &DoctorArgs, logs: LogHandle) -> Vec<Section> {
    let progress = progress(args.json);
    let found = Found::at(settings.admin.address).await;
    let running = found.running();
    let mut proxy = found.checks(settings);
    let roots = Roots::load(&settings.upstream.ca_files);
    proxy.push(match &roots {
        Ok(roots) => Check::ok("roots", format!("{} certificates to verify Batch by", roots.certificates().len())),
        Err(error) => no_roots(error),
    });
    let authority = match Authority::find(settings, running) {
        Ok(authority) => authority,
        Err(error) => {
            let error = super::chain(&error);
            proxy.push(Check::fail("ca.directory", error).advise("see what is kept there", ["batch-retry-proxy ca show"]));
            Authority::Unknown
        }
    };
    let stage = Stage::open(settings, shell, &authority, running, logs).await;
    let situation = Situation {
        running,
        in_use: running.is_some_and(|running| shell.points_to(running.proxy)),
        trustable: authority != Authority::Unknown,
    };
    let programs = async {
        match &stage {
            Ok(stage) => Runtimes { stage, shell, situation, progress: &progress }.checks().await,
            Err(failure) => vec![not_tried(failure)],
        }
    };
    let choice = Choice::of(args.account.as_ref(), shell);
    let tls = roots.as_ref().ok().map(Roots::client_config);
    let (programs, account) = tokio::join!(programs, choice.checks(settings, tls));
    progress.finish_and_clear();
    let variables = shell.checks(running, settings.listen.address, &settings.route.intercept);
    vec![
        Section { title: "Proxy", checks: proxy },
        Section { title: "This shell", checks: variables },
        Section { title: "Programs", checks: programs },
        Section { title: "Account", checks: account },
    ]
}

/// There is nothing to verify Batch by.
fn no_roots(error: &RootsError) -> Check {
    let check = Check::fail("roots", format!("no proxy can start: {}", super::chain(error)));
    if !matches!(error, RootsError::None { .. }) {
        return check.advise("put the setting right", ["batch-retry-proxy config show"]);
    }
    let system = SYSTEM_FILES.iter().find(|path| Path::new(path).exists());
    let text = "name a PEM file with the public roots; a machine with the package ca-certificates has them";
    check.advise(text, [format!("export SSL_CERT_FILE={}", system.unwrap_or(&"/path/to/roots.pem"))])
}

/// A proxy of its own is what `run` needs as well.
fn not_tried(failure: &Failure) -> Check {
    let check = Check::fail("programs", format!("not tried, and `run --` does not start either: {failure}"));
    let folder = std::env::temp_dir();
    if folder.is_dir() {
        return check;
    }
    let line = format!("mkdir -p -m 1777 {}", shell::quoted_if_needed(&folder.display().to_string()));
    check.advise("make the folder; in a container, mount one there", [line])
}

/// How this program is called from the shell: by its name, or by its place where that is not on `PATH`.
fn program(shell: &Shell) -> String {
    const NAME: &str = "batch-retry-proxy";
    let found = shell.raw("PATH").and_then(|path: OsString| runtimes::on_path(&path, NAME));
    match std::env::current_exe() {
        Ok(own) if found.and_then(|found| found.canonicalize().ok()).as_deref() != Some(&own) => {
            shell::quoted_if_needed(&Path::new(&own).display().to_string())
        }
        _ => NAME.to_owned(),
    }
}

/// On a terminal, and not where a machine reads.
fn progress(json: bool) -> ProgressBar {
    let shown = io::stderr().is_terminal() && !json;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(Runtimes::COUNT), target);
    let style = ProgressStyle::with_template("{spinner} trying the programs on PATH [{bar:24}] {pos}/{len}, {elapsed}");
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    if shown {
        bar.enable_steady_tick(TICK);
    }
    bar
}

/// The code where something failed: `EX_UNAVAILABLE` of sysexits.h.
const FAILED: u8 = 69;

const TICK: Duration = Duration::from_millis(120);
