//! Opened connections: what TLS offers clients, and what may be asked inside.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::support::action::{raw, respond, respond_chunked};
use super::support::batch::{HOST, error};
use super::support::client::{Tunnel, request};
use super::support::guard;
use super::support::metric::{assert_metric, sum};
use super::support::origin::Origin;
use super::support::pki::{Authority, client_config};
use super::support::proxy::{TestProxy, finish, start};

/// A client that offers only HTTP/2 is served it; Batch is sent HTTP/1.1, with a Host and a replay where one is needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_offers_only_http_2_is_served_it() {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([error(503, "ServerBusy", &[]), respond_chunked(201, &[("Keep-Alive", "timeout=5")], &["created"])]);
    let stream = handshake(&proxy, Arc::clone(&client_config(proxy.ca_pem(), &["h2"]))).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("https://{HOST}/jobs?api-version=2025-06-01"))
        .header("client-request-id", "c")
        .header("content-length", "2")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let response = guard("an answer over HTTP/2", sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["proxy-status"], "batch-retry-proxy; attempts=2; fate=replayed; waited=0.0");
    assert!(!response.headers().contains_key("keep-alive") && !response.headers().contains_key("transfer-encoding"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "created");
    let sends = origin.requests();
    assert_eq!(sends[0].bytes(), sends[1].bytes());
    let want = format!(
        "POST /jobs?api-version=2025-06-01 HTTP/1.1\r\nhost: {HOST}\r\nclient-request-id: c\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    assert_eq!(String::from_utf8(sends[0].bytes()).unwrap(), want);
    drop(sender);
    connection.abort();
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_is_preferred_and_needs_no_alpn() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|_| respond(200, &[], "{}"));
    for (offer, chosen) in [(&["h2", "http/1.1"][..], Some("http/1.1")), (&[], None)] {
        let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
        let mut client = tunnel.tls(proxy.ca_pem(), HOST, offer).await.unwrap();
        assert_eq!(client.alpn().as_deref(), chosen);
        assert_eq!(client.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    }
    finish(proxy, origin).await;
}

/// Node makes a connection for each request: all but the first resume.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_second_connection_resumes_its_tls_session() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|_| respond(200, &[], "{}"));
    let config = client_config(proxy.ca_pem(), &[]);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let mut stream = handshake(&proxy, Arc::clone(&config)).await;
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        stream.write_all(&request("GET", "/jobs", HOST, &[("Connection", "close")], "")).await.unwrap();
        let mut answer = Vec::new();
        guard("an answer", stream.read_to_end(&mut answer)).await.unwrap();
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_leaf_certificates_total", &[("result", "issued")], 1.0);
    assert_metric(&metrics, "batch_retry_proxy_leaf_certificates_total", &[("result", "cached")], 2.0);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_the_authority_is_counted() {
    let (origin, proxy) = start(|it| it).await;
    let stranger = Authority::new("somebody else");
    let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    assert!(tunnel.tls(stranger.pem(), HOST, &[]).await.is_err());
    let labels = [("side", "client"), ("reason", "unknown_ca")];
    guard("the count", async {
        while sum(&proxy.metrics().await, "batch_retry_proxy_tls_handshake_failures_total", &labels) < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    finish(proxy, origin).await;
}

/// No request may be read by us as one for another host than the connection was opened to.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_host_is_refused_inside() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|_| respond(200, &[], "{}"));
    for head in [
        "GET /jobs HTTP/1.1\r\nHost: other.westeurope.batch.azure.com\r\n\r\n".to_owned(),
        format!("GET /jobs HTTP/1.1\r\nHost: {HOST}:8443\r\n\r\n"),
        format!("GET https://other.westeurope.batch.azure.com/jobs HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n"),
    ] {
        let response = proxy.client(HOST).await.request(head.as_bytes()).await;
        assert_eq!(response.status, 400, "{head}");
        assert!(response.header("proxy-status").unwrap().contains("error=http_request_error"), "{head}");
        assert!(response.text().contains("\"code\":\"ProxyRequestInvalid\""), "{head}: {}", response.text());
    }
    assert!(origin.requests().is_empty());
    for host in [format!("{HOST}:443"), HOST.to_ascii_uppercase()] {
        assert_eq!(proxy.client(HOST).await.request(&request("GET", "/jobs", &host, &[], "")).await.status, 200, "{host}");
    }
    finish(proxy, origin).await;
}

/// An address is opened for a client that sends no server name, as clients of addresses do.
#[tokio::test(flavor = "multi_thread")]
async fn an_intercepted_address_works_without_a_server_name() {
    let origin = Origin::start(&["127.0.0.1"]).await;
    let builder = TestProxy::builder().trust(origin.ca_file()).set("intercept.hosts", vec!["127.0.0.1"]);
    let proxy = builder.start().await;
    origin.script(|_| respond(200, &[], "{}"));
    let authority = origin.address().to_string();
    let tunnel = Tunnel::open(proxy.address(), &authority, None).await;
    let mut client = tunnel.tls(proxy.ca_pem(), "127.0.0.1", &[]).await.unwrap();
    assert_eq!(client.request(&request("GET", "/jobs", &authority, &[], "")).await.status, 200);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_side_by_side_get_their_own_answers() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|request| {
        let id = request.target.trim_start_matches("/jobs/").to_owned();
        raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}", id.len()))
    });
    let proxy = Arc::new(proxy);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..20 {
        let proxy = Arc::clone(&proxy);
        clients.spawn(async move {
            let mut client = proxy.client(HOST).await;
            for count in 0..5 {
                let id = format!("client-{number}-request-{count}");
                let response = client.request(&request("GET", &format!("/jobs/{id}"), HOST, &[], "")).await;
                assert_eq!(response.text(), id);
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_requests_total", &[("fate", "first_try")], 100.0);
    let Ok(proxy) = Arc::try_unwrap(proxy) else { panic!("every client has ended") };
    finish(proxy, origin).await;
}

async fn handshake(proxy: &TestProxy, config: Arc<rustls::ClientConfig>) -> TlsStream<TcpStream> {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(format!("CONNECT {HOST}:443 HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(guard("an answer to CONNECT", stream.read_u8()).await.unwrap());
    }
    let name = ServerName::try_from(HOST).unwrap();
    guard("a TLS handshake", TlsConnector::from(config).connect(name, stream)).await.unwrap()
}
