//! Settings that change while the proxy runs: what is new for whom, what stays, and that nobody is cut off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use super::support::action::{respond, wait};
use super::support::batch::{HOST, error};
use super::support::client::{Client, Response, Tunnel, request};
use super::support::echo::{EchoServer, FAREWELL};
use super::support::gate::Gate;
use super::support::metric::{assert_metric, sum};
use super::support::origin::Origin;
use super::support::proxy::{finish, start};

/// The one that waits replays as it was to, the one that comes meanwhile does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_keeps_its_settings_and_the_next_one_has_the_new() {
    let (origin, mut proxy) =
        start(|it| it.set("retry.backoff.initial", "3s").set("retry.backoff.max", "3s").set("retry.max_attempts", 2)).await;
    // By target: who comes first, the replay or the next request, is a matter of time.
    let mut of_jobs = VecDeque::from([respond(503, &[], "1"), respond(200, &[], "3"), respond(503, &[], "4")]);
    origin.script(move |request| match request.target.as_str() {
        "/jobs" => of_jobs.pop_front().unwrap(),
        _ => respond(503, &[], "2"),
    });
    let mut waiting = proxy.client(HOST).await;
    waiting.send_raw(&get("/jobs")).await.unwrap();
    proxy.until("batch_retry_proxy_attempts_total", &[("class", "transient")]).await;
    proxy.reload(|it| it.set("retry.max_attempts", 1)).await;
    let next = proxy.client(HOST).await.request(&get("/pools")).await;
    assert_eq!((next.status, next.text().as_str()), (503, "2"));
    assert!(proxy_status(&next).contains("attempts=1; fate=exhausted"), "{}", proxy_status(&next));
    let waited = waiting.read_response("GET").await.unwrap();
    assert_eq!((waited.status, waited.text().as_str()), (200, "3"));
    assert!(proxy_status(&waited).contains("attempts=2; fate=replayed"), "{}", proxy_status(&waited));
    // On the connection that was open before, too.
    assert_eq!(waiting.request(&get("/jobs")).await.text(), "4");
    finish(proxy, origin).await;
}

/// One waits for its answer, another connection is idle in the pool, and neither is where the next request goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_ends_where_it_began_and_the_next_one_goes_where_the_new_settings_say() {
    let other = Origin::start(&[HOST]).await;
    let (origin, mut proxy) = start(|it| it.trust(other.ca_file())).await;
    let gate = Gate::new();
    origin.script({
        let gate = gate.clone();
        move |request| match request.target.as_str() {
            "/jobs" => wait(&gate).then(respond(200, &[], "old")),
            _ => respond(200, &[], "idle"),
        }
    });
    other.script(|_| respond(200, &[], "new"));
    let (mut under_way, mut next) = (proxy.client(HOST).await, proxy.client(HOST).await);
    under_way.send_raw(&get("/jobs")).await.unwrap();
    gate.arrived().await;
    assert_eq!(next.request(&get("/pools")).await.text(), "idle");
    proxy.reload(|it| it.resolve(&format!("{HOST}:443"), other.address())).await;
    assert_eq!(next.request(&get("/pools")).await.text(), "new");
    gate.open();
    assert_eq!(under_way.read_response("GET").await.unwrap().text(), "old");
    assert_eq!(under_way.request(&get("/jobs")).await.text(), "new");
    // Nobody is left who could use the connections of before.
    origin.wait_for_ended_connections(2).await;
    other.finish().await;
    finish(proxy, origin).await;
}

/// Closed for the time that the service named, whatever the settings become, and who waits gets through at its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_closed_stays_closed_and_lets_those_who_wait_through_in_time() {
    let (origin, mut proxy) = start(|it| it.set("retry.deadline", "20s")).await;
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let stamps = times.clone();
    origin.script(move |_| {
        let mut stamps = stamps.lock().unwrap();
        stamps.push(Instant::now());
        if stamps.len() == 1 { error(429, "TooManyRequests", &[("Retry-After", "6")]) } else { respond(200, &[], "{}") }
    });
    let mut refused = proxy.client(HOST).await;
    refused.send_raw(&get("/jobs")).await.unwrap();
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_closed", &[], 1.0).await;
    drop(refused);
    let mut waiting = proxy.client(HOST).await;
    waiting.send_raw(&get("/pools")).await.unwrap();
    proxy.wait_for_metric("batch_retry_proxy_throttle_gate_waiting", &[], 1.0).await;
    proxy
        .reload(|it| {
            it.set("retry.throttle.hint_max", "1s")
                .set("retry.throttle.max_waiting", 1)
                .set("retry.throttle.initial_share", 1.0)
                .set("retry.budget.window", "5s")
                .set("retry.budget.min_per_second", 1)
        })
        .await;
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_throttle_gate_closed", &[], 1.0);
    assert_metric(&metrics, "batch_retry_proxy_throttle_gate_waiting", &[], 1.0);
    // The rule of the budget is the new one for the account that is known already.
    assert!((5.0..6.0).contains(&sum(&metrics, "batch_retry_proxy_budget_balance", &[])), "{metrics}");
    // One waits, and no more may.
    let refused = proxy.client(HOST).await.request(&get("/nodes")).await;
    assert!(refused.status == 429 && proxy_status(&refused).contains("attempts=0"), "{}", proxy_status(&refused));
    assert_eq!(waiting.read_response("GET").await.unwrap().status, 200);
    let times = times.lock().unwrap().clone();
    assert!(times.len() == 2 && times[1] - times[0] >= Duration::from_secs(6), "{times:?}");
    finish(proxy, origin).await;
}

/// Fifty reloads of everything that can be replaced, while eight clients keep asking on the connections they began with.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_dropped_by_reloads_under_load() {
    let (origin, mut proxy) = start(|it| it).await;
    let echo = EchoServer::start().await;
    origin.script(|_| respond(200, &[], "{}"));
    let done = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let (mut client, done) = (proxy.client(HOST).await, done.clone());
        asking.spawn(async move {
            let mut count = 0_u64;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(client.request(&request("POST", "/jobs", HOST, &[], "{}")).await.status, 200);
                count += 1;
            }
            count
        });
    }
    proxy.reload(|it| it.resolve("login.example:443", echo.address())).await;
    let mut tunnel = Tunnel::open(proxy.address(), "login.example:443", None).await.plain();
    for round in 0..50_u32 {
        let seconds = format!("{}s", 5 + round % 2);
        proxy
            .reload(|it| {
                it.set("upstream.connect_timeout", seconds.as_str())
                    .set("listen.idle_timeout", seconds.as_str())
                    .set("retry.deadline", seconds.as_str())
                    .set("retry.memory_limit", format!("{}MiB", 1 + round % 2))
                    .set("retry.repeat_memory", seconds.as_str())
                    .set("retry.budget.window", seconds.as_str())
            })
            .await;
    }
    done.store(true, Ordering::Relaxed);
    let counts = asking.join_all().await;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    tunnel.send_raw(b"still here").await.unwrap();
    assert_eq!(tunnel.read_exactly(10).await.unwrap(), b"still here");
    tunnel.shutdown_write().await;
    assert_eq!(tunnel.read_to_end().await.unwrap(), FAREWELL);
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_config_reloads_total", &[("result", "applied")], 51.0);
    assert_metric(&metrics, "batch_retry_proxy_connections", &[("kind", "intercept")], 0.0);
    assert_metric(&metrics, "batch_retry_proxy_connections_total", &[("kind", "intercept")], 8.0);
    assert_metric(&metrics, "batch_retry_proxy_connections_total", &[("kind", "intercept"), ("result", "failed")], 0.0);
    finish(proxy, origin).await;
}

/// Each setting is seen in what it does, not in what the proxy says of itself.
#[tokio::test(flavor = "multi_thread")]
async fn routes_bodies_and_permissions_are_new_for_what_comes_next() {
    let (origin, mut proxy) = start(|it| it).await;
    let connect = |host: &str| format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").into_bytes();
    let mut kept = proxy.client(HOST).await;
    let mut port = Client::connect(proxy.address()).await;
    proxy
        .reload(|it| {
            it.set("tunnel.deny", vec!["denied.example"])
                .set("forward.allow", vec!["only.example"])
                .set("retry.body_limit", "1B")
                .set("retry.max_attempts", 2)
                .set("admin.allow_shutdown", true)
        })
        .await;
    assert_eq!(port.request(&connect("denied.example")).await.status, 403);
    let page = request("GET", "/", "localhost", &[("Accept", "text/html")], "");
    let page = Client::connect(proxy.admin()).await.request(&page).await.text();
    assert!(page.contains("<code>/shutdown</code>"), "the page tells what there is now");
    let plain = request("GET", "http://other.example/", "other.example", &[], "");
    assert_eq!(Client::connect(proxy.address()).await.request(&plain).await.status, 403);
    // Too large to be held, it is sent once.
    origin.queue([respond(503, &[], "busy")]);
    let response = kept.request(&request("PUT", "/jobs/j", HOST, &[], "{}")).await;
    assert!(proxy_status(&response).contains("attempts=1; fate=not_replayable"), "{}", proxy_status(&response));
    // Not opened any more: what comes next is a tunnel, and what is open stays open.
    proxy.reload(|it| it.set("intercept.except", vec![HOST])).await;
    let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    tunnel.tls(origin.ca_pem(), HOST, &[]).await.expect("the origin's own certificate");
    origin.queue([respond(200, &[], "{}")]);
    assert_eq!(kept.request(&get("/jobs")).await.status, 200);
    proxy.reload(|it| it.set("listen.allow", vec!["10.0.0.0/8"])).await;
    assert_eq!(Client::connect(proxy.address()).await.request(&connect(HOST)).await.status, 403);
    origin.queue([respond(200, &[], "{}")]);
    assert_eq!(kept.request(&get("/jobs")).await.status, 200);
    let post = request("POST", "/shutdown", "localhost", &[("Content-Length", "0")], "");
    assert_eq!(Client::connect(proxy.admin()).await.request(&post).await.status, 202);
    finish(proxy, origin).await;
}

/// The authority's certificate says for good which hosts it may vouch for.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_the_authority_cannot_vouch_for_wait_for_a_restart() {
    let (origin, mut proxy) = start(|it| it).await;
    let hosts = |hosts: &[&str]| hosts.iter().map(|host| toml::Value::from(*host)).collect::<Vec<_>>();
    proxy.reload(|it| it.set("intercept.hosts", hosts(&["*.westeurope.batch.azure.com"]))).await;
    assert_eq!(status(&proxy.admin_page("/status").await)["waiting_for_restart"], serde_json::json!([]));
    proxy.reload(|it| it.set("intercept.hosts", hosts(&["*.example"])).set("retry.deadline", "40s")).await;
    let page = proxy.admin_page("/status").await;
    assert_eq!(status(&page)["waiting_for_restart"], serde_json::json!(["intercept.hosts"]), "{page}");
    origin.script(|_| respond(200, &[], "{}"));
    assert_eq!(proxy.client(HOST).await.request(&get("/jobs")).await.status, 200);
    finish(proxy, origin).await;
}

/// What `/status` says of the settings.
pub(super) fn status(page: &str) -> Value {
    serde_json::from_str::<Value>(page).unwrap()["config"].take()
}

fn get(target: &str) -> Vec<u8> {
    request("GET", target, HOST, &[], "")
}

fn proxy_status(response: &Response) -> &str {
    response.header("proxy-status").unwrap_or_default()
}
