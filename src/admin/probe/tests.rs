//! Probes against listeners that answer from a script.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const PATIENT: Duration = Duration::from_secs(20);

/// A listener that gives one connection after another the next of `answers`, and returns the request heads it read.
async fn scripted(bind: &str, answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(bind).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
            }
            heads.push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    });
    (address, task)
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An address at which nothing listens.
async fn vacant() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_ready_proxy_is_ready() {
    let (address, server) = scripted("127.0.0.1:0", vec![answer(200, "ready\n")]).await;
    ready(address, PATIENT).await.unwrap();
    let heads = server.await.unwrap();
    assert!(heads[0].starts_with("GET /readyz HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains(&format!("host: {address}\r\n")), "{heads:?}");
}

#[tokio::test]
async fn an_unspecified_address_is_asked_on_loopback() {
    let (address, server) = scripted("0.0.0.0:0", vec![answer(200, "ready\n")]).await;
    assert!(address.ip().is_unspecified());
    ready(address, PATIENT).await.unwrap();
    assert_eq!(server.await.unwrap().len(), 1);
    for (given, want) in [("[::]:9464", "[::1]:9464"), ("0.0.0.0:1", "127.0.0.1:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
        assert_eq!(reachable(given.parse().unwrap()), want.parse().unwrap());
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_ready_says_why() {
    let (address, _server) = scripted("127.0.0.1:0", vec![answer(503, "draining\n")]).await;
    let error = ready(address, PATIENT).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the proxy at {address} is not ready: draining"));
}

#[tokio::test]
async fn another_program_is_not_taken_for_a_ready_proxy() {
    for other in [answer(404, "not found"), answer(200, "<html>"), "SSH-2.0-x\r\n".to_owned(), String::new()] {
        let (address, _server) = scripted("127.0.0.1:0", vec![other.clone()]).await;
        let error = ready(address, PATIENT).await.unwrap_err();
        assert!(matches!(error, ProbeError::Status { .. } | ProbeError::Exchange { .. }), "{other}: {error}");
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("admin.address"), "{text}");
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_run_is_told_from_one_that_does_not_answer() {
    let address = vacant().await;
    let error = ready(address, PATIENT).await.unwrap_err();
    assert!(matches!(error, ProbeError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()) && error.to_string().contains("is the proxy running"));

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = ready(silent.local_addr().unwrap(), Duration::from_millis(30)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Timeout { .. }) && error.to_string().contains("within 30ms"), "{error}");
}

#[tokio::test]
async fn waiting_asks_again_until_the_proxy_is_ready() {
    let answers = vec![answer(503, "not listening yet\n"), String::new(), answer(200, "ready\n")];
    let (address, server) = scripted("127.0.0.1:0", answers).await;
    wait_ready(address, PATIENT).await.unwrap();
    assert_eq!(server.await.unwrap().len(), 3);
}

#[tokio::test]
async fn waiting_ends_with_the_last_reason() {
    let (address, server) = scripted("127.0.0.1:0", vec![answer(503, "draining\n")]).await;
    let error = wait_ready(address, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ProbeError::NotReady { .. }), "{error}");
    assert_eq!(server.await.unwrap().len(), 1);
    assert!(wait_ready(vacant().await, Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn a_page_is_fetched_whole_and_only_with_200() {
    let (address, server) = scripted("127.0.0.1:0", vec![answer(200, "ROOT\n"), answer(404, "no")]).await;
    assert_eq!(&fetch(address, "/ca.pem").await.unwrap()[..], b"ROOT\n");
    let error = fetch(address, "/ca.pem").await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("GET /ca.pem at {address} was answered with 404")), "{error}");
    assert!(server.await.unwrap()[0].starts_with("GET /ca.pem "));
    let (address, _server) =
        scripted("127.0.0.1:0", vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nROOT".to_owned()]).await;
    assert!(matches!(fetch(address, "/ca.pem").await, Err(ProbeError::Exchange { .. })));
}
