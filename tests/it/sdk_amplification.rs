//! How often one call of a real client reaches a service that always fails, when the client's own tries come on top of the proxy's.
//!
//! The clients retry as they do out of the box, the proxy makes five attempts. With its memory of what it gave up on the client's tries add to
//! them, without it they multiply; both are measured, so that the test shows that it can tell. `docs/clients.md` has the table, and each
//! test compares its rows.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::sdk_client::{behind_run, script, variable};
use super::support::action::{Action, reset};
use super::support::batch::{self, HOST};
use super::support::origin::{Origin, Received};

/// A client, and how often it tries each of [`CALLS`] under each of [`FAULTS`] by itself.
struct Client {
    name: &'static str,
    command: Vec<String>,
    tries: [[usize; 3]; 2],
}

/// It tries a POST that was answered 502 (what the proxy makes of a reset) only once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_15_adds_its_tries() {
    let command = vec![variable("BATCH_SDK_PYTHON"), script("defaults_15.py")];
    adds_its_tries(Client { name: "azure-batch 15.1.0", command, tries: [[4, 4, 4], [4, 1, 4]] }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_15_aio_adds_its_tries() {
    let command = vec![variable("BATCH_SDK_PYTHON"), script("defaults_15.py"), "aio".to_owned()];
    adds_its_tries(Client { name: "azure-batch 15.1.0 aio", command, tries: [[4, 4, 4], [4, 1, 4]] }).await;
}

/// It never tries a POST again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_14_adds_its_tries() {
    let command = vec![variable("BATCH_SDK_PYTHON_14"), script("defaults_14.py")];
    adds_its_tries(Client { name: "azure-batch 14.2.0", command, tries: [[5, 1, 5], [5, 1, 5]] }).await;
}

/// It waits two minutes in all between its tries; `fast_timers.js` makes that one second.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs @azure/batch from npm: make test-sdk"]
async fn node_azure_batch_10_adds_its_tries() {
    // Where NODE_PATH leads: the script finds the package there.
    variable("NODE_PATH");
    let command = vec!["node".to_owned(), "--require".to_owned(), script("fast_timers.js"), script("defaults_js.js")];
    adds_its_tries(Client { name: "@azure/batch 10.2.0", command, tries: [[3, 3, 3], [3, 3, 3]] }).await;
}

async fn adds_its_tries(client: Client) {
    let mut runs = JoinSet::new();
    for (fault, name) in FAULTS.into_iter().enumerate() {
        for memory in ["5m", "0s"] {
            let command = client.command.clone();
            runs.spawn(async move { (fault, memory, sends(&command, name, memory).await) });
        }
    }
    let counts = runs.join_all().await;
    let of = |fault, memory, call: usize| {
        counts.iter().find(|run| (run.0, run.1) == (fault, memory)).expect("every pair was run").2[call]
    };

    let (mut rows, mut most, mut most_without) = (Vec::new(), 0, 0);
    for (fault, fault_name) in FAULTS.iter().enumerate() {
        for (call, (call_name, ..)) in CALLS.iter().enumerate() {
            let (with, without, tries) = (of(fault, "5m", call), of(fault, "0s", call), client.tries[fault][call]);
            let row = format!("| {} | {call_name} | {fault_name} | {tries} | {with} | {without} |", client.name);
            println!("{row}");
            // The bound, and then that each of the client's tries is there and sent once.
            assert!(with <= ATTEMPTS + 4, "{row}");
            assert_eq!((with, without), (ATTEMPTS + tries - 1, ATTEMPTS * tries), "{row}");
            rows.push(row);
            most = most.max(with);
            most_without = most_without.max(without);
        }
    }
    println!("{}: at most {most} sends for one call at {ATTEMPTS} attempts; without the memory {most_without}", client.name);
    assert!(most_without > ATTEMPTS + 4, "nothing is multiplied without the memory: the test proves nothing");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/clients.md")).unwrap();
    for row in rows {
        assert!(page.lines().any(|line| line == row), "docs/clients.md has no row {row}");
    }
}

/// Makes each of [`CALLS`] and counts the sends.
async fn sends(command: &[String], fault: &'static str, memory: &str) -> Vec<usize> {
    let origin = Origin::start(&[HOST]).await;
    origin.script(move |_| action(fault));
    let settings = [
        &format!("retry.max_attempts={ATTEMPTS}"),
        &format!("retry.repeat_memory=\"{memory}\""),
        "retry.backoff.initial=\"20ms\"",
        "retry.backoff.max=\"50ms\"",
    ];
    let calls = CALLS.map(|(name, ..)| name);
    let command: Vec<&str> = command.iter().map(String::as_str).chain(calls).collect();
    let output = behind_run(&origin, &settings, &command, PATIENCE).await;
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), CALLS.len(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(lines.iter().all(|line| line["error"].is_string()), "a call cannot have succeeded: {printed}");

    let requests = origin.requests();
    origin.finish().await;
    let of = |method: &str, path: &str| -> Vec<&Received> {
        requests.iter().filter(|it| it.method == method && it.target.split('?').next() == Some(path)).collect()
    };
    let counts = CALLS.iter().map(|(name, method, path)| {
        let sent = of(method, path);
        // One call, whose tries the client makes byte for byte: the proxy knows them by that.
        assert!(sent.windows(2).all(|two| two[0].bytes() == two[1].bytes()), "{name} is not one request");
        sent.len()
    });
    let counts: Vec<usize> = counts.collect();
    assert_eq!(counts.iter().sum::<usize>(), requests.len(), "a request belongs to no call");
    counts
}

fn action(fault: &str) -> Action {
    match fault {
        // Not ServerBusy: of an account that says so and never accepts, the gate would let one request pass in ten seconds.
        "503" => batch::error(503, "ServiceUnavailable", &[]),
        _ => reset(),
    }
}

/// What every request meets.
const FAULTS: [&str; 2] = ["503", "reset"];

/// What the scripts call it, and the request it makes.
const CALLS: [(&str, &str, &str); 3] =
    [("get job", "GET", "/jobs/job"), ("create job", "POST", "/jobs"), ("delete job", "DELETE", "/jobs/job")];

/// `retry.max_attempts`.
const ATTEMPTS: usize = 5;

/// Half a minute of the most patient client's own waits, and slow starts on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
