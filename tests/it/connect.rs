//! What arrives on the proxy's port: CONNECT in every spelling seen in the field, tunnels, plain-http requests, and what is none of these.

use super::support::action::{partial, raw, respond, respond_chunked, wait};
use super::support::batch::HOST;
use super::support::client::{Client, Tunnel, request};
use super::support::echo::{EchoServer, FAREWELL};
use super::support::fixture::{wire, wire_names};
use super::support::gate::Gate;
use super::support::guard;
use super::support::metric::assert_metric;
use super::support::origin::{Origin, Refused};
use super::support::proxy::{TestProxy, finish, start};

/// HTTP/1.0 without a Host, `Connection: close`, `Proxy-Connection: close`, credentials nobody asked for: none of it hurts.
#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_connect_opens_a_connection_that_stays() {
    let names = wire_names("connect");
    assert!(names.len() >= 13, "{names:?}");
    for name in names {
        let origin = Origin::start(&[HOST]).await;
        let proxy = TestProxy::builder().upstream(&origin).start().await;
        origin.script(|_| respond(200, &[], "{}"));
        let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), Some(&wire(&name))).await;
        let mut client = tunnel.tls(proxy.ca_pem(), HOST, &[]).await.unwrap();
        for _ in 0..2 {
            assert_eq!(client.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200, "{name}");
        }
        finish(proxy, origin).await;
    }
}

/// The end of one direction is not the end of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_passes_bytes_and_half_closes() {
    let echo = EchoServer::start().await;
    let proxy = TestProxy::builder().resolve("login.example:443", echo.address()).start().await;
    let mut client = Tunnel::open(proxy.address(), "login.example:443", None).await.plain();
    client.send_raw(b"hello").await.unwrap();
    assert_eq!(client.read_exactly(5).await.unwrap(), b"hello");
    client.shutdown_write().await;
    assert_eq!(client.read_to_end().await.unwrap(), FAREWELL);
    proxy.until("batch_retry_proxy_connections_total", &[("kind", "tunnel"), ("result", "completed")]).await;
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_connections", &[("kind", "tunnel")], 0.0);
    assert_metric(&metrics, "batch_retry_proxy_tunnel_bytes_total", &[("direction", "sent")], 5.0);
    assert_metric(
        &metrics,
        "batch_retry_proxy_tunnel_bytes_total",
        &[("direction", "received")],
        5.0 + FAREWELL.len() as f64,
    );
    proxy.finish().await;
}

/// Bytes that a client sends with its CONNECT, before the answer, belong to the tunnel.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_together_with_the_connect_are_not_lost() {
    let echo = EchoServer::start().await;
    let proxy = TestProxy::builder().resolve("login.example:443", echo.address()).start().await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_raw(b"CONNECT login.example:443 HTTP/1.1\r\nHost: login.example:443\r\n\r\nearly").await.unwrap();
    assert_eq!(client.read_response("CONNECT").await.unwrap().status, 200);
    assert_eq!(client.read_exactly(5).await.unwrap(), b"early");
    drop(client);
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_without_a_byte_for_the_idle_timeout_is_closed() {
    let echo = EchoServer::start().await;
    let builder = TestProxy::builder().resolve("login.example:443", echo.address()).set("tunnel.idle_timeout", "300ms");
    let proxy = builder.start().await;
    let mut client = Tunnel::open(proxy.address(), "login.example:443", None).await.plain();
    client.send_raw(b"x").await.unwrap();
    assert_eq!(client.read_exactly(1).await.unwrap(), b"x");
    assert!(client.read_to_end().await.unwrap_or_default().is_empty());
    proxy.until("batch_retry_proxy_connections_total", &[("kind", "tunnel"), ("result", "failed")]).await;
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_leads_nowhere_is_refused_with_the_reason() {
    let refused = Refused::new();
    let builder = TestProxy::builder()
        .resolve("closed.example:443", refused.address())
        .set("tunnel.deny", vec!["denied.example"])
        .set("tunnel.ports", vec![443]);
    let proxy = builder.start().await;
    for (target, status, words) in [
        ("closed.example:443", 502, "connect_refused"),
        ("name.invalid:443", 502, "dns_"),
        ("denied.example:443", 403, "tunnel.deny"),
        ("login.example:22", 403, "tunnel.ports"),
        ("login.example", 400, "host:port"),
    ] {
        let mut client = Client::connect(proxy.address()).await;
        let response = client.request(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await;
        assert_eq!(response.status, status, "{target}: {}", response.text());
        assert!(response.text().contains(words), "{target}: {}", response.text());
        // A refusal is an answer: the connection can be used again.
        let again = client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(again.status, 400, "{target}");
    }
    proxy.finish().await;
}

/// As @azure/batch 10 does for an http:// endpoint when HTTP_PROXY is set.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_goes_through_to_a_batch_host_untouched() {
    let origin = Origin::plain().await;
    origin.script(|_| respond(200, &[], "plain"));
    let proxy = TestProxy::builder().resolve(&format!("{HOST}:80"), origin.address()).start().await;
    let mut client = Tunnel::open(proxy.address(), &format!("{HOST}:80"), None).await.plain();
    let bytes = request("GET", "/jobs", HOST, &[("Proxy-Connection", "x"), ("TE", "trailers")], "");
    let response = client.request(&bytes).await;
    assert_eq!((response.text().as_str(), response.header("proxy-status")), ("plain", None));
    assert_eq!(origin.requests()[0].bytes(), bytes);
    drop(client);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_is_hung_up_on_where_no_tunnel_is_allowed() {
    let proxy = TestProxy::builder().set("tunnel.allow", vec!["login.example"]).start().await;
    let mut client = Tunnel::open(proxy.address(), &format!("{HOST}:80"), None).await.plain();
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    assert!(client.read_to_end().await.unwrap_or_default().is_empty());
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_else_on_the_port_is_told_what_this_is() {
    let proxy = TestProxy::builder().start().await;
    let address = proxy.address().to_string();
    for target in ["/", "/metrics", "*", "https://host.example/"] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let mut client = Client::connect(proxy.address()).await;
        let response = client.request(format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await;
        assert_eq!(response.status, 400, "{target}");
        let words = if target.starts_with("https") { "CONNECT" } else { "HTTPS_PROXY=http://" };
        assert!(response.text().contains(words), "{target}: {}", response.text());
        assert!(target.starts_with("https") || response.text().contains(&address), "{}", response.text());
    }
    let mut garbage = Client::connect(proxy.address()).await;
    garbage.send_raw(b"\x16\x03\x01\x02\x00 hello?\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(garbage.read_to_end().await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    proxy.finish().await;
}

/// Node sends the metadata service this way, and that refuses requests with forwarding fields.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_in_absolute_form_is_sent_on_once_with_nothing_added() {
    let origin = Origin::plain().await;
    origin.queue([
        respond(200, &[("X-ODD", "1")], "token"),
        respond_chunked(503, &[("Retry-After", "1")], &["not", "replayed"]),
        respond(201, &[], ""),
    ]);
    let proxy = TestProxy::builder().resolve("169.254.169.254:80", origin.address()).start().await;
    let mut client = Client::connect(proxy.address()).await;
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x%2Fy";
    let fields = "metadata: true\r\nProxy-Authorization: Basic eA==\r\nHost: 169.254.169.254\r\nProxy-Connection: close\r\nAccept: */*\r\n";
    let sent = format!("GET http://169.254.169.254{path} HTTP/1.1\r\n{fields}\r\n");
    let response = client.request(sent.as_bytes()).await;
    assert_eq!(String::from_utf8_lossy(&response.raw_head), "HTTP/1.1 200 OK\r\nX-ODD: 1\r\nContent-Length: 5\r\n\r\n");
    let want = format!("GET {path} HTTP/1.1\r\nmetadata: true\r\nHost: 169.254.169.254\r\nAccept: */*\r\n\r\n");
    assert_eq!(String::from_utf8_lossy(&origin.requests()[0].raw_head), want);
    let response = client.request(sent.as_bytes()).await;
    assert_eq!((response.status, response.text().as_str()), (503, "notreplayed"));
    let upload = "POST http://169.254.169.254/x HTTP/1.1\r\nHost: 169.254.169.254\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(client.request(upload.as_bytes()).await.status, 201);
    let requests = origin.requests();
    assert_eq!((requests.len(), requests[2].body.as_slice()), (3, &b"abc"[..]));
    drop(client);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_is_refused_or_fails_with_the_reason() {
    let refused = Refused::new();
    let builder =
        TestProxy::builder().resolve("closed.example:80", refused.address()).set("forward.allow", vec!["closed.example"]);
    let proxy = builder.start().await;
    for (host, status, words) in [("closed.example", 502, "cannot connect"), ("other.example", 403, "forward.allow")] {
        let mut client = Client::connect(proxy.address()).await;
        let response = client.request(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await;
        assert_eq!(response.status, status, "{host}: {}", response.text());
        assert!(response.text().contains(words), "{host}: {}", response.text());
    }
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_outside_the_allowed_networks_is_refused() {
    let proxy = TestProxy::builder().set("listen.allow", vec!["192.0.2.0/24"]).start().await;
    for request in
        [format!("CONNECT {HOST}:443 HTTP/1.1\r\n\r\n"), "GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\n\r\n".into()]
    {
        let response = Client::connect(proxy.address()).await.request(request.as_bytes()).await;
        assert_eq!(response.status, 403);
        assert!(response.text().contains("listen.allow"), "{}", response.text());
    }
    proxy.finish().await;
}

/// hyper's own graceful shutdown does not know of tunnels.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_tunnel_outlives_the_start_of_draining() {
    let echo = EchoServer::start().await;
    let proxy = TestProxy::builder().resolve("login.example:443", echo.address()).start().await;
    let mut client = Tunnel::open(proxy.address(), "login.example:443", None).await.plain();
    proxy.drain();
    // The listener is gone once a new connection is refused.
    guard("the end of the listener", async {
        while tokio::net::TcpStream::connect(proxy.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.send_raw(b"still here").await.unwrap();
    assert_eq!(client.read_exactly(10).await.unwrap(), b"still here");
    client.shutdown_write().await;
    assert_eq!(client.read_to_end().await.unwrap(), FAREWELL);
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_outlasts_the_grace_is_cut() {
    let echo = EchoServer::start().await;
    let builder = TestProxy::builder().resolve("login.example:443", echo.address()).set("shutdown.grace", "200ms");
    let proxy = builder.start().await;
    let _client = Tunnel::open(proxy.address(), "login.example:443", None).await;
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_a_request_under_way_and_closes_idle_connections() {
    let (origin, proxy) = start(|it| it).await;
    let gate = Gate::new();
    origin.queue([respond(200, &[], "warm"), wait(&gate).then(respond(200, &[], "finished"))]);
    let mut idle = proxy.client(HOST).await;
    assert_eq!(idle.request(&request("GET", "/jobs", HOST, &[], "")).await.text(), "warm");
    let mut busy = proxy.client(HOST).await;
    busy.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    gate.arrived().await;
    proxy.drain();
    assert!(idle.read_to_end().await.unwrap_or_default().is_empty());
    gate.open();
    assert_eq!(busy.read_response("GET").await.unwrap().text(), "finished");
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_too_slow_or_too_quiet_is_hung_up_on() {
    let (origin, proxy) = start(|it| it.set("listen.header_timeout", "200ms").set("listen.idle_timeout", "300ms")).await;
    origin.script(|_| respond(200, &[], "{}"));
    let mut silent = Client::connect(proxy.address()).await;
    let mut half = Client::connect(proxy.address()).await;
    half.send_raw(b"CONNECT acct").await.unwrap();
    let mut no_tls = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await.plain();
    let mut idle = proxy.client(HOST).await;
    assert_eq!(idle.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    for client in [&mut silent, &mut half, &mut no_tls, &mut idle] {
        assert!(client.read_to_end().await.unwrap_or_default().is_empty());
    }
    finish(proxy, origin).await;
}

/// The idle limit is for connections without a request, not for downloads that take longer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_longer_than_the_idle_timeout_is_not_cut() {
    let (batch, proxy) = start(|it| it.set("listen.idle_timeout", "200ms").set("listen.header_timeout", "200ms")).await;
    let plain = Origin::plain().await;
    let through = plain.address();
    let gate = Gate::new();
    let slow = || partial(200, &[], 10, "begin").then(wait(&gate)).then(raw("-end!"));
    batch.queue([slow()]);
    plain.queue([slow()]);
    let mut opened = proxy.client(HOST).await;
    opened.send_raw(&request("GET", "/jobs/j/tasks/t/files/f", HOST, &[], "")).await.unwrap();
    let mut forwarded = Client::connect(proxy.address()).await;
    let absolute = format!("GET http://{through}/f HTTP/1.1\r\nHost: {through}\r\n\r\n");
    forwarded.send_raw(absolute.as_bytes()).await.unwrap();
    gate.arrivals_reached(2).await;
    // An idle connection that began later is gone: the limit has passed for the two others.
    let mut idle = proxy.client(HOST).await;
    assert!(idle.read_to_end().await.unwrap_or_default().is_empty());
    gate.open();
    for client in [&mut opened, &mut forwarded] {
        assert_eq!(client.read_response("GET").await.unwrap().text(), "begin-end!");
    }
    drop((opened, forwarded));
    plain.finish().await;
    finish(proxy, batch).await;
}

/// A client that sends nothing after its CONNECT does not hold the drain up.
#[tokio::test(flavor = "multi_thread")]
async fn draining_does_not_wait_for_a_client_that_asked_nothing() {
    let proxy = TestProxy::builder().set("listen.header_timeout", "1h").set("shutdown.grace", "1h").start().await;
    let _silent = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    proxy.finish().await;
}
