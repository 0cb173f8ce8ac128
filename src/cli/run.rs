//! `run`: one command behind a proxy of its own, which ends with it.
//!
//! The proxy's ports, authority and trust files belong to this run alone, whatever the settings say of them; all other settings apply.
//! What the command's environment becomes is in `environment`, the command's process in `child`.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Builder;
use tracing::Level;

use super::Failure;
use super::args::RunArgs;
use crate::app::{App, Configuration, Controls};
use crate::config::{Effective, Settings};
use crate::metrics::Totals;
use crate::shutdown;
use crate::telemetry::{self, LogHandle};
use crate::tls::trust::{BUNDLE_PEM, CA_PEM, ClientFiles, TRUSTSTORE_P12};

pub(super) mod bypass;
pub(super) mod certificates;
pub(super) mod child;
pub(super) mod environment;

use child::Signals;
use environment::NODE;

/// Runs the command and gives its exit code.
pub(super) fn run(mut settings: Settings, effective: &Effective, args: &RunArgs) -> Result<ExitCode, Failure> {
    if effective.is_default("log.level") {
        // The terminal is the command's.
        settings.log.level = Some(Level::WARN);
    }
    let logs = telemetry::init(settings.log);
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(session(settings, effective.to_json(), logs, args));
    // What the drain did not wait for is cut off, not waited for here.
    runtime.shutdown_background();
    ended.map(ExitCode::from)
}

async fn session(mut settings: Settings, config: String, logs: LogHandle, args: &RunArgs) -> Result<u8, Failure> {
    // Before anything else, so that no signal ends this process and leaves files behind.
    let mut signals = Signals::listen()?;
    let folder = temporary_folder()?;
    make_private(&mut settings, folder.path());
    for warning in take_over_certificates(&mut settings, folder.path())? {
        say(&format!("warning: {warning}"));
    }
    let hosts = settings.route.intercept.clone();
    let grace = settings.shutdown_grace.min(LONGEST_DRAIN);

    let app = App::bind(settings).await?;
    telemetry::install_panic_hook(app.metrics().clone());
    let [bundle, node, truststore] = [BUNDLE_PEM, NODE_PEM, TRUSTSTORE_P12].map(|name| folder.path().join(name));
    write_node_file(folder.path(), &node)?;
    let files = ClientFiles { proxy: app.proxy_address(), bundle: &bundle, node: &node, truststore: &truststore };
    let environment = environment::environment(|name| std::env::var_os(name), &files, &hosts);
    environment.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));

    let metrics = app.metrics().clone();
    let (shutdown, drain) = shutdown::channel();
    let running =
        tokio::spawn(app.run(drain, Controls { logs, config: Configuration::Fixed(config), shutdown: shutdown.clone() }));
    let mut child = child::spawn(&args.command, &environment.variables)?;
    let status = child::wait(&mut child, &mut signals).await?;

    shutdown.drain(grace);
    let drained = running.await;
    say(&closing_line(metrics.totals()));
    drained.map_err(|error| Failure::ended_early(&error))?;
    folder.close()?;
    Ok(child::exit_code(status))
}

/// A folder of our own that goes away with the value.
pub(super) fn temporary_folder() -> Result<TempDir, Failure> {
    TempDir::with_prefix("batch-retry-proxy-").map_err(|error| {
        let parent = std::env::temp_dir();
        let text = format!("no place for temporary files: {error}; make {} or set TMPDIR to a folder", parent.display());
        Failure::Start(text.into())
    })
}

/// Ports, authority and files of this run alone.
pub(super) fn make_private(settings: &mut Settings, folder: &Path) {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.listen.address = any_port;
    settings.listen.allow = Vec::new();
    settings.listen.credentials = None;
    settings.admin.address = any_port;
    settings.ca.directory = None;
    settings.ca.publish = Some(folder.to_owned());
}

/// Makes what the user's own variables trust trusted by the proxy, and so by the files it publishes. Gives a warning for each file that
/// cannot be read.
pub(super) fn take_over_certificates(settings: &mut Settings, folder: &Path) -> io::Result<Vec<String>> {
    let named = environment::certificate_files(|name| std::env::var_os(name));
    let (mut text, mut warnings) = (String::new(), Vec::new());
    for (name, path) in &named {
        match certificates::read(path) {
            Ok(certificates) => text.push_str(&certificates),
            Err(error) => warnings.push(format!("{name} names {}, which is left out: {error}", path.display())),
        }
    }
    if named.iter().any(|(name, _)| *name == "SSL_CERT_FILE") {
        let system = certificates::SYSTEM_FILES.iter().find_map(|path| certificates::read(Path::new(path)).ok());
        text.push_str(&system.unwrap_or_default());
    }
    if !text.is_empty() {
        let file = folder.join("parent.pem");
        fs::write(&file, text)?;
        settings.upstream.ca_files.push(file);
    }
    Ok(warnings)
}

/// The authority's root and what the user already adds to Node's roots.
pub(super) fn write_node_file(folder: &Path, node: &Path) -> io::Result<()> {
    let mut text = fs::read_to_string(folder.join(CA_PEM))?;
    if let Some(own) = std::env::var_os(NODE).filter(|path| !path.is_empty()) {
        // A file that cannot be read was warned of with the others.
        text.push_str(&certificates::read(Path::new(&own)).unwrap_or_default());
    }
    fs::write(node, text)
}

fn closing_line(totals: Totals) -> String {
    let count = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    format!(
        "{}, {}, {}, {:.1}s spent waiting",
        count(totals.requests, "request", "requests"),
        count(totals.replays, "replay", "replays"),
        count(totals.given_up, "give-up", "give-ups"),
        totals.waited.as_secs_f64(),
    )
}

/// Tells the user. Nothing is left to do where even that fails.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "batch-retry-proxy: {line}");
}

/// Node's file besides those that are published.
pub(super) const NODE_PEM: &str = "node.pem";

/// The command has its answers when it ends; this is for connections that others left behind.
const LONGEST_DRAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_counts_in_words() {
        let totals = |requests, replays, given_up, tenths: u64| Totals {
            requests,
            replays,
            given_up,
            waited: Duration::from_millis(tenths * 100),
        };
        for (totals, want) in [
            (totals(0, 0, 0, 0), "0 requests, 0 replays, 0 give-ups, 0.0s spent waiting"),
            (totals(1, 1, 1, 23), "1 request, 1 replay, 1 give-up, 2.3s spent waiting"),
        ] {
            assert_eq!(closing_line(totals), want);
        }
    }
}
