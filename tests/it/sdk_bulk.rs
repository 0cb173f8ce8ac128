//! The bulk helpers of the Python clients against a service that answers 503, then 502, to everything, and then is well again.
//!
//! A helper sends a chunk that was answered 5xx again at once, as a new call, for as long as that goes on: without a proxy thousands of times
//! in seconds. Behind the proxy the service has to be left in peace, and the helper has to end well once the service is back. The
//! proxy runs with its default waits, so this takes longer than the outage; `BATCH_SDK_OUTAGE` is the outage in seconds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::sdk_client::{behind_run, script, variable};
use super::support::action::Action;
use super::support::batch::{self, HOST};
use super::support::origin::{Origin, Received};

/// A service with one job, out of order for a while after its first request.
struct Service {
    outage: Duration,
    /// The fields of its 503.
    fields: &'static [(&'static str, &'static str)],
    sends: Vec<Send>,
    /// How often each task was made.
    made: HashMap<String, usize>,
}

/// One request as it came in.
struct Send {
    at: Instant,
    id: String,
    status: u16,
}

// === impl Service ===

impl Service {
    fn new(outage: Duration, fields: &'static [(&'static str, &'static str)]) -> Self {
        Self { outage, fields, sends: Vec::new(), made: HashMap::new() }
    }

    fn answer(&mut self, request: &Received) -> Action {
        assert_eq!(request.target.split('?').next(), Some("/jobs/job/addtaskcollection"), "{}", request.method);
        let at = Instant::now();
        let since = at.duration_since(self.sends.first().map_or(at, |first| first.at));
        let status = match since {
            since if since < self.outage / 2 => 503,
            // Every outage has a 502, whichever waits fall into it.
            since if since < self.outage || self.answered(502) == 0 => 502,
            _ => 200,
        };
        let id = request.header("client-request-id").expect("the client names each request").to_owned();
        self.sends.push(Send { at, id, status });
        match status {
            200 => self.add(request),
            503 => batch::error(503, "ServerBusy", self.fields),
            other => batch::error(other, "BadGateway", &[]),
        }
    }

    fn add(&mut self, request: &Received) -> Action {
        let tasks: Value = serde_json::from_slice(&request.body).unwrap();
        let results: Vec<Value> = tasks["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| {
                *self.made.entry(task["id"].as_str().unwrap().to_owned()).or_default() += 1;
                json!({ "status": "success", "taskId": task["id"], "eTag": "0x8DE", "location": "https://x" })
            })
            .collect();
        batch::json(200, &json!({ "value": results }))
    }

    fn answered(&self, status: u16) -> usize {
        self.sends.iter().filter(|send| send.status == status).count()
    }

    /// The most sends in any [`WINDOW`].
    fn densest(&self) -> usize {
        let within = |first: &Send| self.sends.iter().filter(|it| it.at >= first.at && it.at - first.at <= WINDOW).count();
        self.sends.iter().map(within).max().unwrap_or_default()
    }

    fn calls(&self) -> usize {
        self.sends.iter().map(|send| &send.id).collect::<HashSet<_>>().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_15_create_tasks_leaves_the_service_in_peace() {
    leaves_the_service_in_peace(
        "azure-batch 15.1.0",
        &[&variable("BATCH_SDK_PYTHON"), &script("defaults_15.py"), "add tasks"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_15_aio_create_tasks_leaves_the_service_in_peace() {
    leaves_the_service_in_peace(
        "azure-batch 15.1.0 aio",
        &[&variable("BATCH_SDK_PYTHON"), &script("defaults_15.py"), "aio", "add tasks"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_14_add_collection_leaves_the_service_in_peace() {
    leaves_the_service_in_peace(
        "azure-batch 14.2.0",
        &[&variable("BATCH_SDK_PYTHON_14"), &script("defaults_14.py"), "add tasks"],
    )
    .await;
}

/// The account is closed for longer than the deadline, and the helper does not look at the wait that was named: the proxy answers its calls itself,
/// each after a backoff, and sends none until the time has passed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azure-batch from PyPI: make test-sdk"]
async fn python_azure_batch_14_add_collection_leaves_in_peace_what_names_a_long_wait() {
    let command = [&variable("BATCH_SDK_PYTHON_14"), &script("defaults_14.py"), "add tasks"];
    let settings = ["retry.deadline_for=[]", "retry.deadline=10s"];
    peace("azure-batch 14.2.0, Retry-After: 15", &command, &settings, &[("Retry-After", "15")]).await;
}

/// Under the default settings, where the proxy outlasts the outage, and under those where it gives up after the first or second try and the
/// helper is left to loop.
async fn leaves_the_service_in_peace(name: &str, command: &[&str]) {
    tokio::join!(
        peace(name, command, &[], &[]),
        peace(name, command, &["retry.max_attempts=2"], &[]),
        peace(name, command, &["retry.max_attempts=1"], &[]),
    );
}

async fn peace(name: &str, command: &[&str], settings: &[&str], fields: &'static [(&'static str, &'static str)]) {
    let outage =
        std::env::var("BATCH_SDK_OUTAGE").map_or(12, |seconds| seconds.parse().expect("BATCH_SDK_OUTAGE is in seconds"));
    let outage = Duration::from_secs(outage);
    let name = format!("{name} {settings:?}");
    let origin = Origin::start(&[HOST]).await;
    let service = Arc::new(Mutex::new(Service::new(outage, fields)));
    origin.script({
        let service = Arc::clone(&service);
        move |request| service.lock().unwrap().answer(request)
    });
    let output = behind_run(&origin, settings, command, outage + PATIENCE).await;
    origin.finish().await;

    let service = service.lock().unwrap();
    let (sends, calls, densest) = (service.sends.len(), service.calls(), service.densest());
    let took = service.sends.last().map(|last| last.at - service.sends[0].at).unwrap_or_default();
    println!(
        "{name}: {sends} sends of {calls} calls in {:.1}s, at most {densest} in {WINDOW:?}; {} answered 503, {} answered 502, outage {outage:?}",
        took.as_secs_f64(),
        service.answered(503),
        service.answered(502),
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{name}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(densest < 40, "{name}: {densest} sends in {WINDOW:?}");
    assert_eq!(service.made.len(), TASKS, "{name}: tasks are missing");
    assert!(service.made.values().all(|made| *made == 1), "{name}: {:?}", service.made);
}

/// Tasks that the scripts add.
const TASKS: usize = 300;

/// In which sends are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Past the outage: the longest waits that may be under way at its end, three chunks, and a slow start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
