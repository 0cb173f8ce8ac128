//! Who may use the proxy, and where a proxy on a network leads to: never to what only its own machine should reach.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::command::{Program, run};
use crate::support::action::respond;
use crate::support::batch::HOST;
use crate::support::client::{Client, Response, Tunnel, request};
use crate::support::echo::EchoServer;
use crate::support::metric::assert_metric;
use crate::support::origin::Origin;
use crate::support::proxy::{Builder, TestProxy};

const CREDENTIALS: &str = "ann:pass-word-of-ann";

/// Loopback is for those on the machine; wider, the settings have to say for whom.
#[tokio::test]
async fn a_proxy_bound_wider_than_loopback_does_not_start_until_it_is_said_who_may_use_it() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = run(&["serve", "--listen", address, "--admin-listen", "127.0.0.1:0"]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(78), "{address}: {said}");
        assert!(said.contains("`listen.allow` or `listen.credentials` must say who may use the proxy"), "{said}");
    }
    for who in ["listen.allow=[\"127.0.0.0/8\"]".to_owned(), format!("listen.credentials={CREDENTIALS}")] {
        let program = Program::start_at("0.0.0.0:0", &["--set", &who]).await;
        assert!(program.proxy.ip().is_unspecified());
        assert!(!program.stderr().contains("pass-word") && !program.fetch("/config").await.contains("pass-word"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_with_the_credentials_asked_for_and_gets_407_without() {
    let (echo, origin) = (EchoServer::start().await, Origin::plain().await);
    origin.script(|_| respond(200, &[], "served"));
    let builder = TestProxy::builder().resolve("elsewhere.example:443", echo.address());
    let builder = builder.resolve("plain.example:80", origin.address());
    let mut proxy = builder.set("listen.credentials", CREDENTIALS).start().await;
    let ask = async |target: &str, text: Option<&str>| {
        let field = text.map(|text| format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(text))).unwrap_or_default();
        let method = if target.starts_with("http") { "GET" } else { "CONNECT" };
        answer_to(proxy.address(), format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{field}\r\n").as_bytes()).await
    };
    let batch = format!("{HOST}:443");
    let targets = ["elsewhere.example:443", &batch, "http://plain.example/"];
    for target in targets {
        for wrong in [None, Some("ann:other"), Some("other:pass-word-of-ann"), Some("")] {
            let refused = ask(target, wrong).await;
            assert_eq!(refused.status, 407, "{target} {wrong:?}");
            assert!(refused.header("proxy-authenticate").unwrap().starts_with("Basic realm="), "{target}");
            assert!(refused.complete && !refused.text().contains("pass-word"), "{}", refused.text());
        }
    }
    assert_eq!((echo.wait_until("its state", |_| true).await.connections, origin.connections()), (0, 0));
    let denied = [("result", "denied")];
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_connections_total", &denied, 4.0 * targets.len() as f64);
    for target in targets {
        assert_eq!(ask(target, Some(CREDENTIALS)).await.status, 200, "{target}");
    }
    assert!(origin.requests()[0].header("proxy-authorization").is_none(), "they are the proxy's, not the origin's");

    proxy.reload(|it| it.set("listen.credentials", "")).await;
    Tunnel::open(proxy.address(), "elsewhere.example:443", None).await;
    proxy.finish().await;
    origin.finish().await;
}

/// What is refused is the address: written in many ways, or behind a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_a_network_leads_to_no_address_that_only_its_machine_should_reach() {
    let near = EchoServer::start().await;
    let port = near.address().port();
    let proxy = wide(|it| it.set("tunnel.ports", vec![i64::from(port)])).await;
    let mut hosts: Vec<String> = [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "168.63.129.16",
        // Names: what stands in the machine's list of hosts, and numbers that the system reads as addresses.
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
    ]
    .map(str::to_owned)
    .into();
    match outward() {
        Some(own) => hosts.push(own.to_string()),
        None => println!("skipped in part: this machine has no address besides loopback"),
    }
    for host in &hosts {
        let authority = format!("{host}:{port}");
        for bytes in [connect(&authority), request("GET", &format!("http://{authority}/"), &authority, &[], "")] {
            let response = answer_to(proxy.address(), &bytes).await;
            assert_eq!(response.status, 403, "{authority}: {}", response.text());
            assert!(response.text().contains("Only the proxy's own machine"), "{authority}: {}", response.text());
        }
    }
    let denied = [("kind", "tunnel"), ("result", "denied")];
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_connections_total", &denied, hosts.len() as f64);
    assert_eq!(near.wait_until("its state", |_| true).await.connections, 0);
    proxy.finish().await;
}

/// Whoever reaches a proxy on loopback reaches all that without it; and what the owner names in `upstream.resolve` is his own word.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_the_machine_are_reached_through_loopback_and_where_the_owner_names_them() {
    let near = EchoServer::start().await;
    let (address, port) = (near.address(), near.address().port());
    let proxy = TestProxy::builder().start().await;
    for host in ["127.0.0.1", "localhost", "2130706433"] {
        Tunnel::open(proxy.address(), &format!("{host}:{port}"), None).await;
    }
    proxy.finish().await;
    let proxy = wide(|it| it.resolve("named.example:443", address).resolve("127.0.0.1:443", address)).await;
    for authority in ["named.example:443", "127.0.0.1:443"] {
        Tunnel::open(proxy.address(), authority, None).await;
    }
    proxy.finish().await;
}

/// Hosts that are opened are no exception, nor is what is not TLS in a connection to them.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_opened_leads_to_no_such_address_either() {
    let near = EchoServer::start().await;
    let port = near.address().port();
    let proxy = wide(|it| it.set("intercept.hosts", vec!["localhost"]).set("tunnel.ports", vec![i64::from(port)])).await;
    let authority = format!("localhost:{port}");
    let tunnel = Tunnel::open(proxy.address(), &authority, None).await;
    let mut client = tunnel.tls(proxy.ca_pem(), "localhost", &["http/1.1"]).await.unwrap();
    let response = client.request(&request("GET", "/jobs", &authority, &[], "")).await;
    assert_eq!(response.status, 502, "{}", response.text());
    let status = response.header("proxy-status").unwrap();
    assert!(status.contains("attempts=1") && status.contains("error=destination_ip_prohibited"), "{status}");
    assert!(response.text().contains("ProxyUpstreamAddressProhibited"), "{}", response.text());
    let mut plain = Tunnel::open(proxy.address(), &authority, None).await.plain();
    plain.send_raw(b"no TLS").await.unwrap();
    // What it sent is not read: the end may be a reset.
    assert_eq!(plain.read_to_end().await.unwrap_or_default(), b"");
    assert_eq!(near.wait_until("its state", |_| true).await.connections, 0);
    proxy.finish().await;
}

/// The admin server on a network tells whoever asks, and obeys its own machine only.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_server_is_changed_from_loopback_only() {
    let Some(own) = outward() else {
        println!("skipped: this machine has no address besides loopback to come from");
        return;
    };
    let proxy = TestProxy::builder().set("admin.address", "0.0.0.0:0").set("admin.allow_shutdown", true).start().await;
    let port = proxy.admin().port();
    let ask = async |host: IpAddr, method: &str, path: &str, body: &str| {
        answer_to((host, port).into(), &request(method, path, &host.to_string(), &[], body)).await.status
    };
    for (method, path, body) in [("PUT", "/log-level", "off"), ("POST", "/shutdown", "")] {
        assert_eq!(ask(own, method, path, body).await, 403, "{path}");
    }
    for path in ["/metrics", "/livez", "/readyz", "/status", "/config"] {
        assert_eq!(ask(own, "GET", path, "").await, 200, "{path}");
    }
    let loopback = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(ask(loopback, "PUT", "/log-level", "off").await, 200);
    // Not through the proxy either, which would come from loopback: seen above for any port of this machine.
    assert_eq!(ask(loopback, "POST", "/shutdown", "").await, 202);
    proxy.wait_for_refusal().await;
}

/// A proxy on all addresses, for clients of this machine.
async fn wide(set: impl FnOnce(Builder) -> Builder) -> TestProxy {
    let builder = TestProxy::builder().set("listen.address", "0.0.0.0:0");
    let builder = builder.set("listen.allow", vec!["127.0.0.0/8"]);
    set(builder).start().await
}

/// An address of this machine besides loopback: that from which it would speak to the world. Nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

/// The answer to one request on a connection of its own.
async fn answer_to(address: SocketAddr, bytes: &[u8]) -> Response {
    let mut client = Client::connect(address).await;
    client.send_raw(bytes).await.unwrap();
    // One to an accepted CONNECT has no body.
    let head = if bytes.starts_with(b"CONNECT") { "CONNECT" } else { "GET" };
    client.read_response(head).await.unwrap()
}

fn connect(authority: &str) -> Vec<u8> {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes()
}
