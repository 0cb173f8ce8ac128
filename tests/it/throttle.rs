//! One clock for each account: what the service asks of one request holds for all.

use std::time::{Duration, Instant};

use super::support::action::{Action, reset, respond};
use super::support::batch::{HOST, empty, error};
use super::support::client::{Client, Response, request};
use super::support::gate::Gate;
use super::support::metric::assert_metric;
use super::support::origin::{ConnectionFault, Origin};
use super::support::proxy::{TestProxy, finish, start};

const OTHER: &str = "other.westeurope.batch.azure.com";

/// By the origin's own clock, which stamps a request when it is there: the refusal was received later than it was sent, so what comes before the
/// hint has passed since then was sent early.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_of_the_account_is_sent_before_the_hint_has_passed() {
    for (field, value, hint) in [
        ("Retry-After", "1", Duration::from_secs(1)),
        ("retry-after-ms", "700", Duration::from_millis(700)),
        ("x-ms-retry-after-ms", "700", Duration::from_millis(700)),
        // Three seconds after the date of every answer here.
        ("Retry-After", "Mon, 23 Nov 2026 03:41:36 GMT", Duration::from_secs(3)),
    ] {
        let (origin, proxy) = start(|it| it).await;
        warm(&origin, &proxy).await;
        let times = stamped(&origin, move |count| {
            if count == 1 { error(429, "TooManyRequests", &[(field, value)]) } else { respond(200, &[], "{}") }
        });
        let first = send(&proxy, "GET", "/jobs", "");
        let others = async {
            proxy.wait_for_metric("batch_retry_proxy_throttle_gate_closed", &[], 1.0).await;
            let mut clients = tokio::task::JoinSet::new();
            for number in 0..20 {
                let mut client = proxy.client(HOST).await;
                let (method, target) = if number % 2 == 0 { ("GET", "/pools") } else { ("POST", "/jobs") };
                clients.spawn(async move { client.request(&bytes(HOST, method, target, "{}")).await.status });
            }
            clients.join_all().await
        };
        let (first, others) = tokio::join!(first, others);
        assert_eq!((first.status, others), (200, vec![200; 20]), "{value}");
        let times = times.lock().unwrap().clone();
        assert_eq!(times.len(), 22, "{value}");
        for time in &times[1..] {
            assert!(*time - times[0] >= hint, "{value}: {:?} after the refusal", *time - times[0]);
        }
        let metrics = proxy.metrics().await;
        assert_metric(&metrics, "batch_retry_proxy_throttled_responses_total", &[], 1.0);
        assert_metric(&metrics, "batch_retry_proxy_requests_total", &[("fate", "first_try")], 20.0 + WARM as f64);
        finish(proxy, origin).await;
    }
}

/// It had passed the gate and was waiting for its connection, when the account closed and another connection became free.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_passed_and_not_left_yet_is_taken_back_when_the_account_closes() {
    for (patience, status) in [("60s", None), ("10s", Some(429))] {
        let (origin, proxy) = start(|it| it.set("retry.deadline", patience)).await;
        let gate = Gate::new();
        let refusal = error(429, "TooManyRequests", &[("Retry-After", "20")]).after(&gate);
        origin.queue([refusal]);
        let mut first = proxy.client(HOST).await;
        first.send_raw(&bytes(HOST, "GET", "/jobs", "")).await.unwrap();
        gate.arrived().await;
        origin.connection_faults([ConnectionFault::Stall]);
        origin.tolerate_broken_connections();
        let mut second = proxy.client(HOST).await;
        second.send_raw(&bytes(HOST, "POST", "/jobs", "{}")).await.unwrap();
        origin.wait_for_connections(2).await;
        gate.open();
        match status {
            None => proxy.wait_for_metric("batch_retry_proxy_throttle_gate_waiting", &[], 1.0).await,
            Some(status) => {
                let response = second.read_response("POST").await.unwrap();
                assert_eq!(response.status, status, "{}", proxy_status(&response));
                assert!(proxy_status(&response).contains("attempts=0; fate=exhausted"), "{}", proxy_status(&response));
            }
        }
        assert_eq!(origin.requests().len(), 1, "the second was not sent");
        drop((first, second));
        finish(proxy, origin).await;
    }
}

/// The client gets what Batch said to the send before, not that a connection was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_taken_back_that_cannot_wait_again_leaves_the_answer_before_it() {
    let (origin, proxy) = start(|it| it.set("retry.throttle.initial_share", 1.0)).await;
    origin.tolerate_broken_connections();
    origin.queue([
        error(429, "TooManyRequests", &[("Retry-After", "1"), ("Connection", "close")]),
        error(429, "TooManyRequests", &[("Retry-After", "60")]),
    ]);
    let mut first = proxy.client(HOST).await;
    first.send_raw(&bytes(HOST, "POST", "/jobs", "{}")).await.unwrap();
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_closed", &[], 1.0).await;
    origin.connection_faults([ConnectionFault::Stall]);
    origin.wait_for_connections(2).await;
    let second = send(&proxy, "GET", "/jobs", "").await;
    assert_eq!(second.status, 429);

    let response = first.read_response("POST").await.unwrap();
    assert_eq!((response.status, response.header("retry-after")), (429, Some("1")), "{}", proxy_status(&response));
    assert!(proxy_status(&response).contains("attempts=1; fate=exhausted"), "{}", proxy_status(&response));
    assert!(!proxy_status(&response).contains("error="), "{}", proxy_status(&response));
    assert_eq!(origin.requests().len(), 2);
    drop(first);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_is_not_held_up() {
    let origin = Origin::start(&[HOST, OTHER]).await;
    let proxy = TestProxy::builder().upstream(&origin).start().await;
    close(&origin, &proxy, "600").await;
    origin.script(|_| respond(200, &[], "{}"));
    let response = proxy.client(OTHER).await.request(&bytes(OTHER, "GET", "/jobs", "")).await;
    assert!(response.status == 200 && proxy_status(&response).ends_with("waited=0.0"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// In the service's words, with the time left and no id of anyone else's; nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_wait_gets_the_accounts_refusal_at_once() {
    for (status, code) in [(429, "TooManyRequests"), (503, "ServerBusy")] {
        let (origin, proxy) = start(|it| it).await;
        origin.queue([error(status, code, &[("Retry-After", "200")])]);
        let refused = send(&proxy, "GET", "/jobs", "").await;
        assert_eq!((refused.status, refused.header("retry-after")), (status, Some("200")));
        for (method, target) in
            [("GET", "/jobs"), ("POST", "/jobs/j/addtaskcollection"), ("POST", "/pools/p/nodes/n/reboot")]
        {
            let response = send(&proxy, method, target, "{}").await;
            assert_eq!(response.status, status, "{target}");
            let left: u64 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((150..=205).contains(&left), "{left} seconds left of 200");
            assert_ne!(response.header("request-id"), refused.header("request-id"));
            let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(body["code"], code);
            let marks = proxy_status(&response);
            assert!(marks.contains("error=proxy_internal_response; attempts=0; fate=exhausted; waited=0.0"), "{marks}");
        }
        assert_eq!(origin.requests().len(), 1, "nothing was sent");
        assert_metric(&proxy.metrics().await, "batch_retry_proxy_stops_total", &[("reason", "gate")], 3.0);
        finish(proxy, origin).await;
    }
}

/// It was told to wait and got no answer from Batch, so its client's next try is a try like any other.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_sent_is_not_remembered_as_given_up() {
    let (origin, proxy) = start(|it| it.set("retry.throttle.hint_max", "4s").set("retry.deadline", "3s")).await;
    let id = [("client-request-id", "7")];
    warm(&origin, &proxy).await;
    close(&origin, &proxy, "600").await;
    let call = request("GET", "/jobs", HOST, &id, "");
    let response = proxy.client(HOST).await.request(&call).await;
    assert!(proxy_status(&response).contains("attempts=0"), "{}", proxy_status(&response));
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_closed", &[], 0.0).await;
    origin.queue([reset(), respond(200, &[], "{}")]);
    let response = proxy.client(HOST).await.request(&call).await;
    assert!(proxy_status(&response).contains("attempts=2; fate=replayed"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interval_of_one_pool_closes_neither_the_account_nor_another_pool() {
    let (origin, proxy) = start(|it| it.set("retry.deadline", "5s")).await;
    let enable = |pool| format!("/pools/{pool}/enableautoscale");
    origin.queue([error(503, "TooManyEnableAutoScaleRequests", &[]), respond(200, &[], "{}"), empty(200)]);
    let response = send(&proxy, "POST", &enable("a"), "{}").await;
    assert_eq!(response.status, 503, "30 s are more than its deadline");
    assert_eq!(send(&proxy, "GET", "/jobs", "").await.status, 200);
    assert_eq!(send(&proxy, "POST", &enable("b"), "{}").await.status, 200);
    let response = send(&proxy, "POST", &enable("a"), "{}").await;
    assert!(proxy_status(&response).contains("attempts=0"), "{}", proxy_status(&response));
    assert_eq!(origin.requests().len(), 3);
    finish(proxy, origin).await;
}

/// No send, no waiting request, no held memory is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_at_the_gate_frees_its_place() {
    let (origin, proxy) = start(|it| it).await;
    close(&origin, &proxy, "20").await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = proxy.client(HOST).await;
        client.send_raw(&bytes(HOST, "POST", "/jobs", "{}")).await.unwrap();
        clients.push(client);
    }
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_waiting", &[], 5.0).await;
    clients.into_iter().for_each(Client::reset);
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_waiting", &[], 0.0).await;
    let gone = [("fate", "client_gone"), ("operation", "Jobs_CreateJob")];
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &gone, 5.0).await;
    proxy.wait_for_metric("batch_retry_proxy_replay_memory_bytes", &[], 0.0).await;
    assert_eq!(origin.requests().len(), 1);
    finish(proxy, origin).await;
}

/// Waits that would outlast the process end with the service's refusal; those that fit are waited out.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_what_would_wait_too_long_at_the_gate() {
    for (grace, status) in [("300ms", 429), ("10s", 200)] {
        let (origin, proxy) = start(|it| it.set("shutdown.grace", grace)).await;
        close(&origin, &proxy, "1").await;
        origin.script(|_| respond(200, &[], "{}"));
        let mut client = proxy.client(HOST).await;
        client.send_raw(&bytes(HOST, "GET", "/jobs", "")).await.unwrap();
        proxy.wait_for_metric("batch_retry_proxy_throttle_gate_waiting", &[], 1.0).await;
        proxy.drain();
        let response = client.read_response("GET").await.unwrap();
        assert_eq!(response.status, status, "{grace}: {}", proxy_status(&response));
        finish(proxy, origin).await;
    }
}

/// One of three lanes after the other, while nobody has been passed over too often.
#[tokio::test(flavor = "multi_thread")]
async fn reads_pass_before_bulk_writes() {
    let (origin, proxy) = start(|it| it).await;
    warm(&origin, &proxy).await;
    close(&origin, &proxy, "1").await;
    let before = origin.requests().len();
    origin.script(|request| if request.method == "GET" { respond(200, &[], "{}") } else { respond(200, &[], "[]") });
    let mut waiting = tokio::task::JoinSet::new();
    for (number, (method, target)) in
        [("POST", "/jobs/j/addtaskcollection"), ("POST", "/jobs"), ("GET", "/jobs")].into_iter().cycle().take(6).enumerate()
    {
        let mut client = proxy.client(HOST).await;
        client.send_raw(&bytes(HOST, method, target, "{}")).await.unwrap();
        let count = (number + 1) as f64;
        proxy.wait_for_metric("batch_retry_proxy_throttle_gate_waiting", &[], count).await;
        waiting.spawn(async move { client.read_response(method).await.unwrap().status });
    }
    assert_eq!(waiting.join_all().await, [200; 6]);
    let order: Vec<String> =
        origin.requests()[before..].iter().map(|sent| format!("{} {}", sent.method, sent.target)).collect();
    let bulk = "POST /jobs/j/addtaskcollection";
    assert_eq!(order, ["GET /jobs", "GET /jobs", "POST /jobs", "POST /jobs", bulk, bulk]);
    finish(proxy, origin).await;
}

/// 300 connections reset at the same moment: replays are put off until there are tokens, and all succeed.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_met_by_many_at_once_is_replayed_within_the_budget() {
    let (origin, proxy) = start(|it| {
        it.set("retry.budget.window", "1s").set("retry.budget.min_per_second", 100).set("retry.budget.ratio", 0.0)
    })
    .await;
    let gate = Gate::new();
    let (held, times) = (gate.clone(), stamped(&origin, |_| empty(200)));
    let mut count = 0;
    let stamps = times.clone();
    origin.script(move |_| {
        count += 1;
        if count > 300 {
            stamps.lock().unwrap().push(Instant::now());
        }
        if count <= 300 { reset().after(&held) } else { respond(200, &[], "{}") }
    });
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let mut client = proxy.client(HOST).await;
        clients.spawn(async move { client.request(&bytes(HOST, "GET", "/jobs", "")).await.status });
    }
    gate.arrivals_reached(300).await;
    gate.open();
    assert_eq!(clients.join_all().await, vec![200; 300]);
    let times = times.lock().unwrap().clone();
    assert_eq!(times.len(), 300);
    assert!(times[299] - times[0] >= Duration::from_millis(900), "{:?}", times[299] - times[0]);
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_requests_total", &[("fate", "replayed")], 300.0);
    finish(proxy, origin).await;
}

/// A token that comes too late is no token.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_used_up_past_the_deadline_ends_the_replaying() {
    let (origin, proxy) = start(|it| {
        it.set("retry.budget.min_per_second", 1)
            .set("retry.budget.window", "60s")
            .set("retry.budget.ratio", 0.0)
            .set("retry.max_attempts", 100)
            .set("retry.backoff.initial", "1ms")
            .set("retry.backoff.max", "1ms")
            .set("retry.deadline", "20s")
    })
    .await;
    origin.script(|_| error(500, "InternalError", &[]));
    let response = send(&proxy, "GET", "/jobs", "").await;
    assert_eq!(response.status, 500);
    assert!(proxy_status(&response).contains("attempts=61; fate=budget"), "{}", proxy_status(&response));
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_stops_total", &[("reason", "budget")], 1.0);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_each_accounts_gate() {
    let (origin, proxy) = start(|it| it).await;
    close(&origin, &proxy, "100").await;
    let mut waiting = proxy.client(HOST).await;
    let fields = [("User-Agent", "azsdk-python-batch")];
    waiting.send_raw(&request("GET", "/jobs", HOST, &fields, "")).await.unwrap();
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_waiting", &[], 1.0).await;
    let mut admin = Client::connect(proxy.admin()).await;
    let response = admin.request(&request("GET", "/status", "localhost", &[], "")).await;
    let status: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let throttle = &status["accounts"]["testacct.westeurope"]["throttle"];
    assert_eq!((throttle["gate"].as_str(), throttle["waiting"].as_u64()), (Some("closed"), Some(1)), "{throttle}");
    for field in ["closed_for_seconds", "next_opening_seconds"] {
        let seconds = throttle[field].as_f64().unwrap();
        assert!(seconds > 50.0 && seconds < 110.0, "{field} {seconds}");
    }
    assert!(throttle["pace_per_second"].as_f64().unwrap() > 0.0 && throttle["budget_balance"].as_f64().unwrap() > 0.0);
    drop(waiting);
    finish(proxy, origin).await;
}

/// Requests that the account accepts before it throttles: half their rate is the pace it opens with.
const WARM: usize = 40;

async fn warm(origin: &Origin, proxy: &TestProxy) {
    origin.script(|_| respond(200, &[], "{}"));
    let mut client = proxy.client(HOST).await;
    for _ in 0..WARM {
        assert_eq!(client.request(&bytes(HOST, "GET", "/jobs", "")).await.status, 200);
    }
}

/// Lets one request be refused with this `Retry-After`, longer than its deadline, so that the account is closed.
async fn close(origin: &Origin, proxy: &TestProxy, seconds: &str) {
    let wait = seconds.to_owned();
    origin.script(move |_| error(429, "TooManyRequests", &[("Retry-After", &wait)]));
    let mut client = proxy.client(HOST).await;
    // Its connection is closed at once: it is the refusal that counts.
    client.send_raw(&bytes(HOST, "GET", "/pools", "")).await.unwrap();
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_closed", &[], 1.0).await;
    client.reset();
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("operation", "Pools_ListPools")], 1.0).await;
}

/// Answers by the number of the request, from 1, and notes when each came.
fn stamped(
    origin: &Origin,
    mut answer: impl FnMut(usize) -> Action + Send + 'static,
) -> std::sync::Arc<std::sync::Mutex<Vec<Instant>>> {
    let times: std::sync::Arc<std::sync::Mutex<Vec<Instant>>> = std::sync::Arc::default();
    let stamps = times.clone();
    origin.script(move |_| {
        let mut stamps = stamps.lock().unwrap();
        stamps.push(Instant::now());
        answer(stamps.len())
    });
    times
}

async fn send(proxy: &TestProxy, method: &str, target: &str, body: &str) -> Response {
    proxy.client(HOST).await.request(&bytes(HOST, method, target, body)).await
}

fn bytes(host: &str, method: &str, target: &str, body: &str) -> Vec<u8> {
    request(method, target, host, &[], body)
}

fn proxy_status(response: &Response) -> &str {
    response.header("proxy-status").unwrap_or_default()
}
