//! Request bodies over all attempts: whatever way the client sends them and attempts fail, Batch gets the client's bytes each time, and what
//! cannot be held goes out once. And what becomes of bodies and answers when the memory they share is used up.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;

use super::support::action::{Action, cut, partial, raw, reset, respond, stall, wait};
use super::support::batch::{HOST, empty};
use super::support::client::{Client, Response, request};
use super::support::gate::Gate;
use super::support::metric::{assert_metric, sum};
use super::support::origin::{ConnectionFault, Origin, Received};
use super::support::proxy::{TestProxy, finish, start};
use super::support::wire::Framing;

/// One upload and how its attempts go.
#[derive(Clone, Debug)]
struct Upload {
    size: usize,
    framing: Sent,
    /// Sizes of what the client writes at a time, again and again.
    writes: Vec<usize>,
    /// How often others have their turn between two writes.
    pause: usize,
    /// How the attempts before the last one end.
    failures: Vec<Ending>,
}

/// How the client tells where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Chunked,
    Length,
}

/// How an attempt ends that is to be followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Answered once the body was read.
    Busy,
    BusyAndClosing,
    CutShort,
    Lost,
    /// Answered before the body was read, which is then read.
    Early,
    /// Answered before the body was read, which never is.
    EarlyAndClosing,
    /// Lost before the body was read.
    LostEarly,
}

// === impl Upload ===

impl Upload {
    fn strategy(endings: &'static [Ending]) -> impl Strategy<Value = Self> {
        let size =
            prop_oneof![Just(0), Just(1), LIMIT - 1..=LIMIT + 1, 2 * LIMIT - 1..=2 * LIMIT + 1, 0..LIMIT, LIMIT..8 * LIMIT,];
        let write = prop_oneof![1..20_usize, 1..5_000_usize, 16_000..70_000_usize];
        (
            size,
            prop_oneof![Just(Sent::Chunked), Just(Sent::Length)],
            prop::collection::vec(write, 1..5),
            prop_oneof![Just(0), 1..20_usize],
            prop::collection::vec(prop::sample::select(endings), 0..4),
        )
            .prop_map(|(size, framing, writes, pause, failures)| {
                // A body of many bytes in small writes says no more than one of few, and takes long.
                let size = size.min(writes.iter().sum::<usize>().saturating_mul(200));
                Self { size, framing, writes, pause, failures }
            })
    }

    fn body(&self) -> Vec<u8> {
        (0..self.size).map(|at| (at / 251 + at) as u8).collect()
    }

    fn is_held(&self) -> bool {
        self.size <= LIMIT
    }

    fn head(&self) -> String {
        let framing = match self.framing {
            Sent::Chunked => "Transfer-Encoding: chunked".to_owned(),
            Sent::Length => format!("Content-Length: {}", self.size),
        };
        format!("PUT /jobs/j HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n")
    }

    /// Sends it all, unless the proxy hangs up before, and reads the answer, if there is one.
    async fn send(&self, client: &mut Client) -> Option<Response> {
        let sent = self.write(client).await;
        let answer = client.read_response("PUT").await;
        assert!(sent.is_ok() || !self.is_held(), "a body that can be held is read to its end");
        answer.ok()
    }

    async fn write(&self, client: &mut Client) -> std::io::Result<()> {
        client.send_raw(self.head().as_bytes()).await?;
        let body = self.body();
        let mut rest = body.as_slice();
        for write in self.writes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*write));
            match self.framing {
                Sent::Chunked => {
                    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                    client.send_raw(&chunk).await?;
                }
                Sent::Length => client.send_raw(piece).await?,
            }
            rest = after;
            for _ in 0..self.pause {
                tokio::task::yield_now().await;
            }
        }
        if self.framing == Sent::Chunked { client.send_raw(b"0\r\n\r\n").await } else { Ok(()) }
    }

    /// Whether what the origin read is what the client sent.
    fn check(&self, received: &Received) -> Result<(), TestCaseError> {
        prop_assert!(received.raw_head == self.head().as_bytes(), "{}", String::from_utf8_lossy(&received.raw_head));
        prop_assert!(received.body == self.body(), "{} bytes came of {}", received.body.len(), self.size);
        let framing = match self.framing {
            Sent::Chunked => Framing::Chunked,
            Sent::Length => Framing::Length(self.size as u64),
        };
        prop_assert_eq!(received.framing, framing);
        Ok(())
    }
}

// === impl Ending ===

impl Ending {
    /// What is done at the head, for those that do not wait for the body.
    fn at_head(self) -> Option<Action> {
        match self {
            Self::Early => Some(respond(503, &[("Connection", "close")], "early").then(stall())),
            Self::EarlyAndClosing => Some(respond(503, &[], "early").closing()),
            Self::LostEarly => Some(reset()),
            _ => None,
        }
    }

    fn after_body(self) -> Action {
        match self {
            Self::Busy => respond(503, &[], "busy"),
            Self::BusyAndClosing => respond(503, &[], "busy").closing(),
            Self::CutShort => partial(200, &[], 10, "half").then(cut()),
            _ => reset(),
        }
    }
}

/// Runs cases against one proxy and one origin.
fn prove(endings: &'static [Ending], check: impl AsyncFn(&Origin, &TestProxy, &Upload) -> Result<(), TestCaseError>) {
    let runtime = Runtime::new().unwrap();
    let (origin, proxy) = runtime.block_on(start(|it| {
        it.set("retry.body_limit", format!("{LIMIT}B")).set("retry.backoff.initial", "1ms").set("retry.backoff.max", "1ms")
    }));
    origin.tolerate_broken_connections();
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let proved = runner.run(&Upload::strategy(endings), |upload| runtime.block_on(check(&origin, &proxy, &upload)));
    if let Err(error) = proved {
        panic!("{error}");
    }
    runtime.block_on(async {
        proxy.wait_for_metric("batch_retry_proxy_replay_memory_bytes", &[], 0.0).await;
        finish(proxy, origin).await;
    });
}

/// Does what `upload` says to its attempts, and gives those of this case with the client's answer.
async fn upload_once(origin: &Origin, proxy: &TestProxy, upload: &Upload) -> (Vec<Received>, Option<Response>) {
    let before = origin.requests().len();
    let mut attempt = 0;
    let endings = upload.failures.clone();
    // Each attempt's head is looked at once, and before its body.
    origin.script_at_head(move |_| {
        attempt += 1;
        endings.get(attempt - 1)?.at_head()
    });
    let endings = upload.failures.clone();
    origin.script(move |received| {
        endings.get(received.number - before - 1).map_or_else(|| empty(200), |end| end.after_body())
    });
    let answer = upload.send(&mut proxy.client(HOST).await).await;
    (origin.requests().split_off(before), answer)
}

#[test]
fn every_attempt_carries_the_clients_bytes() {
    const ENDINGS: &[Ending] = &[Ending::Busy, Ending::BusyAndClosing, Ending::CutShort, Ending::Lost];
    prove(ENDINGS, async |origin, proxy, upload| {
        let (attempts, answer) = upload_once(origin, proxy, upload).await;
        let sends = if upload.is_held() { upload.failures.len() + 1 } else { 1 };
        prop_assert_eq!(attempts.len(), sends);
        for received in &attempts {
            upload.check(received)?;
        }
        let status = answer.map(|answer| answer.status);
        let want = match upload.failures.first() {
            Some(Ending::Busy | Ending::BusyAndClosing) if !upload.is_held() => 503,
            Some(_) if !upload.is_held() => 502,
            _ => 200,
        };
        prop_assert_eq!(status, Some(want));
        Ok(())
    });
}

/// An answer may come before its request is sent to the end, and may be lost then. Later attempts carry everything all the same.
#[test]
fn answers_that_come_early_change_nothing_of_later_attempts() {
    const ENDINGS: &[Ending] = &[Ending::Early, Ending::EarlyAndClosing, Ending::LostEarly, Ending::Busy];
    prove(ENDINGS, async |origin, proxy, upload| {
        let (attempts, answer) = upload_once(origin, proxy, upload).await;
        let sends = if upload.is_held() { upload.failures.len() + 1 } else { 1 };
        prop_assert_eq!(attempts.len(), sends);
        for (at, received) in attempts.iter().enumerate() {
            if upload.failures.get(at).is_none_or(|ending| ending.at_head().is_none()) {
                upload.check(received)?;
            } else {
                prop_assert!(
                    received.raw_head == upload.head().as_bytes(),
                    "{}",
                    String::from_utf8_lossy(&received.raw_head)
                );
            }
        }
        if upload.is_held() {
            prop_assert_eq!(answer.map(|answer| answer.status), Some(200));
        }
        Ok(())
    });
}

/// A service that refuses a body answers without reading it, and closes. Its answer is the client's, not a lost connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_the_upload_is_heard() {
    let (origin, proxy) = start(|it| it).await;
    origin.script_at_head(|_| Some(respond(413, &[], "too large").closing()));
    for _ in 0..5 {
        let response = proxy.client(HOST).await.request(&request("PUT", "/jobs/j", HOST, &[], vec![b'x'; 3 << 20])).await;
        assert_eq!((response.status, response.text().as_str()), (413, "too large"));
        assert!(response.header("proxy-status").unwrap().contains("attempts=1; fate=permanent"));
    }
    assert_eq!(origin.requests().len(), 5);
    finish(proxy, origin).await;
}

/// A service may answer at length while it is still being sent to: the upload goes on beside the answer, which is the client's all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_streams_beside_an_upload_that_streams_reaches_the_client() {
    let (origin, proxy) = start(|it| it.set("retry.body_limit", "4KiB").set("retry.response_buffer", "4KiB")).await;
    let answer = "x".repeat(300_000);
    let text = answer.clone();
    origin.script_at_head(move |_| Some(respond(200, &[], &text).then(stall())));
    let mut client = proxy.client(HOST).await;
    let upload = request("PUT", "/jobs/j", HOST, &[], vec![b'x'; 1 << 20]);
    client.send_raw(&upload[..200_000]).await.unwrap();
    let response = client.read_response("PUT").await.unwrap();
    assert_eq!((response.status, response.text() == answer, response.complete), (200, true, true));
    assert_eq!(response.header("connection"), Some("close"), "what is left of the upload belongs to no other request");
    drop(client);
    finish(proxy, origin).await;
}

/// What a client has sent is held while it sends the rest. Others then go through unharmed, and once.
#[tokio::test(flavor = "multi_thread")]
async fn when_uploads_use_the_memory_up_others_flow_once_and_small_ones_are_still_replayed() {
    let (origin, proxy) = start(|it| it.set("retry.memory_limit", "300KiB")).await;
    let body: Vec<u8> = (0..100_000_u32).map(|at| (at / 251 + at) as u8).collect();
    let slow = request("PUT", "/jobs/slow", HOST, &[], &body);
    let head = slow.len() - body.len();
    let mut holders = Vec::new();
    for count in 1..=3 {
        let mut client = proxy.client(HOST).await;
        client.send_raw(&slow[..head + 90_000]).await.unwrap();
        // Six blocks are begun.
        proxy.wait_for_metric(MEMORY, &[], f64::from(count * 6 * 16 * 1024)).await;
        holders.push(client);
    }
    let mut count = 0;
    origin.script(move |_| {
        count += 1;
        if count <= 2 { respond(503, &[], "busy") } else { empty(200) }
    });
    let large = proxy.client(HOST).await.request(&request("PUT", "/jobs/large", HOST, &[], &body)).await;
    assert_eq!((large.status, large.text().as_str()), (503, "busy"));
    assert!(large.header("proxy-status").unwrap().contains("attempts=1; fate=not_replayable"));
    let small = proxy.client(HOST).await.request(&request("PUT", "/jobs/small", HOST, &[], &body[..8_000])).await;
    assert_eq!(small.status, 200);
    assert!(small.header("proxy-status").unwrap().contains("attempts=2; fate=replayed"));
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, UNHELD, &[("reason", "memory")], 1.0);
    assert_metric(&metrics, "batch_retry_proxy_stops_total", &[("reason", "body")], 1.0);
    assert!(sum(&metrics, MEMORY, &[]) <= 300.0 * 1024.0);
    proxy.wait_for_metric(MEMORY, &[], 3.0 * 6.0 * 16.0 * 1024.0).await;
    for client in &mut holders {
        client.send_raw(&slow[head + 90_000..]).await.unwrap();
        assert_eq!(client.read_response("PUT").await.unwrap().status, 200);
    }
    proxy.wait_for_metric(MEMORY, &[], 0.0).await;
    let requests = origin.requests();
    assert_eq!(requests.iter().filter(|received| received.body == body).count(), 4);
    assert_eq!(requests.len(), 6, "three slow ones, a large one, and a small one twice");
    assert_metric(&proxy.metrics().await, UNHELD, &[("reason", "memory")], 1.0);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_answers_use_the_memory_up_others_stream_and_one_cut_short_is_not_replayed() {
    let (origin, proxy) = start(|it| it.set("retry.memory_limit", "300KiB")).await;
    let gate = Gate::new();
    let body = "y".repeat(100_000);
    let (begin, end) = body.split_at(90_000);
    let slow = partial(200, &[], body.len(), begin).then(wait(&gate)).then(raw(end));
    let short = || partial(200, &[], body.len(), begin).then(cut());
    origin.queue([slow.clone(), slow.clone(), slow, short(), short(), respond(200, &[], &body)]);
    let list = request("GET", "/jobs", HOST, &[], "");
    let mut holders = Vec::new();
    for count in 1..=3 {
        let mut client = proxy.client(HOST).await;
        client.send_raw(&list).await.unwrap();
        // The first 8 KiB are free, and what follows is held in five blocks.
        proxy.wait_for_metric(MEMORY, &[], f64::from(count * 5 * 16 * 1024)).await;
        holders.push(client);
    }
    // A GET that streams and is cut short would be continued.
    let evaluate = request("POST", "/pools/p/evaluateautoscale", HOST, &[], "{}");
    let broken = proxy.client(HOST).await.request(&evaluate).await;
    assert!(!broken.complete && broken.status == 200);
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "broken")]).await;
    assert_eq!(origin.requests().len(), 4);
    assert_metric(&proxy.metrics().await, UNHELD, &[("reason", "memory")], 1.0);
    gate.open();
    for client in &mut holders {
        assert!(client.read_response("GET").await.unwrap().body == body.as_bytes());
    }
    proxy.wait_for_metric(MEMORY, &[], 0.0).await;
    let whole = proxy.client(HOST).await.request(&list).await;
    assert!(whole.body == body.as_bytes());
    assert!(whole.header("proxy-status").unwrap().contains("attempts=2; fate=replayed"));
    proxy.wait_for_metric(MEMORY, &[], 0.0).await;
    finish(proxy, origin).await;
}

/// The answer it falls back on is in memory until it is known that it is not needed.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_kept_to_fall_back_on_is_accounted_for() {
    let (origin, proxy) = start(|it| it).await;
    let gate = Gate::new();
    origin.queue([respond(503, &[], "z".repeat(8 * 1024 + 500)), empty(200).after(&gate)]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    gate.arrived().await;
    assert_metric(&proxy.metrics().await, MEMORY, &[], 500.0);
    gate.open();
    assert_eq!(client.read_response("GET").await.unwrap().status, 200);
    proxy.wait_for_metric(MEMORY, &[], 0.0).await;
    finish(proxy, origin).await;
}

/// A body that turned out to be too large waits for its only attempt with what was read of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_of_a_streamed_body_is_accounted_for_until_it_is_sent() {
    let (origin, proxy) = start(|it| it.set("retry.body_limit", "64KiB")).await;
    origin.connection_faults([ConnectionFault::Stall]);
    origin.tolerate_broken_connections();
    let mut client = proxy.client(HOST).await;
    let head = format!("PUT /jobs/j HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send_raw(head.as_bytes()).await.unwrap();
    client.send_raw(&[b"14000\r\n".to_vec(), vec![b'x'; 0x14000], b"\r\n".to_vec()].concat()).await.unwrap();
    proxy.wait_for_metric(UNHELD, &[("reason", "size")], 1.0).await;
    origin.wait_for_connections(1).await;
    let held = sum(&proxy.metrics().await, MEMORY, &[]);
    assert!(held >= 32.0 * 1024.0, "{held} bytes");
    client.reset();
    proxy.wait_for_metric(MEMORY, &[], 0.0).await;
    finish(proxy, origin).await;
}

/// The largest body that is held in the properties.
const LIMIT: usize = 64 * 1024;

const CASES: u32 = 24;

const MEMORY: &str = "batch_retry_proxy_replay_memory_bytes";
const UNHELD: &str = "batch_retry_proxy_unheld_bodies_total";
