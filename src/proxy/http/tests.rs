use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::batch::fields::Fields;
use crate::http1::{MalformedHead, RequestHead};
use crate::shutdown::{Shutdown, channel};

/// The proxy's end; one that is `stuck` never gets its end across.
struct Far {
    stream: BufReader<DuplexStream>,
    stuck: bool,
}

impl AsyncRead for Far {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncBufRead for Far {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().stream).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        Pin::new(&mut self.stream).consume(count);
    }
}

impl AsyncWrite for Far {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stuck { Poll::Pending } else { Pin::new(&mut self.stream).poll_shutdown(cx) }
    }
}

/// A client of a connection that answers every request with its own target, as often as its `times` asks for.
struct Client {
    stream: DuplexStream,
    served: JoinHandle<ConnectionResult>,
    shutdown: Shutdown,
}

/// Answers every request with its own path, as often as its `times` asks for.
struct Repeating;

impl<S: AsyncBufRead + AsyncWrite + Send + Unpin + 'static> Service<S> for Repeating {
    type Body = Full<Bytes>;
    type Upgrade = Infallible;

    async fn answer(&self, head: RequestHead, _: RequestStream<S>) -> Reply<Full<Bytes>, Infallible> {
        let times = head.fields.text("times").map_or(1, |times| times.parse().unwrap());
        Reply::Answer(http::Response::new(Full::from(head.path().repeat(times))).into())
    }

    fn refuse(&self, malformed: MalformedHead) -> crate::http1::Response<Full<Bytes>> {
        http::Response::new(Full::from(malformed.as_str())).into()
    }
}

impl Client {
    /// `room` is what fits on the way.
    fn start(room: usize) -> Self {
        Self::start_with(room, false)
    }

    fn start_with(room: usize, stuck: bool) -> Self {
        let (stream, far) = duplex(room);
        let far = Far { stream: BufReader::new(far), stuck };
        let (shutdown, drain) = channel();
        let served = tokio::spawn(async move {
            let watch = Watch::idle(Duration::from_secs(10), Duration::from_secs(300));
            match serve_http1(far, &Repeating, &watch, &drain).await {
                Ended::Closed(result) => result,
                Ended::Upgraded(_, never) => match never {},
            }
        });
        Self { stream, served, shutdown }
    }

    async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    async fn end(mut self) -> ConnectionResult {
        assert_eq!(self.stream.read(&mut [0]).await.unwrap(), 0);
        self.served.await.unwrap()
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_quiet_goes_on() {
    let mut client = Client::start(1 << 16);
    pause().await;
    for path in ["/a", "/b", "/c"] {
        client.write(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!(client.answer().await, path);
        pause().await;
    }
    client.write("GET /d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!(client.answer().await, "/d");
    assert_eq!(client.end().await, ConnectionResult::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_came_of_the_next_request_is_not_lost() {
    let mut client = Client::start(1 << 16);
    client.write("GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HT").await;
    assert_eq!(client.answer().await, "/a");
    pause().await;
    client.write("TP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(client.answer().await, "/b");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_all_of_an_answer() {
    let mut client = Client::start(64);
    client.write("GET /abc HTTP/1.1\r\nhost: x\r\ntimes: 20000\r\n\r\n").await;
    for _ in 0..8 {
        pause().await;
    }
    assert_eq!(client.answer().await, "/abc".repeat(20_000));
    pause().await;
    client.write("GET /d HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(client.answer().await, "/d");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_ends_when_draining_begins_or_its_time_is_over() {
    for drains in [true, false] {
        let mut client = Client::start(1 << 16);
        client.write("GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await;
        client.answer().await;
        pause().await;
        if drains {
            client.shutdown.drain(Duration::from_secs(1000));
        }
        let begun = tokio::time::Instant::now();
        assert_eq!(client.end().await, ConnectionResult::Completed);
        assert_eq!(begun.elapsed() < Duration::from_secs(1), drains, "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_body_that_nobody_read_is_never_taken_for_a_request() {
    let mut client = Client::start_with(1 << 16, true);
    // Answered without its body, which ends the connection; that end does not get across.
    client.write("POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await;
    assert_eq!(client.answer().await, "/a");
    pause().await;
    client.write("GET /b HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let more = timeout(Duration::from_secs(60), client.stream.read(&mut [0])).await;
    assert!(!matches!(more, Ok(Ok(1..))), "it was answered");
}
