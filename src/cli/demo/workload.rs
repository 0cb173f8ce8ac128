//! What a program does to a Batch account: a pool, a job, tasks by the bulk call and one by one, a list in pages, single reads, files, changes
//! of the job, deletions of tasks, the end of all.
//!
//! It never tries anything twice and gives nothing up: each call is made, and what came of it is counted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How the account is reached.
#[derive(Clone)]
pub(super) struct Way {
    /// What is dialled.
    pub(super) address: SocketAddr,
    /// Whether that is a proxy, which is asked for the host with CONNECT.
    pub(super) hop: Hop,
    /// The account's host.
    pub(super) host: String,
    /// What is trusted.
    pub(super) tls: Arc<ClientConfig>,
}

/// What is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Account,
    Proxy,
}

/// What the program saw.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Seen {
    /// Calls made.
    pub(super) calls: u64,
    /// Calls that got what they asked for.
    pub(super) succeeded: u64,
    /// The others, by what came instead.
    pub(super) failures: BTreeMap<String, u64>,
    /// Tasks that the list showed.
    pub(super) listed: usize,
}

/// One thread of the program: a connection, kept while it lives.
struct Worker {
    way: Way,
    connection: Option<SendRequest<Full<Bytes>>>,
    seen: Arc<Mutex<Seen>>,
    tick: Arc<dyn Fn() + Send + Sync>,
}

/// How many calls a run with so many tasks makes, if nothing fails.
pub(super) fn calls(tasks: usize) -> u64 {
    let pages = tasks.div_ceil(PAGE).max(1);
    let made = singles(tasks) + (tasks - singles(tasks)).div_ceil(CHUNK);
    let changed = JOB_CHANGES.len() + deleted(tasks);
    (2 + made + pages + tasks.min(READS) + tasks.min(FILES) + changed + 2) as u64
}

/// How many things it deletes: some of the tasks, the job and the pool.
pub(super) fn deletions(tasks: usize) -> u64 {
    (deleted(tasks) + 2) as u64
}

/// How many of the tasks are made one by one.
fn singles(tasks: usize) -> usize {
    (tasks / 4).min(SINGLES)
}

/// How many of the tasks are deleted one by one.
fn deleted(tasks: usize) -> usize {
    (tasks / 4).min(DELETES)
}

/// Runs the whole of it. `tick` is called after each call.
pub(super) async fn run(way: Way, tasks: usize, tick: Arc<dyn Fn() + Send + Sync>) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let worker = || Worker { way: way.clone(), connection: None, seen: Arc::clone(&seen), tick: Arc::clone(&tick) };
    let mut main = worker();
    main.call(Method::POST, "/pools", Some(json!({"id": "demo", "vmSize": "standard_d2s_v3"}))).await;
    main.call(Method::POST, "/jobs", Some(json!({"id": "demo", "poolInfo": {"poolId": "demo"}}))).await;
    let ids: Vec<String> = (0..tasks).map(|n| format!("task-{n:05}")).collect();
    let task = |id: &String| json!({"id": id, "commandLine": "true"});
    let (bulk, single) = ids.split_at(tasks - singles(tasks));
    let bulk = bulk.chunks(CHUNK).map(|ids| {
        let value: Vec<Value> = ids.iter().map(task).collect();
        (Method::POST, "/jobs/demo/addtaskcollection".to_owned(), Some(json!({"value": value})))
    });
    let single = single.iter().map(|id| (Method::POST, "/jobs/demo/tasks".to_owned(), Some(task(id))));
    side_by_side(bulk.chain(single).collect(), worker).await;
    main.list().await;
    let reads = ids.iter().take(READS).map(|id| (Method::GET, format!("/jobs/demo/tasks/{id}"), None));
    side_by_side(reads.collect(), worker).await;
    let files = ids.iter().take(FILES).map(|id| (Method::GET, format!("/jobs/demo/tasks/{id}/files/stdout.txt"), None));
    side_by_side(files.collect(), worker).await;
    let deletes = ids.iter().take(deleted(tasks)).map(|id| (Method::DELETE, format!("/jobs/demo/tasks/{id}"), None));
    side_by_side(deletes.collect(), worker).await;
    for (method, path, body) in JOB_CHANGES {
        main.call(method, path, serde_json::from_str(body).ok()).await;
    }
    main.call(Method::DELETE, "/jobs/demo", None).await;
    main.call(Method::DELETE, "/pools/demo", None).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.clone()
}

/// Makes the calls on several connections.
async fn side_by_side(calls: Vec<(Method, String, Option<Value>)>, worker: impl Fn() -> Worker) {
    let calls = Arc::new(Mutex::new(calls.into_iter()));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (calls, mut worker) = (Arc::clone(&calls), worker());
        workers.spawn(async move {
            loop {
                let next = calls.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((method, path, body)) = next else { return };
                worker.call(method, &path, body).await;
            }
        });
    }
    workers.join_all().await;
}

// === impl Worker ===

impl Worker {
    /// Makes one call, and counts it. Gives the answer where it is what was asked for.
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Option<Bytes> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{separator}api-version={API_VERSION}");
        let outcome = self.exchange(method, &target, body).await;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.calls += 1;
        let answer = match outcome {
            Ok(answer) => {
                seen.succeeded += 1;
                Some(answer)
            }
            Err(failure) => {
                *seen.failures.entry(failure).or_default() += 1;
                None
            }
        };
        (self.tick)();
        answer
    }

    /// Reads the list of tasks to its last page.
    async fn list(&mut self) {
        let mut next = Some(format!("/jobs/demo/tasks?maxresults={PAGE}"));
        while let Some(path) = next.take() {
            let Some(page) = self.call(Method::GET, &path, None).await else { return };
            let Ok(page) = serde_json::from_slice::<Value>(&page) else { return };
            let listed = page["value"].as_array().map_or(0, Vec::len);
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).listed += listed;
            // The link is absolute and has the version in it already.
            let link = page["odata.nextLink"].as_str().and_then(|link| link.split_once(&self.way.host));
            next = link.map(|(_, path)| without_version(path));
        }
    }

    /// The one kept, if it still stands, or a new one.
    async fn connection(&mut self) -> io::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        self.way.connect().await
    }

    async fn exchange(&mut self, method: Method, target: &str, body: Option<Value>) -> Result<Bytes, String> {
        let bulk = target.contains("addtaskcollection");
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("Host", &self.way.host)
            .header("Authorization", "Bearer demo")
            .header("client-request-id", uuid::Uuid::new_v4().to_string())
            .header("Content-Type", "application/json; odata=minimalmetadata")
            .header("Content-Length", body.len())
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let mut connection = self.connection().await.map_err(|_| "cannot connect".to_owned())?;
        let response = connection.send_request(request).await.map_err(|_| "connection lost".to_owned())?;
        let status = response.status();
        let answer = response.into_body().collect().await.map_err(|_| "answer cut short".to_owned())?.to_bytes();
        self.connection = Some(connection);
        if !status.is_success() {
            return Err(refusal(status, &answer));
        }
        if bulk {
            all_made(&answer)?
        };
        Ok(answer)
    }
}

/// The status and the error code in the body.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let mut text = status.as_u16().to_string();
    if let Some(code) = serde_json::from_slice::<Value>(body).ok().as_ref().and_then(|body| body["code"].as_str()) {
        let _ = write!(text, " {code}");
    }
    text
}

/// Whether each task of a bulk call was made, now or by an attempt whose answer was lost: what every SDK's helper takes for success.
fn all_made(answer: &[u8]) -> Result<(), String> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| "answer cut short".to_owned())?;
    let made = |item: &Value| item["status"] == "success" || item["error"]["code"] == "TaskExists";
    let items = answer["value"].as_array().ok_or("answer cut short")?;
    if items.iter().all(made) { Ok(()) } else { Err("tasks refused".to_owned()) }
}

/// `path` without its `api-version`, which every call adds.
fn without_version(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("api-version=")).collect();
    format!("{path}?{}", kept.join("&"))
}

// === impl Way ===

impl Way {
    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let mut tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        if self.hop == Hop::Proxy {
            tcp.write_all(format!("CONNECT {0}:443 HTTP/1.1\r\nHost: {0}:443\r\n\r\n", self.host).as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(tcp.read_u8().await?);
            }
            if !answer.starts_with(b"HTTP/1.1 200") {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        }
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A version of the API that has all the operations used here.
const API_VERSION: &str = "2024-07-01.20.0";

/// What is done to the job at its end, with the look at it that a program takes: in this order, one after the other.
const JOB_CHANGES: [(Method, &str, &str); 5] = [
    (Method::PATCH, "/jobs/demo", r#"{"priority": 100}"#),
    (Method::POST, "/jobs/demo/disable", r#"{"disableTasks": "requeue"}"#),
    (Method::POST, "/jobs/demo/enable", ""),
    (Method::POST, "/jobs/demo/terminate", r#"{"terminateReason": "done"}"#),
    (Method::GET, "/jobs/demo", ""),
];

/// Connections side by side.
const WORKERS: usize = 8;

/// Tasks in one bulk call: fewer than the 100 that Batch allows, so that there is more than one call.
const CHUNK: usize = 20;

/// Tasks that are made by a call of their own, and tasks that are deleted, at most.
const SINGLES: usize = 20;
const DELETES: usize = 20;

/// Tasks on one page of the list.
const PAGE: usize = 50;

/// Tasks that are read one by one, and of which a file is read, at most.
const READS: usize = 100;
const FILES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_answer_is_good_when_every_task_is_there() {
        for (answer, want) in [
            (json!({"value": [{"status": "success"}]}), true),
            (json!({"value": [{"status": "clienterror", "error": {"code": "TaskExists"}}]}), true),
            (json!({"value": [{"status": "success"}, {"status": "servererror", "error": {"code": "ServerBusy"}}]}), false),
            (json!({}), false),
        ] {
            assert_eq!(all_made(answer.to_string().as_bytes()).is_ok(), want, "{answer}");
        }
    }

    #[test]
    fn a_refusal_is_named_by_status_and_code() {
        assert_eq!(refusal(StatusCode::TOO_MANY_REQUESTS, br#"{"code":"TooManyRequests"}"#), "429 TooManyRequests");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>"), "502");
    }

    #[test]
    fn a_next_link_loses_its_version_only() {
        assert_eq!(
            without_version("/jobs/j/tasks?$skiptoken=5&api-version=x&maxresults=2"),
            "/jobs/j/tasks?$skiptoken=5&maxresults=2"
        );
    }
}
