//! The stream of events over real sockets, and to a client that does not read.

use super::*;
use crate::metrics::{Replay, Trail};

/// A client of `/events`. HTTP/1.0 brings the text as it is, up to the connection's end.
struct Listening {
    stream: TcpStream,
    text: String,
}

impl Listening {
    async fn open(admin: &Running, fields: &str) -> Self {
        let mut stream = admin.connect().await;
        stream.write_all(format!("GET /events HTTP/1.0\r\n{fields}\r\n").as_bytes()).await.unwrap();
        let mut listening = Self { stream, text: String::new() };
        listening.read_past("\r\n\r\n").await;
        listening
    }

    /// What comes up to the end of this.
    async fn read_past(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.text.find(end) {
                return self.text.drain(..at + end.len()).collect();
            }
            let mut bytes = Vec::new();
            assert_ne!(guarded(self.stream.read_buf(&mut bytes)).await.unwrap(), 0, "it ended: {}", self.text);
            self.text += std::str::from_utf8(&bytes).unwrap();
        }
    }

    /// The next event: its id and document.
    async fn event(&mut self) -> (String, Value) {
        // As a whole: comments come for ever.
        guarded(self.next_event()).await
    }

    async fn next_event(&mut self) -> (String, Value) {
        loop {
            let event = self.read_past("\n\n").await;
            let Some(rest) = event.strip_prefix("id: ") else { continue };
            let (id, data) = rest.split_once("\ndata: ").unwrap();
            return (id.to_owned(), serde_json::from_str(data).unwrap());
        }
    }
}

fn replay_of(metrics: &Metrics, path: &str) {
    metrics.replay_ended(Replay {
        number: 0,
        ended: SystemTime::now(),
        duration: Duration::from_secs(2),
        account: "acct.westeurope".to_owned(),
        operation: "Jobs_GetJob",
        fate: Fate::Replayed,
        attempts: 2,
        waited: Duration::from_secs(1),
        echo: None,
        trail: Trail::new("GET", path, None),
    });
}

fn numbers(document: &Value) -> Vec<u64> {
    document["replays"].as_array().unwrap().iter().map(|replay| replay["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_first_event_is_the_status_and_another_comes_when_something_changes() {
    let admin = Setup::default().start().await;
    let mut listening = Listening::open(&admin, "").await;
    let (_, mut first) = listening.event().await;
    let mut status: Value = serde_json::from_str(&admin.get("/status").await.body).unwrap();
    for document in [&mut first, &mut status] {
        document["uptime_seconds"].take();
    }
    assert_eq!(first, status);

    admin.metrics.request(
        &admin.metrics.account("acct.westeurope.batch.azure.com"),
        "Jobs_GetJob",
        Fate::Replayed,
        Duration::ZERO,
    );
    let (_, second) = listening.event().await;
    assert_eq!(second["accounts"]["acct.westeurope"]["requests"], json!({"replayed": 1}));
    admin.readiness.set_draining();
    assert_eq!(listening.event().await.1["draining"], json!(true));
    drop(listening);
    admin.finish().await;
}

#[tokio::test]
async fn replays_come_a_few_at_a_time_and_each_once() {
    let admin = Setup::default().start().await;
    for number in 0..20 {
        replay_of(&admin.metrics, &format!("/jobs/{number}"));
    }
    let mut listening = Listening::open(&admin, "").await;
    let mut told = Vec::new();
    let mut last = String::new();
    while told.len() < 20 {
        let (id, document) = listening.event().await;
        assert!(numbers(&document).len() <= 8, "{document}");
        told.extend(numbers(&document));
        last = id;
    }
    assert_eq!(told, (1..=20).collect::<Vec<_>>());
    replay_of(&admin.metrics, "/jobs/new");
    let (_, document) = listening.event().await;
    assert_eq!((numbers(&document), &document["replays"][0]["path"]), (vec![21], &json!("/jobs/new")));

    // The same client again, and one that heard of another process.
    let mut again = Listening::open(&admin, &format!("Last-Event-ID: {last}\r\n")).await;
    assert_eq!(numbers(&again.event().await.1), [21]);
    let mut other = Listening::open(&admin, "Last-Event-ID: 5-20\r\n").await;
    assert_eq!(numbers(&other.event().await.1), (1..=8).collect::<Vec<_>>());
    let status: Value = serde_json::from_str(&admin.get("/status").await.body).unwrap();
    assert_eq!(numbers(&status), (1..=21).collect::<Vec<_>>());
    drop((listening, again, other));
    admin.finish().await;
}

#[tokio::test]
async fn a_head_of_the_stream_ends_at_once_and_a_page_from_elsewhere_gets_none() {
    let admin = Setup::default().start().await;
    let head = admin.ask("HEAD", "/events", "").await;
    assert_eq!((head.status, head.header("content-type"), head.body.as_str()), (200, Some("text/event-stream"), ""));
    for field in ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"] {
        assert_eq!(admin.ask_with("GET", "/events", &format!("{field}\r\n"), "").await.status, 403, "{field}");
    }
    for site in ["same-origin", "none"] {
        Listening::open(&admin, &format!("Sec-Fetch-Site: {site}\r\n")).await.event().await;
    }
    admin.finish().await;
}

#[tokio::test]
async fn streams_past_the_limit_are_refused_until_one_ends() {
    let admin = Setup::default().start().await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(Listening::open(&admin, "").await);
    }
    assert_eq!(admin.get("/events").await.status, 503);
    assert_eq!(admin.get("/livez").await.status, 200);
    streams.pop();
    guarded(async { while admin.ask("HEAD", "/events", "").await.status == 503 {} }).await;
    drop(streams);
    admin.finish().await;
}

#[tokio::test]
async fn a_stream_ends_in_order_with_its_connections_time_and_with_the_server() {
    let limits = Limits { age: Duration::from_millis(50), grace: Duration::from_secs(300), ..Limits::default() };
    let admin = Setup { limits, ..Setup::default() }.start().await;
    let mut listening = Listening::open(&admin, "").await;
    guarded(listening.stream.read_to_string(&mut listening.text)).await.unwrap();
    assert!(listening.text.starts_with("retry: 1000\n\n"), "{}", listening.text);
    admin.finish().await;

    let limits = Limits { grace: Duration::from_secs(300), ..Limits::default() };
    let admin = Setup { limits, ..Setup::default() }.start().await;
    let mut listening = Listening::open(&admin, "").await;
    listening.event().await;
    admin.finish().await;
    assert_eq!(guarded(listening.stream.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_is_cut_and_one_that_is_read_stays() {
    let (server, metrics, ..) = Setup::default().server();
    for reads in [true, false] {
        let visitor = visitor("127.0.0.1:9");
        let request = Request::get("/events").body(Full::new(Bytes::new())).unwrap();
        let mut body = server.pages.answer(request, &visitor).await.into_body();
        for number in 0..60 {
            replay_of(&metrics, &format!("/jobs/{number}"));
            if reads {
                body.frame().await.unwrap().unwrap();
            } else {
                sleep(Duration::from_secs(1)).await;
            }
        }
        assert_eq!(visitor.cut.is_cancelled(), !reads, "{reads}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_news_says_now_and_then_that_it_is_there() {
    let (server, ..) = Setup::default().server();
    let request = Request::get("/events").body(Full::new(Bytes::new())).unwrap();
    let mut body = server.pages.answer(request, &visitor("127.0.0.1:9")).await.into_body();
    let mut frames = Vec::new();
    for _ in 0..4 {
        frames.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert!(frames[0].starts_with(b"retry: ") && frames[1].starts_with(b"id: "));
    assert_eq!((&frames[2][..], &frames[3][..]), (&b": still here\n\n"[..], &b": still here\n\n"[..]));
}
