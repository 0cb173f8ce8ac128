//! The real Python client through the real proxy: every call succeeds although its first send fails, and is sent on unchanged.
//!
//! The client is told not to retry, so a call that succeeds was replayed by the proxy. Needs a Python that has azure-batch; `make
//! test-sdk` makes one.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::action::{Action, reset};
use crate::support::guard_for;
use crate::support::origin::{Origin, Received};
use crate::support::proxy::TestProxy;
use crate::support::{batch, metric};

/// Without a fault each request is sent once, with the signature the client gave it.
#[tokio::test]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn every_call_succeeds_and_is_sent_once() {
    let sends = run(None).await;
    for (id, sent) in &sends {
        assert_eq!(sent.len(), 1, "{id}: {} {}", sent[0].method, sent[0].target);
    }
}

/// Busy without a hint.
#[tokio::test]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn every_call_survives_503() {
    replayed_once(batch::error(503, "ServerBusy", &[])).await;
}

/// Throttled with a hint, which also closes the account's gate.
#[tokio::test]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn every_call_survives_429_with_retry_after() {
    replayed_once(batch::error(429, "TooManyRequests", &[("Retry-After", "1")])).await;
}

/// A reset before the answer, which may have come after the call was carried out.
#[tokio::test]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn every_call_survives_a_reset() {
    replayed_once(reset()).await;
}

/// A signature checker that accepts everything would prove nothing.
#[tokio::test]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn a_changed_request_has_a_wrong_signature() {
    let sends = run(None).await;
    let sent: Vec<&Received> = sends.values().flatten().collect();
    let file = sent.iter().find(|request| request.target.contains("%2F")).expect("the file has an encoded slash");
    for (from, to) in [("%2F", "%2f"), ("GET", "HEAD"), ("ocp-date: ", "ocp-date: x"), ("api-version=", "api-version=x")] {
        let changed = String::from_utf8(file.bytes()).unwrap().replacen(from, to, 1);
        assert_ne!(changed.as_bytes(), file.bytes());
        assert!(check_signatures(&[changed.into_bytes()]).await.is_err(), "{from} to {to}");
    }
}

async fn replayed_once(fault: Action) {
    for (id, sent) in run(Some(fault)).await {
        let name = format!("{id}: {} {}", sent[0].method, sent[0].target);
        assert_eq!(sent.len(), 2, "{name}");
        assert_eq!(String::from_utf8_lossy(&sent[0].raw_head), String::from_utf8_lossy(&sent[1].raw_head), "{name}");
        assert_eq!(sent[0].raw_body, sent[1].raw_body, "{name}");
    }
}

/// Runs the workload with `fault` on the first send of each request, and gives the sends by request id.
async fn run(fault: Option<Action>) -> HashMap<String, Vec<Received>> {
    let origin = Origin::start(&[batch::HOST]).await;
    let is_faulty = fault.is_some();
    let mut seen = HashSet::new();
    origin.script(move |request| match &fault {
        Some(fault) if seen.insert(id_of(request)) => fault.clone(),
        _ => answer(request),
    });
    let proxy = TestProxy::builder().upstream(&origin).start().await;

    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, proxy.ca_pem()).unwrap();
    let url = format!("http://{}", proxy.address());
    let mut command = python("azure_batch_15.py");
    command.env("REQUESTS_CA_BUNDLE", ca_file).env("HTTPS_PROXY", &url).env("https_proxy", &url);
    let output = output(command).await.unwrap();
    let results: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), CALLS, "{output}");
    assert!(results.iter().all(|result| result["ok"] == json!(true)), "{output}");

    let requests = origin.requests();
    let raw: Vec<Vec<u8>> = requests.iter().map(Received::bytes).collect();
    assert_eq!(check_signatures(&raw).await.unwrap().trim(), raw.len().to_string());
    let mut sends: HashMap<String, Vec<Received>> = HashMap::new();
    for request in requests {
        sends.entry(id_of(&request)).or_default().push(request);
    }
    assert_eq!(sends.len(), REQUESTS);
    let name = "batch_retry_proxy_requests_total";
    let metrics = proxy.metrics().await;
    // The last poll finds the job gone, which is an answer like any other.
    metric::assert_metric(&metrics, name, &[("fate", "permanent")], 1.0);
    let fate = if is_faulty { "replayed" } else { "first_try" };
    metric::assert_metric(&metrics, name, &[("fate", fate)], (REQUESTS - 1) as f64);
    proxy.finish().await;
    origin.finish().await;
    sends
}

/// What the service says to a request of the workload.
fn answer(request: &Received) -> Action {
    let path = request.target.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/pools") if request.target.contains("skiptoken") => batch::json(200, &pools(&["pool3"], None)),
        ("GET", "/pools") => {
            batch::json(200, &pools(&["pool1", "pool2"], Some("/pools?api-version=2025-06-01&%24skiptoken=WATV2:3")))
        }
        ("GET", "/jobs/job1") => batch::json(200, &json!({ "id": "job1", "state": "active" })),
        ("POST", "/jobs") => batch::empty(201),
        ("POST", "/jobs/jobA/addtaskcollection") => batch::json(200, &added(request)),
        ("GET", "/jobs/job1/tasks/task1/files/wd%2Fstdout.txt") => {
            let content: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
            batch::file(&content)
        }
        ("DELETE", "/jobs/jobA") => batch::empty(202),
        ("GET", "/jobs/jobA") => batch::error(404, "JobNotFound", &[]),
        _ => panic!("the workload has no {} {}", request.method, request.target),
    }
}

fn pools(ids: &[&str], next: Option<&str>) -> Value {
    let value: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "state": "active" })).collect();
    let mut page = json!({ "odata.metadata": format!("https://{}/$metadata#pools", batch::HOST), "value": value });
    if let Some(next) = next {
        page["odata.nextLink"] = json!(format!("https://{}{next}", batch::HOST));
    }
    page
}

fn added(request: &Received) -> Value {
    let tasks: Value = serde_json::from_slice(&request.body).unwrap();
    let results: Vec<Value> = tasks["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| json!({ "status": "success", "taskId": task["id"], "eTag": "0x8DE", "location": "https://x" }))
        .collect();
    json!({ "value": results })
}

fn id_of(request: &Received) -> String {
    request.header("client-request-id").expect("the client names each request").to_owned()
}

async fn check_signatures(requests: &[Vec<u8>]) -> Result<String, String> {
    let folder = TempDir::new().unwrap();
    let mut command = python("check_signatures.py");
    for (number, request) in requests.iter().enumerate() {
        let file = folder.path().join(format!("{number}.http"));
        std::fs::write(&file, request).unwrap();
        command.arg(file);
    }
    output(command).await
}

/// A script of `tests/sdk`, on the loopback network and with no settings of the machine it runs on.
fn python(script: &str) -> Command {
    let python = std::env::var_os("BATCH_SDK_PYTHON")
        .expect("BATCH_SDK_PYTHON names no Python with azure-batch; run this through make test-sdk");
    let mut command = Command::new(python);
    command.arg("-B").arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script));
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "CURL_CA_BUNDLE"] {
        command.env_remove(name);
    }
    command.kill_on_drop(true);
    command
}

/// What a command printed; what it complained about if it failed.
async fn output(mut command: Command) -> Result<String, String> {
    let output = guard_for(PATIENCE, "the end of the Python client", command.output()).await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        return Ok(printed);
    }
    Err(format!("{}\n{printed}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Calls of the workload.
const CALLS: usize = 6;

/// Requests these make: the list has two pages, and the deletion is polled once.
const REQUESTS: usize = 8;

/// A second for each replay after a hint, and the time an interpreter takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
