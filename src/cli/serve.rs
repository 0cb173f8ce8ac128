//! `serve`: run until told to stop, and say on the terminal what a client must set.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::Failure;
use crate::app::{App, Configuration, Controls, Reload, StartError};
use crate::config::Settings;
use crate::shutdown::{self, Signals};
use crate::telemetry::{self, LogFormat, LogHandle};
use crate::tls::trust::PROXY_ENV;

/// Runs the proxy until it is told to stop.
pub(super) fn run(reload: Reload) -> Result<(), Failure> {
    let settings = reload.settings().clone();
    let talkative = match settings.log.format {
        Some(format) => format == LogFormat::Text,
        None => io::stderr().is_terminal(),
    };
    let logs = telemetry::init(settings.log);
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(settings, reload, logs, talkative));
    // What the grace did not wait for is cut off, not waited for here.
    runtime.shutdown_background();
    served
}

async fn serve(settings: Settings, reload: Reload, logs: LogHandle, talkative: bool) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let began_on_terminal = is_on_terminal();
    let app = App::bind(settings).await?;
    telemetry::install_panic_hook(app.metrics().clone());
    if talkative {
        // Nobody may be reading; that is no reason to stop.
        let _ = writeln!(io::stderr(), "{}", instructions(&app));
    }
    let (in_force, asked) = (app.in_force(), reload.asked());
    let config = Configuration::Reloadable(Box::new(reload));
    let (shutdown, drain) = shutdown::channel();
    let mut running = tokio::spawn(app.run(drain, Controls { logs, config, shutdown: shutdown.clone() }));
    let mut stopping = false;
    let stop = |delay: Duration| {
        let (shutdown, in_force) = (shutdown.clone(), in_force.clone());
        tokio::spawn(async move {
            shutdown.linger(delay, QUIET).await;
            shutdown.drain(in_force.grace());
        });
    };
    loop {
        tokio::select! {
            ended = &mut running => return ended.map(drop).map_err(|error| Failure::ended_early(&error)),
            // With its terminal goes whoever could end it, and nobody asks for a reload.
            _ = hangups.recv() => if began_on_terminal && !is_on_terminal() {
                stopping = true;
                stop(Duration::ZERO);
            } else {
                asked.notify_one();
            },
            signal = signals.next() => {
                if stopping || shutdown.has_started() {
                    warn!(signal, "stopping at once");
                    return Ok(());
                }
                let delay = if signal == shutdown::SIGTERM { in_force.delay() } else { Duration::ZERO };
                info!(
                    signal,
                    delay_seconds = delay.as_secs(),
                    grace_seconds = in_force.grace().as_secs(),
                    "finishing what is under way; a second signal stops at once"
                );
                stopping = true;
                stop(delay);
            }
        }
    }
}

/// Whether one of the standard streams is a terminal that is there. One that was closed is none.
fn is_on_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// What to set in the environment of a program that talks to Batch.
fn instructions(app: &App) -> String {
    let (proxy, admin) = (app.proxy_address(), app.admin_address());
    if let Some(directory) = app.published() {
        return format!(
            "batch-retry-proxy {} listens on {proxy}. Metrics and status: http://{admin}/\n\
             In the shell of the program that talks to Azure Batch:\n  . {}",
            env!("CARGO_PKG_VERSION"),
            std::path::absolute(directory).unwrap_or_else(|_| directory.clone()).join(PROXY_ENV).display(),
        );
    }
    let bundle = "$PWD/bundle.pem";
    // By its full name: it need not be on the PATH of the other shell.
    let program = std::env::current_exe().map_or_else(|_| "batch-retry-proxy".to_owned(), |path| path.display().to_string());
    let fetch = format!("  {program} ca export --set admin.address={admin} --format bundle --out bundle.pem\n");
    format!(
        "batch-retry-proxy {} listens on {proxy}. Metrics and status: http://{admin}/\n\
         In the shell of the program that talks to Azure Batch:\n\
         {fetch}  export HTTPS_PROXY=http://{proxy} https_proxy=http://{proxy}\n  \
         export NO_PROXY=169.254.169.254,168.63.129.16,localhost,127.0.0.1\n  \
         export REQUESTS_CA_BUNDLE={bundle} SSL_CERT_FILE={bundle} CURL_CA_BUNDLE={bundle}   # Python, OpenSSL, Go, .NET, curl\n  \
         export NODE_EXTRA_CA_CERTS={bundle}   # Node",
        env!("CARGO_PKG_VERSION"),
    )
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Roots(_) => Self::Setting(error.into()),
            StartError::Authority(_) | StartError::Bind { .. } | StartError::Publish(_) | StartError::Tls(_) => {
                Self::Start(error.into())
            }
        }
    }
}

/// For how long no program is connected before `shutdown.delay` is over early. With two seconds for a silent tunnel and what ending takes, a pod
/// whose program has exited is rid of the proxy within five.
const QUIET: Duration = Duration::from_secs(2);
