//! The harness tested without the proxy: each action does to a plain client what its name says.

use std::io::ErrorKind;

use crate::support::action::{close, cut, partial, raw, reset, respond, respond_chunked, stall, wait};
use crate::support::batch;
use crate::support::client::{Client, Response, Tunnel, request};
use crate::support::echo::{EchoServer, FAREWELL};
use crate::support::fixture::{wire, wire_names};
use crate::support::gate::Gate;
use crate::support::metric::{assert_metric, sum};
use crate::support::origin::{ConnectionFault, Origin, Refused};
use crate::support::relay::{Relay, Weather};
use crate::support::wire::{Framing, Reader};

/// Two requests on one connection, one more on another: all of it is on record, byte for byte.
#[tokio::test]
async fn requests_are_recorded_as_sent() {
    let origin = Origin::start(&[batch::HOST]).await;
    origin.queue([respond(200, &[("X-One", "1")], "first"), respond(204, &[], ""), respond(404, &[], "third")]);
    let chunked = b"PUT /b HTTP/1.1\r\nhOsT:x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: t\r\n\r\n";
    let get = request("GET", "/a?x=%2F", batch::HOST, &[("ocp-Date", "now")], "");

    let mut client = tls(&origin).await;
    let first = client.request(&get).await;
    let second = client.request(chunked).await;
    let third = tls(&origin).await.request(&request("POST", "/c", "x", &[], "body")).await;

    assert_eq!((first.status, first.reason.as_str(), first.text().as_str(), first.complete), (200, "OK", "first", true));
    assert_eq!(first.header("x-one"), Some("1"));
    assert_eq!(second.raw_head, b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!((third.status, third.text().as_str()), (404, "third"));
    let seen = origin.wait_for_requests(3).await;
    assert_eq!(seen[0].bytes(), get);
    assert_eq!(seen[1].bytes(), chunked);
    let framings: Vec<Framing> = seen.iter().map(|request| request.framing).collect();
    assert_eq!(framings, [Framing::None, Framing::Chunked, Framing::Length(4)]);
    let bodies: Vec<&[u8]> = seen.iter().map(|request| request.body.as_slice()).collect();
    assert_eq!(bodies, [b"".as_slice(), b"abcde", b"body"]);
    let places: Vec<_> =
        seen.iter().map(|request| (request.number, request.connection, request.nth_on_connection)).collect();
    assert_eq!(places, [(1, 1, 1), (2, 1, 2), (3, 2, 1)]);
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("GET", "/a?x=%2F"));
    assert_eq!(seen[0].headers[1], ("ocp-Date".to_owned(), "now".to_owned()));
    assert_eq!((seen[1].header("HOST"), seen[0].server_name.as_deref()), (Some("x"), Some(batch::HOST)));
    assert_eq!(origin.connections(), 2);
    origin.finish().await;
}

/// The answers that are whole, in every framing.
#[tokio::test]
async fn whole_answers_are_complete() {
    let chunks: [&[u8]; 3] = [b"one", b"", b"three"];
    for (action, method, want) in [
        (respond(503, &[], "busy"), "GET", (503, "busy")),
        (respond(200, &[], "hidden"), "HEAD", (200, "")),
        (respond_chunked(200, &[], &chunks), "GET", (200, "onethree")),
        (respond_chunked(200, &[], &chunks), "HEAD", (200, "")),
        (raw("HTTP/1.1 200 OK\r\n\r\nuntil the end").then(close()), "GET", (200, "until the end")),
        (raw("HTTP/1.1 100 Continue\r\n\r\n").then(respond(201, &[], "after")), "POST", (201, "after")),
        (respond(200, &[], "last").closing(), "GET", (200, "last")),
        (batch::json(200, &serde_json::json!({"value": []})), "GET", (200, "{\"value\":[]}")),
        (batch::empty(202), "DELETE", (202, "")),
        (batch::error(404, "JobNotFound", &[("X-Two", "2")]), "GET", (404, &batch::error_body("JobNotFound"))),
        (batch::file(b"text"), "GET", (200, "text")),
    ] {
        for origin in [Origin::start(&["localhost"]).await, Origin::plain().await] {
            origin.queue([action.clone()]);
            let response = connect(&origin).await.request(&request(method, "/", "localhost", &[], "")).await;
            assert_eq!((response.status, response.text().as_str(), response.complete), (want.0, want.1, true), "{method}");
            origin.finish().await;
        }
    }
}

/// The answers that are not: what came is there, and is known not to be all.
#[tokio::test]
async fn cut_answers_are_incomplete() {
    for (action, name) in [
        (partial(200, &[], 100, "part").then(close()), "close"),
        (partial(200, &[], 100, "part").then(cut()), "cut"),
        (raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npart").then(close()), "inside a chunk"),
        (raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n").then(close()), "between chunks"),
        (raw("HTTP/1.1 200 OK\r\n\r\npart").then(cut()), "without length and close_notify"),
    ] {
        let origin = Origin::start(&["localhost"]).await;
        origin.queue([action]);
        let response = ask(&origin).await.unwrap();
        assert_eq!((response.text().as_str(), response.complete), ("part", false), "{name}");
        origin.finish().await;
    }
}

/// `reset` is a real RST, also under TLS and in the middle of an answer.
#[tokio::test]
async fn reset_is_connection_reset() {
    for origin in [Origin::start(&["localhost"]).await, Origin::plain().await] {
        let gate = Gate::new();
        origin.queue([reset(), raw("HTTP/1.1 200 OK\r\n\r\npart").then(wait(&gate)).then(reset())]);
        assert_eq!(ask(&origin).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

        let mut client = connect(&origin).await;
        client.send_raw(&request("GET", "/", "localhost", &[], "")).await.unwrap();
        client.read_exactly(b"HTTP/1.1 200 OK\r\n\r\npart".len()).await.unwrap();
        gate.open();
        assert_eq!(client.read_to_end().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        origin.finish().await;
    }
}

/// `close` without an answer is an orderly end; `cut` is one that TLS does not vouch for.
#[tokio::test]
async fn close_and_cut_differ_under_tls() {
    let origin = Origin::start(&["localhost"]).await;
    origin.queue([close(), cut()]);
    for want in [Ok(Vec::new()), Err(ErrorKind::UnexpectedEof)] {
        let mut client = connect(&origin).await;
        client.send_raw(&request("GET", "/", "localhost", &[], "")).await.unwrap();
        assert_eq!(client.read_to_end().await.map_err(|error| error.kind()), want);
    }
    origin.finish().await;
}

/// A stalled connection ends when the client leaves, and the origin sees it leave.
#[tokio::test]
async fn stall_lasts_until_the_client_leaves() {
    let origin = Origin::start(&["localhost"]).await;
    origin.queue([partial(200, &[], 9, "part").then(stall()), stall()]);
    let mut client = connect(&origin).await;
    client.send_raw(&request("GET", "/", "localhost", &[], "")).await.unwrap();
    let read = partial_head(9).len() + 4;
    assert!(client.read_exactly(read).await.unwrap().ends_with(b"part"));
    drop(client);
    origin.wait_for_ended_connections(1).await;

    let mut client = connect(&origin).await;
    client.send_raw(&request("GET", "/", "localhost", &[], "")).await.unwrap();
    origin.wait_for_requests(2).await;
    client.reset();
    origin.wait_for_ended_connections(2).await;
    origin.finish().await;
}

/// An action behind a gate is done when the gate opens and not before; other connections are not held.
#[tokio::test]
async fn a_gate_holds_an_answer() {
    let origin = Origin::plain().await;
    let gate = Gate::new();
    origin.queue([respond(200, &[], "").after(&gate), respond(201, &[], ""), respond(202, &[], "").after(&gate)]);
    let mut client = connect(&origin).await;
    client.send_raw(&request("GET", "/", "localhost", &[], "")).await.unwrap();
    gate.arrived().await;
    let held = tokio::spawn(async move { (client.read_response("GET").await.unwrap().status, client) });
    assert_eq!(ask(&origin).await.unwrap().status, 201);
    assert!(!held.is_finished(), "the gate let the answer pass");
    gate.open();
    let (status, mut client) = held.await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(client.request(&request("GET", "/", "localhost", &[], "")).await.status, 202);
    gate.arrivals_reached(2).await;
    origin.finish().await;
}

/// A head alone can decide, before the body is sent.
#[tokio::test]
async fn a_head_can_be_answered_early() {
    let origin = Origin::plain().await;
    origin.script_at_head(|head| (head.header("expect").is_some()).then(|| respond(417, &[], "")));
    origin.queue([respond(200, &[], "")]);
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\nContent-Length: 5\r\n\r\n";
    let mut client = connect(&origin).await;
    assert_eq!(client.request(head).await.status, 417);
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(ask(&origin).await.unwrap().status, 200);
    origin.finish().await;
}

/// `Connection: close` is honoured, whoever says it.
#[tokio::test]
async fn connection_close_ends_the_connection() {
    let origin = Origin::plain().await;
    origin.queue([respond(200, &[], "").closing(), respond(200, &[], "")]);
    for fields in [[].as_slice(), &[("connection", "Close")]] {
        let mut client = connect(&origin).await;
        let response = client.request(&request("GET", "/", "x", fields, "")).await;
        assert_eq!(response.header("connection").is_some(), fields.is_empty());
        assert_eq!(client.read_to_end().await.unwrap(), b"");
    }
    origin.finish().await;
}

/// Connections can fail before any request, and the one after them is well.
#[tokio::test]
async fn connection_faults_hit_one_connection_each() {
    let origin = Origin::start(&["localhost"]).await;
    origin.script(|_| respond(200, &[], ""));
    for (fault, want) in [
        (ConnectionFault::Close, ErrorKind::UnexpectedEof),
        (ConnectionFault::ForeignCertificate, ErrorKind::InvalidData),
        (ConnectionFault::Garbage, ErrorKind::InvalidData),
        (ConnectionFault::Reset, ErrorKind::ConnectionReset),
    ] {
        origin.connection_faults([fault]);
        let error = Client::connect_tls(origin.address(), origin.ca_pem(), "localhost", &[]).await.err();
        let kind = error.map(|error| error.kind());
        // A FIN or RST can arrive while the first flight is still being written.
        let also = matches!(fault, ConnectionFault::Close | ConnectionFault::Reset)
            .then_some([ErrorKind::BrokenPipe, ErrorKind::ConnectionReset]);
        assert!(kind == Some(want) || also.is_some_and(|also| also.contains(&kind.unwrap())), "{fault:?}: {kind:?}");
        assert_eq!(ask(&origin).await.unwrap().status, 200, "after {fault:?}");
    }
    let accepted = origin.connections();
    origin.connection_faults([ConnectionFault::Stall]);
    let address = origin.address();
    let ca_pem = origin.ca_pem().to_owned();
    let stalled = tokio::spawn(async move { Client::connect_tls(address, &ca_pem, "localhost", &[]).await.map(drop) });
    origin.wait_for_connections(accepted + 1).await;
    stalled.abort();
    assert!(stalled.await.unwrap_err().is_cancelled());
    origin.wait_for_ended_connections(accepted + 1).await;
    origin.finish().await;
}

/// A refused port refuses, and stays taken.
#[tokio::test]
async fn refused_is_connection_refused() {
    let refused = Refused::new();
    let error = tokio::net::TcpStream::connect(refused.address()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(tokio::net::TcpListener::bind(refused.address()).await.is_err());
}

/// The origin proves its own names and no others, and picks http/1.1 when offered.
#[tokio::test]
async fn the_origin_proves_its_names() {
    let origin = Origin::start(&[batch::HOST, "127.0.0.1"]).await;
    assert_eq!(origin.hosts(), [batch::HOST, "127.0.0.1"]);
    assert_eq!(std::fs::read_to_string(origin.ca_file()).unwrap(), origin.ca_pem());
    for (alpn, want) in [(["h2", "http/1.1"].as_slice(), Some("http/1.1")), (&[], None)] {
        let client = Client::connect_tls(origin.address(), origin.ca_pem(), "127.0.0.1", alpn).await;
        assert_eq!(client.unwrap().alpn().as_deref(), want);
    }
    origin.tolerate_broken_connections();
    assert!(Client::connect_tls(origin.address(), origin.ca_pem(), "example.com", &[]).await.is_err());
    origin.wait_for_ended_connections(3).await;
    origin.finish().await;
}

/// What the script did not ask for fails the test, in `finish` and without it.
#[tokio::test]
async fn background_errors_fail_the_test() {
    for (bytes, want) in [
        (b"nonsense\r\n\r\n".as_slice(), "start line"),
        (b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", "header line"),
        (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "content-length"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk size"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no script"),
    ] {
        for finish in [true, false] {
            let origin = Origin::plain().await;
            let mut client = connect(&origin).await;
            client.send_raw(bytes).await.unwrap();
            drop(client.read_to_end().await);
            let end = tokio::spawn(async move { if finish { origin.finish().await } else { drop(origin) } });
            let panic = end.await.unwrap_err().into_panic();
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(message.contains(want), "{message}");
        }
    }
}

/// A request that ends too early is an error, unless the test said that its client hangs up.
#[tokio::test]
async fn cut_requests_are_errors_unless_tolerated() {
    for tolerated in [true, false] {
        let origin = Origin::plain().await;
        if tolerated {
            origin.tolerate_broken_connections();
        }
        let mut client = connect(&origin).await;
        client.send_raw(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab").await.unwrap();
        client.shutdown_write().await;
        drop(client.read_to_end().await);
        assert_eq!(tokio::spawn(origin.finish()).await.is_ok(), tolerated);
    }
}

/// The echo server reports an orderly end and answers it, and tells it from a reset.
#[tokio::test]
async fn the_echo_server_reports_how_clients_leave() {
    let echo = EchoServer::start().await;
    let mut client = Client::connect(echo.address()).await;
    client.send_raw(b"ping").await.unwrap();
    assert_eq!(client.read_exactly(4).await.unwrap(), b"ping");
    client.shutdown_write().await;
    assert_eq!(client.read_to_end().await.unwrap(), FAREWELL);
    let mut rude = Client::connect(echo.address()).await;
    rude.send_raw(b"x").await.unwrap();
    rude.read_exactly(1).await.unwrap();
    rude.reset();
    let seen = echo.wait_until("a reset", |seen| seen.resets == 1).await;
    assert_eq!((seen.connections, seen.half_closes), (2, 1));
}

/// A tunnel hands over the connection behind the proxy's 200, for TLS or for anything else.
#[tokio::test]
async fn a_tunnel_begins_after_the_answer_to_connect() {
    let proxy = Origin::plain().await;
    proxy.queue([raw("HTTP/1.1 200 Connection established\r\n\r\n"), respond(200, &[], "through")]);
    let tunnel = Tunnel::open(proxy.address(), "example.com:443", None).await;
    assert_eq!(tunnel.answer.reason, "Connection established");
    assert_eq!(tunnel.plain().request(&request("GET", "/", "example.com", &[], "")).await.text(), "through");
    let seen = proxy.requests();
    assert_eq!(seen[0].raw_head, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");

    let raw_connect = wire("connect/py15.http");
    proxy.queue([raw("HTTP/1.0 200 OK\r\n\r\n"), stall()]);
    proxy.tolerate_broken_connections();
    let tunnel = Tunnel::open(proxy.address(), batch::HOST, Some(&raw_connect)).await;
    assert_eq!(proxy.requests()[2].raw_head, raw_connect);
    let origin = Origin::plain().await;
    // There is no TLS behind this proxy, so the handshake is what the origin finds malformed.
    let handshake = tokio::spawn(async move { tunnel.tls(origin.ca_pem(), batch::HOST, &["http/1.1"]).await.map(drop) });
    proxy.finish().await;
    assert!(handshake.await.unwrap().is_err());
}

/// Every recorded request is one whole message, and both kinds of client are among them.
#[tokio::test]
async fn fixtures_are_whole_requests() {
    let mut checked = 0;
    for folder in ["azure-batch-14.2.0", "azure-batch-15.1.0", "azure-batch-js-10.2.0", "connect"] {
        for name in wire_names(folder) {
            let bytes = wire(&name);
            let mut reader = Reader::new(bytes.as_slice());
            let head = reader.head().await.unwrap().unwrap_or_else(|| panic!("{name} is empty"));
            let length = match head.framing().unwrap() {
                Framing::Length(length) => length,
                other => u64::from(other == Framing::Chunked) * u64::MAX,
            };
            reader.exactly(length, &mut Vec::new()).await.unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"", "{name}");
            assert_eq!(head.start_line.starts_with("CONNECT "), folder == "connect", "{name}");
            checked += 1;
        }
    }
    assert!(checked > 70, "only {checked} fixtures");
}

/// Series are matched by any of their labels and added up.
#[test]
fn metrics_are_summed_over_matching_series() {
    let text = "# HELP a_total Help, with \"quotes\" and a_total 9\n# TYPE a_total counter\n\
        a_total{account=\"x\",fate=\"replayed\"} 2\na_total{account=\"y,z=\\\"\\\\\",fate=\"replayed\"} 3\n\
        a_total{account=\"x\",fate=\"permanent\"} 1\na_total_more{fate=\"replayed\"} 50\nplain 4.5\nempty{} 1e3\n";
    for (name, labels, want) in [
        ("a_total", [].as_slice(), 6.0),
        ("a_total", &[("fate", "replayed")], 5.0),
        ("a_total", &[("fate", "replayed"), ("account", "x")], 2.0),
        ("a_total", &[("account", "y,z=\"\\")], 3.0),
        ("a_total", &[("fate", "echo")], 0.0),
        ("plain", &[], 4.5),
        ("empty", &[], 1000.0),
    ] {
        assert_metric(text, name, labels, want);
        assert!(std::panic::catch_unwind(|| assert_metric(text, name, labels, want + 1.0)).is_err());
    }
    assert!((sum(text, "absent", &[])).abs() < f64::EPSILON);
}

async fn tls(origin: &Origin) -> Client {
    Client::connect_tls(origin.address(), origin.ca_pem(), &origin.hosts()[0], &["http/1.1"]).await.unwrap()
}

async fn connect(origin: &Origin) -> Client {
    if origin.hosts().is_empty() { Client::connect(origin.address()).await } else { tls(origin).await }
}

async fn ask(origin: &Origin) -> std::io::Result<Response> {
    let mut client = connect(origin).await;
    client.send_raw(&request("GET", "/", "localhost", &[], "")).await?;
    client.read_response("GET").await
}

fn partial_head(length: usize) -> Vec<u8> {
    let length = length.to_string();
    crate::support::action::head(200, &[("Content-Length", &length)])
}

/// The relay passes bytes on, holds them back while nothing passes, and takes nothing of a connection that was ended meanwhile.
#[tokio::test]
async fn a_relay_holds_what_comes_in_a_partition_and_loses_it_with_the_connection() {
    let echo = EchoServer::start().await;
    let relay = Relay::start("127.0.0.1:0".parse().unwrap(), echo.address(), 1).await.unwrap();
    let mut client = Client::connect(relay.address()).await;
    client.send_raw(b"hello").await.unwrap();
    assert_eq!(client.read_exactly(5).await.unwrap(), b"hello");
    relay.set(Weather { partitioned: true, ..Weather::default() });
    client.send_raw(b"held").await.unwrap();
    let mut leaves = Client::connect(relay.address()).await;
    leaves.send_raw(b"lost").await.unwrap();
    relay.until_accepted(2).await;
    leaves.reset();
    relay.set(Weather::default());
    assert_eq!(client.read_exactly(4).await.unwrap(), b"held");
    client.shutdown_write().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    relay.until_idle().await;
    let mut cut = Client::connect(relay.address()).await;
    cut.send_raw(b"x").await.unwrap();
    cut.read_exactly(1).await.unwrap();
    relay.cut();
    assert_eq!(cut.read_exactly(1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    relay.set(Weather { reset: 1.0, ..Weather::default() });
    let mut broken = Client::connect(relay.address()).await;
    drop(broken.send_raw(b"x").await);
    assert_eq!(broken.read_to_end().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
