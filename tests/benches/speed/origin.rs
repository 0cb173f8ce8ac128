//! What stands in for Batch: answers from memory, far cheaper than any proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::channel::Channel;
use crate::request::{BULK, PART, Subject, TASK};

/// A server on loopback for every name.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What its connections share.
struct Shared {
    answers: Mutex<Arc<Answers>>,
    /// Which one of so many reads of a task fails; 0 for none.
    failing: AtomicU64,
    tasks: AtomicU64,
}

/// The prepared answers, head and body in one.
struct Answers {
    task: Vec<u8>,
    file_head: Vec<u8>,
    part_head: Vec<u8>,
    taken: Vec<u8>,
    fault: Vec<u8>,
}

// === impl Origin ===

impl Origin {
    /// Serves from now on, on the runtime that this is called from.
    pub(crate) async fn start(tls: Arc<ServerConfig>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let answers = Mutex::new(Arc::new(Answers::new()));
        let shared = Arc::new(Shared { answers, failing: AtomicU64::new(0), tasks: AtomicU64::new(0) });
        let served = shared.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (tls, shared) = (tls.clone(), served.clone());
                // A client that goes away is no concern of the origin: the load generator counts what it misses.
                tokio::spawn(async move { drop(serve(stream, tls, &shared).await) });
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections made from now on are answered with the date of now.
    pub(crate) fn refresh(&self) {
        *self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Answers::new());
    }

    /// From now on the last one of each `failing` answers to reads of a task is an error; with 0 none is.
    pub(crate) fn fail_every(&self, failing: u64) {
        self.shared.tasks.store(0, Relaxed);
        self.shared.failing.store(failing, Relaxed);
    }
}

async fn serve(stream: TcpStream, tls: Arc<ServerConfig>, shared: &Shared) -> std::io::Result<()> {
    let answers = shared.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut channel = Channel::accept(stream, tls).await?;
    while let Some(head) = channel.head().await? {
        let subject = head.subject();
        if subject == Subject::Upload {
            channel.widen();
        }
        channel.skip(head.length).await?;
        match subject {
            Subject::File | Subject::Part => {
                channel.send(if subject == Subject::File { &answers.file_head } else { &answers.part_head }).await?;
                let piece = vec![b'x'; 256 << 10];
                for _ in 0..subject.received() / piece.len() {
                    channel.send(&piece).await?;
                }
            }
            Subject::Task => {
                let failing = shared.failing.load(Relaxed);
                let fails = failing > 0 && shared.tasks.fetch_add(1, Relaxed) % failing == failing - 1;
                channel.send(if fails { &answers.fault } else { &answers.task }).await?;
            }
            Subject::Upload | Subject::Piece => channel.send(&answers.taken).await?,
        }
    }
    channel.close().await
}

// === impl Answers ===

impl Answers {
    fn new() -> Self {
        let mut task = r#"{"odata.metadata":"https://account.westeurope.batch.azure.com/$metadata#tasks/@Element","id":"frame-000042","commandLine":""#
            .to_owned();
        task.push_str(&"x".repeat(TASK - 2 - task.len()));
        task.push_str("\"}");
        let fault = r#"{"odata.metadata":"https://account.westeurope.batch.azure.com/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element","code":"InternalError","message":{"lang":"en-US","value":"Server encountered an internal error. Please try again after some time.\nRequestId:f2f1d9f1-2f0b-4a4f-9d63-0f9a4a3a8a11\nTime:2026-11-23T10:00:00.0000000Z"}}"#;
        Self {
            task: answer("200 OK", JSON, task.len(), &task),
            file_head: answer("200 OK", "application/octet-stream", BULK, ""),
            part_head: answer("200 OK", "application/octet-stream", PART, ""),
            taken: answer("200 OK", JSON, 0, ""),
            fault: answer("500 Internal Server Error", JSON, fault.len(), fault),
        }
    }
}

/// With the header fields that Batch sends.
fn answer(status: &str, content_type: &str, length: usize, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n\
         Content-Length: {length}\r\n\
         Content-Type: {content_type}\r\n\
         Last-Modified: Mon, 23 Nov 2026 09:59:30 GMT\r\n\
         ETag: \"0x8DE2A7F0C0FFEE0\"\r\n\
         Server: Microsoft-HTTPAPI/2.0\r\n\
         request-id: 3b0d61b0-6c5e-4a38-8f04-2f9de6f9c2ad\r\n\
         client-request-id: 00000000-7d2a-4c1b-9e05-000000000001\r\n\
         Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n\
         X-Content-Type-Options: nosniff\r\n\
         DataServiceVersion: 3.0\r\n\
         Date: {}\r\n\r\n{body}",
        httpdate::fmt_http_date(SystemTime::now())
    )
    .into_bytes()
}

const JSON: &str = "application/json; odata=minimalmetadata";
