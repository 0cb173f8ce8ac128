//! What becomes of each kind of operation under each kind of failure that happens once: every cell of the promise in the README.

use std::time::{Duration, Instant};

use super::support::action::{Action, cut, partial, reset, respond, stall, wait};
use super::support::batch::{HOST, empty, error};
use super::support::client::{Response, request};
use super::support::gate::Gate;
use super::support::guard;
use super::support::metric::{assert_metric, sum};
use super::support::origin::{ConnectionFault, Origin, Received};
use super::support::proxy::{Builder, TestProxy, finish, start};

/// An operation of each kind that the rules tell apart.
#[derive(Clone, Copy, Debug)]
struct Operation {
    name: &'static str,
    method: &'static str,
    target: &'static str,
    body: &'static str,
}

/// What the client gets, and how many sends that took.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Success with the second send.
    Recovered,
    /// The origin's own refusal, after one send.
    Passed(u16),
    /// The proxy's 502 with this error type, after one send.
    Own(&'static str),
}

use Outcome::{Own, Passed, Recovered};

const OPERATIONS: [Operation; 6] = [
    Operation { name: "Jobs_GetJob", method: "GET", target: "/jobs/j?api-version=2025-06-01", body: "" },
    Operation {
        name: "Jobs_ReplaceJob",
        method: "PUT",
        target: "/jobs/j?api-version=2025-06-01",
        body: r#"{"priority":1}"#,
    },
    Operation { name: "Jobs_DeleteJob", method: "DELETE", target: "/jobs/j?api-version=2025-06-01", body: "" },
    Operation { name: "Jobs_CreateJob", method: "POST", target: "/jobs?api-version=2025-06-01", body: r#"{"id":"j"}"# },
    Operation {
        name: "Tasks_CreateTaskCollection",
        method: "POST",
        target: "/jobs/j/addtaskcollection?api-version=2025-06-01",
        body: r#"{"value":[{"id":"t"}]}"#,
    },
    Operation {
        name: "Nodes_RebootNode",
        method: "POST",
        target: "/pools/p/nodes/n/reboot?api-version=2025-06-01",
        body: "{}",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_tried_again_for_every_operation() {
    for operation in OPERATIONS {
        let later = Origin::later(&[HOST]);
        let builder = TestProxy::builder().resolve(&format!("{HOST}:443"), later.address()).trust(later.ca_file());
        let proxy = builder.start().await;
        let mut client = proxy.client(HOST).await;
        client.send_raw(&operation.bytes()).await.unwrap();
        let refused = [("failure", "connect_refused")];
        guard("two refused connections", async {
            while sum(&proxy.metrics().await, "batch_retry_proxy_upstream_errors_total", &refused) < 2.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let origin = later.start();
        origin.script(move |_| success(operation));
        let response = client.read_response(operation.method).await.unwrap();
        assert_success(operation, &response);
        assert!(proxy_status(&response).contains("fate=replayed"), "{operation:?} {}", proxy_status(&response));
        assert_eq!(origin.requests().len(), 1, "{operation:?}: nothing was sent before");
        finish(proxy, origin).await;
    }
}

/// A certificate that does not verify is never tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_verify_ends_the_request_at_once() {
    for operation in OPERATIONS {
        let (origin, proxy) = start(|it| it).await;
        origin.connection_faults([ConnectionFault::ForeignCertificate]);
        origin.tolerate_broken_connections();
        let response = send(&proxy, operation).await;
        assert_eq!(response.status, 502, "{operation:?}");
        assert!(
            proxy_status(&response).contains("error=tls_certificate_error; attempts=1; fate=permanent"),
            "{operation:?}"
        );
        assert_eq!(origin.connections(), 1, "{operation:?}");
        finish(proxy, origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_tls_handshake_is_tried_again_for_every_operation() {
    for operation in OPERATIONS {
        let (origin, proxy) = start(|it| it).await;
        origin.connection_faults([ConnectionFault::Garbage]);
        origin.tolerate_broken_connections();
        origin.queue([success(operation)]);
        let response = send(&proxy, operation).await;
        assert_success(operation, &response);
        assert!(proxy_status(&response).contains("attempts=2; fate=replayed"), "{operation:?} {}", proxy_status(&response));
        assert_eq!(origin.requests().len(), 1, "{operation:?}: the first connection carried no request");
        let metrics = proxy.metrics().await;
        assert_metric(&metrics, "batch_retry_proxy_upstream_errors_total", &[("failure", "tls_failed")], 1.0);
        assert_metric(&metrics, "batch_retry_proxy_retries_total", &[("reason", "not_sent")], 1.0);
        finish(proxy, origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_before_the_answer_is_replayed_unless_a_second_execution_could_do_harm() {
    let row = [Recovered, Recovered, Recovered, Recovered, Recovered, Own("connection_terminated")];
    check(row, |it| it, reset, "connection_lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_without_a_hint_is_replayed_unless_a_second_execution_could_do_harm() {
    let row = [Recovered, Recovered, Recovered, Recovered, Recovered, Passed(429)];
    check(row, |it| it, || error(429, "TooManyRequests", &[]), "throttled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_with_a_hint_is_replayed_for_every_operation_and_not_before_the_hint() {
    for operation in OPERATIONS {
        let (origin, proxy) = start(|it| it).await;
        let mut received = Vec::new();
        let (times, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
        let mut first = true;
        origin.script(move |_| {
            times.send(Instant::now()).unwrap();
            if std::mem::take(&mut first) {
                error(429, "TooManyRequests", &[("Retry-After", "1")])
            } else {
                success(operation)
            }
        });
        let response = send(&proxy, operation).await;
        assert_success(operation, &response);
        while let Ok(at) = arrivals.try_recv() {
            received.push(at);
        }
        assert_eq!(received.len(), 2, "{operation:?}");
        assert!(received[1] - received[0] >= Duration::from_secs(1), "{operation:?}: early by the origin's clock");
        assert_identical(operation, &origin.requests());
        let metrics = proxy.metrics().await;
        assert_metric(&metrics, "batch_retry_proxy_wait_seconds_count", &[("cause", "retry_after")], 1.0);
        assert_metric(&metrics, "batch_retry_proxy_throttled_responses_total", &[("code", "TooManyRequests")], 1.0);
        finish(proxy, origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_without_a_hint_is_replayed_unless_a_second_execution_could_do_harm() {
    let row = [Recovered, Recovered, Recovered, Recovered, Recovered, Passed(503)];
    check(row, |it| it, || respond(503, &[], "unavailable"), "transient").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_500_is_replayed_unless_a_second_execution_could_do_harm() {
    let row = [Recovered, Recovered, Recovered, Recovered, Recovered, Passed(500)];
    check(row, |it| it, || error(500, "InternalError", &[]), "transient").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_after_its_head_is_replayed_unless_a_second_execution_could_do_harm() {
    let row = [Recovered, Recovered, Recovered, Recovered, Recovered, Own("http_response_incomplete")];
    check(row, |it| it, || partial(200, &[], 10, "").then(cut()), "truncated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_falls_silent_after_its_head_is_replayed_unless_a_second_execution_could_do_harm() {
    let row = [Recovered, Recovered, Recovered, Recovered, Recovered, Own("http_response_incomplete")];
    let set = |it: Builder| it.set("upstream.body_idle_timeout", "1s");
    check(row, set, || partial(200, &[], 10, "").then(stall()), "truncated").await;
}

/// A stall is cut where a replay may follow. A reboot is left to the client's own patience: it may be under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_is_cut_only_where_a_replay_may_follow() {
    let (get, reboot) = (OPERATIONS[0], OPERATIONS[5]);
    for operation in &OPERATIONS[..5] {
        let (origin, proxy) = start(|it| it.set("upstream.response_timeout", "1s")).await;
        origin.queue([stall(), success(*operation)]);
        let response = send(&proxy, *operation).await;
        assert_success(*operation, &response);
        assert_identical(*operation, &origin.requests());
        let metrics = proxy.metrics().await;
        assert_metric(&metrics, "batch_retry_proxy_upstream_errors_total", &[("failure", "response_timeout")], 1.0);
        finish(proxy, origin).await;
    }
    let (origin, proxy) = start(|it| it.set("upstream.response_timeout", "1s")).await;
    let gate = Gate::new();
    origin.queue([wait(&gate).then(success(reboot)), stall(), success(get)]);
    let mut rebooting = proxy.client(HOST).await;
    rebooting.send_raw(&reboot.bytes()).await.unwrap();
    origin.wait_for_requests(1).await;
    // A read that is cut and replayed meanwhile proves that the limit has passed for the reboot too.
    assert_success(get, &send(&proxy, get).await);
    gate.open();
    let response = rebooting.read_response("POST").await.unwrap();
    assert_success(reboot, &response);
    assert!(proxy_status(&response).contains("attempts=1; fate=first_try"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// Runs one row: the failure happens to the first send, the second would succeed.
async fn check(row: [Outcome; 6], set: impl Fn(Builder) -> Builder, failure: impl Fn() -> Action, reason: &str) {
    for (operation, outcome) in OPERATIONS.into_iter().zip(row) {
        let (origin, proxy) = start(&set).await;
        origin.queue([failure(), success(operation)]);
        let response = send(&proxy, operation).await;
        let sends = origin.requests();
        let status = proxy_status(&response).to_owned();
        let metrics = proxy.metrics().await;
        let requests = |fate, count| {
            let labels = [("operation", operation.name), ("account", "testacct.westeurope"), ("fate", fate)];
            assert_metric(&metrics, "batch_retry_proxy_requests_total", &labels, count);
        };
        let attempts =
            |count| assert_metric(&metrics, "batch_retry_proxy_attempts_total", &[("operation", operation.name)], count);
        match outcome {
            Recovered => {
                assert_success(operation, &response);
                assert_identical(operation, &sends);
                assert!(status.contains("attempts=2; fate=replayed"), "{operation:?} {status}");
                requests("replayed", 1.0);
                attempts(2.0);
                let reason = if reason == "connection_lost" { "transient" } else { reason };
                assert_metric(&metrics, "batch_retry_proxy_retries_total", &[("reason", reason)], 1.0);
            }
            Passed(code) => {
                assert_eq!((response.status, sends.len()), (code, 1), "{operation:?}");
                assert!(status.ends_with("attempts=1; fate=not_replayable; waited=0.0"), "{operation:?} {status}");
                requests("not_replayable", 1.0);
                attempts(1.0);
                assert_metric(&metrics, "batch_retry_proxy_stops_total", &[("reason", "operation")], 1.0);
            }
            Own(error) => {
                assert_eq!((response.status, sends.len()), (502, 1), "{operation:?}");
                assert!(
                    status.contains(&format!("error={error}; attempts=1; fate=not_replayable")),
                    "{operation:?} {status}"
                );
                assert_is_batch_error(&response);
                requests("not_replayable", 1.0);
            }
        }
        finish(proxy, origin).await;
    }
}

async fn send(proxy: &TestProxy, operation: Operation) -> Response {
    proxy.client(HOST).await.request(&operation.bytes()).await
}

fn success(operation: Operation) -> Action {
    match operation.method {
        "GET" | "PUT" => respond(200, &[("request-id", "second")], "{}"),
        _ => empty(202),
    }
}

fn assert_success(operation: Operation, response: &Response) {
    assert!(
        matches!(response.status, 200 | 202) && response.complete,
        "{operation:?}: {} {}",
        response.status,
        response.text()
    );
}

fn assert_identical(operation: Operation, sends: &[Received]) {
    assert_eq!(sends.len(), 2, "{operation:?}");
    assert_eq!(sends[0].bytes(), sends[1].bytes(), "{operation:?}");
    assert_eq!(sends[0].bytes(), operation.bytes(), "{operation:?}");
}

/// The form that every SDK can read, without a field that azure-core would obey.
fn assert_is_batch_error(response: &Response) {
    assert_eq!(response.header("content-type"), Some("application/json; odata=minimalmetadata"));
    assert_eq!(response.header("retry-after"), None);
    assert!(response.header("request-id").is_some());
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert!(body["code"].as_str().unwrap().starts_with("Proxy"), "{body}");
    let message = body["message"]["value"].as_str().unwrap();
    assert!(message.contains("\nRequestId:") && message.contains("\nTime:"), "{message}");
}

fn proxy_status(response: &Response) -> &str {
    response.header("proxy-status").unwrap_or_default()
}

// === impl Operation ===

impl Operation {
    fn bytes(self) -> Vec<u8> {
        let fields = [("client-request-id", "c6d7566e-e6ef-11f1-8cfe-02fc00000001"), ("Accept", "application/json")];
        request(self.method, self.target, HOST, &fields, self.body)
    }
}
