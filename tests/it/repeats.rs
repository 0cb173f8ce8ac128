//! A client's own repeats of what the proxy gave up on: recognised, sent once, and forgotten at the right times.

use super::support::action::{reset, respond, stall};
use super::support::batch::{HOST, error, json as found};
use super::support::client::{Response, request};
use super::support::metric::assert_metric;
use super::support::origin::ConnectionFault;
use super::support::proxy::{Builder, TestProxy, finish, start};

/// Five tries for the first, one for each repeat; without the memory five for each.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_tries_add_to_the_proxys_and_do_not_multiply() {
    for (memory, sends) in [("5m", 5 + 4), ("0s", 5 * 5)] {
        let (origin, proxy) = start(|it| five(it).set("retry.repeat_memory", memory)).await;
        origin.script(|_| error(500, "InternalError", &[]));
        for tries in 1..=5 {
            let response = send(&proxy, "GET", "/jobs", "1", "").await;
            assert_eq!(response.status, 500);
            let want = if memory == "5m" && tries > 1 { "attempts=1; fate=repeat" } else { "attempts=5; fate=exhausted" };
            assert!(proxy_status(&response).contains(want), "{memory} {tries}: {}", proxy_status(&response));
        }
        assert_eq!(origin.requests().len(), sends, "{memory}");
        let repeats = if memory == "5m" { 4.0 } else { 0.0 };
        let metrics = proxy.metrics().await;
        assert_metric(&metrics, "batch_retry_proxy_stops_total", &[("reason", "repeat")], repeats);
        assert_metric(&metrics, "batch_retry_proxy_requests_total", &[("fate", "repeat")], repeats);
        finish(proxy, origin).await;
    }
}

/// Another id is another call, whatever else is the same.
#[tokio::test(flavor = "multi_thread")]
async fn another_call_is_replayed_as_ever() {
    let (origin, proxy) = start(five).await;
    origin.script(|_| error(500, "InternalError", &[]));
    send(&proxy, "GET", "/jobs", "1", "").await;
    let response = send(&proxy, "GET", "/jobs", "2", "").await;
    assert!(proxy_status(&response).contains("attempts=5; fate=exhausted"), "{}", proxy_status(&response));
    let response = send(&proxy, "GET", "/pools", "1", "").await;
    assert!(proxy_status(&response).contains("attempts=5; fate=exhausted"), "{}", proxy_status(&response));
    assert_eq!(origin.requests().len(), 15);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_succeeds_is_forgotten() {
    let (origin, proxy) = start(five).await;
    let mut left = 5;
    origin.script(move |_| {
        left -= 1;
        if left >= 0 { error(500, "InternalError", &[]) } else { respond(200, &[], "{}") }
    });
    send(&proxy, "GET", "/jobs", "1", "").await;
    let response = send(&proxy, "GET", "/jobs", "1", "").await;
    assert!(response.status == 200 && proxy_status(&response).contains("attempts=1; fate=first_try"), "{response:?}");
    origin.script(|_| error(500, "InternalError", &[]));
    let response = send(&proxy, "GET", "/jobs", "1", "").await;
    assert!(proxy_status(&response).contains("attempts=5; fate=exhausted"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// It may have landed with one of the five sends before: its repeat meets the same echo as a replay would.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_can_meet_the_echo_of_what_was_given_up() {
    let (origin, proxy) = start(five).await;
    origin.script(|_| reset());
    let response = send(&proxy, "DELETE", "/jobs/j", "1", "").await;
    assert_eq!(response.status, 502);
    origin.script(|_| error(404, "JobNotFound", &[]));
    let response = send(&proxy, "DELETE", "/jobs/j", "1", "").await;
    assert_eq!(response.status, 202, "{}", response.text());
    assert!(proxy_status(&response).contains("attempts=1; fate=echo"), "{}", proxy_status(&response));
    let response = send(&proxy, "DELETE", "/jobs/j", "1", "").await;
    assert_eq!(response.status, 404, "it was answered and is forgotten: now it is a first answer");
    finish(proxy, origin).await;
}

/// The sends that were given up took 240 ms, so what was made 150 ms before the date of the answer to the repeat is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_create_is_verified_against_the_time_of_the_sends_that_were_given_up() {
    for (made, status) in [("2026-11-23T03:41:32.85Z", 201), ("2026-11-23T03:40:33Z", 409)] {
        let (origin, proxy) = start(five).await;
        origin.script(|_| reset());
        assert_eq!(send(&proxy, "POST", "/jobs?api-version=1", "1", r#"{"id":"j"}"#).await.status, 502);
        origin.queue([error(409, "JobExists", &[]), found(200, &serde_json::json!({ "id": "j", "creationTime": made }))]);
        let response = send(&proxy, "POST", "/jobs?api-version=1", "1", r#"{"id":"j"}"#).await;
        assert_eq!(response.status, status, "{made}: {}", proxy_status(&response));
        finish(proxy, origin).await;
    }
}

/// Nothing of the first was carried out, so there is nothing to meet an echo of.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_what_never_left_meets_no_echo() {
    let (origin, proxy) = start(|it| five(it).set("retry.max_attempts", 1)).await;
    origin.connection_faults([ConnectionFault::Garbage]);
    origin.tolerate_broken_connections();
    assert_eq!(send(&proxy, "DELETE", "/jobs/j", "1", "").await.status, 502);
    origin.script(|_| error(404, "JobNotFound", &[]));
    let response = send(&proxy, "DELETE", "/jobs/j", "1", "").await;
    assert_eq!(response.status, 404, "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// It waited for its answer no longer, so it has not been given up on: what it sends again is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hung_up_is_not_remembered() {
    let (origin, proxy) = start(five).await;
    origin.queue([error(500, "InternalError", &[]), stall(), error(500, "InternalError", &[]), respond(200, &[], "{}")]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&bytes("GET", "/jobs", "1", "")).await.unwrap();
    origin.wait_for_requests(2).await;
    client.reset();
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", "client_gone")], 1.0).await;
    let response = send(&proxy, "GET", "/jobs", "1", "").await;
    assert_eq!(response.status, 200);
    assert!(proxy_status(&response).contains("attempts=2; fate=replayed"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// Its token expired while it was given up: only the client can renew it, and only if it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_told_to_a_repeat() {
    let (origin, proxy) = start(five).await;
    origin.script(|_| reset());
    assert_eq!(send(&proxy, "GET", "/jobs", "1", "").await.status, 502);
    origin.script(|_| error(401, "InvalidAuthenticationInfo", &[]));
    let response = send(&proxy, "GET", "/jobs", "1", "").await;
    assert_eq!(response.status, 401);
    assert!(proxy_status(&response).contains("attempts=1; fate=permanent"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// Without an id and without a signature the same bytes may be another call.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_told_from_another_is_not_remembered() {
    let (origin, proxy) = start(five).await;
    origin.script(|_| error(500, "InternalError", &[]));
    for _ in 0..2 {
        let response = proxy.client(HOST).await.request(&request("GET", "/jobs", HOST, &[], "")).await;
        assert!(proxy_status(&response).contains("attempts=5; fate=exhausted"), "{}", proxy_status(&response));
    }
    finish(proxy, origin).await;
}

/// The bulk helpers send again at once, for ever: the answer is kept back as long as a replay would have waited.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_addtaskcollection_that_no_wait_came_before_is_held() {
    let (origin, proxy) =
        start(|it| it.set("retry.max_attempts", 1).set("retry.backoff.initial", "300ms").set("retry.backoff.max", "300ms"))
            .await;
    origin.script(|_| error(500, "InternalError", &[]));
    let body = r#"{"value":[{"id":"t"}]}"#;
    let response = send(&proxy, "POST", "/jobs/j/addtaskcollection", "1", body).await;
    assert!(proxy_status(&response).ends_with("attempts=1; fate=exhausted; waited=0.3"), "{}", proxy_status(&response));
    let response = send(&proxy, "POST", "/jobs/j/addtaskcollection", "1", body).await;
    assert!(proxy_status(&response).ends_with("attempts=1; fate=repeat; waited=0.3"), "{}", proxy_status(&response));
    origin.script(|_| error(501, "NotImplemented", &[]));
    let response = send(&proxy, "POST", "/jobs/j/addtaskcollection", "3", body).await;
    assert!(proxy_status(&response).ends_with("attempts=1; fate=permanent; waited=0.3"), "{}", proxy_status(&response));
    origin.script(|_| error(500, "InternalError", &[]));
    send(&proxy, "POST", "/jobs", "2", body).await;
    let response = send(&proxy, "POST", "/jobs", "2", body).await;
    assert!(proxy_status(&response).ends_with("fate=repeat; waited=0.0"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

fn five(builder: Builder) -> Builder {
    builder.set("retry.max_attempts", 5)
}

async fn send(proxy: &TestProxy, method: &str, target: &str, id: &str, body: &str) -> Response {
    proxy.client(HOST).await.request(&bytes(method, target, id, body)).await
}

fn bytes(method: &str, target: &str, id: &str, body: &str) -> Vec<u8> {
    request(method, target, HOST, &[("client-request-id", id), ("Authorization", "Bearer token")], body)
}

fn proxy_status(response: &Response) -> &str {
    response.header("proxy-status").unwrap_or_default()
}
