//! What the client signed arrives unchanged, every time, and what Batch answered comes back unchanged.

use proptest::prelude::*;

use super::support::action::{raw, respond, respond_chunked};
use super::support::batch::{HOST, empty, error, json};
use super::support::client::{Client, request};
use super::support::fixture::{wire, wire_names};
use super::support::origin::{Origin, Received};
use super::support::proxy::{TestProxy, finish, start};
use super::support::wire::Framing;

/// The recorded requests of three SDKs arrive as they were recorded, so no signature breaks. Dated now, and failing once, both sends are the
/// same bytes too; a recording as old as it is would not be replayed, because Batch would refuse its signature.
#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_request_arrives_byte_for_byte_and_so_does_its_replay() {
    let mut seen = 0;
    for folder in ["azure-batch-14.2.0", "azure-batch-15.1.0", "azure-batch-js-10.2.0"] {
        let (origin, proxy) = start(|it| it).await;
        let mut sends = 0;
        origin.script(move |request| {
            sends += 1;
            match request.method.as_str() {
                // Of each three sends: the recording, the dated one that fails, its replay.
                _ if sends % 3 == 2 => error(500, "InternalError", &[]),
                "GET" | "HEAD" => respond(200, &[], ""),
                _ => empty(202),
            }
        });
        let mut client = proxy.client(HOST).await;
        for (index, name) in wire_names(folder).iter().enumerate() {
            let recorded = wire(name);
            let dated = dated_now(&recorded);
            for request in [&recorded, &dated] {
                let response = client.request(request).await;
                assert!(response.status < 300, "{name}: {} {}", response.status, response.text());
            }
            let sent = origin.requests().split_off(3 * index);
            let sent: Vec<String> = sent.iter().map(|request| text(&request.bytes())).collect();
            assert_eq!(sent, [text(&recorded), text(&dated), text(&dated)], "{name}");
            seen += 1;
        }
        // Not always one: a request that comes before the connection is back in the pool gets another.
        assert!(
            origin.connections() < 10,
            "{} connections for {} requests of {folder}",
            origin.connections(),
            origin.requests().len()
        );
        finish(proxy, origin).await;
    }
    assert_eq!(seen, RECORDINGS);
}

/// The request with its `ocp-date` moved to now.
fn dated_now(request: &[u8]) -> Vec<u8> {
    let request = String::from_utf8(request.to_vec()).unwrap();
    let (before, date) = request.split_once("ocp-date: ").unwrap();
    let (_, after) = date.split_once("\r\n").unwrap();
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    format!("{before}ocp-date: {now}\r\n{after}").into_bytes()
}

/// In the three folders.
const RECORDINGS: usize = 64;

/// Length, `Content-Length: 0`, no length at all, chunks and empty chunks: each goes out as it came in.
#[tokio::test(flavor = "multi_thread")]
async fn the_framing_of_a_body_is_kept() {
    let (origin, proxy) = start(|it| it).await;
    let mut failed = false;
    origin.script(move |_| {
        failed = !failed;
        if failed { error(500, "InternalError", &[]) } else { empty(202) }
    });
    let mut client = proxy.client(HOST).await;
    let head = |method: &str, fields: &str| format!("{method} /jobs/j HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n");
    let cases = [
        (head("DELETE", ""), Framing::None, ""),
        (head("DELETE", "Content-Length: 0\r\n"), Framing::Length(0), ""),
        (head("GET", ""), Framing::None, ""),
        (head("PUT", "Content-Length: 2\r\n") + "{}", Framing::Length(2), "{}"),
        (head("PUT", "Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n3\r\nabc\r\n0\r\n\r\n", Framing::Chunked, "{}abc"),
        (head("PUT", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", Framing::Chunked, ""),
        (head("DELETE", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", Framing::Chunked, ""),
    ];
    for (index, (bytes, framing, body)) in cases.iter().enumerate() {
        let response = client.request(bytes.as_bytes()).await;
        assert_eq!(response.status, 202, "{bytes}");
        let requests = origin.requests();
        assert_eq!(requests.len(), 2 * index + 2, "{bytes}");
        for sent in &requests[2 * index..] {
            let head = bytes.split_inclusive("\r\n\r\n").next().unwrap();
            assert_eq!(text(&sent.raw_head), head);
            assert_eq!((&sent.framing, text(&sent.body).as_str()), (framing, *body), "{bytes}");
        }
    }
    finish(proxy, origin).await;
}

/// Names as spelled, order as sent; fields of the connection go, others stay put.
#[tokio::test(flavor = "multi_thread")]
async fn header_fields_keep_spelling_and_order() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|_| empty(202));
    let mut client = proxy.client(HOST).await;
    let sent = format!(
        "GET /jobs?$filter=a%20eq%20'b'&%24select=id HTTP/1.1\r\nX-First: 1\r\nProxy-Connection: Keep-Alive\r\nhOST: {HOST}\r\nocp-DATE: x\r\n\
         X-Twice: a\r\nAccept: */*\r\nX-Hop: gone\r\nx-twice: b\r\nConnection: keep-alive, X-Hop\r\nX-Empty:\r\nLast: \u{e9}t\u{e9}\r\n\r\n"
    );
    let want = format!(
        "GET /jobs?$filter=a%20eq%20'b'&%24select=id HTTP/1.1\r\nX-First: 1\r\nhOST: {HOST}\r\nocp-DATE: x\r\n\
         X-Twice: a\r\nAccept: */*\r\nx-twice: b\r\nX-Empty:\r\nLast: \u{e9}t\u{e9}\r\n\r\n"
    );
    client.request(sent.as_bytes()).await;
    let heads: Vec<String> = origin.requests().iter().map(|request: &Received| text(&request.raw_head)).collect();
    assert_eq!(heads, [want]);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_back_unchanged_but_for_proxy_status() {
    let (origin, proxy) = start(|it| it).await;
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nETag: \"x\"\r\nSet-Cookie: a\r\nX-ODD-case: 1\r\n\
                Set-Cookie: b\r\n\r\n";
    origin.queue([
        raw(format!("{head}4\r\n{{}}  \r\n0\r\n\r\n")),
        raw("HTTP/1.1 404 Gone Away\r\nContent-Length: 3\r\nRetry-After: 7\r\n\r\nabc"),
        raw("HTTP/1.1 204 No Content\r\nDataServiceId: z\r\n\r\n"),
        raw("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nocp-batch-file-mode: 0o644\r\n\r\n"),
        raw("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        raw("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ]);
    let mut client = proxy.client(HOST).await;
    let first_try = "proxy-status: batch-retry-proxy; attempts=1; fate=first_try; waited=0.0\r\n\r\n";
    let permanent = "proxy-status: batch-retry-proxy; attempts=1; fate=permanent; waited=0.0\r\n\r\n";
    for (method, target, want, body) in [
        (
            "GET",
            "/jobs",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nETag: \"x\"\r\nSet-Cookie: a\r\n\
             X-ODD-case: 1\r\nSet-Cookie: b\r\n"
                .to_owned()
                + first_try,
            "{}  ",
        ),
        ("GET", "/jobs/j", format!("HTTP/1.1 404 Gone Away\r\nContent-Length: 3\r\nRetry-After: 7\r\n{permanent}"), "abc"),
        ("POST", "/jobs/j/tasks/t/terminate", format!("HTTP/1.1 204 No Content\r\nDataServiceId: z\r\n{first_try}"), ""),
        (
            "HEAD",
            "/jobs/j/tasks/t/files/f",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nocp-batch-file-mode: 0o644\r\n{first_try}"),
            "",
        ),
        ("GET", "/pools/p", format!("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n{first_try}"), ""),
        ("DELETE", "/jobs/j", format!("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n{first_try}"), ""),
        // A length beside chunks means nothing (RFC 9112, 6.3) and must not go on.
        ("GET", "/jobs", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n{first_try}"), "abc"),
    ] {
        let response = client.request(&request(method, target, HOST, &[], "")).await;
        assert_eq!(text(&response.raw_head), want, "{method} {target}");
        assert_eq!((response.text().as_str(), response.complete), (body, true), "{method} {target}");
    }
    finish(proxy, origin).await;
}

/// `Connection: close` from Batch ends that connection and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_from_batch_leads_to_a_new_connection_and_is_not_passed_on() {
    let (origin, proxy) = start(|it| it).await;
    origin.queue([respond(200, &[], "{}").closing(), respond(503, &[], "").closing(), respond(200, &[], "{}")]);
    let mut client = proxy.client(HOST).await;
    for _ in 0..2 {
        let response = client.request(&request("GET", "/jobs", HOST, &[], "")).await;
        assert_eq!((response.status, response.header("connection")), (200, None));
    }
    assert_eq!(origin.connections(), 3);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_announced_with_expect_continue_is_asked_for() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|_| empty(202));
    let mut client = proxy.client(HOST).await;
    let head = format!("PUT /jobs/j HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    client.send_raw(head.as_bytes()).await.unwrap();
    assert_eq!(client.read_exactly(25).await.unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send_raw(b"{}").await.unwrap();
    assert_eq!(client.read_response("PUT").await.unwrap().status, 202);
    assert_eq!(text(&origin.requests()[0].body), "{}");
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_list_keeps_its_next_link() {
    let (origin, proxy) = start(|it| it).await;
    let next = format!("https://{HOST}/jobs?api-version=2025-06-01&$skiptoken=a%2Fb%3D");
    let page = serde_json::json!({ "value": [], "odata.nextLink": next });
    origin.queue([json(200, &page)]);
    let response = proxy.client(HOST).await.request(&request("GET", "/jobs", HOST, &[], "")).await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&response.body).unwrap(), page);
    finish(proxy, origin).await;
}

/// One request body, cut into pieces in any way, and the sends it led to.
async fn upload(pieces: &[Vec<u8>], framing: &Framing, limit: usize) -> (Vec<u8>, Vec<Received>, u16) {
    let origin = Origin::start(&[HOST]).await;
    let proxy = TestProxy::builder().upstream(&origin).set("retry.body_limit", format!("{limit}B")).start().await;
    let mut failed = false;
    origin.script(move |_| {
        failed = !failed;
        if failed { respond_chunked(503, &[], &["busy"]) } else { empty(202) }
    });
    let whole = pieces.concat();
    let mut client: Client = proxy.client(HOST).await;
    let field = match framing {
        Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
        _ => format!("Content-Length: {}", whole.len()),
    };
    client.send_raw(format!("PUT /jobs/j HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n\r\n").as_bytes()).await.unwrap();
    for piece in pieces {
        let piece = match framing {
            Framing::Chunked => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
            _ => piece.clone(),
        };
        client.send_raw(&piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    if *framing == Framing::Chunked {
        client.send_raw(b"0\r\n\r\n").await.unwrap();
    }
    let status = client.read_response("PUT").await.unwrap().status;
    let sends = origin.requests();
    finish(proxy, origin).await;
    (whole, sends, status)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// No chunk is lost or doubled, whatever the sizes, on either side of the limit: each send carries the client's bytes.
    #[test]
    fn every_send_carries_the_clients_body(
        sizes in prop::collection::vec(1usize..6000, 0..8),
        chunked in any::<bool>(),
        limit in 1usize..20_000,
    ) {
        let framing = if chunked { Framing::Chunked } else { Framing::Length(0) };
        let pieces: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(n, size)| (0..*size).map(|i| (i * 7 + n * 31) as u8).collect()).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (whole, sends, status) = runtime.block_on(upload(&pieces, &framing, limit));
        let held = whole.len() <= limit;
        prop_assert_eq!((sends.len(), status), if held { (2, 202) } else { (1, 503) });
        for send in &sends {
            prop_assert!(send.body == whole, "{} of {} bytes", send.body.len(), whole.len());
            prop_assert_eq!(send.framing == Framing::Chunked, chunked);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
