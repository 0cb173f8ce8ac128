//! Refusals that say that nothing was done: handed over and counted, or replayed where the settings open a lane for them.

use super::support::action::respond;
use super::support::batch::{HOST, empty, error};
use super::support::client::{Response, request};
use super::support::metric::assert_metric;
use super::support::proxy::{TestProxy, finish, start};

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_clear_by_themselves_are_handed_over_and_counted() {
    let (origin, proxy) = start(|it| it).await;
    for (method, target, code) in [
        ("PATCH", "/pools/p", "PoolBeingResized"),
        ("POST", "/jobs", "JobBeingDeleted"),
        ("POST", "/jobs", "ActiveJobAndScheduleQuotaReached"),
        ("POST", "/pools", "PoolQuotaReached"),
    ] {
        origin.queue([error(409, code, &[])]);
        let response = send(&proxy, method, target).await;
        assert_eq!(response.status, 409);
        assert!(proxy_status(&response).ends_with("attempts=1; fate=permanent; waited=0.0"), "{}", proxy_status(&response));
        assert_metric(&proxy.metrics().await, "batch_retry_proxy_state_refusals_total", &[("code", code)], 1.0);
    }
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_lane_replays_what_clears_by_itself() {
    for (lane, method, target, code, reason) in [
        ("state", "PATCH", "/pools/p", "PoolBeingResized", "state"),
        ("state", "POST", "/jobs", "JobBeingDeleted", "state"),
        ("state", "POST", "/pools/p/nodes/n/reboot", "NodeBeingStarted", "state"),
        ("quota", "POST", "/jobs", "ActiveJobAndScheduleQuotaReached", "quota"),
    ] {
        let (origin, proxy) =
            start(|it| it.set(&format!("retry.{lane}.attempts"), 2).set(&format!("retry.{lane}.wait"), "200ms")).await;
        let refused = || error(409, code, &[]);
        origin.queue([refused(), refused(), empty(202)]);
        let response = send(&proxy, method, target).await;
        assert_eq!(response.status, 202, "{code}");
        assert!(proxy_status(&response).ends_with("attempts=3; fate=replayed; waited=0.4"), "{}", proxy_status(&response));
        assert_metric(&proxy.metrics().await, "batch_retry_proxy_retries_total", &[("reason", reason)], 2.0);
        origin.queue([refused(), refused(), refused()]);
        let response = send(&proxy, method, target).await;
        assert_eq!(response.status, 409, "{code}");
        assert!(proxy_status(&response).contains("attempts=3; fate=exhausted"), "{}", proxy_status(&response));
        finish(proxy, origin).await;
    }
}

/// A refusal without effect, replayed by a lane, leaves nothing to be echoed: someone else made it meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_exists_after_refusals_without_effect_is_no_echo() {
    let (origin, proxy) =
        start(|it| it.set("retry.state.attempts", 2).set("retry.state.wait", "1ms").set("retry.echo.creates", "trust"))
            .await;
    origin.queue([error(409, "JobBeingDeleted", &[]), error(409, "JobExists", &[])]);
    let response = send(&proxy, "POST", "/jobs").await;
    assert_eq!(response.status, 409);
    assert!(proxy_status(&response).ends_with("attempts=2; fate=permanent; waited=0.0"), "{}", proxy_status(&response));
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_no_deadline_holds_ends_at_once() {
    let (origin, proxy) =
        start(|it| it.set("retry.state.attempts", 2).set("retry.state.wait", "10s").set("retry.deadline", "5s")).await;
    origin.queue([error(409, "PoolBeingResized", &[])]);
    let response = send(&proxy, "PATCH", "/pools/p").await;
    assert_eq!(response.status, 409);
    assert!(proxy_status(&response).ends_with("attempts=1; fate=exhausted; waited=0.0"), "{}", proxy_status(&response));
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_stops_total", &[("reason", "deadline")], 1.0);
    finish(proxy, origin).await;
}

/// The resource and what belongs to it, by any client of the proxy; not what was created by nobody here.
#[tokio::test(flavor = "multi_thread")]
async fn a_404_right_after_an_own_create_is_replayed_where_asked_for() {
    let missing = || error(404, "JobNotFound", &[]);
    let (origin, proxy) = start(|it| it.set("retry.read_after_create", "30s")).await;
    origin.queue([empty(201), missing(), missing(), respond(200, &[], "{}"), missing(), respond(200, &[], "{}"), missing()]);
    assert_eq!(send(&proxy, "POST", "/jobs").await.status, 201);
    for target in ["/jobs/J", "/jobs/j/tasks"] {
        let response = send(&proxy, "GET", target).await;
        assert_eq!(response.status, 200, "{target}");
        assert!(proxy_status(&response).contains("fate=replayed"), "{target} {}", proxy_status(&response));
    }
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_retries_total", &[("reason", "read_lag")], 3.0);
    let response = send(&proxy, "GET", "/jobs/other").await;
    assert!(response.status == 404 && proxy_status(&response).contains("attempts=1; fate=permanent"), "{response:?}");
    origin.queue([missing()]);
    assert_eq!(send(&proxy, "DELETE", "/jobs/j").await.status, 404, "a write is told at once");
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_stays_one_when_reads_must_have_caught_up_or_nobody_asked_for_patience() {
    for (lag, attempts) in [("100ms", None), ("0s", Some(1))] {
        let (origin, proxy) = start(|it| it.set("retry.read_after_create", lag)).await;
        origin.script(|request| if request.method == "POST" { empty(201) } else { error(404, "JobNotFound", &[]) });
        send(&proxy, "POST", "/jobs").await;
        let response = send(&proxy, "GET", "/jobs/j").await;
        assert_eq!(response.status, 404);
        assert!(proxy_status(&response).contains("fate=permanent"), "{}", proxy_status(&response));
        if let Some(attempts) = attempts {
            assert!(proxy_status(&response).contains(&format!("attempts={attempts};")), "{}", proxy_status(&response));
        }
        finish(proxy, origin).await;
    }
}

async fn send(proxy: &TestProxy, method: &str, target: &str) -> Response {
    let body = if method == "POST" { r#"{"id":"j"}"# } else { "" };
    proxy.client(HOST).await.request(&request(method, target, HOST, &[], body)).await
}

fn proxy_status(response: &Response) -> &str {
    response.header("proxy-status").unwrap_or_default()
}
