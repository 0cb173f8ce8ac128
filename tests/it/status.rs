//! `/status`: what is told afterwards of requests that were replayed or given up.

use serde_json::{Value, json};

use super::support::action::{cut, partial, reset, respond, wait};
use super::support::batch::{HOST, empty, error};
use super::support::client::{Client, request};
use super::support::gate::Gate;
use super::support::guard;
use super::support::metric::sum;
use super::support::proxy::{TestProxy, finish, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_is_told_with_its_sends_waits_and_ids() {
    let (origin, proxy) = start(|it| it.set("retry.echo.others", "pass")).await;
    origin.queue([error(503, "ServerBusy", &[("retry-after-ms", "30")]), reset(), empty(202)]);
    let fields = [("client-request-id", "the-clients-id")];
    assert_eq!(send(&proxy, "DELETE", "/jobs/j?api-version=1&sig=SECRET", &fields).await, 202);
    let [replay] = &replays(&proxy, 1).await[..] else { panic!("one") };
    for (key, want) in [
        ("account", json!("testacct.westeurope")),
        ("operation", json!("Jobs_DeleteJob")),
        ("method", json!("DELETE")),
        ("path", json!("/jobs/j")),
        ("client_request_id", json!("the-clients-id")),
        ("fate", json!("replayed")),
        ("attempts", json!(3)),
        ("replays", json!(2)),
        ("stop", Value::Null),
        ("number", json!(1)),
    ] {
        assert_eq!(replay[key], want, "{key} in {replay}");
    }
    let sends = replay["sends"].as_array().unwrap();
    let told: Vec<_> = sends.iter().map(|send| [send["class"].as_str(), send["outcome"].as_str()]).collect();
    assert_eq!(
        told,
        [
            [Some("throttled"), Some("503 ServerBusy")],
            [Some("transient"), Some("connection_lost")],
            [Some("success"), Some("202")]
        ]
    );
    let id = "0f7a5f5c-3f0e-4c1d-9a67-1d7f0c5b2a11";
    let ids: Vec<_> = sends.iter().map(|send| send["request_id"].as_str()).collect();
    assert_eq!(ids, [Some(id), None, Some(id)]);
    assert!(sends[0].get("waits").is_none(), "{replay}");
    assert!(sends[1]["waits"]["retry_after"].as_f64().unwrap() >= 0.03, "{replay}");
    assert!(sends[2]["waits"]["backoff"].as_f64().unwrap() > 0.0, "{replay}");
    let waits = sends.iter().filter_map(|send| send["waits"].as_object()).flat_map(|waits| waits.values());
    let waited: f64 = waits.map(|wait| wait.as_f64().unwrap()).sum();
    assert!((waited - replay["waited_seconds"].as_f64().unwrap()).abs() < 0.01, "{replay}");
    assert!(!replay.to_string().contains("SECRET"));
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_says_why_and_all_add_up_to_the_metrics() {
    let (origin, proxy) = start(|it| it.set("retry.max_attempts", 3).set("retry.deadline", "5s")).await;
    origin.queue([error(500, "InternalError", &[]), error(500, "InternalError", &[]), error(500, "InternalError", &[])]);
    assert_eq!(send(&proxy, "GET", "/jobs", &[]).await, 500);
    origin.queue([error(500, "InternalError", &[])]);
    assert_eq!(send(&proxy, "POST", "/pools/p/nodes/n/reboot", &[]).await, 500);
    origin.queue([reset(), error(409, "JobExists", &[])]);
    assert_eq!(send(&proxy, "POST", "/jobs", &[]).await, 409);
    origin.queue([error(429, "TooManyRequests", &[("Retry-After", "100")])]);
    assert_eq!(send(&proxy, "GET", "/pools", &[]).await, 429);
    // The account is closed now.
    assert_eq!(send(&proxy, "GET", "/pools", &[]).await, 429);
    let replays = replays(&proxy, 5).await;
    let told: Vec<_> = replays
        .iter()
        .map(|it| (it["fate"].as_str().unwrap(), it["stop"].as_str(), it["echo"].as_str(), it["replays"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("exhausted", Some("attempts"), None, 2),
            ("not_replayable", Some("operation"), None, 0),
            ("permanent", None, Some("passed"), 1),
            ("exhausted", Some("deadline"), None, 0),
            ("exhausted", Some("gate"), None, 0),
        ]
    );
    assert_eq!((&replays[4]["sends"], &replays[4]["attempts"]), (&json!([]), &json!(0)));
    let metrics = proxy.metrics().await;
    let sends: u64 = told.iter().map(|it| it.3).sum();
    assert!((sum(&metrics, "batch_retry_proxy_retries_total", &[]) - sends as f64).abs() < 1e-9);
    assert!((sum(&metrics, "batch_retry_proxy_stops_total", &[]) - 4.0).abs() < 1e-9);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_its_request_waits_is_told_too() {
    let (origin, proxy) =
        start(|it| it.set("retry.backoff.initial", "60s").set("retry.backoff.max", "60s").set("retry.deadline", "200s"))
            .await;
    origin.queue([error(500, "InternalError", &[])]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    proxy.until("batch_retry_proxy_attempts_total", &[("class", "transient")]).await;
    client.reset();
    let [replay] = &replays(&proxy, 1).await[..] else { panic!("one") };
    assert_eq!((&replay["fate"], &replay["replays"], &replay["stop"]), (&json!("client_gone"), &json!(0), &Value::Null));
    assert_eq!(replay["sends"][0]["outcome"], "500 InternalError");
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gets_its_answer_at_once_leaves_no_trail() {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([empty(202), error(404, "JobNotFound", &[]), respond(200, &[], "{}")]);
    for status in [202, 404, 200] {
        assert_eq!(send(&proxy, "GET", "/jobs/j", &[]).await, status);
    }
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &[], 3.0).await;
    let status = status(&proxy).await;
    assert_eq!(status["replays"], json!([]));
    let slots = |fate: &str| {
        status["last_15_minutes"]["fates"][fate].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>()
    };
    assert_eq!((slots("first_try"), slots("permanent")), (2, 1));
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_continued_is_told() {
    let (origin, proxy) = start(|it| it.set("retry.response_buffer", "1KiB")).await;
    let fields = [("ETag", "\"1\""), ("Last-Modified", "Mon, 23 Nov 2026 03:40:00 GMT")];
    let (gate, content) = (Gate::new(), vec![b'x'; 50_000]);
    origin.queue([
        error(500, "InternalError", &[]),
        partial(200, &fields, 50_000, &content[..20_000]).then(wait(&gate)).then(cut()),
        error(503, "ServerBusy", &[]),
        respond(200, &fields, &content),
    ]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs/j/tasks/t/files/f", HOST, &[], "")).await.unwrap();
    gate.arrived().await;
    proxy.until("batch_retry_proxy_attempts_total", &[("class", "success")]).await;
    gate.open();
    assert_eq!(client.read_response("GET").await.unwrap().body, content);
    let [replay] = &replays(&proxy, 1).await[..] else { panic!("one") };
    let told: Vec<_> = replay["sends"].as_array().unwrap().iter().map(|send| send["outcome"].as_str().unwrap()).collect();
    assert_eq!(told, ["500 InternalError", "200, then truncated", "503 ServerBusy", "continued"]);
    assert_eq!((&replay["fate"], &replay["attempts"], &replay["replays"]), (&json!("replayed"), &json!(4), &json!(3)));
    finish(proxy, origin).await;
}

/// The status of the answer.
async fn send(proxy: &TestProxy, method: &str, target: &str, fields: &[(&str, &str)]) -> u16 {
    let mut client = proxy.client(HOST).await;
    client.request(&request(method, target, HOST, fields, if method == "POST" { "{}" } else { "" })).await.status
}

async fn status(proxy: &TestProxy) -> Value {
    let mut admin = Client::connect(proxy.admin()).await;
    let response = admin.request(&request("GET", "/status", "localhost", &[], "")).await;
    serde_json::from_slice(&response.body).unwrap()
}

/// The replays, once there are this many: one is told when its request has ended, a moment after the client saw the end.
async fn replays(proxy: &TestProxy, count: usize) -> Vec<Value> {
    guard("replays", async {
        loop {
            let status = status(proxy).await;
            let replays = status["replays"].as_array().unwrap();
            if replays.len() >= count {
                return replays.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}
