//! A day's work of four real clients, their retries off, behind `run`, against a simulated account that throttles or loses connections; and
//! straight against one in good health.
//!
//! The program is the one a user starts; the account is in this process, so that its ledger can be asked what really happened. `make
//! test-sdk` installs the clients.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use batch_retry_proxy::shutdown::{self, Shutdown};
use batch_retry_proxy::simulator::{Ledger, Observer, Scenario, Simulator, SimulatorSettings};
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::sdk_client::{script, variable};
use super::support::guard_for;

/// Tasks that each workload makes.
const TASKS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_15_does_its_work() {
    survives(&[&variable("BATCH_SDK_PYTHON"), &script("workload_15.py")]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_15_aio_does_its_work() {
    survives(&[&variable("BATCH_SDK_PYTHON"), &script("workload_15.py"), "aio"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_14_does_its_work() {
    survives(&[&variable("BATCH_SDK_PYTHON_14"), &script("workload_14.py")]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs @azure/batch from npm: make test-sdk"]
async fn node_azure_batch_10_does_its_work() {
    // Where NODE_PATH leads: the script finds the package there.
    variable("NODE_PATH");
    survives(&["node", &script("workload_js.js")]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_15_uses_the_account_without_the_proxy() {
    rehearses(&[&variable("BATCH_SDK_PYTHON"), &script("workload_15.py")]).await;
    rehearses(&[&variable("BATCH_SDK_PYTHON"), &script("workload_15.py"), "aio"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs @azure/batch from npm: make test-sdk"]
async fn node_azure_batch_10_uses_the_account_without_the_proxy() {
    variable("NODE_PATH");
    rehearses(&["node", &script("workload_js.js")]).await;
}

/// An account in this process.
struct Account {
    name: String,
    key: String,
    host: String,
    address: SocketAddr,
    authority: NamedTempFile,
    observer: Observer,
    stop: Shutdown,
    serving: JoinHandle<()>,
}

impl Account {
    async fn start(scenario: Scenario) -> Self {
        let settings = SimulatorSettings { scenario, seed: 1, ..SimulatorSettings::demo() };
        let (name, key) = (settings.account.clone(), settings.key.clone());
        let bound = Simulator::bind(settings).await.unwrap();
        let (observer, address, host) = (bound.observer(), bound.address(), bound.host().to_owned());
        let authority = NamedTempFile::new().unwrap();
        std::fs::write(authority.path(), bound.ca_pem()).unwrap();
        let (stop, drain) = shutdown::channel();
        Self { name, key, host, address, authority, observer, stop, serving: tokio::spawn(bound.serve(drain)) }
    }

    /// Lets a workload run to its end against `endpoint`, and gives what it said.
    async fn work(&self, mut program: Command, endpoint: &str) -> String {
        program
            .env("BATCH_ACCOUNT", &self.name)
            .env("BATCH_KEY", &self.key)
            .env("BATCH_ENDPOINT", endpoint)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = guard_for(Duration::from_secs(120), "the workload", program.output()).await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    }

    /// Ends it. Everything was made once, nothing came before its time, and no signature was broken.
    async fn finish(self) -> Ledger {
        self.stop.drain(Duration::ZERO);
        guard_for(Duration::from_secs(20), "the account's end", self.serving).await.unwrap();
        let ledger = self.observer.ledger();
        assert_eq!((ledger.tasks_made(), ledger.tasks_doubled()), (TASKS, 0), "{ledger:?}");
        assert_eq!((ledger.early, ledger.unauthenticated), (0, 0), "{ledger:?}");
        assert!(ledger.executed_twice.is_empty(), "{ledger:?}");
        ledger
    }
}

/// Runs the workload straight against an account in good health, under the name that every machine has.
async fn rehearses(command: &[&str]) {
    let account = Account::start(Scenario::calm()).await;
    let mut program = Command::new(command[0]);
    program.args(&command[1..]);
    for name in ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        program.env(name, account.authority.path());
    }
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        program.env_remove(name);
    }
    account.work(program, &format!("https://localhost:{}", account.address.port())).await;
    account.finish().await;
}

/// Scenarios, and the throttle of the one of that name for clients that make some forty requests in all.
const SCENARIOS: [&str; 3] = [
    "name = 'throttle'\ndescription = 'closer storms'\n[[fault]]\nkind = 'throttle'\non = ['all']\nevery = 12\nfor = '1s'",
    include_str!("../../config/scenarios/resets.toml"),
    include_str!("../../config/scenarios/lost-writes.toml"),
];

/// Runs the workload behind the proxy under three scenarios.
async fn survives(command: &[&str]) {
    for text in SCENARIOS {
        let account = Account::start(Scenario::parse("test", text).unwrap()).await;
        let mut program = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        program
            .args(["run", "--set", &format!("upstream.resolve={{\"{}:443\" = \"{}\"}}", account.host, account.address)])
            .args(["--set", &format!("upstream.ca_files=['{}']", account.authority.path().display())])
            // The account's faults last a second; the defaults are made for longer ones.
            .args(["--set", "retry.backoff.initial=200ms", "--set", "retry.backoff.max=2s"])
            // Answers of creates are lost, some clients sign, and nobody else uses the account.
            .args(["--set", "retry.echo.creates='trust'", "--"])
            .args(command);
        let stderr = account.work(program, &format!("https://{}", account.host)).await;
        assert!(stderr.contains(" 0 give-ups, "), "{text}: {stderr}");
        let ledger = account.finish().await;
        assert!(ledger.faults_dealt() > 0, "{text} dealt no fault");
    }
}
