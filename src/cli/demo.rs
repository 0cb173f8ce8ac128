//! `demo`: the same work twice against a simulated account that throttles and fails, first straight and then through the proxy.

mod report;
mod workload;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tempfile::NamedTempFile;
use tokio::runtime::Builder;

use self::report::{Report, Run};
use self::workload::{Hop, Way};
use super::args::DemoArgs;
use super::{Failure, print};
use crate::app::{App, Configuration, Controls};
use crate::config::{Settings, Sources};
use crate::shutdown;
use crate::simulator::{Bound, Scenario, Simulator, SimulatorSettings};
use crate::telemetry;

/// Runs both and tells what happened.
///
/// # Errors
/// Through the proxy something failed, is missing or is there twice; or it could not be tried.
pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let scenario = Scenario::load(&args.scenario)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(demo(args, scenario));
    runtime.shutdown_background();
    let report = report?;
    let text = if args.json { format!("{}\n", report.to_json()) } else { report.to_string() };
    print(text.as_bytes())?;
    report.verdict().map_err(|wrong| Failure::Internal(wrong.into()))
}

async fn demo(args: &DemoArgs, scenario: Scenario) -> Result<Report, Failure> {
    let bar = progress(2 * workload::calls(args.tasks), args.json);
    let name = scenario.name.clone();
    bar.set_message("straight");
    let straight = straight(args, scenario.clone(), &bar).await?;
    // What was cut off early left some of its calls unmade.
    bar.set_position(workload::calls(args.tasks));
    bar.set_message("through the proxy");
    let (proxied, metrics) = proxied(args, scenario, &bar).await?;
    bar.finish_and_clear();
    Ok(Report { scenario: name, seed: args.seed, tasks: args.tasks, straight, proxied, metrics })
}

async fn straight(args: &DemoArgs, scenario: Scenario, bar: &ProgressBar) -> Result<Run, Failure> {
    let account = account(args, scenario).await?;
    let way = Way {
        address: account.address(),
        hop: Hop::Account,
        host: account.host().to_owned(),
        tls: trusting(account.ca_pem())?,
    };
    work(args, account, way, bar).await
}

async fn proxied(args: &DemoArgs, scenario: Scenario, bar: &ProgressBar) -> Result<(Run, String), Failure> {
    let scenario_settings = scenario.settings.clone();
    let account = account(args, scenario).await?;
    let authority = NamedTempFile::new()?;
    std::fs::write(authority.path(), account.ca_pem())?;
    let (host, address, file) = (account.host().to_owned(), account.address(), authority.path().display());
    // Waits shorter than the defaults, so that the demonstration is: the account's faults are shorter too. The account has no other client,
    // so that what exists after a lost answer is this one's.
    let mut set: Vec<String> = [
        "listen.address=127.0.0.1:0",
        "admin.address=127.0.0.1:0",
        "log.level=off",
        "retry.backoff.initial=200ms",
        "retry.backoff.max=1s",
        "retry.echo.creates=trust",
    ]
    .map(str::to_owned)
    .into();
    set.push(format!("upstream.ca_files=['{file}']"));
    set.push(format!("upstream.resolve={{ \"{host}:443\" = \"{address}\" }}"));
    set.extend(scenario_settings);
    let settings = Settings::load(&Sources { set, ..Sources::default() })?;
    let logs = telemetry::init(settings.log);
    let app = App::bind(settings).await?;
    let metrics = app.metrics().clone();
    let way = Way { address: app.proxy_address(), hop: Hop::Proxy, host, tls: trusting(app.root_pem())? };
    let url = format!("http://{}/metrics", app.admin_address());
    bar.println(format!("The proxy's metrics while this runs: {url}"));
    let (shutdown, drain) = shutdown::channel();
    let controls = Controls { logs, config: Configuration::Fixed("{}".to_owned()), shutdown: shutdown.clone() };
    let serving = tokio::spawn(app.run(drain, controls));
    let mut run = work(args, account, way, bar).await?;
    shutdown.drain(GRACE);
    serving.await.map_err(|error| Failure::ended_early(&error))?;
    run.proxy = Some((metrics.summary(), metrics.totals()));
    Ok((run, url))
}

async fn account(args: &DemoArgs, scenario: Scenario) -> Result<Bound, Failure> {
    Ok(Simulator::bind(SimulatorSettings { scenario, seed: args.seed, ..SimulatorSettings::demo() }).await?)
}

/// Does the work, and asks the account what it did.
async fn work(args: &DemoArgs, account: Bound, way: Way, bar: &ProgressBar) -> Result<Run, Failure> {
    let observer = account.observer();
    let (shutdown, drain) = shutdown::channel();
    let serving = tokio::spawn(account.serve(drain));
    let (begun, ticking) = (Instant::now(), bar.clone());
    let seen = workload::run(way, args.tasks, Arc::new(move || ticking.inc(1))).await;
    let seconds = begun.elapsed().as_secs_f64();
    shutdown.drain(Duration::ZERO);
    serving.await.map_err(|error| Failure::ended_early(&error))?;
    Ok(Run { seen, ledger: observer.ledger(), seconds, proxy: None })
}

fn trusting(pem: &str) -> Result<Arc<ClientConfig>, Failure> {
    let internal = |error: &dyn std::error::Error| Failure::Internal(error.to_string().into());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|error| internal(&error))?).map_err(|error| internal(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| internal(&error))?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// On a terminal, and not where a machine reads.
fn progress(calls: u64, json: bool) -> ProgressBar {
    let shown = io::stderr().is_terminal() && !json;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(calls), target);
    let style = ProgressStyle::with_template("{msg:18} [{bar:40}] {pos}/{len} calls, {elapsed}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// For the proxy's last connections.
const GRACE: Duration = Duration::from_secs(1);
