//! Answers to a replay that an earlier send brought about: which become successes, which are only marked, and that a first answer is never
//! touched.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::support::action::{raw, reset, respond, respond_chunked};
use super::support::batch::{HOST, error, error_body, json as found};
use super::support::client::{Response, request};
use super::support::metric::assert_metric;
use super::support::origin::{ConnectionFault, Origin, Received};
use super::support::proxy::{TestProxy, finish, start};

/// An operation, its echo, and the status of its success.
type Case = (&'static str, &'static str, u16, &'static str, u16);

/// Everything that resolves without proof.
const RESOLVED: [Case; 22] = [
    ("DELETE", "/pools/p", 404, "PoolNotFound", 202),
    ("DELETE", "/pools/p", 409, "PoolBeingDeleted", 202),
    ("DELETE", "/jobs/j", 404, "JobNotFound", 202),
    ("DELETE", "/jobs/j", 409, "JobBeingDeleted", 202),
    ("DELETE", "/jobschedules/s", 404, "JobScheduleNotFound", 202),
    ("DELETE", "/jobschedules/s", 409, "JobScheduleBeingDeleted", 202),
    ("DELETE", "/jobs/j/tasks/t", 404, "TaskNotFound", 200),
    ("DELETE", "/jobs/j/tasks/t/files/wd%2Fx", 404, "FileNotFound", 200),
    ("DELETE", "/jobs/j/tasks/t/files/wd/x", 404, "FileNotFound", 200),
    ("DELETE", "/pools/p/nodes/n/files/x", 404, "FileNotFound", 200),
    ("DELETE", "/pools/p/nodes/n/users/u", 404, "NodeUserNotFound", 200),
    ("DELETE", "/certificates(thumbprintAlgorithm=sha1,thumbprint=ab)", 404, "CertificateNotFound", 202),
    ("DELETE", "/certificates(thumbprintAlgorithm=sha1,thumbprint=ab)", 409, "CertificateBeingDeleted", 202),
    ("POST", "/certificates(thumbprintAlgorithm=sha1,thumbprint=ab)/canceldelete", 409, "CertificateStateActive", 204),
    ("POST", "/jobs/j/terminate", 409, "JobBeingTerminated", 202),
    ("POST", "/jobs/j/terminate", 409, "JobCompleted", 202),
    ("POST", "/jobschedules/s/terminate", 409, "JobScheduleBeingTerminated", 202),
    ("POST", "/jobschedules/s/terminate", 409, "JobScheduleCompleted", 202),
    ("POST", "/jobs/j/tasks/t/terminate", 409, "TaskCompleted", 204),
    ("POST", "/pools/p/nodes/n/enablescheduling", 409, "NodeAlreadyInTargetSchedulingState", 200),
    ("POST", "/pools/p/nodes/n/disablescheduling", 409, "NodeAlreadyInTargetSchedulingState", 200),
    ("DELETE", "/pools/P-1", 404, "PoolNotFound", 202),
];

/// What may come of an earlier send and proves nothing.
const MARKED: [(&str, &str, u16, &str); 12] = [
    ("POST", "/pools/p/resize", 409, "PoolBeingResized"),
    ("POST", "/pools/p/removenodes", 409, "PoolBeingResized"),
    ("POST", "/pools/p/removenodes", 404, "NodeNotFound"),
    ("POST", "/pools/p/stopresize", 409, "OperationInvalidForCurrentState"),
    ("POST", "/jobs/j/enable", 409, "OperationInvalidForCurrentState"),
    ("POST", "/jobs/j/terminate", 404, "JobNotFound"),
    ("POST", "/jobs/j/tasks/t/terminate", 404, "TaskNotFound"),
    ("POST", "/pools/p/nodes/n/start", 409, "NodeBeingStarted"),
    ("PATCH", "/jobs/j", 412, "ConditionNotMet"),
    ("DELETE", "/pools/p", 412, "ConditionNotMet"),
    ("POST", "/jobs", 409, "JobExists"),
    ("POST", "/jobs", 409, "ActiveJobAndScheduleQuotaReached"),
];

const COLLECTION: &str = "/jobs/j/addtaskcollection";
const TASKS: &str = r#"{"value":[{"id":"a","commandLine":"x"},{"id":"b","commandLine":"x"}]}"#;
const NOW: &str = "2026-11-23T03:41:33.2500000Z";
const BEFORE: &str = "2026-11-23T03:39:00.0000000Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_or_transition_whose_end_is_reached_is_a_success() {
    let (origin, proxy) = start(|it| it).await;
    for (method, target, status, code, success) in RESOLVED {
        for first in [reset(), error(500, "InternalError", &[])] {
            origin.queue([first, error(status, code, &[("Retry-After", "9")])]);
            let response = send(&proxy, method, target, &[], "").await;
            assert_eq!((response.status, response.text().as_str()), (success, ""), "{method} {target} {code}");
            let length = if success == 204 { None } else { Some("0") };
            assert_eq!(response.header("content-length"), length, "{target} {code}");
            assert!(response.header("request-id").is_some() && response.header("date").is_some(), "Batch's own head");
            assert_eq!(response.header("server"), Some("Microsoft-HTTPAPI/2.0"));
            assert_eq!((response.header("content-type"), response.header("retry-after")), (None, None));
            let reason = http::StatusCode::from_u16(success).unwrap().canonical_reason().unwrap();
            assert_eq!(response.reason, reason, "the refusal's own words are gone");
            let marks = proxy_status(&response);
            assert!(marks.contains("attempts=2; fate=echo") && marks.ends_with("; echo=resolved"), "{marks}");
        }
    }
    // A throttled one may have landed too.
    origin.queue([error(429, "TooManyRequests", &[("retry-after-ms", "1")]), error(404, "JobNotFound", &[])]);
    assert_eq!(send(&proxy, "DELETE", "/jobs/j", &[], "").await.status, 202);
    let count = 2.0 * RESOLVED.len() as f64 + 1.0;
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", "echo")], count).await;
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_echoes_total", &[("resolution", "resolved")], count);
    finish(proxy, origin).await;
}

/// Neither what a client meets at once, nor what it meets after a connection that carried nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_answer_is_never_rewritten() {
    let (origin, proxy) = start(|it| it.set("retry.echo.creates", "trust")).await;
    let resolved = RESOLVED.map(|(method, target, status, code, _)| (method, target, status, code));
    for (method, target, status, code) in resolved.into_iter().chain(MARKED) {
        origin.queue([error(status, code, &[])]);
        assert_untouched(&send(&proxy, method, target, &[], "").await, status, code);
    }
    finish(proxy, origin).await;
    for (method, target, status, code) in [("DELETE", "/jobs/j", 404, "JobNotFound"), ("POST", "/jobs", 409, "JobExists")] {
        let (origin, proxy) = start(|it| it.set("retry.echo.creates", "trust")).await;
        origin.connection_faults([ConnectionFault::Garbage]);
        origin.tolerate_broken_connections();
        origin.queue([error(status, code, &[])]);
        let response = send(&proxy, method, target, &[], r#"{"id":"j"}"#).await;
        assert!(proxy_status(&response).contains("attempts=2"), "{}", proxy_status(&response));
        assert_untouched(&response, status, code);
        finish(proxy, origin).await;
    }
}

/// After a replay, by the same codes of another resource or another operation: no echo.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_something_else_proves_nothing() {
    let (origin, proxy) = start(|it| it.set("retry.echo.creates", "trust")).await;
    for (method, target, status, code) in [
        ("DELETE", "/jobs/j/tasks/t", 404, "JobNotFound"),
        ("DELETE", "/jobs/j/tasks/t", 409, "JobBeingDeleted"),
        ("DELETE", "/jobs/j/tasks/t/files/x", 404, "TaskNotFound"),
        ("DELETE", "/pools/p/nodes/n/users/u", 404, "NodeNotFound"),
        ("DELETE", "/jobs/j", 409, "JobBeingTerminated"),
        ("DELETE", "/unheard/of", 404, "JobNotFound"),
        ("POST", "/jobs", 409, "JobScheduleWithSameIdExists"),
        ("PUT", "/jobs/j", 404, "JobNotFound"),
        ("GET", "/jobs/j", 404, "JobNotFound"),
    ] {
        origin.queue([reset(), error(status, code, &[])]);
        let response = send(&proxy, method, target, &[], "").await;
        assert_untouched(&response, status, code);
    }
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_an_echo_and_proves_nothing_is_passed_on_and_marked() {
    let (origin, proxy) = start(|it| it).await;
    for (method, target, status, code) in MARKED {
        origin.queue([reset(), error(status, code, &[])]);
        let response = send(&proxy, method, target, &[("If-Match", "\"0x1\"")], "").await;
        assert_eq!((response.status, response.text()), (status, error_body(code)), "{target} {code}");
        let marks = proxy_status(&response);
        assert!(marks.contains("attempts=2; fate=permanent") && marks.ends_with("; echo=passed"), "{target} {code} {marks}");
    }
    let count = MARKED.len() as f64;
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_echoes_total", &[("resolution", "passed")], count);
    finish(proxy, origin).await;
    let (origin, proxy) = start(|it| it.set("retry.echo.others", "pass")).await;
    for (method, target, status, code, _) in RESOLVED {
        origin.queue([reset(), error(status, code, &[])]);
        let response = send(&proxy, method, target, &[], "").await;
        assert_eq!((response.status, response.text()), (status, error_body(code)), "{target} {code}");
        assert!(proxy_status(&response).ends_with("; echo=passed"), "{}", proxy_status(&response));
    }
    finish(proxy, origin).await;
}

/// One GET with the client's token and nothing of its signature; then the create is a success.
#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_clients_create_is_verified_by_one_get() {
    let (origin, proxy) = start(|it| it).await;
    for (target, id, read) in [
        ("/jobs", "J-1", "/jobs/J-1"),
        ("/pools", "p_2", "/pools/p_2"),
        ("/jobschedules", "s", "/jobschedules/s"),
        ("/jobs/j/tasks", "t", "/jobs/j/tasks/t"),
    ] {
        let code = match target {
            "/jobs" => "JobExists",
            "/pools" => "PoolExists",
            "/jobschedules" => "JobScheduleExists",
            _ => "TaskExists",
        };
        let sent = origin.requests().len();
        origin.queue([
            reset(),
            error(409, code, &[]),
            found(200, &json!({ "id": id.to_ascii_lowercase(), "creationTime": NOW })),
        ]);
        let response = create(&proxy, target, BEARER, id).await;
        assert_eq!((response.status, response.text().as_str()), (201, ""), "{target}");
        assert!(proxy_status(&response).contains("attempts=2; fate=echo"), "{}", proxy_status(&response));
        assert!(proxy_status(&response).ends_with("; echo=verified"), "{}", proxy_status(&response));
        let get = &origin.requests()[sent + 2];
        assert_eq!(
            (get.method.as_str(), get.target.as_str()),
            ("GET", &*format!("{read}?{VERSION}&$select=id,creationTime"))
        );
        assert_eq!(get.header("authorization"), Some(BEARER));
        assert_eq!((get.header("host"), get.header("user-agent")), (Some(HOST), Some("tests")));
        assert_eq!((get.header("content-type"), get.header("content-length")), (None, None));
    }
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_echoes_total", &[("resolution", "verified")], 4.0);
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_attempts_total", &[("operation", "Jobs_GetJob")], 1.0);
    finish(proxy, origin).await;
}

/// A throttled create has been seen to land.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_landed_although_it_was_throttled_is_verified_too() {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([
        error(429, "TooManyRequests", &[("Retry-After", "1")]),
        error(409, "JobExists", &[]),
        found(200, &json!({ "id": "j", "creationTime": NOW })),
    ]);
    let response = create(&proxy, "/jobs", BEARER, "j").await;
    assert_eq!(response.status, 201, "{}", response.text());
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_cannot_be_proved_is_passed_on_and_marked() {
    let (origin, proxy) = start(|it| it).await;
    let exists = || error(409, "JobExists", &[]);
    let undated = || respond(409, &[("Content-Type", "application/json")], error_body("JobExists"));
    for (why, echo, looked_up) in [
        ("made before our first send", exists(), found(200, &json!({ "id": "j", "creationTime": BEFORE }))),
        ("made after the answer", exists(), found(200, &json!({ "id": "j", "creationTime": "2026-11-23T03:42:33Z" }))),
        ("another one", exists(), found(200, &json!({ "id": "other", "creationTime": NOW }))),
        ("without a time", exists(), found(200, &json!({ "id": "j" }))),
        ("not to be seen yet", exists(), error(404, "JobNotFound", &[])),
        ("the service is busy", exists(), error(503, "ServerBusy", &[])),
        ("the look-up is lost", exists(), reset()),
        ("no JSON", exists(), respond(200, &[], "nothing")),
        ("no Date anywhere", undated(), respond(200, &[], json!({ "id": "j", "creationTime": NOW }).to_string())),
    ] {
        let body = error_body("JobExists");
        let sent = origin.requests().len();
        origin.queue([reset(), echo, looked_up]);
        let response = create(&proxy, "/jobs", BEARER, "j").await;
        assert_eq!((response.status, response.text()), (409, body), "{why}");
        assert!(proxy_status(&response).ends_with("; echo=passed"), "{why}: {}", proxy_status(&response));
        assert_eq!(origin.requests().len() - sent, 3, "{why}: one look-up and no more");
    }
    finish(proxy, origin).await;
}

/// A signature is over one request alone; a node user cannot be read; an id that is none leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_up_is_not_asked_for() {
    let (origin, proxy) = start(|it| it).await;
    for (target, authorization, body, code) in [
        ("/jobs", SHARED_KEY, r#"{"id":"j"}"#, "JobExists"),
        ("/jobs", BEARER, r#"{"id":"../pools/p"}"#, "JobExists"),
        ("/jobs", BEARER, "{}", "JobExists"),
        ("/pools/p/nodes/n/users", BEARER, r#"{"name":"u"}"#, "NodeUserExists"),
        ("/certificates", BEARER, r#"{"thumbprint":"ab"}"#, "CertificateExists"),
    ] {
        let sent = origin.requests().len();
        origin.queue([reset(), error(409, code, &[])]);
        let response = send(&proxy, "POST", target, &[("Authorization", authorization)], body).await;
        assert_eq!((response.status, response.text()), (409, error_body(code)), "{target} {body}");
        assert!(proxy_status(&response).ends_with("; echo=passed"), "{}", proxy_status(&response));
        assert_eq!(origin.requests().len() - sent, 2, "{target} {body}");
    }
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_may_trust_or_pass_creates() {
    for (setting, authorization, status, resolution) in [
        ("trust", SHARED_KEY, 201, "trusted"),
        ("trust", BEARER, 201, "trusted"),
        ("pass", BEARER, 409, "passed"),
        ("pass", SHARED_KEY, 409, "passed"),
    ] {
        let (origin, proxy) = start(|it| it.set("retry.echo.creates", setting)).await;
        origin.queue([reset(), error(409, "JobExists", &[])]);
        let response = create(&proxy, "/jobs", authorization, "j").await;
        assert_eq!(response.status, status, "{setting} {authorization}");
        assert!(proxy_status(&response).ends_with(&format!("; echo={resolution}")), "{}", proxy_status(&response));
        assert_eq!(origin.requests().len(), 2, "nothing is asked");
        finish(proxy, origin).await;
    }
}

/// Task `a` exists, task `b` was made now, and something that was not asked for exists too.
fn results() -> String {
    format!(
        "{{\"odata.metadata\":\"x\",  \"value\":[{},{{\"status\":\"success\",\"taskId\":\"b\",\"eTag\":\"0x1\"}},{}], \"n\": 1.50}}",
        existing("A"),
        existing("other")
    )
}

fn existing(id: &str) -> String {
    let refused =
        json!({ "status": "clienterror", "taskId": id, "error": { "code": "TaskExists", "message": { "value": "x" } } });
    refused.to_string()
}

fn resolved() -> String {
    results().replace(&existing("A"), r#"{"status":"success","taskId":"A"}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_the_request_that_exist_become_successes_where_the_setting_allows_it() {
    let list = |time: &str| {
        found(200, &json!({ "value": [{ "id": "a", "creationTime": time }, { "id": "z", "creationTime": NOW }] }))
    };
    for (why, setting, authorization, first, looked_up, want, resolution) in [
        ("trusted", "trust", SHARED_KEY, Some(reset()), None, resolved(), Some("trusted")),
        ("verified", "verify", BEARER, Some(reset()), Some(list(NOW)), resolved(), Some("verified")),
        ("verified after 429", "verify", BEARER, Some(error(429, "X", &[])), Some(list(NOW)), resolved(), Some("verified")),
        ("made before", "verify", BEARER, Some(reset()), Some(list(BEFORE)), results(), Some("passed")),
        ("not looked up", "verify", BEARER, Some(reset()), Some(error(503, "ServerBusy", &[])), results(), Some("passed")),
        ("signed", "verify", SHARED_KEY, Some(reset()), None, results(), Some("passed")),
        ("passed", "pass", BEARER, Some(reset()), None, results(), Some("passed")),
        ("a first answer", "trust", BEARER, None, None, results(), None),
    ] {
        let (origin, proxy) = start(|it| it.set("retry.echo.creates", setting)).await;
        let answer = respond_chunked(200, DATED, &[results()]);
        origin.queue(first.into_iter().chain([answer]).chain(looked_up.clone()));
        let response = send(&proxy, "POST", COLLECTION, &[("Authorization", authorization)], TASKS).await;
        assert_eq!((response.status, response.text()), (200, want), "{why}");
        assert!(response.complete, "{why}");
        let mark = resolution.map(|resolution| format!("; echo={resolution}"));
        let marks = proxy_status(&response);
        assert_eq!(marks.split_once("; echo").map(|(_, mark)| format!("; echo{mark}")), mark, "{why} {marks}");
        if let (Some(looked_up), Some(get)) = (looked_up, origin.requests().get(2)) {
            assert_eq!(get.target, format!("/jobs/j/tasks?{VERSION}&$select=id,creationTime"), "{why}");
            drop(looked_up);
        }
        finish(proxy, origin).await;
    }
}

/// The bytes of an answer without echoes stay, coded or not.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_collection_is_read_packed_and_left_alone_without_echoes() {
    let (origin, proxy) = start(|it| it.set("retry.echo.creates", "trust")).await;
    origin.queue([reset(), respond(200, &[("Content-Encoding", "gzip")], packed(&results()))]);
    let response = send(&proxy, "POST", COLLECTION, &[], TASKS).await;
    assert_eq!((response.text(), response.header("content-encoding")), (resolved(), None));
    let plain = results().replace("TaskExists", "InvalidPropertyValue");
    origin.queue([reset(), respond(200, &[("Content-Encoding", "gzip")], packed(&plain))]);
    let response = send(&proxy, "POST", COLLECTION, &[], TASKS).await;
    assert_eq!((response.body.clone(), response.header("content-encoding")), (packed(&plain), Some("gzip")));
    assert!(proxy_status(&response).ends_with("attempts=2; fate=replayed; waited=0.0"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

/// The reason phrase of a refusal says what it refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_the_refusal_is_left() {
    let (origin, proxy) = start(|it| it).await;
    let body = error_body("JobNotFound");
    let refusal = format!("HTTP/1.1 404 The job is gone\r\nrequest-id: 7\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    origin.queue([reset(), raw(refusal)]);
    let response = send(&proxy, "DELETE", "/jobs/j", &[], "").await;
    let head = String::from_utf8(response.raw_head.clone()).unwrap();
    assert!(head.starts_with("HTTP/1.1 202 Accepted\r\n") && !head.contains("gone"), "{head}");
    assert_eq!(response.header("request-id"), Some("7"));
    finish(proxy, origin).await;
}

/// Without replaying there is nothing to find an echo of.
#[tokio::test(flavor = "multi_thread")]
async fn the_sends_of_an_echo_are_the_same_bytes() {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([reset(), error(503, "ServerBusy", &[]), error(404, "JobNotFound", &[])]);
    let response = send(&proxy, "DELETE", "/jobs/j", &[("ocp-date", "today")], "").await;
    assert_eq!(response.status, 202);
    let sends: Vec<Vec<u8>> = origin.requests().iter().map(Received::bytes).collect();
    assert!(sends.len() == 3 && sends.iter().all(|send| *send == sends[0]), "{sends:?}");
    finish(proxy, origin).await;
}

const BEARER: &str = "Bearer token";
const SHARED_KEY: &str = "SharedKey testacct:c2lnbmF0dXJl";
const VERSION: &str = "api-version=2025-06-01";
const DATED: &[(&str, &str)] =
    &[("Content-Type", "application/json;odata=minimalmetadata"), ("Date", "Mon, 23 Nov 2026 03:41:33 GMT")];

async fn create(proxy: &TestProxy, target: &str, authorization: &str, id: &str) -> Response {
    let fields = [("Authorization", authorization), ("User-Agent", "tests"), ("Content-Type", "application/json")];
    send(proxy, "POST", target, &fields, &json!({ "id": id }).to_string()).await
}

async fn send(proxy: &TestProxy, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Response {
    let bytes = request(method, &format!("{target}?{VERSION}"), HOST, fields, body);
    proxy.client(HOST).await.request(&bytes).await
}

fn assert_untouched(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status, response.text()), (status, error_body(code)));
    let marks = proxy_status(response);
    assert!(marks.contains("fate=permanent") && !marks.contains("echo"), "{code}: {marks}");
}

fn proxy_status(response: &Response) -> &str {
    response.header("proxy-status").unwrap_or_default()
}

fn packed(plain: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Connections that were refused carried nothing: what was made while they were is another client's.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_of_a_create_begins_with_the_first_send_that_left() {
    let later = Origin::later(&[HOST]);
    let builder = TestProxy::builder().resolve(&format!("{HOST}:443"), later.address()).trust(later.ca_file());
    let proxy = builder.set("retry.backoff.initial", "500ms").set("retry.backoff.max", "500ms").start().await;
    let mut client = proxy.client(HOST).await;
    let fields = [("Authorization", BEARER)];
    client.send_raw(&request("POST", &format!("/jobs?{VERSION}"), HOST, &fields, r#"{"id":"j"}"#)).await.unwrap();
    proxy.wait_for_metric("batch_retry_proxy_upstream_errors_total", &[("failure", "connect_refused")], 4.0).await;
    let origin = later.start();
    // A second before the date of every answer here, and after the first connection was refused.
    let made = found(200, &json!({ "id": "j", "creationTime": "2026-11-23T03:41:32Z" }));
    origin.queue([error(429, "TooManyRequests", &[("retry-after-ms", "1")]), error(409, "JobExists", &[]), made]);
    let response = client.read_response("POST").await.unwrap();
    assert_eq!(response.status, 409, "{}", proxy_status(&response));
    finish(proxy, origin).await;
}
