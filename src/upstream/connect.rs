//! Making connections: names, TCP and TLS, each failure under its own name.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::UpstreamSettings;
use super::connection::HttpConnection;
use super::destination::Destinations;
use super::origin::Origin;
use super::read_ahead::ReadAhead;
use crate::retry::outcome::Failure;

/// Opens TCP connections: `upstream.resolve` first, then DNS, IPv6 and IPv4 side by side. What `upstream.resolve` names is reached in any case.
#[derive(Clone, Debug)]
pub struct Dialer {
    http: HttpConnector<Resolver>,
    destinations: Destinations,
    resolve: Arc<HashMap<String, SocketAddr>>,
    connect_timeout: Duration,
}

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, Error)]
#[error("cannot connect to {target}")]
pub struct ConnectError {
    failure: Failure,
    target: String,
    source: Box<dyn StdError + Send + Sync>,
}

/// Opens what a request needs: TCP, and TLS for `https`.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    dialer: Dialer,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
}

/// A connection of either kind.
pub(super) enum UpstreamStream {
    Plain(BufReader<TcpStream>),
    /// Read ahead of where much comes.
    Tls(Box<TlsStream<ReadAhead<TcpStream>>>),
}

/// DNS as the system does it, less the addresses that no connection may lead to.
#[derive(Clone, Debug)]
struct Resolver(Destinations);

/// Why a name gives no address.
#[derive(Debug, Error)]
enum ResolveError {
    /// It could not be looked up.
    #[error("{0}")]
    Lookup(io::Error),
    /// It has none but those that no connection may lead to.
    #[error("only the proxy's own machine may reach its addresses")]
    Prohibited,
}

// === impl Dialer ===

impl Dialer {
    /// A dialer under these settings.
    pub fn new(settings: &UpstreamSettings, destinations: Destinations) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver(destinations));
        http.enforce_http(false);
        http.set_nodelay(true);
        // Divided among a name's addresses; the whole is bounded in `dial`.
        http.set_connect_timeout(Some(settings.connect_timeout));
        http.set_keepalive(Some(TCP_KEEPALIVE));
        let resolve = Arc::new(settings.resolve.clone());
        Self { http, destinations, resolve, connect_timeout: settings.connect_timeout }
    }

    /// A TCP connection to `host` (an IPv6 address without brackets) within `upstream.connect_timeout`.
    ///
    /// # Errors
    /// [`ConnectError`] names the target and what failed.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let named = self.resolve.get(&target.to_ascii_lowercase());
        let address = named.map_or_else(|| target.clone(), ToString::to_string);
        let fail = |failure, source| ConnectError { failure, target, source };
        // An address is not looked up, so that the resolver does not see it.
        if named.is_none() && host.parse::<IpAddr>().is_ok_and(|address| !self.destinations.include(address)) {
            return Err(fail(Failure::AddressProhibited, ResolveError::Prohibited.into()));
        }
        let uri = match Uri::builder().scheme("http").authority(address).path_and_query("/").build() {
            Ok(uri) => uri,
            Err(error) => return Err(fail(Failure::DnsNotFound, error.into())),
        };
        match timeout(self.connect_timeout, self.http.clone().call(uri)).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(error)) => Err(fail(tcp_failure(&error), error.into())),
            Err(elapsed) => Err(fail(Failure::ConnectTimeout, elapsed.into())),
        }
    }
}

// === impl ConnectError ===

impl ConnectError {
    /// What failed.
    pub fn failure(&self) -> Failure {
        self.failure
    }
}

// === impl Connector ===

impl Connector {
    pub(super) fn new(dialer: Dialer, tls: Arc<ClientConfig>, connect_timeout: Duration) -> Self {
        Self { dialer, tls, connect_timeout }
    }

    /// A connection to `origin`.
    ///
    /// # Errors
    /// [`ConnectError`] names the target and what failed.
    pub(super) async fn connect(self, origin: Origin) -> Result<HttpConnection, ConnectError> {
        Ok(HttpConnection::new(self.open(&origin).await?))
    }

    async fn open(&self, origin: &Origin) -> Result<UpstreamStream, ConnectError> {
        let (host, port) = (origin.host(), origin.port());
        if !origin.is_secure() {
            return Ok(UpstreamStream::Plain(BufReader::new(self.dialer.dial(host, port).await?)));
        }
        let fail = |failure, source| ConnectError { failure, target: format!("{host}:{port}"), source };
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(error) => return Err(fail(Failure::DnsNotFound, error.into())),
        };
        let connected = timeout(self.connect_timeout, async {
            let tcp = self.dialer.dial(host, port).await?;
            let tls = TlsConnector::from(self.tls.clone())
                .connect_with(name, ReadAhead::new(tcp), |tls| tls.set_buffer_limit(Some(TLS_WRITE_LIMIT)))
                .await;
            tls.map_err(|error| fail(tls_failure(&error), error.into()))
        });
        match connected.await {
            Ok(stream) => Ok(UpstreamStream::Tls(Box::new(stream?))),
            Err(elapsed) => Err(fail(Failure::ConnectTimeout, elapsed.into())),
        }
    }
}

// === impl UpstreamStream ===

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncBufRead for UpstreamStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_fill_buf(cx),
            Self::Tls(stream) => Pin::new(stream).poll_fill_buf(cx),
        }
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).consume(count),
            Self::Tls(stream) => Pin::new(stream).consume(count),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

// === impl Resolver ===

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let destinations = self.0;
        Box::pin(async move {
            let mut addresses: Vec<_> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(ResolveError::Lookup)?.collect();
            let found = addresses.len();
            addresses.retain(|address| destinations.include(address.ip()));
            if addresses.is_empty() && found > 0 {
                return Err(ResolveError::Prohibited);
            }
            Ok(addresses.into_iter())
        })
    }
}

// === impl ResolveError ===

impl ResolveError {
    /// The system tells a missing name from a failing resolver by text only: glibc says "Name or service not known" or "No address
    /// associated with hostname", musl "Name does not resolve" or "Name has no usable address". All else may pass.
    fn failure(&self) -> Failure {
        const MISSING: [&str; 4] = ["not known", "No address associated", "does not resolve", "no usable address"];
        let Self::Lookup(error) = self else { return Failure::AddressProhibited };
        let text = error.to_string();
        if MISSING.iter().any(|words| text.contains(words)) { Failure::DnsNotFound } else { Failure::DnsFailed }
    }
}

fn tcp_failure(error: &(dyn StdError + 'static)) -> Failure {
    if let Some(resolve) = super::cause::<ResolveError>(error) {
        return resolve.failure();
    }
    match super::cause::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Failure::ConnectRefused,
        Some(io::ErrorKind::TimedOut) => Failure::ConnectTimeout,
        _ => Failure::ConnectFailed,
    }
}

fn tls_failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Failure::CertificateInvalid,
        _ => Failure::TlsFailed,
    }
}

/// What is kept of a connection's TLS records until they can be written, in place of rustls's 64 KiB.
pub const TLS_WRITE_LIMIT: usize = 16 * 1024;

/// Finds peers that went away without a word, on connections whose answer takes long.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_name_is_told_from_a_failing_resolver() {
        for (text, want) in [
            ("failed to lookup address information: Name or service not known", Failure::DnsNotFound),
            ("failed to lookup address information: No address associated with hostname", Failure::DnsNotFound),
            ("failed to lookup address information: Name does not resolve", Failure::DnsNotFound),
            ("failed to lookup address information: Temporary failure in name resolution", Failure::DnsFailed),
            ("failed to lookup address information: Try again", Failure::DnsFailed),
            ("something new", Failure::DnsFailed),
        ] {
            assert_eq!(ResolveError::Lookup(io::Error::other(text)).failure(), want, "{text}");
        }
    }
}
