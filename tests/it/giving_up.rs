//! What the client gets when replaying ends without success, and what ends it.

use std::time::{Duration, SystemTime};

use super::support::action::{close, cut, partial, raw, reset, respond, respond_chunked, stall, wait};
use super::support::batch::{HOST, empty, error, file};
use super::support::client::{Response, request};
use super::support::gate::Gate;
use super::support::metric::assert_metric;
use super::support::origin::ConnectionFault;
use super::support::proxy::{Builder, TestProxy, finish, start};

/// The last real answer, head and body, with nothing changed but `Proxy-Status`.
#[tokio::test(flavor = "multi_thread")]
async fn when_attempts_run_out_the_client_gets_the_last_answer_unchanged() {
    let (origin, proxy) = start(|it| it.set("retry.max_attempts", 3)).await;
    let mut count = 0;
    origin.script(move |_| {
        count += 1;
        raw(format!(
            "HTTP/1.1 503 Busy {count}\r\nContent-Length: 6\r\nrequest-id: {count}\r\nX-Odd: yes\r\n\r\nbody {count}"
        ))
    });
    let response = send(&proxy, "GET", "/jobs", "").await;
    let head = String::from_utf8(response.raw_head.clone()).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503 Busy 3\r\nContent-Length: 6\r\nrequest-id: 3\r\nX-Odd: yes\r\nproxy-status: "),
        "{head}"
    );
    assert_eq!(response.text(), "body 3");
    assert!(proxy_status(&response).contains("attempts=3; fate=exhausted; waited=0.1"), "{}", proxy_status(&response));
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_stops_total", &[("reason", "attempts")], 1.0);
    assert_metric(&metrics, "batch_retry_proxy_requests_total", &[("fate", "exhausted")], 1.0);
    finish(proxy, origin).await;
}

/// A read gets the last answer there was. A write gets the proxy's own 502: an older refusal would hide that the last send may have landed.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_attempt_without_an_answer_is_told_by_what_the_operation_may_have_done() {
    for (method, target, status, body) in
        [("GET", "/jobs", 503, "first"), ("DELETE", "/jobs/j", 502, "ProxyUpstreamConnectionLost")]
    {
        let (origin, proxy) = start(|it| it.set("retry.max_attempts", 3)).await;
        origin.queue([respond(503, &[], "first"), reset(), reset()]);
        let response = send(&proxy, method, target, "").await;
        assert_eq!(response.status, status, "{method}");
        assert!(response.text().contains(body), "{method} {}", response.text());
        assert_eq!(origin.requests().len(), 3, "{method}");
        finish(proxy, origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_met_only_by_a_replay_is_not_handed_over() {
    for status in [401, 403] {
        let (origin, proxy) = start(|it| it).await;
        origin.queue([respond(503, &[], "the real trouble"), error(status, "AuthenticationFailed", &[])]);
        let response = send(&proxy, "DELETE", "/jobs/j", "").await;
        assert_eq!((response.status, response.text().as_str()), (503, "the real trouble"));
        assert!(proxy_status(&response).contains("attempts=2; fate=not_replayable"), "{}", proxy_status(&response));
        finish(proxy, origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_behind_a_lost_answer_gives_the_loss() {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([reset(), error(403, "AuthenticationFailed", &[])]);
    let response = send(&proxy, "DELETE", "/jobs/j", "").await;
    assert_eq!(response.status, 502);
    assert!(proxy_status(&response).contains("error=connection_terminated; attempts=2"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// Nothing had reached Batch before: this is its first word.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_behind_a_failed_connection_is_passed_on() {
    let (origin, proxy) = start(|it| it).await;
    origin.connection_faults([ConnectionFault::Garbage]);
    origin.tolerate_broken_connections();
    origin.queue([error(403, "AuthenticationFailed", &[])]);
    let response = send(&proxy, "GET", "/jobs", "").await;
    assert_eq!(response.status, 403);
    assert!(proxy_status(&response).contains("attempts=2; fate=permanent"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_at_the_first_send_is_passed_on() {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([error(403, "AuthenticationFailed", &[])]);
    let response = send(&proxy, "GET", "/jobs", "").await;
    assert_eq!(response.status, 403);
    assert!(proxy_status(&response).ends_with("attempts=1; fate=permanent; waited=0.0"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// Not a late error: the real answer, at once, with its hint.
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_longer_than_the_time_left_ends_the_replaying_at_once() {
    let (origin, proxy) = start(|it| it.set("retry.deadline", "30s")).await;
    origin.queue([error(429, "TooManyRequests", &[("Retry-After", "3600")])]);
    let response = send(&proxy, "POST", "/jobs", "{}").await;
    assert_eq!((response.status, response.header("retry-after")), (429, Some("3600")));
    assert!(proxy_status(&response).ends_with("attempts=1; fate=exhausted; waited=0.0"), "{}", proxy_status(&response));
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_stops_total", &[("reason", "deadline")], 1.0);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_would_be_stale_is_not_sent_again_but_the_first_send_goes() {
    let old = SystemTime::now() - Duration::from_secs(16 * 60);
    let old = httpdate::fmt_http_date(old);
    let fields = [("Authorization", "SharedKey testacct:c2lnbmF0dXJl"), ("ocp-date", old.as_str())];
    expect_stop("signature", &fields).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_would_have_expired_is_not_sent_again_but_the_first_send_goes() {
    // {"alg":"none"}.{"exp":1}.
    expect_stop("token", &[("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJleHAiOjF9.x")]).await;
}

async fn expect_stop(reason: &str, fields: &[(&str, &str)]) {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([respond(500, &[], "first")]);
    let response = proxy.client(HOST).await.request(&request("GET", "/jobs", HOST, fields, "")).await;
    assert_eq!((response.status, response.text().as_str()), (500, "first"));
    assert!(proxy_status(&response).contains("fate=not_replayable"), "{}", proxy_status(&response));
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_stops_total", &[("reason", reason)], 1.0);
    finish(proxy, origin).await;
}

/// Past the limit a body streams and is sent once.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_held_is_sent_once() {
    let body = "x".repeat(200_000);
    for (key, size, reason) in [("retry.body_limit", "64KiB", "size"), ("retry.memory_limit", "100KiB", "memory")] {
        let (origin, proxy) = start(|it| it.set(key, size)).await;
        origin.queue([respond(503, &[], "busy")]);
        let response = send(&proxy, "PUT", "/jobs/j", &body).await;
        assert_eq!(response.status, 503, "{key}");
        assert_eq!(origin.requests()[0].body, body.as_bytes(), "{key}");
        let metrics = proxy.metrics().await;
        assert_metric(&metrics, "batch_retry_proxy_unheld_bodies_total", &[("reason", reason)], 1.0);
        assert_metric(&metrics, "batch_retry_proxy_stops_total", &[("reason", "body")], 1.0);
        assert_metric(&metrics, "batch_retry_proxy_replay_memory_bytes", &[], 0.0);
        finish(proxy, origin).await;
    }
}

/// Held memory is given back: one body after another fits where two at once would not.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_free_again_when_a_request_ends() {
    let (origin, proxy) = start(|it| it.set("retry.memory_limit", "100KiB")).await;
    let body = "x".repeat(80_000);
    let mut failed = false;
    origin.script(move |_| {
        failed = !failed;
        if failed { respond(503, &[], "") } else { empty(202) }
    });
    for _ in 0..3 {
        assert_eq!(send(&proxy, "PUT", "/jobs/j", &body).await.status, 202);
    }
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_replay_memory_bytes", &[], 0.0);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_the_wait_and_nothing_more_is_sent() {
    let (origin, proxy) = start(|it| it.set("retry.backoff.initial", "15s").set("retry.backoff.max", "15s")).await;
    origin.queue([respond(503, &[], "busy")]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    origin.wait_for_requests(1).await;
    proxy.until("batch_retry_proxy_attempts_total", &[("class", "transient")]).await;
    client.reset();
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "client_gone")]).await;
    assert_eq!(origin.requests().len(), 1);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_during_an_attempt_frees_the_connection_to_batch() {
    let (origin, proxy) = start(|it| it).await;
    origin.tolerate_broken_connections();
    origin.queue([stall()]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("POST", "/pools/p/nodes/n/reboot", HOST, &[], "{}")).await.unwrap();
    origin.wait_for_requests(1).await;
    client.reset();
    origin.wait_for_ended_connections(1).await;
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "client_gone")]).await;
    finish(proxy, origin).await;
}

/// An answer larger than the buffer streams: the client has its beginning before the end is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_streams() {
    let (origin, proxy) = start(|it| it.set("retry.response_buffer", "1KiB")).await;
    let gate = Gate::new();
    let (first, rest) = ("a".repeat(10_000), "b".repeat(10_000));
    origin.queue([partial(200, &[], 20_000, &first).then(wait(&gate)).then(raw(rest.clone()))]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    gate.arrived().await;
    let begin = client.read_exactly(5_000).await.unwrap();
    assert!(begin.starts_with(b"HTTP/1.1 200 OK\r\n"));
    gate.open();
    let mut all = begin;
    let head = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    all.extend(client.read_exactly(head + 20_000 - all.len()).await.unwrap());
    assert!(all[head..] == *(first + &rest).as_bytes());
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "first_try")]).await;
    finish(proxy, origin).await;
}

/// A file's reader is not kept waiting for its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_comes_slowly_streams_before_it_is_whole() {
    let (origin, proxy) = start(|it| it).await;
    let gate = Gate::new();
    origin.queue([partial(200, &[], 10, "begin").then(wait(&gate)).then(raw("-end!"))]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs/j/tasks/t/files/stdout.txt", HOST, &[], "")).await.unwrap();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nproxy-status: batch-retry-proxy; attempts=1; fate=first_try; waited=0.0\r\n\r\n";
    let begin = client.read_exactly(head.len() + 5).await.unwrap();
    assert_eq!(String::from_utf8(begin).unwrap(), format!("{head}begin"));
    gate.open();
    assert_eq!(client.read_exactly(5).await.unwrap(), b"-end!");
    finish(proxy, origin).await;
}

/// Where it may not be continued: never an answer that looks complete and is not, neither the announced length nor the last chunk arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_under_way_breaks_the_clients_connection() {
    let part = "x".repeat(20_000);
    let length = || partial(200, &[], 50_000, &part);
    let chunk = || raw(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n{part}\r\n"));
    for (begin, end) in [(length(), cut()), (length(), close()), (chunk(), cut()), (chunk(), reset()), (length(), stall())] {
        let short = |it: Builder| it.set("retry.response_buffer", "1KiB").set("upstream.body_idle_timeout", "1s");
        let (origin, proxy) = start(|it| short(it).set("retry.max_attempts", 1)).await;
        let gate = Gate::new();
        origin.queue([begin.then(wait(&gate)).then(end)]);
        let mut client = proxy.client(HOST).await;
        client.send_raw(&request("GET", "/jobs/j/tasks/t/files/big", HOST, &[], "")).await.unwrap();
        let mut received = client.read_exactly(20_000).await.unwrap();
        gate.open();
        received.extend(client.read_to_end().await.unwrap_or_default());
        assert!(received.len() < 21_000, "{} bytes", received.len());
        assert!(!received.ends_with(b"0\r\n\r\n"));
        proxy.until("batch_retry_proxy_requests_total", &[("fate", "broken")]).await;
        finish(proxy, origin).await;
    }
}

/// The end of a connection is no proof: a list cut in the middle is replayed, a text is delivered as it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_length_is_complete_unless_it_is_json_that_does_not_end() {
    let (origin, proxy) = start(|it| it).await;
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json;odata=minimalmetadata\r\n\r\n";
    origin.queue([
        raw(format!("{json}{{\"value\":[{{\"id\":")).then(close()),
        raw(format!("{json}{{\"value\":[]}}")).then(close()),
        raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{\"value\":[").then(close()),
    ]);
    let list = send(&proxy, "GET", "/jobs", "").await;
    assert_eq!(list.text(), "{\"value\":[]}");
    assert!(proxy_status(&list).contains("attempts=2; fate=replayed"));
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_retries_total", &[("reason", "truncated")], 1.0);
    assert_eq!(send(&proxy, "GET", "/jobs", "").await.text(), "{\"value\":[");
    finish(proxy, origin).await;
}

/// A pooled connection that Batch closed while it lay idle is replaced without the client, or the count of attempts, noticing.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_while_idle_is_replaced() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|_| respond(200, &[], "{}").then(close()));
    let mut client = proxy.client(HOST).await;
    for count in 1..=5 {
        assert_eq!(client.request(&request("POST", "/jobs", HOST, &[], "{}")).await.status, 200);
        origin.wait_for_ended_connections(count).await;
    }
    assert_eq!(origin.requests().len(), 5, "each was carried out once");
    finish(proxy, origin).await;
}

/// A wait that would outlive the process ends when draining begins; the client gets what there is.
#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_a_wait_that_would_outlive_the_grace() {
    let (origin, proxy) =
        start(|it| it.set("retry.backoff.initial", "15s").set("retry.backoff.max", "15s").set("shutdown.grace", "5s")).await;
    origin.queue([respond(503, &[], "the last answer")]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    proxy.until("batch_retry_proxy_attempts_total", &[("class", "transient")]).await;
    proxy.drain();
    let response = client.read_response("GET").await.unwrap();
    assert_eq!((response.status, response.text().as_str()), (503, "the last answer"));
    assert!(proxy_status(&response).contains("fate=exhausted"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// A wait that ends within the grace goes on, and so does the send after it.
#[tokio::test(flavor = "multi_thread")]
async fn draining_lets_a_short_wait_and_its_replay_finish() {
    let (origin, proxy) =
        start(|it| it.set("retry.backoff.initial", "1s").set("retry.backoff.max", "1s").set("shutdown.grace", "20s")).await;
    origin.queue([respond(503, &[], "busy"), respond_chunked(200, &[], &["fine"])]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    proxy.until("batch_retry_proxy_attempts_total", &[("class", "transient")]).await;
    proxy.drain();
    assert_eq!(client.read_response("GET").await.unwrap().text(), "fine");
    finish(proxy, origin).await;
}

/// A deadline made for clients of one kind reaches them and no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_patient_client_gets_its_longer_deadline() {
    for (agent, status) in [("azsdk-python-batch/15.1.0", 200), ("curl/8.0", 503)] {
        let (origin, proxy) = start(|it| it.set("retry.deadline", "1s")).await;
        let mut count = 0;
        origin.script(move |_| {
            count += 1;
            if count == 1 { error(503, "ServerBusy", &[("Retry-After", "2")]) } else { file(b"content") }
        });
        let fields = [("User-Agent", agent)];
        let response = proxy.client(HOST).await.request(&request("GET", "/jobs/j/tasks/t/files/f", HOST, &fields, "")).await;
        assert_eq!(response.status, status, "{agent}");
        finish(proxy, origin).await;
    }
}

async fn send(proxy: &TestProxy, method: &str, target: &str, body: &str) -> Response {
    proxy.client(HOST).await.request(&request(method, target, HOST, &[], body)).await
}

fn proxy_status(response: &Response) -> &str {
    response.header("proxy-status").unwrap_or_default()
}

/// A limit that ends while there is no connection yet sent nothing, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_cut_while_connecting_was_not_sent() {
    let (origin, proxy) = start(|it| it.set("upstream.response_timeout", "1s")).await;
    origin.connection_faults([ConnectionFault::Stall]);
    origin.tolerate_broken_connections();
    origin.queue([empty(202)]);
    assert_eq!(send(&proxy, "DELETE", "/jobs/j", "").await.status, 202);
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_upstream_errors_total", &[("failure", "connect_timeout")], 1.0);
    assert_metric(&metrics, "batch_retry_proxy_retries_total", &[("reason", "not_sent")], 1.0);
    finish(proxy, origin).await;
}

/// Reading an answer whole must not outlast the client's patience.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_whole_at_the_deadline_streams_from_then_on() {
    let (origin, proxy) = start(|it| it.set("retry.deadline", "2s")).await;
    let gate = Gate::new();
    origin.queue([partial(200, &[], 10, "begin").then(wait(&gate)).then(raw("-end!"))]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    assert!(client.read_exactly(100).await.unwrap().starts_with(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"));
    gate.open();
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "first_try")]).await;
    finish(proxy, origin).await;
}

/// Memory is paid for as a body arrives: who only announces takes nothing from the others.
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_body_takes_no_memory_until_it_comes() {
    let (origin, proxy) = start(|it| it.set("retry.memory_limit", "100KiB")).await;
    origin.queue([respond(503, &[], ""), empty(202)]);
    let mut idlers = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client(HOST).await;
        let head = format!("PUT /jobs/j HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 90000\r\nExpect: 100-continue\r\n\r\n");
        client.send_raw(head.as_bytes()).await.unwrap();
        // Asked for the body, so the head has been read.
        client.read_exactly(25).await.unwrap();
        idlers.push(client);
    }
    assert_eq!(send(&proxy, "PUT", "/jobs/j", &"x".repeat(90_000)).await.status, 202);
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_unheld_bodies_total", &[], 0.0);
    drop(idlers);
    finish(proxy, origin).await;
}

/// Held, it never left; what is too large to hold is on its way to Batch already.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_falls_silent_is_given_up_on() {
    for (limit, leaves) in [("64MiB", false), ("4B", true)] {
        let (origin, proxy) = start(|it| it.set("listen.idle_timeout", "200ms").set("retry.body_limit", limit)).await;
        origin.tolerate_broken_connections();
        let mut client = proxy.client(HOST).await;
        let head = format!("PUT /jobs/j HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf");
        client.send_raw(head.as_bytes()).await.unwrap();
        let response = client.read_response("PUT").await.unwrap();
        assert_eq!(response.status, 400);
        assert!(response.text().contains("ProxyRequestBodyIncomplete"), "{}", response.text());
        assert_metric(&proxy.metrics().await, "batch_retry_proxy_requests_total", &[("fate", "client_gone")], 1.0);
        if !leaves {
            assert!(origin.requests().is_empty());
        }
        drop(client);
        finish(proxy, origin).await;
    }
}
