//! Limits on what a client can make large or slow, from outside: what comes of passing them, and that others notice nothing.
//!
//! Elsewhere are slow heads and hellos, quiet connections and their number (`connect`), uploads that fall silent (`giving_up`), bodies and
//! answers that are held (`bodies`, `memory`), and requests that wait for an account (`throttle`, `reload`).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::action::{respond, wait};
use super::support::batch::HOST;
use super::support::client::{Client, Tunnel, request};
use super::support::gate::Gate;
use super::support::guard;
use super::support::metric::assert_metric;
use super::support::proxy::{TestProxy, finish, start};
use super::support::wire::Io;

/// Where it comes in does not matter: on the proxy's port and inside an opened connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_and_its_connection_ended() {
    let (origin, proxy) = start(|it| it).await;
    origin.script(|_| respond(200, &[], "unharmed"));
    let mut other = proxy.client(HOST).await;
    let large = "x".repeat(70_000);
    let many: String = (0..5000).map(|number| format!("X-{number}: 1\r\n")).collect();
    for head in [
        format!("GET /{large} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /jobs HTTP/1.1\r\nHost: {HOST}\r\nX-Large: {large}\r\n\r\n"),
        format!("GET /jobs HTTP/1.1\r\nHost: {HOST}\r\n{many}\r\n"),
        format!("GET /jobs HTTP/1.1\r\nHost: {HOST}\r\nX-Without-End: {large}"),
        format!("{large} /jobs HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
    ] {
        for mut client in [proxy.client(HOST).await, Client::connect(proxy.address()).await] {
            // The refusal may come before all of it was sent, and a reset with it may hide the refusal.
            let sent = client.send_raw(head.as_bytes()).await;
            match client.read_response("GET").await {
                Ok(refusal) => assert!(matches!(refusal.status, 400 | 414 | 431), "{}: {}", &head[..20], refusal.status),
                Err(error) => assert!(client.is_untouched(), "{}: {sent:?}, {error}", &head[..20]),
            }
            drop(client.read_to_end().await);
        }
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests().len());
    assert_eq!(other.request(&request("GET", "/jobs", HOST, &[], "")).await.text(), "unharmed");
    drop(other);
    finish(proxy, origin).await;
}

/// What it would take more is not asked of Batch any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answer_is_dropped() {
    let large = vec![b'x'; 32 << 20];
    let (origin, proxy) = start(|it| it.set("listen.idle_timeout", "500ms").set("retry.response_buffer", "1MiB")).await;
    origin.tolerate_broken_connections();
    origin.script(move |_| respond(200, &[], &large));
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs/j/tasks/t/files/large", HOST, &[], "")).await.unwrap();
    // Its beginning is there, the rest is not taken.
    client.read_exactly(1000).await.unwrap();
    proxy.wait_for_metric("batch_retry_proxy_connections", &[("kind", "intercept")], 0.0).await;
    drop(client);
    finish(proxy, origin).await;
}

/// RFC 9113, 6.5.2 and 5.1.2.
#[tokio::test(flavor = "multi_thread")]
async fn streams_past_the_limit_are_refused_and_the_others_are_served() {
    let (origin, proxy) = start(|it| it).await;
    let gate = Gate::new();
    let held = gate.clone();
    origin.script(move |_| wait(&held).then(respond(200, &[], "served")));
    let mut connection = Http2::open(&proxy).await;
    let allowed = connection.setting(MAX_CONCURRENT_STREAMS).await;
    assert!((1..=100).contains(&allowed), "{allowed} streams at a time");
    let streams: Vec<u32> = (0..=allowed).map(|number| 2 * number + 1).collect();
    connection.send(&streams.iter().flat_map(|stream| get(*stream, "/jobs")).collect::<Vec<_>>()).await;
    let refused = connection.frame(RST_STREAM).await;
    assert_eq!((refused.stream, refused.code()), (streams[streams.len() - 1], REFUSED_STREAM));
    gate.open();
    for _ in 0..allowed {
        connection.frame(HEADERS).await;
    }
    drop(connection);
    finish(proxy, origin).await;
}

/// CVE-2023-44487: streams that are begun and reset by the hundred cost the client its connection, and Batch hardly anything.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let (origin, proxy) = start(|it| it).await;
    origin.tolerate_broken_connections();
    origin.script(|_| respond(200, &[], "served"));
    let mut connection = Http2::open(&proxy).await;
    let flood: Vec<u8> =
        (0..1000).flat_map(|number| [get(2 * number + 1, "/jobs"), reset(2 * number + 1)].concat()).collect();
    connection.send(&flood).await;
    assert_eq!(connection.frame(GOAWAY).await.goaway_code(), ENHANCE_YOUR_CALM);
    connection.end().await;
    proxy.wait_for_metric("batch_retry_proxy_connections", &[("kind", "intercept")], 0.0).await;
    assert!(origin.requests().len() < 200, "{} requests reached Batch", origin.requests().len());
    finish(proxy, origin).await;
}

/// The same for streams that the client gets wrong, so that the proxy resets them.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_the_client_makes_the_proxy_reset_end_the_connection() {
    let (origin, proxy) = start(|it| it).await;
    origin.tolerate_broken_connections();
    origin.script(|_| respond(200, &[], "served"));
    let mut connection = Http2::open(&proxy).await;
    // A field of the connection has no place here (RFC 9113, 8.2.2).
    let malformed = [fields("/jobs"), literal("connection", "close")].concat();
    let flood: Vec<u8> =
        (0..3000).flat_map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &malformed)).collect();
    connection.send(&flood).await;
    assert_eq!(connection.frame(GOAWAY).await.goaway_code(), ENHANCE_YOUR_CALM);
    connection.end().await;
    proxy.wait_for_metric("batch_retry_proxy_connections", &[("kind", "intercept")], 0.0).await;
    finish(proxy, origin).await;
}

/// Fields without end, in one frame after the other (CVE-2024-27316), and fields that are too large.
#[tokio::test(flavor = "multi_thread")]
async fn fields_without_end_on_http_2_end_the_connection_and_large_ones_the_request() {
    let (origin, proxy) = start(|it| it).await;
    let mut endless = Http2::open(&proxy).await;
    let mut flood = frame(HEADERS, END_STREAM, 1, &fields("/jobs"));
    for _ in 0..1000 {
        flood.extend(frame(CONTINUATION, 0, 1, &literal("x-more", &"x".repeat(1000))));
    }
    endless.send(&flood).await;
    endless.end().await;
    let mut large = Http2::open(&proxy).await;
    let listed = large.setting(MAX_HEADER_LIST_SIZE).await;
    assert!(listed <= 64 * 1024, "{listed} bytes of fields");
    let block: Vec<u8> =
        fields("/jobs").into_iter().chain((0..8).flat_map(|_| literal("x-large", &"x".repeat(8000)))).collect();
    let (first, rest) = block.split_at(16_000);
    let mut message = frame(HEADERS, END_STREAM, 1, first);
    let mut pieces = rest.chunks(16_000).peekable();
    while let Some(piece) = pieces.next() {
        message.extend(frame(CONTINUATION, if pieces.peek().is_none() { END_HEADERS } else { 0 }, 1, piece));
    }
    large.send(&message).await;
    // 431 on its stream, or the stream or connection reset.
    large.end_of_stream().await;
    drop(large);
    assert!(origin.requests().is_empty());
    proxy.wait_for_metric("batch_retry_proxy_connections", &[("kind", "intercept")], 0.0).await;
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_panics_total", &[], 0.0);
    finish(proxy, origin).await;
}

/// What a client may have under way that nobody has read: with thousands of connections it is what they can make the proxy hold.
#[tokio::test(flavor = "multi_thread")]
async fn the_windows_of_an_http_2_connection_are_small() {
    let (origin, proxy) = start(|it| it).await;
    let mut connection = Http2::open(&proxy).await;
    let stream = connection.setting(INITIAL_WINDOW_SIZE).await;
    assert!(stream <= 64 * 1024, "{stream} bytes for each stream");
    // The connection's begins at 64 KiB and may be widened at once.
    origin.queue([respond(200, &[], "served")]);
    connection.send(&get(1, "/jobs")).await;
    connection.frame(HEADERS).await;
    let widened: u64 = connection
        .seen
        .iter()
        .filter(|seen| seen.kind == WINDOW_UPDATE && seen.stream == 0)
        .map(|seen| u64::from(seen.code()))
        .sum();
    assert!(65_535 + widened <= 128 * 1024, "{widened} bytes more for all streams");
    drop(connection);
    finish(proxy, origin).await;
}

/// An HTTP/2 connection inside an opened one, frame by frame.
struct Http2 {
    stream: Box<dyn Io>,
    seen: Vec<Frame>,
}

/// RFC 9113, 4.1.
#[derive(Clone, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

// === impl Http2 ===

impl Http2 {
    /// Says hello.
    async fn open(proxy: &TestProxy) -> Self {
        let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
        let client = tunnel.tls(proxy.ca_pem(), HOST, &["h2"]).await.unwrap();
        let mut connection = Self { stream: client.into_stream(), seen: Vec::new() };
        connection.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[])].concat()).await;
        connection
    }

    async fn send(&mut self, bytes: &[u8]) {
        // It may be hung up on before all is sent, which the frames that come tell.
        let stream = &mut self.stream;
        let sent = async { stream.write_all(bytes).await.and(stream.flush().await) };
        drop(guard("room to send in", sent).await);
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        let stream = &mut self.stream;
        let read = async {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, rest @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stream.read_exact(&mut payload).await.ok()?;
            Some(Frame { kind, flags, stream: u32::from_be_bytes(rest) & 0x7fff_ffff, payload })
        };
        let frame = guard("a frame", read).await?;
        self.seen.push(frame.clone());
        Some(frame)
    }

    /// The next frame of this kind.
    async fn frame(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("it ended without a {kind}: {:?}", self.seen));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// A setting that the proxy announces.
    async fn setting(&mut self, name: u16) -> u32 {
        let settings = self.frame(SETTINGS).await.payload;
        let found = settings.chunks(6).find(|setting| setting[..2] == name.to_be_bytes());
        let value = found.unwrap_or_else(|| panic!("no setting {name} in {settings:?}"));
        u32::from_be_bytes([value[2], value[3], value[4], value[5]])
    }

    /// Waits until the proxy ends the connection.
    async fn end(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Waits until the proxy has nothing more to say on its only stream.
    async fn end_of_stream(&mut self) {
        while let Some(frame) = self.next().await {
            if frame.stream == 1 && (frame.kind == RST_STREAM || frame.flags & END_STREAM != 0) {
                return;
            }
        }
    }
}

// === impl Frame ===

impl Frame {
    /// The first number of the payload: an error or an increment.
    fn code(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }

    fn goaway_code(&self) -> u32 {
        u32::from_be_bytes(self.payload[4..8].try_into().unwrap())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A whole request.
fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(path))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// The fields of a GET (RFC 7541): two by their place in the static table, two as they are.
fn fields(path: &str) -> Vec<u8> {
    [&[0x82, 0x87], &named(1, HOST)[..], &named(4, path)].concat()
}

/// A field whose name is in the static table.
fn named(place: u8, value: &str) -> Vec<u8> {
    [&[place], &string(value)[..]].concat()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0], &string(name)[..], &string(value)].concat()
}

/// A length of up to 127 in its byte, a longer one in those that follow, seven bits in each.
fn string(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = match text.len() {
        short @ 0..127 => {
            bytes.push(short as u8);
            None
        }
        long => {
            bytes.push(127);
            Some(long - 127)
        }
    };
    while let Some(left) = rest {
        rest = (left >= 128).then_some(left >> 7);
        bytes.push((left & 127) as u8 | if rest.is_some() { 128 } else { 0 });
    }
    bytes.extend(text.as_bytes());
    bytes
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
