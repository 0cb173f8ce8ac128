//! What the proxy's own port does with everything that is not a request inside an opened connection: CONNECT, tunnels, plain-http requests,
//! nonsense, time limits and draining.

use std::net::SocketAddr;

use batch_retry_proxy::shutdown::Drained;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::support::action::{head, partial, raw, respond, respond_chunked, wait};
use super::support::batch::HOST;
use super::support::client::{Client, Response, Tunnel, request};
use super::support::echo::{EchoServer, FAREWELL};
use super::support::fixture::{wire, wire_names};
use super::support::gate::Gate;
use super::support::guard;
use super::support::metric::assert_metric;
use super::support::origin::{Origin, Refused};
use super::support::proxy::{Builder, TestProxy};
use super::support::wire::Framing;

const TUNNELS: &[(&str, &str)] = &[("kind", "tunnel")];
const OPENED: &[(&str, &str)] = &[("kind", "intercept")];

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_connect_opens_a_connection_that_lasts_for_two_requests() {
    let origin = Origin::start(&[HOST]).await;
    origin.script(|request| respond(200, &[], request.target.clone()));
    let proxy = TestProxy::builder().upstream(&origin).start().await;
    let names = wire_names("connect");
    for name in &names {
        let tunnel = Tunnel::open(proxy.address(), name, Some(&wire(name))).await;
        assert!(tunnel.answer.header("content-length").is_none(), "{name}");
        assert!(tunnel.answer.header("transfer-encoding").is_none(), "{name}");
        let mut client = tunnel.tls(proxy.ca_pem(), HOST, &["http/1.1"]).await.unwrap();
        for target in ["/first", "/second"] {
            let response = client.request(&request("GET", target, HOST, &[], "")).await;
            assert_eq!((response.status, response.text().as_str()), (200, target), "{name}");
        }
    }
    assert!(names.len() > 10, "only {names:?}");
    assert_eq!(origin.requests().len(), 2 * names.len());
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_bytes_both_ways_and_the_client_may_end_its_side_first() {
    let (echo, proxy) = tunnelled(TestProxy::builder()).await;
    let mut client = Tunnel::open(proxy.address(), ELSEWHERE, None).await.plain();
    client.send_raw(b"ping").await.unwrap();
    assert_eq!(client.read_exactly(4).await.unwrap(), b"ping");
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_connections", TUNNELS, 1.0);
    client.shutdown_write().await;
    assert_eq!(client.read_to_end().await.unwrap(), FAREWELL);
    assert_eq!(echo.wait_until("an orderly end", |seen| seen.half_closes == 1).await.resets, 0);

    proxy.wait_for_metric("batch_retry_proxy_connections", TUNNELS, 0.0).await;
    let metrics = proxy.metrics().await;
    let bytes = |direction, want| {
        assert_metric(&metrics, "batch_retry_proxy_tunnel_bytes_total", &[("direction", direction)], want);
    };
    bytes("sent", 4.0);
    bytes("received", (4 + FAREWELL.len()) as f64);
    let completed = [("kind", "tunnel"), ("result", "completed")];
    assert_metric(&metrics, "batch_retry_proxy_connections_total", &completed, 1.0);
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_may_go_on_sending_through_a_tunnel_whose_server_has_ended_its_side() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TestProxy::builder().resolve(ELSEWHERE, listener.local_addr().unwrap()).start().await;
    let mut client = Tunnel::open(proxy.address(), ELSEWHERE, None).await.plain();
    let (mut server, _) = guard("the tunnel at the server", listener.accept()).await.unwrap();
    server.write_all(b"that is all").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.read_to_end().await.unwrap(), b"that is all");
    client.send_raw(b"not from me").await.unwrap();
    client.shutdown_write().await;
    let mut received = Vec::new();
    guard("the client's last words", server.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"not from me");
    proxy.finish().await;
}

/// A client that trusts the 200 to come need not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_together_with_the_connect_are_not_lost() {
    let (_echo, proxy) = tunnelled(TestProxy::builder()).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send_raw(&[connect(ELSEWHERE), b"early".to_vec()].concat()).await.unwrap();
    assert_eq!(client.read_response("CONNECT").await.unwrap().status, 200);
    client.send_raw(b" and late").await.unwrap();
    assert_eq!(client.read_exactly(14).await.unwrap(), b"early and late");
    proxy.wait_for_metric("batch_retry_proxy_tunnel_bytes_total", &[("direction", "sent")], 14.0).await;
    drop(client);
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_closed_when_it_is_idle_and_not_while_bytes_move() {
    let (_echo, proxy) = tunnelled(TestProxy::builder().set("tunnel.idle_timeout", "500ms")).await;
    let mut awake = Tunnel::open(proxy.address(), ELSEWHERE, None).await.plain();
    // The lives of two idle tunnels, one after the other, are longer than one limit.
    let address = proxy.address();
    let idle = tokio::spawn(async move {
        for _ in 0..2 {
            let mut idle = Tunnel::open(address, ELSEWHERE, None).await.plain();
            assert_eq!(idle.read_to_end().await.unwrap(), b"");
        }
    });
    guard("the ends of idle tunnels", async {
        while !idle.is_finished() {
            awake.send_raw(b"x").await.unwrap();
            assert_eq!(awake.read_exactly(1).await.unwrap(), b"x");
        }
    })
    .await;
    idle.await.unwrap();
    awake.shutdown_write().await;
    assert_eq!(awake.read_to_end().await.unwrap(), FAREWELL);
    let failed = [("kind", "tunnel"), ("result", "failed")];
    proxy.wait_for_metric("batch_retry_proxy_connections_total", &failed, 2.0).await;
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_cannot_be_reached_is_told_why() {
    let refused = Refused::new();
    let (full, _waiting) = blackhole().await;
    let builder = TestProxy::builder()
        .resolve("refused.example:443", refused.address())
        .resolve("silent.example:443", full.local_addr().unwrap())
        .set("upstream.connect_timeout", "300ms");
    let proxy = builder.start().await;
    for (authority, status, words) in [
        ("refused.example:443", 502, ["cannot connect to refused.example:443", "connect_refused"]),
        ("silent.example:443", 504, ["cannot connect to silent.example:443", "connect_timeout"]),
    ] {
        let response = refusal(&proxy, &connect(authority)).await;
        assert_eq!(response.status, status, "{authority}: {}", response.text());
        assert!(words.iter().all(|words| response.text().contains(words)), "{}", response.text());
    }
    let unreachable = [("kind", "tunnel"), ("result", "unreachable")];
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_connections_total", &unreachable, 2.0);
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_connections", TUNNELS, 0.0);
    proxy.finish().await;
}

/// Where there is no DNS at all the lookup fails in another way, with the same status.
#[tokio::test(flavor = "multi_thread")]
async fn a_connect_to_a_name_that_does_not_exist_gets_502() {
    let proxy = TestProxy::builder().start().await;
    let response = refusal(&proxy, &connect("nothing.invalid:443")).await;
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(response.text().contains("cannot connect to nothing.invalid:443: dns_"), "{}", response.text());
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_the_settings_forbid_gets_403_that_names_the_setting() {
    for (key, value, setting) in [
        ("tunnel.deny", toml::Value::from(vec!["elsewhere.example"]), "tunnel.deny"),
        ("tunnel.allow", toml::Value::from(vec!["login.example"]), "tunnel.allow"),
        ("tunnel.ports", toml::Value::from(vec![443]), "tunnel.ports"),
    ] {
        let (echo, proxy) = tunnelled(TestProxy::builder().set(key, value)).await;
        let response = refusal(&proxy, &connect(ELSEWHERE)).await;
        assert_eq!(response.status, 403, "{key}: {}", response.text());
        assert!(response.text().contains(setting), "{key}: {}", response.text());
        let denied = [("kind", "tunnel"), ("result", "denied")];
        assert_metric(&proxy.metrics().await, "batch_retry_proxy_connections_total", &denied, 1.0);
        assert_eq!(echo.wait_until("its state", |_| true).await.connections, 0, "{key}");
        proxy.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_without_a_port_gets_400() {
    let proxy = TestProxy::builder().start().await;
    for authority in ["elsewhere.example", HOST] {
        let response = refusal(&proxy, &connect(authority)).await;
        assert_eq!(response.status, 400, "{authority}");
        assert!(response.text().contains("host:port"), "{}", response.text());
    }
    proxy.finish().await;
}

/// The JavaScript SDK does so when only HTTP_PROXY is set.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_reaches_a_batch_host_untouched() {
    let origin = Origin::plain().await;
    origin.queue([respond(503, &[], "not replayed")]);
    let authority = format!("{HOST}:80");
    let proxy = TestProxy::builder().resolve(&authority, origin.address()).start().await;
    let mut client = Tunnel::open(proxy.address(), &authority, None).await.plain();
    let sent = request("POST", "/jobs", HOST, &[("X-Spelled", "so"), ("Proxy-Connection", "kept")], "{}");
    let response = client.request(&sent).await;
    assert_eq!((response.status, response.text().as_str()), (503, "not replayed"));
    assert_eq!(response.header("proxy-status"), None);
    assert_eq!(origin.requests()[0].bytes(), sent);
    drop(client);
    proxy.wait_for_metric("batch_retry_proxy_connections_total", TUNNELS, 1.0).await;
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_to_a_batch_host_is_closed_where_no_tunnel_may_lead_there() {
    let origin = Origin::plain().await;
    let authority = format!("{HOST}:80");
    let builder = TestProxy::builder().resolve(&authority, origin.address()).set("tunnel.ports", vec![443]);
    let proxy = builder.start().await;
    let mut client = Tunnel::open(proxy.address(), &authority, None).await.plain();
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    // What the proxy did not read may turn the end into a reset.
    assert!(!client.read_to_end().await.is_ok_and(|bytes| !bytes.is_empty()));
    assert_eq!(origin.connections(), 0);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_that_this_is_a_proxy_and_how_to_use_it() {
    let proxy = TestProxy::builder().start().await;
    let response = refusal(&proxy, &request("GET", "/", "localhost", &[], "")).await;
    assert_eq!(response.status, 400);
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    let text = response.text();
    assert!(text.contains("proxy") && text.contains(&format!("HTTPS_PROXY=http://{}", proxy.address())), "{text}");
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_https_target_gets_400_that_points_to_connect() {
    let proxy = TestProxy::builder().start().await;
    let response = refusal(&proxy, &request("GET", &format!("https://{HOST}/jobs"), HOST, &[], "")).await;
    assert_eq!(response.status, 400);
    assert!(response.text().contains("CONNECT"), "{}", response.text());
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_gets_400_and_the_connection_ends() {
    let proxy = TestProxy::builder().start().await;
    for garbage in [b"all work and no play\r\n\r\n".as_slice(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"] {
        let mut client = Client::connect(proxy.address()).await;
        assert_eq!(client.request(garbage).await.status, 400);
        assert_eq!(client.read_to_end().await.unwrap(), b"");
    }
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_and_its_answer_pass_as_they_are_without_the_fields_meant_for_the_proxy() {
    let answer = [("X-Answer", "Yes"), ("date", "Mon, 23 Nov 2026 03:41:33 GMT"), ("ETAG", "\"1\"")];
    let (origin, proxy) = forwarded(TestProxy::builder()).await;
    origin.script(move |_| respond(404, &answer, "no such thing"));
    let mut client = Client::connect(proxy.address()).await;
    for target in ["/metadata?a=%2f&b='c'", "/second//"] {
        let fields = [
            ("Metadata", "true"),
            ("proxy-connection", "keep-alive"),
            ("X-odd-CASE", " spaced  out "),
            ("Proxy-Authorization", "Basic dXNlcjpzZWNyZXQ="),
            ("accept", "*/*"),
        ];
        let sent = request("PUT", &format!("http://{PLAIN}{target}"), PLAIN, &fields, "body");
        let response = client.request(&sent).await;
        let expected = [head(404, &[answer.as_slice(), &[("Content-Length", "13")]].concat()), b"no such thing".to_vec()];
        let got = [response.raw_head.clone(), response.body.clone()];
        assert_eq!(got.concat(), expected.concat(), "{}", String::from_utf8_lossy(&response.raw_head));
    }
    let seen = origin.requests();
    let lines = |target| {
        format!(
            "PUT {target} HTTP/1.1\r\nHost: {PLAIN}\r\nMetadata: true\r\nX-odd-CASE: spaced  out\r\naccept: */*\r\n\
             Content-Length: 4\r\n\r\nbody"
        )
    };
    assert_eq!(String::from_utf8(seen[0].bytes()).unwrap(), lines("/metadata?a=%2f&b='c'"));
    assert_eq!(String::from_utf8(seen[1].bytes()).unwrap(), lines("/second//"));
    let completed = [("kind", "forward"), ("result", "completed")];
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_connections_total", &completed, 2.0);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_of_plain_requests_stay_chunked_both_ways() {
    let (origin, proxy) = forwarded(TestProxy::builder()).await;
    origin.queue([respond_chunked(200, &[], &["one", "two", "three"])]);
    let sent = format!("POST http://{PLAIN}/ HTTP/1.1\r\nHost: {PLAIN}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut client = Client::connect(proxy.address()).await;
    client.send_raw(sent.as_bytes()).await.unwrap();
    client.send_raw(b"4\r\nfour\r\n").await.unwrap();
    client.send_raw(b"4\r\nfive\r\n0\r\n\r\n").await.unwrap();
    let response = client.read_response("POST").await.unwrap();
    assert_eq!((response.text().as_str(), response.complete), ("onetwothree", true));
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    let seen = origin.requests();
    assert_eq!((seen[0].body.as_slice(), seen[0].framing), (b"fourfive".as_slice(), Framing::Chunked));
    proxy.finish().await;
    origin.finish().await;
}

/// Only what is sent through the proxy is replayed by it: a plain request is nobody's of Batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_is_never_replayed() {
    let (origin, proxy) = forwarded(TestProxy::builder()).await;
    origin.script(|_| respond(503, &[("Retry-After", "0")], ""));
    let response = refusal(&proxy, &plain("/")).await;
    assert_eq!((response.status, response.header("proxy-status")), (503, None));
    assert_eq!(origin.requests().len(), 1);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_to_a_host_that_cannot_be_reached_gets_502() {
    let refused = Refused::new();
    let proxy = TestProxy::builder().resolve(PLAIN, refused.address()).start().await;
    let response = refusal(&proxy, &plain("/")).await;
    assert_eq!(response.status, 502);
    assert!(response.text().contains(&format!("cannot connect to {PLAIN}")), "{}", response.text());
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_to_a_host_that_forward_allow_does_not_name_gets_403() {
    let (origin, proxy) = forwarded(TestProxy::builder().set("forward.allow", vec!["169.254.169.254"])).await;
    let response = refusal(&proxy, &plain("/")).await;
    assert_eq!(response.status, 403);
    assert!(response.text().contains("forward.allow"), "{}", response.text());
    assert_eq!(origin.connections(), 0);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_outside_listen_allow_gets_403_whatever_it_asks() {
    let (echo, proxy) = tunnelled(TestProxy::builder().set("listen.allow", vec!["192.0.2.0/24"])).await;
    for bytes in [connect(ELSEWHERE), connect(&format!("{HOST}:443")), plain("/")] {
        let response = refusal(&proxy, &bytes).await;
        assert_eq!(response.status, 403);
        assert!(response.text().contains("listen.allow"), "{}", response.text());
    }
    assert_eq!(echo.wait_until("its state", |_| true).await.connections, 0);
    proxy.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_tunnel_outlives_the_beginning_of_a_drain_and_its_end_ends_the_drain() {
    let (_echo, proxy) = tunnelled(TestProxy::builder()).await;
    let mut client = Tunnel::open(proxy.address(), ELSEWHERE, None).await.plain();
    proxy.drain();
    proxy.wait_for_refusal().await;
    client.send_raw(b"still here").await.unwrap();
    assert_eq!(client.read_exactly(10).await.unwrap(), b"still here");
    let mut probe = Client::connect(proxy.admin()).await;
    let ready = probe.request(&request("GET", "/readyz", "localhost", &[], "")).await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    drop(probe);
    let finish = tokio::spawn(proxy.finish());
    client.shutdown_write().await;
    assert_eq!(client.read_to_end().await.unwrap(), FAREWELL);
    assert_eq!(finish.await.unwrap(), Drained::Finished);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_tunnel_holds_up_a_drain_for_the_grace_and_no_longer() {
    let (_echo, proxy) = tunnelled(TestProxy::builder().set("shutdown.grace", "200ms")).await;
    let _abandoned = Tunnel::open(proxy.address(), ELSEWHERE, None).await;
    assert_eq!(proxy.finish().await, Drained::Cut(1));
}

/// The limits are far away: only the drain can end the connections.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_at_once_by_a_drain() {
    let origin = Origin::start(&[HOST]).await;
    origin.script(|_| respond(200, &[], ""));
    let builder = TestProxy::builder().upstream(&origin);
    let builder = ["shutdown.grace", "listen.header_timeout", "listen.idle_timeout"]
        .into_iter()
        .fold(builder, |builder, key| builder.set(key, "1h"));
    let proxy = builder.start().await;
    let mut fresh = Client::connect(proxy.address()).await;
    let mut refused = Client::connect(proxy.address()).await;
    assert_eq!(refused.request(&request("GET", "/", "localhost", &[], "")).await.status, 400);
    let mut unused = proxy.client(HOST).await;
    let mut used = proxy.client(HOST).await;
    assert_eq!(used.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    let connected_only = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    assert_eq!(proxy.finish().await, Drained::Finished);
    for client in [&mut fresh, &mut refused, &mut unused, &mut used, &mut connected_only.plain()] {
        assert_eq!(client.read_to_end().await.unwrap(), b"");
    }
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_answered_during_a_drain() {
    let origin = Origin::start(&[HOST]).await;
    let (plain_origin, gate) = (Origin::plain().await, Gate::new());
    let (held, held_plain) = (gate.clone(), gate.clone());
    origin.script(move |_| respond(200, &[], "opened").after(&held));
    plain_origin.script(move |_| partial(200, &[], 5, "pl").then(wait(&held_plain)).then(raw("ain")));
    let proxy = TestProxy::builder().upstream(&origin).resolve(PLAIN, plain_origin.address()).start().await;
    let mut opened = proxy.client(HOST).await;
    opened.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    let mut forwarded = Client::connect(proxy.address()).await;
    forwarded.send_raw(&plain("/")).await.unwrap();
    gate.arrivals_reached(2).await;
    proxy.drain();
    proxy.wait_for_refusal().await;
    let finish = tokio::spawn(proxy.finish());
    gate.open();
    for (client, text) in [(&mut opened, "opened"), (&mut forwarded, "plain")] {
        let response = client.read_response("GET").await.unwrap();
        assert_eq!((response.status, response.text().as_str(), response.complete), (200, text, true));
        assert_eq!(client.read_to_end().await.unwrap(), b"", "{text}");
    }
    assert_eq!(finish.await.unwrap(), Drained::Finished);
    plain_origin.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_half_a_head_is_dropped() {
    let origin = Origin::start(&[HOST]).await;
    let proxy = TestProxy::builder().upstream(&origin).set("listen.header_timeout", "1s").start().await;
    let authority = format!("{HOST}:443");
    let half = b"GET / HTTP/1.1\r\nHost: x\r\n";
    let mut opened = proxy.client(HOST).await;
    opened.send_raw(half).await.unwrap();
    let silent = Client::connect(proxy.address()).await;
    let mut half_head = Client::connect(proxy.address()).await;
    half_head.send_raw(half).await.unwrap();
    let silent_tunnel = Tunnel::open(proxy.address(), &authority, None).await.plain();
    let mut half_hello = Tunnel::open(proxy.address(), &authority, None).await.plain();
    half_hello.send_raw(b"\x16\x03\x01").await.unwrap();
    for mut client in [silent, half_head, silent_tunnel, half_hello] {
        assert_eq!(client.read_to_end().await.unwrap(), b"");
    }
    // TLS may call an end without close_notify an error; what counts is that it ends.
    drop(opened.read_to_end().await);
    let timeouts = [("side", "client"), ("reason", "timeout")];
    proxy.wait_for_metric("batch_retry_proxy_tls_handshake_failures_total", &timeouts, 1.0).await;
    proxy.wait_for_metric("batch_retry_proxy_connections", OPENED, 0.0).await;
    assert_eq!(origin.connections(), 0);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_nothing_more_is_dropped() {
    let origin = Origin::start(&[HOST]).await;
    origin.script(|_| respond(200, &[], ""));
    let proxy = TestProxy::builder().upstream(&origin).set("listen.idle_timeout", "1s").start().await;
    let mut opened = proxy.client(HOST).await;
    assert_eq!(opened.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    let mut plain = Client::connect(proxy.address()).await;
    assert_eq!(plain.request(&request("GET", "/", "localhost", &[], "")).await.status, 400);
    assert_eq!(plain.read_to_end().await.unwrap(), b"");
    drop(opened.read_to_end().await);
    proxy.wait_for_metric("batch_retry_proxy_connections", OPENED, 0.0).await;
    proxy.finish().await;
    origin.finish().await;
}

/// A connection whose answer is still coming is not idle, however long the answer takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_answer_that_takes_longer_than_the_idle_limit_is_not_cut() {
    let gate = Gate::new();
    let held = gate.clone();
    let (origin, proxy) = forwarded(TestProxy::builder().set("listen.idle_timeout", "300ms")).await;
    origin.script(move |_| partial(200, &[], 8, "slow").then(wait(&held)).then(raw("ness")));
    let mut slow = Client::connect(proxy.address()).await;
    slow.send_raw(&plain("/")).await.unwrap();
    gate.arrived().await;
    // Another connection, idle from now on, shows when the limit has passed.
    for _ in 0..2 {
        let mut idle = Client::connect(proxy.address()).await;
        assert_eq!(idle.request(&request("GET", "/", "localhost", &[], "")).await.status, 400);
        assert_eq!(idle.read_to_end().await.unwrap(), b"");
    }
    gate.open();
    let response = slow.read_response("GET").await.unwrap();
    assert_eq!((response.text().as_str(), response.complete), ("slowness", true));
    proxy.finish().await;
    origin.finish().await;
}

/// A proxy whose tunnels to [`ELSEWHERE`] lead to an echo server.
async fn tunnelled(builder: Builder) -> (EchoServer, TestProxy) {
    let echo = EchoServer::start().await;
    let proxy = builder.resolve(ELSEWHERE, echo.address()).start().await;
    (echo, proxy)
}

/// A proxy whose plain requests to [`PLAIN`] lead to an origin.
async fn forwarded(builder: Builder) -> (Origin, TestProxy) {
    let origin = Origin::plain().await;
    let proxy = builder.resolve(PLAIN, origin.address()).start().await;
    (origin, proxy)
}

/// The answer of the proxy to one request on a connection of its own.
async fn refusal(proxy: &TestProxy, bytes: &[u8]) -> Response {
    let mut client = Client::connect(proxy.address()).await;
    client.send_raw(bytes).await.unwrap();
    // Read as the answer to a GET: one to a refused CONNECT has a body.
    let response = client.read_response("GET").await.unwrap();
    assert!(response.complete);
    response
}

fn connect(authority: &str) -> Vec<u8> {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes()
}

fn plain(path: &str) -> Vec<u8> {
    request("GET", &format!("http://{PLAIN}{path}"), PLAIN, &[], "")
}

/// A socket that answers no more connections: its backlog is full and nobody accepts. Holds as long as both parts live.
pub(super) async fn blackhole() -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(0).unwrap();
    let waiting = guard("a place in the backlog", TcpStream::connect(listener.local_addr().unwrap())).await.unwrap();
    (listener, waiting)
}

const ELSEWHERE: &str = "elsewhere.example:22";
const PLAIN: &str = "plain.example:8080";

/// Past the limit a client waits in the backlog; it is served as soon as there is a place.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_past_the_limit_waits_for_a_place() {
    let echo = EchoServer::start().await;
    let builder = TestProxy::builder().resolve("login.example:443", echo.address()).set("listen.max_connections", 1);
    let proxy = builder.start().await;
    let first = Tunnel::open(proxy.address(), "login.example:443", None).await;
    let mut second = Client::connect(proxy.address()).await;
    second.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // Nothing tells that nobody answers but a while without an answer; a slow machine makes it no less true.
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), second.read_exactly(1)).await;
    assert!(early.is_err(), "served beside a full house");
    drop(first);
    assert_eq!(second.read_response("GET").await.unwrap().status, 400);
    drop(second);
    proxy.finish().await;
}
