//! Arguments, subcommands and exit codes.
//!
//! Parses the command line, reads the process environment, and hands each subcommand its settings. Which values settings take
//! is [`crate::config`]'s business; a subcommand that is more than a few lines has a file of its own.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use thiserror::Error;
use tokio::task::JoinError;

use crate::app::Reload;
use crate::config::{ConfigError, ENV_PREFIX, Loaded, Settings};

mod args;
mod ca;
mod config;
mod demo;
mod doctor;
mod explain;
mod help;
mod manual;
mod probe;
mod run;
mod serve;
mod simulate;

use args::{CONFIG_VARIABLE, CaCommand, Cli, Command, ConfigCommand};

/// Why a command did not do what it was asked, by exit code.
#[derive(Debug, Error)]
pub enum Failure {
    /// The command of `run` cannot be executed (126, as shells have it).
    #[error("cannot execute {command}: {source}")]
    CommandNotExecutable {
        /// As given.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// The command of `run` does not exist (127, as shells have it).
    #[error("command not found: {command}")]
    CommandNotFound {
        /// As given.
        command: String,
    },
    /// The settings are wrong (78, `EX_CONFIG` of sysexits.h).
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A fault of this program (70, `EX_SOFTWARE`).
    #[error("{0}")]
    Internal(Box<dyn Error + Send + Sync>),
    /// A file that a setting names cannot be used (78, as for the setting itself).
    #[error("{0}")]
    Setting(Box<dyn Error + Send + Sync>),
    /// Something cannot be bound, started or reached (69, `EX_UNAVAILABLE`).
    #[error("{0}")]
    Start(Box<dyn Error + Send + Sync>),
    /// The command line is wrong (2), or asks for help (0); the parser prints it in its own form.
    #[error("{0}")]
    Usage(#[from] clap::Error),
}

// === impl Failure ===

impl Failure {
    /// The program's main task did not come to its end. What it says of a panic is left out: it may hold secrets, and the panic hook has told
    /// where it was.
    pub(crate) fn ended_early(error: &JoinError) -> Self {
        let why = if error.is_panic() { "panicked, as logged" } else { "was cut off" };
        Self::Internal(format!("the proxy {why}").into())
    }

    /// The status the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::CommandNotExecutable { .. } => 126,
            Self::CommandNotFound { .. } => 127,
            Self::Config(_) | Self::Setting(_) => 78,
            Self::Internal(_) => 70,
            Self::Start(_) => 69,
            Self::Usage(err) if err.use_stderr() => 2,
            Self::Usage(_) => 0,
        }
    }

    /// Tells the user, one line for each fault. Nothing is left to do where even that fails.
    fn print(&self) {
        let text = match self {
            // Help was asked for, or is the best answer to a command without its second word.
            Self::Usage(error)
                if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
            {
                let _ = error.print();
                return;
            }
            Self::Usage(error) => one_line(&error.to_string()),
            Self::Internal(cause) | Self::Setting(cause) | Self::Start(cause) => chain(cause.as_ref()),
            Self::CommandNotExecutable { .. } | Self::CommandNotFound { .. } | Self::Config(_) => self.to_string(),
        };
        let mut stderr = io::stderr().lock();
        for line in text.lines() {
            let _ = writeln!(stderr, "batch-retry-proxy: {line}");
        }
    }
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Self::Internal(err.into())
    }
}

/// What the parser of the command line has to say, without the usage below it.
fn one_line(message: &str) -> String {
    let said = message
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    format!("{} (see --help)", said.strip_prefix("error: ").unwrap_or(&said))
}

/// An error and its causes, as one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

/// Does what the command line asks and says how it went. `args` begin with the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match dispatch(args) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let cli = Cli::try_parse_from(args)?;
    let sources = cli.sources(environment()?)?;
    let settings = || Settings::load(&sources);
    let done = match &cli.command {
        None | Some(Command::Serve { .. }) => serve::run(Reload::new(sources)?),
        Some(Command::Ca { command: CaCommand::Export { export, .. }, .. }) => ca::export(&settings()?, export),
        Some(Command::Ca { command: CaCommand::Show { .. }, .. }) => ca::show(&settings()?),
        Some(Command::Config { command: ConfigCommand::Check { .. }, .. }) => config::check(&sources),
        Some(Command::Config { command: ConfigCommand::Show { .. }, .. }) => config::show(&sources),
        Some(Command::Completions { shell }) => manual::completions(*shell),
        Some(Command::Demo { demo }) => demo::run(demo),
        Some(Command::Man { out }) => manual::pages(out.as_deref()),
        Some(Command::Doctor { doctor, .. }) => {
            let loaded = Loaded::load(&sources)?;
            let effective = loaded.effective();
            return doctor::run(loaded.into_settings(), &effective, doctor);
        }
        Some(Command::Explain { explain, .. }) => explain::run(&settings()?, explain),
        Some(Command::Healthcheck { .. }) => probe::healthcheck(&settings()?),
        Some(Command::Run { run, .. }) => {
            let loaded = Loaded::load(&sources)?;
            let effective = loaded.effective();
            return run::run(loaded.into_settings(), &effective, run);
        }
        Some(Command::Simulate { simulate }) => simulate::run(simulate),
        Some(Command::Wait { wait, .. }) => probe::wait(&settings()?, wait),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Writes to standard output. Whoever reads there may have seen enough, as `head` does: that is no failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The variables of the process that concern settings. No other code reads the environment for them.
fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let names = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let ours = names.filter(|(name, _)| name.starts_with(ENV_PREFIX) || name == CONFIG_VARIABLE);
    let mut variables = ours
        .map(|(variable, value)| match value.into_string() {
            Ok(value) => Ok((variable, value)),
            Err(_) => Err(ConfigError::VariableNotUtf8 { variable }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    // The system's order is arbitrary; sorted, the same faults are always reported in the same order.
    variables.sort();
    Ok(variables)
}
