//! What the load generator sends: requests as Batch's clients make them, each with an id of its own.

use std::time::SystemTime;

/// One request, ready to be sent again and again.
pub(crate) struct Request {
    subject: Subject,
    bytes: Vec<u8>,
    /// Where the digits of the id are that differ.
    id: usize,
    sent: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// 1 KiB of JSON.
    Task,
    /// A file of 64 MiB.
    File,
    /// 1 MiB of a file.
    Part,
    /// Takes 64 KiB.
    Piece,
    /// Takes 64 MiB.
    Upload,
}

// === impl Subject ===

impl Subject {
    /// The bytes of the body that is sent.
    pub(crate) fn sent(self) -> usize {
        match self {
            Self::Upload => BULK,
            Self::Piece => PIECE,
            Self::Task | Self::File | Self::Part => 0,
        }
    }

    /// The bytes of the body that comes back.
    pub(crate) fn received(self) -> usize {
        match self {
            Self::Task => TASK,
            Self::File => BULK,
            Self::Part => PART,
            Self::Upload | Self::Piece => 0,
        }
    }
}

// === impl Request ===

impl Request {
    /// For one connection to `host` (with its port). Ids of different `connection`s differ.
    pub(crate) fn new(subject: Subject, host: &str, connection: usize) -> Self {
        let (method, path, body) = match subject {
            Subject::Task => ("GET", "/jobs/nightly-render/tasks/frame-000042", String::new()),
            Subject::File => ("GET", "/jobs/nightly-render/tasks/frame-000042/files/wd/out.exr", String::new()),
            Subject::Part => ("GET", "/jobs/nightly-render/tasks/frame-000042/files/part", String::new()),
            Subject::Piece | Subject::Upload => {
                let length = subject.sent();
                ("PUT", "/jobs/nightly-render", format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"))
            }
        };
        let before = format!(
            "{method} {path}?api-version=2024-07-01.20.0 HTTP/1.1\r\n\
             Host: {host}\r\n\
             Accept: application/json\r\n\
             User-Agent: azsdk-python-batch/15.1.0 Python/3.11.7 (Linux-6.1.0-x86_64-with-glibc2.36)\r\n\
             Accept-Encoding: gzip, deflate\r\n\
             Connection: keep-alive\r\n\
             ocp-date: {}\r\n\
             return-client-request-id: true\r\n\
             Authorization: SharedKey account:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\r\n\
             {body}client-request-id: {connection:08x}-7d2a-4c1b-9e05-",
            // An old one would make the signature one that cannot be sent again.
            httpdate::fmt_http_date(SystemTime::now())
        );
        let id = before.len();
        Self { subject, bytes: format!("{before}000000000000\r\n\r\n").into_bytes(), id, sent: 0 }
    }

    pub(crate) fn subject(&self) -> Subject {
        self.subject
    }

    /// The bytes of the next one.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.sent += 1;
        let mut rest = self.sent;
        for digit in self.bytes[self.id..self.id + 12].iter_mut().rev() {
            *digit = b"0123456789abcdef"[(rest & 15) as usize];
            rest >>= 4;
        }
        &self.bytes
    }
}

/// The host of account number `account`.
pub(crate) fn host(account: usize) -> String {
    format!("a{account:05}.{DOMAIN}")
}

/// The domain of all hosts.
pub(crate) const DOMAIN: &str = "westeurope.batch.azure.com";

/// The size of a download and an upload.
pub(crate) const BULK: usize = 64 << 20;

/// The size of a part of a file.
pub(crate) const PART: usize = 1 << 20;

/// The size of a small upload.
pub(crate) const PIECE: usize = 64 << 10;

/// The size of a task.
pub(crate) const TASK: usize = 1024;
