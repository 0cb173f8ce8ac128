//! What the command line may hold, and how it becomes the sources of the settings.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::doctor::Account;
use super::explain::ExplainArgs;
use super::help;
use crate::config::{Flag, Sources, parse_duration};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "batch-retry-proxy", version = version(), about = help::ABOUT, after_help = help::ROOT)]
pub(super) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run until SIGTERM or SIGINT (the default command)
    #[command(after_help = help::SERVE)]
    Serve {
        #[command(flatten)]
        serve: ServeArgs,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Run a command behind a private proxy, then exit with the command's status
    #[command(after_help = help::RUN)]
    Run {
        #[command(flatten)]
        run: RunArgs,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Show or export the certificate authority that clients must trust
    #[command(after_help = help::CA)]
    Ca {
        #[command(subcommand)]
        command: CaCommand,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Show or check the settings in force
    #[command(after_help = help::CONFIG)]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Show on this machine what the proxy does: simulated account, proxy and a workload, no Azure needed
    #[command(after_help = help::DEMO)]
    Demo {
        #[command(flatten)]
        demo: DemoArgs,
    },
    /// Check this machine: programs, their trust, ports, proxy variables, the account; say what to set
    #[command(after_help = help::DOCTOR)]
    Doctor {
        #[command(flatten)]
        doctor: DoctorArgs,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Tell what would be decided about a request, and why
    #[command(after_help = help::EXPLAIN)]
    Explain {
        #[command(flatten)]
        explain: ExplainArgs,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Run a stand-in Batch account that throttles and fails by scenario
    #[command(after_help = help::SIMULATE)]
    Simulate {
        #[command(flatten)]
        simulate: SimulateArgs,
    },
    /// Block until a proxy is ready
    #[command(after_help = help::WAIT)]
    Wait {
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Exit 0 if a proxy is ready, for images without a shell
    #[command(after_help = help::HEALTHCHECK)]
    Healthcheck {
        #[command(flatten)]
        set: SetArgs,
    },
    /// Print what a shell needs to complete commands and options
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell that reads it
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands
    #[command(after_help = help::MAN)]
    Man {
        /// Write a page for each command into this directory, which is made if it is not there
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Tell the authority's name, fingerprint and life
    #[command(after_help = help::CA_SHOW)]
    Show {
        #[command(flatten)]
        set: SetArgs,
    },
    /// Write the authority's certificate where clients can read it
    #[command(after_help = help::CA_EXPORT)]
    Export {
        #[command(flatten)]
        export: ExportArgs,
        #[command(flatten)]
        set: SetArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every setting in force and where it came from; secrets are hidden
    #[command(after_help = help::CONFIG_SHOW)]
    Show {
        #[command(flatten)]
        set: SetArgs,
    },
    /// Check the settings and start nothing
    #[command(after_help = help::CONFIG_CHECK)]
    Check {
        #[command(flatten)]
        set: SetArgs,
    },
}

/// Flags that work before and after the subcommand; the later one wins.
#[derive(Args, Debug)]
pub(super) struct GlobalArgs {
    /// Read settings from this TOML file [also: BATCH_RETRY_PROXY_CONFIG]
    #[arg(long, value_name = "FILE", global = true, help_heading = SETTINGS)]
    config: Option<PathBuf>,
    /// The least severe level that is logged
    #[arg(long, value_name = "LEVEL", global = true, help_heading = SETTINGS, value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
    log_level: Option<String>,
    /// How logs look; auto is text on a terminal and json otherwise
    #[arg(long, value_name = "FORMAT", global = true, help_heading = SETTINGS, value_parser = ["auto", "json", "text"])]
    log_format: Option<String>,
}

/// `--set` stands beside each subcommand of its own, because a global list would lose what was given before the subcommand.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct SetArgs {
    /// Set one key, its value in TOML or as plain text; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = SETTINGS, value_parser = key_value)]
    set: Vec<String>,
}

/// Flags of `serve`, also accepted without the word.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServeArgs {
    /// Where the proxy listens [key: listen.address]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where metrics, probes and the status page are served [key: admin.address]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Write the files that clients need to trust the proxy there [key: ca.publish]
    #[arg(long, value_name = "DIR")]
    publish: Option<String>,
}

/// Arguments of `ca export`.
#[derive(Args, Clone, Debug)]
pub(super) struct ExportArgs {
    /// What to write
    #[arg(long, value_enum, default_value_t = ExportFormat::Pem)]
    pub(super) format: ExportFormat,
    /// Where to write it; standard output if left out
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// What `ca export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// The roots that the proxy trusts and its own authority
    Bundle,
    /// Lines for a shell that set the variables of all clients
    Env,
    /// The bundle for Java, password changeit
    P12,
    /// The authority's certificate alone
    Pem,
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub(super) struct RunArgs {
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// Arguments of `demo`.
#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// What goes wrong: brownout, calm, crowded, errors, flaps, lost-creates, lost-writes, mixed, quota, read-lag, refusals, resets, slow-deletes,
    /// stalls, throttle, truncated, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "mixed")]
    pub(super) scenario: String,
    /// Where chance begins; the same seed deals the same faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// How many tasks the workload makes
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(super) tasks: usize,
    /// Print one JSON object for machines
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug)]
pub(super) struct DoctorArgs {
    /// The Batch account to look at: DNS, connection, clock [also: AZURE_BATCH_ACCOUNT_URL and its like]
    #[arg(long, value_name = "URL|HOST")]
    pub(super) account: Option<Account>,
    /// Print one JSON object for machines
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `simulate`.
#[derive(Args, Clone, Debug)]
pub(super) struct SimulateArgs {
    /// Where the account listens; port 0 takes a free one
    #[arg(id = "simulate_listen", long = "listen", value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub(super) listen: SocketAddr,
    /// What goes wrong: brownout, calm, crowded, errors, flaps, lost-creates, lost-writes, mixed, quota, read-lag, refusals, resets, slow-deletes,
    /// stalls, throttle, truncated, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "mixed")]
    pub(super) scenario: String,
    /// Where chance begins; the same seed deals the same requests the same faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// How many requests the account takes in a second, and at once after a pause; instead of the scenario's [limit]
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<f64>,
    /// Where the certificate that a client must trust is written
    #[arg(long, value_name = "FILE", default_value = "simulated-ca.pem")]
    pub(super) ca_out: PathBuf,
}

/// Arguments of `wait`.
#[derive(Args, Clone, Debug)]
pub(super) struct WaitArgs {
    /// How long to wait before giving up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
}

// === impl Cli ===

impl Cli {
    /// All `--set` arguments in the order given: those before a subcommand stand left of those after it.
    fn set(&self) -> Vec<String> {
        let (outer, inner) = match &self.command {
            // These have no settings.
            None
            | Some(Command::Completions { .. } | Command::Demo { .. } | Command::Man { .. } | Command::Simulate { .. }) => {
                (None, None)
            }
            Some(Command::Ca { command: CaCommand::Export { set: inner, .. } | CaCommand::Show { set: inner }, set })
            | Some(Command::Config {
                command: ConfigCommand::Check { set: inner } | ConfigCommand::Show { set: inner },
                set,
            }) => (Some(set), Some(inner)),
            Some(
                Command::Doctor { set, .. }
                | Command::Explain { set, .. }
                | Command::Healthcheck { set }
                | Command::Run { set, .. }
                | Command::Serve { set, .. }
                | Command::Wait { set, .. },
            ) => (Some(set), None),
        };
        let levels = [Some(&self.set), outer, inner];
        levels.into_iter().flatten().flat_map(|args| args.set.iter().cloned()).collect()
    }

    /// The flags of `serve`, with and without the word.
    fn serve(&self) -> Result<ServeArgs, clap::Error> {
        let outer = self.serve.clone();
        match &self.command {
            None => Ok(outer),
            Some(Command::Serve { serve: inner, .. }) => Ok(ServeArgs {
                listen: inner.listen.or(outer.listen),
                admin_listen: inner.admin_listen.or(outer.admin_listen),
                publish: inner.publish.clone().or(outer.publish),
            }),
            Some(_) if outer.listen.is_none() && outer.admin_listen.is_none() && outer.publish.is_none() => Ok(outer),
            Some(_) => Err(Self::command().error(
                ErrorKind::ArgumentConflict,
                "--listen, --admin-listen and --publish belong to `serve`; other commands take them as --set",
            )),
        }
    }

    /// Where the settings come from.
    pub(super) fn sources(&self, env: Vec<(String, String)>) -> Result<Sources, clap::Error> {
        let serve = self.serve()?;
        let flags = [
            ("--listen", "listen.address", serve.listen.map(|address| address.to_string())),
            ("--admin-listen", "admin.address", serve.admin_listen.map(|address| address.to_string())),
            ("--publish", "ca.publish", serve.publish),
            ("--log-level", "log.level", self.global.log_level.clone()),
            ("--log-format", "log.format", self.global.log_format.clone()),
        ];
        let flags = flags.into_iter().filter_map(|(name, key, value)| value.map(|value| Flag { name, key, value }));
        let file = self.global.config.clone().or_else(|| {
            let named = env.iter().find(|(name, _)| name == CONFIG_VARIABLE).map(|(_, value)| value);
            named.filter(|path| !path.is_empty()).map(PathBuf::from)
        });
        Ok(Sources { file, set: self.set(), flags: flags.collect(), env })
    }
}

fn key_value(text: &str) -> Result<String, &'static str> {
    let has_key = text.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
    if has_key { Ok(text.to_owned()) } else { Err("write it as KEY=VALUE, such as retry.deadline=40s") }
}

fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    let revision = option_env!("BATCH_RETRY_PROXY_REVISION").unwrap_or("unknown");
    VERSION.get_or_init(|| format!("{} ({revision})", env!("CARGO_PKG_VERSION")))
}

/// Names the configuration file where `--config` does not.
pub(super) const CONFIG_VARIABLE: &str = "BATCH_RETRY_PROXY_CONFIG";

/// Groups the flags that all commands share.
const SETTINGS: &str = "Settings";

#[cfg(test)]
mod tests;
