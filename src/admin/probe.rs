//! Asks a running proxy's admin server, for the commands that wait for it or read from it.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Why a proxy could not be asked, or what it said.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Nothing listens there.
    #[error("cannot connect to {address} (is the proxy running, and is this its `admin.address`?)")]
    Connect {
        /// What was dialled.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Something listens there that does not speak HTTP, or broke off.
    #[error("no usable answer from {address} (is this the proxy's `admin.address`?)")]
    Exchange {
        /// What was dialled.
        address: SocketAddr,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The proxy runs and says that it may not be used.
    #[error("the proxy at {address} is not ready: {reason}")]
    NotReady {
        /// What was dialled.
        address: SocketAddr,
        /// What it said.
        reason: String,
    },
    /// Something that is not the proxy's admin server, as a rule.
    #[error("GET {path} at {address} was answered with {status}; is this the proxy's `admin.address`?")]
    Status {
        /// What was dialled.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// What was answered.
        status: StatusCode,
    },
    /// Connected or not, no answer came.
    #[error("no answer from {address} within {}; is the proxy running, and is this its `admin.address`?", humantime::format_duration(*.after))]
    Timeout {
        /// What was dialled.
        address: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
}

/// Whether the proxy whose admin server listens on `address` is ready now. An unspecified address is asked on loopback.
///
/// # Errors
///
/// Where it is not ready, or cannot be asked within `timeout`.
pub async fn ready(address: SocketAddr, timeout: Duration) -> Result<(), ProbeError> {
    let address = reachable(address);
    let (status, body) = within(address, timeout, exchange(address, READYZ)).await?;
    let text = String::from_utf8_lossy(&body);
    match status {
        StatusCode::OK if text.trim() == "ready" => Ok(()),
        StatusCode::SERVICE_UNAVAILABLE => {
            Err(ProbeError::NotReady { address, reason: text.trim().chars().take(REASON_LIMIT).collect() })
        }
        status => Err(ProbeError::Status { address, path: READYZ.to_owned(), status }),
    }
}

/// Waits until the proxy is ready, asking every 100 ms.
///
/// # Errors
///
/// The last reason why it was not, once `timeout` has passed.
pub async fn wait_ready(address: SocketAddr, timeout: Duration) -> Result<(), ProbeError> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match ready(address, left.clamp(POLL, ATTEMPT)).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() + POLL > deadline => return Err(error),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// What the admin server on `address` answers to a GET of `path`.
///
/// # Errors
///
/// Where the answer is not 200, is larger than 16 MiB, or does not come within 10 s.
pub async fn fetch(address: SocketAddr, path: &str) -> Result<Bytes, ProbeError> {
    let address = reachable(address);
    match within(address, FETCH, exchange(address, path)).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(ProbeError::Status { address, path: path.to_owned(), status }),
    }
}

async fn within<T>(
    address: SocketAddr,
    after: Duration,
    exchange: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    timeout(after, exchange).await.unwrap_or(Err(ProbeError::Timeout { address, after }))
}

async fn exchange(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), ProbeError> {
    let failed = |source| ProbeError::Exchange { address, source };
    let stream = TcpStream::connect(address).await.map_err(|source| ProbeError::Connect { address, source })?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.into()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
    // Its errors reach the exchange as well.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await.map_err(failed)?;
    Ok((status, body.to_bytes()))
}

/// The address itself, or loopback where a server listens on all.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(loopback, address.port())
}

const READYZ: &str = "/readyz";
const POLL: Duration = Duration::from_millis(100);
/// For one of several tries: an answer takes milliseconds, and one that hangs should not use up the whole wait.
const ATTEMPT: Duration = Duration::from_secs(1);
const FETCH: Duration = Duration::from_secs(10);
/// In bytes. The largest thing to fetch is a bundle of roots, about 250 KiB.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// In characters. The text comes from outside and is repeated in an error message.
const REASON_LIMIT: usize = 200;

#[cfg(test)]
mod tests;
