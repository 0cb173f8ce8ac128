use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::{InvalidMessage, PeerIncompatible};

use super::*;
use HandshakeFailure::{Closed, Other, Protocol, Timeout, UnknownCa};

#[test]
fn a_failed_handshake_has_one_reason() {
    use rustls::Error::{self, AlertReceived};
    let tls = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
    for (error, want) in [
        (tls(AlertReceived(Alert::UnknownCA)), UnknownCa),
        (tls(AlertReceived(Alert::BadCertificate)), UnknownCa),
        (tls(AlertReceived(Alert::CertificateUnknown)), UnknownCa),
        (tls(AlertReceived(Alert::CertificateExpired)), UnknownCa),
        (tls(AlertReceived(Alert::UnsupportedCertificate)), UnknownCa),
        (tls(AlertReceived(Alert::CloseNotify)), Closed),
        (tls(AlertReceived(Alert::UserCanceled)), Closed),
        (tls(AlertReceived(Alert::ProtocolVersion)), Protocol),
        (tls(AlertReceived(Alert::HandshakeFailure)), Protocol),
        (tls(AlertReceived(Alert::NoApplicationProtocol)), Protocol),
        (tls(AlertReceived(Alert::InternalError)), Other),
        (tls(AlertReceived(Alert::Unknown(200))), Other),
        (tls(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)), Protocol),
        (tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)), Protocol),
        (tls(Error::NoApplicationProtocol), Protocol),
        (tls(Error::FailedToGetRandomBytes), Other),
        (io::ErrorKind::UnexpectedEof.into(), Closed),
        (io::ErrorKind::ConnectionReset.into(), Closed),
        (io::ErrorKind::BrokenPipe.into(), Closed),
        (io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"), Closed),
        (io::ErrorKind::TimedOut.into(), Timeout),
        (io::Error::other("out of memory"), Other),
    ] {
        assert_eq!(HandshakeFailure::of(&error), want, "{error}");
    }
}

/// The names are an interface: dashboards and alerts ask for them.
#[test]
fn reasons_have_fixed_labels() {
    let labels = [UnknownCa, Closed, Protocol, Timeout, Other].map(HandshakeFailure::as_str);
    assert_eq!(labels, ["unknown_ca", "closed", "protocol", "timeout", "other"]);
}

/// What real clients make of a TLS acceptor comes out of the same function.
#[tokio::test]
async fn reasons_are_read_from_a_real_acceptor() {
    use crate::tls::leaf::ServerConfigs;
    use crate::tls::testing::{TestClock, authority, client};
    use rustls::pki_types::ServerName;
    use std::sync::Arc;
    use tokio::io::AsyncWriteExt;

    let host = "acct.westeurope.batch.azure.com";
    let configs = ServerConfigs::new(Arc::new(authority(&["*.*.batch.azure.com"])), || TestClock::new().now()).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(configs.for_host(host).unwrap().0);

    let stranger = client(authority(&["*.*.batch.azure.com"]).root_der(), &TestClock::new(), rustls::ALL_VERSIONS, &[]);
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = tokio_rustls::TlsConnector::from(stranger);
    let (accepted, connected) =
        tokio::join!(acceptor.accept(near), connector.connect(ServerName::try_from(host).unwrap(), far));
    assert!(connected.is_err());
    assert_eq!(HandshakeFailure::of(&accepted.err().unwrap()), UnknownCa);

    for (bytes, want) in [(&b""[..], Closed), (b"\x16\x03\x01\x02\x00\x01", Closed), (b"GET / HTTP/1.1\r\n\r\n", Protocol)] {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(bytes).await.unwrap();
        drop(far);
        assert_eq!(HandshakeFailure::of(&acceptor.accept(near).await.err().unwrap()), want, "{bytes:?}");
    }
}

/// CONNECT requests as recorded from real clients, and some made up of their parts.
#[test]
fn the_runtime_shows_in_its_connect() {
    use ClientRuntime::{Aiohttp, Curl, DotNet, Go, Java, Node, Requests, Unknown};
    const HOST: &str = "Host: testacct.westeurope.batch.azure.com:443\r\n";
    const AUTHORIZATION: &str = "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    const AIOHTTP: &str = "Host: testacct.westeurope.batch.azure.com\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n\
                           User-Agent: Python/3.11 aiohttp/3.14.5\r\n";
    const CURL: &str = "User-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n";
    for (client, version, fields, want) in [
        ("azure-cli, azure-batch 14 and 15", "1.0", vec![], Requests),
        ("the same with credentials", "1.0", vec![AUTHORIZATION], Requests),
        ("azure-batch 15 with aiohttp", "1.1", vec![AIOHTTP], Aiohttp),
        ("the same with credentials", "1.1", vec![AIOHTTP, AUTHORIZATION], Aiohttp),
        ("@azure/batch 10", "1.1", vec!["host: testacct.westeurope.batch.azure.com:443\r\n", "Connection: close\r\n"], Node),
        ("the same with credentials", "1.1", vec![HOST, AUTHORIZATION, "Connection: close\r\n"], Node),
        ("core-rest-pipeline", "1.1", vec![HOST, "Proxy-Connection: close\r\n"], Node),
        ("the same with credentials", "1.1", vec![AUTHORIZATION, HOST, "Proxy-Connection: close\r\n"], Node),
        ("curl", "1.1", vec![HOST, CURL], Curl),
        ("the same with credentials", "1.1", vec![HOST, AUTHORIZATION, CURL], Curl),
        ("Java's HttpURLConnection", "1.1", vec!["User-Agent: Java/17.0.9\r\n", HOST], Java),
        ("Java's HttpClient", "1.1", vec![HOST, "User-Agent: Java-http-client/17.0.9\r\n"], Java),
        ("Go", "1.1", vec![HOST, "User-Agent: Go-http-client/1.1\r\n"], Go),
        (".NET passes the SDK's name on", "1.1", vec![HOST, "User-Agent: azsdk-net-Batch/1.0 (.NET 8.0.1)\r\n"], DotNet),
        ("a host and nothing else", "1.1", vec![HOST], Unknown),
        ("nothing at all in HTTP/1.1", "1.1", vec![], Unknown),
        ("an unknown agent that closes", "1.1", vec![HOST, "User-Agent: x/1\r\n", "Connection: close\r\n"], Unknown),
        ("an old client that is not Python", "1.0", vec!["Accept: */*\r\n"], Unknown),
    ] {
        let raw = format!("CONNECT testacct.westeurope.batch.azure.com:443 HTTP/{version}\r\n{}\r\n", fields.concat());
        let (version, headers) = parse(&raw);
        assert_eq!(ClientRuntime::guess(version, &headers), want, "{client}");
    }
}

fn parse(raw: &str) -> (Version, HeaderMap) {
    let (line, fields) = raw.split_once("\r\n").unwrap();
    let version = if line.ends_with("HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    let pairs = fields.lines().filter(|line| !line.is_empty()).map(|line| line.split_once(": ").unwrap());
    let headers =
        pairs.map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap()));
    (version, headers.collect())
}

/// Each runtime reads one variable; where nothing is known, all are named.
#[test]
fn advice_names_the_variable_the_runtime_reads() {
    use ClientRuntime::{Aiohttp, Curl, DotNet, Go, Java, Node, Requests, Unknown};
    for (runtime, variable) in [
        (Aiohttp, "SSL_CERT_FILE"),
        (Curl, "CURL_CA_BUNDLE"),
        (DotNet, "SSL_CERT_FILE"),
        (Go, "SSL_CERT_FILE"),
        (Java, "JAVA_TOOL_OPTIONS"),
        (Node, "NODE_EXTRA_CA_CERTS"),
        (Requests, "REQUESTS_CA_BUNDLE"),
    ] {
        assert!(runtime.trust_advice().starts_with(variable), "{runtime:?}");
        assert!(Unknown.trust_advice().contains(variable), "{variable}");
    }
}
