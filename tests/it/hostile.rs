//! Requests that are made to be read in two ways, as raw bytes: each is rejected, or reaches the service exactly once and as it was.
//!
//! Another request follows most of them on the same connection. It shows that the proxy and the service agree on where the hostile one ended:
//! it is answered after what was sent on, and never after what was rejected.

mod corpus;
mod message;
mod recorder;
mod seeds;

use std::collections::BTreeSet;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::timeout;

use self::corpus::{Case, End, PLAIN, Place, Verdict, cases, probe};
use self::message::{Message, messages, shown};
use self::recorder::Recorder;
use super::support::batch::HOST;
use super::support::client::{Client, Response};
use super::support::pki::Authority;
use super::support::proxy::TestProxy;

/// A proxy between hostile clients and servers that keep what reaches them.
struct Stage {
    proxy: TestProxy,
    service: Recorder,
    plain: Recorder,
    _ca_file: NamedTempFile,
}

/// How the bytes of a client come.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    One,
    Tiny,
}

#[test]
fn every_hostile_request_has_a_name_of_its_own_a_verdict_and_a_reason() {
    let (cases, mut names) = (cases(), BTreeSet::new());
    assert!(cases.len() >= 300, "only {}", cases.len());
    for case in &cases {
        assert!(names.insert(case.name.clone()), "two are called {:?}", case.name);
        assert!(case.why.starts_with("RFC ") && case.why.len() > 20, "{}: why {:?}", case.name, case.why);
        assert!(!case.bytes.is_empty(), "{} sends nothing", case.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_request_is_rejected_or_reaches_the_service_exactly_once_and_as_it_was() {
    all_go_right(Pieces::One).await;
}

/// What is read in pieces is read no other way.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_request_is_no_less_so_where_it_comes_byte_by_byte() {
    all_go_right(Pieces::Tiny).await;
}

async fn all_go_right(pieces: Pieces) {
    let (stage, mut wrong) = (Stage::set().await, Vec::new());
    for case in &cases() {
        if let Err(error) = play(case, &stage, pieces).await {
            wrong.push(format!("{} ({}): {error}", case.name, case.why));
        }
    }
    stage.proxy.finish().await;
    assert!(wrong.is_empty(), "{} went wrong\n\n{}", wrong.len(), wrong.join("\n\n"));
}

// === impl Stage ===

impl Stage {
    async fn set() -> Self {
        let authority = Authority::new("hostile corpus");
        let ca_file = NamedTempFile::with_suffix(".pem").unwrap();
        std::fs::write(ca_file.path(), authority.pem()).unwrap();
        let service = Recorder::start(Some(authority.server_config(&[HOST]))).await;
        let plain = Recorder::start(None).await;
        let builder = TestProxy::builder().trust(ca_file.path());
        let builder = builder.resolve(&format!("{HOST}:443"), service.address());
        let proxy = builder.resolve(&format!("{PLAIN}:80"), plain.address()).start().await;
        Self { proxy, service, plain, _ca_file: ca_file }
    }

    async fn client(&self, place: Place) -> Client {
        match place {
            Place::Inside => self.proxy.client(HOST).await,
            Place::Port => Client::connect(self.proxy.address()).await,
        }
    }
}

/// Plays one case, and tells what went wrong.
async fn play(case: &Case, stage: &Stage, pieces: Pieces) -> Result<(), String> {
    let mut client = stage.client(case.place).await;
    let conversing = converse(&mut client, case, pieces);
    let conversed = timeout(PATIENCE, conversing).await.unwrap_or_else(|_| Err("no answer and no end".to_owned()));
    let (recorder, other) = match case.place {
        Place::Inside => (&stage.service, &stage.plain),
        Place::Port => (&stage.plain, &stage.service),
    };
    let mut wanted = case.upstream.clone();
    if case.verdict == Verdict::Forwarded(End::Open) && !case.alone {
        wanted.extend(messages(&sent_on(&probe(case.place))).map_err(|error| error.to_string())?);
    }
    let ((requests, unread), (strayed, strays)) = (recorder.take(), other.take());
    let arrived = requests.len() == wanted.len() && requests.iter().zip(&wanted).all(|(request, wanted)| request.is(wanted));
    if !arrived || !unread.is_empty() {
        let unread = shown(&unread);
        return Err(format!(
            "the service was to get {wanted:?}\nand got {requests:?}\nand of no request {unread:?}\n{conversed:?}"
        ));
    }
    if !strayed.is_empty() || !strays.is_empty() {
        return Err(format!("somebody else got {strayed:?} {}", shown(&strays)));
    }
    conversed
}

/// The client's side.
async fn converse(client: &mut Client, case: &Case, pieces: Pieces) -> Result<(), String> {
    let following = if case.alone { Vec::new() } else { probe(case.place) };
    let bytes = [case.bytes.as_slice(), &following].concat();
    let piece = match pieces {
        Pieces::One => bytes.len(),
        Pieces::Tiny if bytes.len() > 4000 => 1000,
        Pieces::Tiny => 1,
    };
    for piece in bytes.chunks(piece) {
        if client.send_raw(piece).await.is_err() {
            // Rejected before all of it was sent.
            break;
        }
    }
    if case.verdict == Verdict::Dropped {
        client.shutdown_write().await;
    }
    for request in &case.upstream {
        answered(client, method(request)).await?;
    }
    match &case.verdict {
        Verdict::Dropped => match client.read_response("GET").await {
            Ok(response) if response.status < 400 => Err(format!("it was answered {}", response.status)),
            Ok(_) | Err(_) => ended(client).await,
        },
        Verdict::Forwarded(End::Closed) => ended(client).await,
        Verdict::Forwarded(End::Open) if case.alone => Ok(()),
        Verdict::Forwarded(End::Open) => answered(client, "GET").await,
        Verdict::Forwarded(End::Rejected(statuses)) | Verdict::Rejected(statuses) => match client.read_response("GET").await
        {
            Ok(response) => {
                is_rejection(&response, statuses, case.place)?;
                ended(client).await
            }
            // Bytes that are still on their way when the connection ends cost a client its answer.
            Err(_) if matches!(pieces, Pieces::Tiny) => ended(client).await,
            Err(error) => Err(format!("no answer: {error}")),
        },
    }
}

async fn answered(client: &mut Client, method: &str) -> Result<(), String> {
    let response = client.read_response(method).await.map_err(|error| format!("no answer: {error}"))?;
    let want = if method == "HEAD" { "" } else { "ok" };
    if response.status == 200 && response.text() == want {
        return Ok(());
    }
    Err(format!("answered {} {}", response.status, response.text()))
}

/// Whether the connection ends without another word, in whatever way.
async fn ended(client: &mut Client) -> Result<(), String> {
    match client.read_to_end().await {
        Ok(more) if !more.is_empty() => Err(format!("it went on with {}", shown(&more))),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_rejection(response: &Response, statuses: &[u16], place: Place) -> Result<(), String> {
    let text = response.text();
    if !statuses.contains(&response.status) {
        return Err(format!("answered {} {text}", response.status));
    }
    let reasoned = match place {
        Place::Inside => serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|body| {
            let reason = body["message"]["value"].as_str().unwrap_or_default();
            body["code"].as_str().is_some_and(|code| code.starts_with("Proxy")) && reason.len() > 20
        }),
        Place::Port => text.strip_prefix("batch-retry-proxy: ").is_some_and(|reason| reason.len() > 20),
    };
    if reasoned && response.complete {
        Ok(())
    } else {
        Err(format!("answered {} without a reason: {text:?}", response.status))
    }
}

/// What is sent on of a probe: the target of a plain request loses its host.
fn sent_on(probe: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(probe).replace(&format!("http://{PLAIN}/"), "/").into_bytes()
}

fn method(request: &Message) -> &'static str {
    if request.is_head_request() { "HEAD" } else { "GET" }
}

/// Shorter than that of what the cases are made of, so that it is told which one waits.
const PATIENCE: Duration = Duration::from_secs(10);
