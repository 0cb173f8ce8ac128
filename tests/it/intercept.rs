//! Connections that are opened: what the client negotiates, whom it may speak to, and that many of them keep apart.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, HandshakeKind};
use tokio::task::JoinSet;

use super::support::action::respond;
use super::support::batch::{HOST, error, json};
use super::support::client::{Client, Response, Tunnel, request};
use super::support::guard;
use super::support::metric::assert_metric;
use super::support::origin::Origin;
use super::support::pki::{Authority, client_config};
use super::support::proxy::{Builder, TestProxy};

/// Batch itself is sent HTTP/1.1 whatever the client speaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_offers_only_http_2_is_served_http_2() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    let created = serde_json::json!({ "value": [] });
    origin.queue([error(503, "ServerBusy", &[]), json(200, &created)]);
    let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    let mut client = tunnel.tls(proxy.ca_pem(), HOST, &["h2"]).await.unwrap();
    assert_eq!(client.alpn().as_deref(), Some("h2"));
    let io = TokioIo::new(client.into_stream());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);

    let body = r#"{"value":[{"id":"t"}]}"#;
    let target = "/jobs/j/addtaskcollection?api-version=2025-06-01";
    let request = http::Request::post(format!("https://{HOST}{target}"))
        .header("accept", "application/json")
        .header("client-request-id", "c6d7566e-e6ef-11f1-8cfe-02fc00000001")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = guard("an answer over HTTP/2", sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    let status = response.headers()["proxy-status"].to_str().unwrap().to_owned();
    assert!(status.contains("attempts=2; fate=replayed"), "{status}");
    assert_eq!(response.headers()["dataserviceversion"], "3.0");
    assert!(!response.headers().contains_key("transfer-encoding"));
    let answered = guard("the answer's body", response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(answered, created.to_string());

    let seen = origin.requests();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].bytes(), seen[1].bytes());
    assert_eq!((seen[1].method.as_str(), seen[1].target.as_str()), ("POST", target));
    assert!(seen[1].raw_head.starts_with(format!("POST {target} HTTP/1.1\r\n").as_bytes()));
    assert_eq!(seen[1].headers[0], ("host".to_owned(), HOST.to_owned()));
    assert_eq!(seen[1].header("accept"), Some("application/json"));
    assert_eq!(seen[1].body, body.as_bytes());
    drop(sender);
    guard("the end of the connection", connection).await.unwrap().unwrap();
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_http_1_gets_it() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    origin.script(|_| respond(200, &[], ""));
    for (offered, chosen) in [
        (["h2", "http/1.1"].as_slice(), Some("http/1.1")),
        (&["http/1.1", "h2"], Some("http/1.1")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
        let mut client = tunnel.tls(proxy.ca_pem(), HOST, offered).await.unwrap();
        assert_eq!(client.alpn().as_deref(), chosen, "{offered:?}");
        let response = client.request(&request("GET", "/jobs", HOST, &[], "")).await;
        assert!(response.raw_head.starts_with(b"HTTP/1.1 200 "), "{offered:?}");
    }
    proxy.finish().await;
    origin.finish().await;
}

/// Node opens a tunnel for each request: a resumed handshake costs half of a full one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_through_another_tunnel_resumes_its_tls_session() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    origin.script(|_| respond(200, &[], ""));
    let config = client_config(proxy.ca_pem(), &["http/1.1"]);
    let mut open = Vec::new();
    for want in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let mut client = resuming(&proxy, &config).await;
        assert_eq!(client.handshake_kind(), Some(want));
        // The ticket comes before the first answer.
        assert_eq!(client.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
        open.push(client);
    }
    drop(open);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_the_authority_is_counted() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    let other = Authority::new("not the proxy's");
    let refused = tunnel.tls(other.pem(), HOST, &["http/1.1"]).await.err().unwrap();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    let distrust = [("side", "client"), ("reason", "unknown_ca")];
    proxy.wait_for_metric("batch_retry_proxy_tls_handshake_failures_total", &distrust, 1.0).await;
    let failed = [("kind", "intercept"), ("result", "failed")];
    proxy.wait_for_metric("batch_retry_proxy_connections_total", &failed, 1.0).await;
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_tls_handshake_failures_total", &[], 1.0);
    assert_eq!(origin.connections(), 0);
    proxy.finish().await;
    origin.finish().await;
}

/// Its credentials are for that other host, or it is an attempt to reach one past the settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_host_than_the_connects_is_refused_and_never_sent() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    let other = "otheracct.westeurope.batch.azure.com";
    for bytes in [
        request("GET", "/jobs", other, &[], ""),
        request("GET", "/jobs", &format!("{HOST}:8443"), &[], ""),
        request("GET", "/jobs", HOST, &[("Host", other)], ""),
        request("GET", &format!("https://{other}/jobs"), HOST, &[], ""),
        request("CONNECT", &format!("{HOST}:443"), &format!("{HOST}:443"), &[], ""),
        request("CONNECT", &format!("{other}:443"), &format!("{other}:443"), &[], ""),
    ] {
        let mut client = proxy.client(HOST).await;
        client.send_raw(&bytes).await.unwrap();
        let response = client.read_response("GET").await.unwrap();
        let asked = String::from_utf8_lossy(&bytes);
        assert_eq!((response.status, response.complete), (400, true), "{asked}");
        let status = response.header("proxy-status").unwrap();
        assert!(status.contains("error=http_request_error"), "{asked}: {status}");
        assert_is_batch_error(&response, "ProxyRequestInvalid");
    }
    assert_eq!(origin.connections(), 0);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_name_its_host_with_the_port_in_any_case_and_as_part_of_the_target() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    origin.script(|_| respond(200, &[], ""));
    let mut client = proxy.client(HOST).await;
    let with_port = format!("{HOST}:443");
    for host in [HOST, &with_port, &HOST.to_uppercase()] {
        for target in ["/jobs".to_owned(), format!("https://{HOST}/jobs")] {
            let response = client.request(&request("GET", &target, host, &[], "")).await;
            assert_eq!(response.status, 200, "{target} {host}: {}", response.text());
            let seen = origin.requests().pop().unwrap();
            assert_eq!((seen.target.as_str(), seen.header("host")), ("/jobs", Some(host)), "{target}");
        }
    }
    proxy.finish().await;
    origin.finish().await;
}

/// A client sends no server name for an address; the CONNECT says whose certificate is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_can_be_opened_for_a_client_that_sends_no_server_name() {
    let origin = Origin::start(&["127.0.0.1"]).await;
    origin.script(|_| respond(200, &[], "by address"));
    let builder = TestProxy::builder().upstream(&origin).set("intercept.hosts", vec!["127.0.0.1"]);
    let proxy = builder.start().await;
    let mut client = proxy.client("127.0.0.1").await;
    let response = client.request(&request("GET", "/jobs", "127.0.0.1", &[], "")).await;
    assert_eq!((response.status, response.text().as_str()), (200, "by address"));
    assert!(response.header("proxy-status").unwrap().contains("fate=first_try"));
    assert_eq!(origin.requests()[0].server_name, None);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_is_made_once_for_all_connections_to_a_host() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    let mut opening = JoinSet::new();
    for _ in 0..10 {
        let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
        let ca_pem = proxy.ca_pem().to_owned();
        opening.spawn(async move { tunnel.tls(&ca_pem, HOST, &["http/1.1"]).await.unwrap() });
    }
    let clients = opening.join_all().await;
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_leaf_certificates_total", &[("result", "issued")], 1.0);
    assert_metric(&metrics, "batch_retry_proxy_leaf_certificates_total", &[("result", "cached")], 9.0);
    drop(clients);
    proxy.finish().await;
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once_get_their_own_answers() {
    let (origin, proxy) = start(TestProxy::builder()).await;
    origin.script(|request| {
        let id = request.header("client-request-id").unwrap();
        respond(200, &[("request-id", id)], [request.target.as_bytes(), b" ", &request.body].concat())
    });
    let proxy = Arc::new(proxy);
    let mut clients = JoinSet::new();
    for connection in 0..20 {
        let proxy = Arc::clone(&proxy);
        clients.spawn(async move {
            let mut client = proxy.client(HOST).await;
            for n in 0..5 {
                let (id, target) = (format!("id-{connection}-{n}"), format!("/jobs/j-{connection}-{n}"));
                let body = format!("body {connection} {n}").repeat(connection + 1);
                let fields = [("client-request-id", id.as_str())];
                let response = client.request(&request("PUT", &target, HOST, &fields, &body)).await;
                assert_eq!(response.header("request-id"), Some(id.as_str()));
                assert_eq!(response.text(), format!("{target} {body}"));
            }
        });
    }
    clients.join_all().await;
    assert_eq!(origin.requests().len(), 100);
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_requests_total", &[("fate", "first_try")], 100.0);
    Arc::into_inner(proxy).unwrap().finish().await;
    origin.finish().await;
}

async fn start(builder: Builder) -> (Origin, TestProxy) {
    let origin = Origin::start(&[HOST]).await;
    let proxy = builder.upstream(&origin).start().await;
    (origin, proxy)
}

async fn resuming(proxy: &TestProxy, config: &Arc<ClientConfig>) -> Client {
    let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    tunnel.tls_with(Arc::clone(config), HOST).await.unwrap()
}

fn assert_is_batch_error(response: &Response, code: &str) {
    assert_eq!(response.header("content-type"), Some("application/json; odata=minimalmetadata"));
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["code"], code);
    assert_eq!(body["message"]["lang"], "en-US");
    assert!(body["message"]["value"].is_string(), "{body}");
    assert!(body["odata.metadata"].is_string(), "{body}");
}
