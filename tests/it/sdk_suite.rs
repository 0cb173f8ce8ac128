//! A day's work of four real clients, their retries off, behind `run`, against a simulated account that throttles or loses connections.
//!
//! The program is the one a user starts; the account is in this process, so that its ledger can be asked what really happened. `make
//! test-sdk` installs the clients.

use std::process::Stdio;
use std::time::Duration;

use batch_retry_proxy::shutdown;
use batch_retry_proxy::simulator::{Scenario, Simulator, SimulatorSettings};
use tempfile::NamedTempFile;
use tokio::process::Command;

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

/// Scenarios, and the throttle of the one of that name for clients that make some forty requests in all.
const SCENARIOS: [&str; 3] = [
    "name = 'throttle'\ndescription = 'closer storms'\n[[fault]]\nkind = 'throttle'\non = ['all']\nevery = 12\nfor = '1s'",
    include_str!("../../config/scenarios/resets.toml"),
    include_str!("../../config/scenarios/lost-writes.toml"),
];

/// Runs the workload under three scenarios. Everything is made once, nothing before its time, no signature breaks.
async fn survives(command: &[&str]) {
    for text in SCENARIOS {
        let scenario = Scenario::parse("test", text).unwrap();
        let settings = SimulatorSettings { scenario, seed: 1, ..SimulatorSettings::demo() };
        let (account, key) = (settings.account.clone(), settings.key.clone());
        let bound = Simulator::bind(settings).await.unwrap();
        let (observer, address, host) = (bound.observer(), bound.address(), bound.host().to_owned());
        let authority = NamedTempFile::new().unwrap();
        std::fs::write(authority.path(), bound.ca_pem()).unwrap();
        let (stop, drain) = shutdown::channel();
        let serving = tokio::spawn(bound.serve(drain));

        let mut program = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        program
            .args(["run", "--set", &format!("upstream.resolve={{\"{host}:443\" = \"{address}\"}}")])
            .args(["--set", &format!("upstream.ca_files=['{}']", authority.path().display())])
            // The account's faults last a second; the defaults are made for longer ones.
            .args(["--set", "retry.backoff.initial=200ms", "--set", "retry.backoff.max=2s"])
            // Answers of creates are lost, some clients sign, and nobody else uses the account.
            .args(["--set", "retry.echo.creates='trust'", "--"])
            .args(command)
            .env("BATCH_ACCOUNT", account)
            .env("BATCH_KEY", key)
            .env("BATCH_ENDPOINT", format!("https://{host}"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = guard_for(Duration::from_secs(120), "the workload", program.output()).await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}: {stderr}");
        assert!(stderr.contains(" 0 give-ups, "), "{text}: {stderr}");

        stop.drain(Duration::ZERO);
        guard_for(Duration::from_secs(20), "the account's end", serving).await.unwrap();
        let ledger = observer.ledger();
        assert_eq!((ledger.tasks_made(), ledger.tasks_doubled()), (TASKS, 0), "{text}: {ledger:?}");
        assert_eq!((ledger.early, ledger.unauthenticated), (0, 0), "{text}: {ledger:?}");
        assert!(ledger.executed_twice.is_empty(), "{text}: {ledger:?}");
        assert!(ledger.faults_dealt() > 0, "{text} dealt no fault");
    }
}
