//! CONNECT to Batch hosts: TLS is ended here with a leaf made for the host, and each request inside goes to the replay loop.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::forward::Endpoint;
use super::http::{Ended, Reply, RequestStream, Service, serve_http1, serve_http2};
use super::prefixed::Prefixed;
use super::route::{Route, Target};
use super::stream::AnswerBody;
use super::template::from_http_2;
use super::watch::Watch;
use super::{Shared, tunnel};
use crate::http1::{MalformedHead, RequestHead, Response};
use crate::metrics::labels::{ConnectionKind, ConnectionResult, LeafResult, Side};
use crate::retry::outcome::Failure;
use crate::tls::handshake::{ClientRuntime, HandshakeFailure};
use crate::tls::leaf::Issued;
use crate::upstream::{ReadAhead, TLS_WRITE_LIMIT};

/// Serves what comes through an accepted CONNECT.
pub(super) async fn run(shared: &Shared, client: Prefixed, target: Target, runtime: ClientRuntime) {
    let header_timeout = shared.live().listen.header_timeout;
    let first = tokio::select! {
        first = timeout(header_timeout, client.peek()) => first,
        // Nothing was asked yet, and nothing would be answered.
        () = shared.drain.started() => return,
    };
    match first {
        Ok(Ok(Some(TLS_HANDSHAKE))) => open(shared, client, target, runtime).await,
        Ok(Ok(Some(_))) => pass(shared, client, target).await,
        Ok(Ok(None)) | Ok(Err(_)) => debug!(destination = %target, "client left after CONNECT"),
        Err(_) => debug!(destination = %target, "client sent nothing after CONNECT within listen.header_timeout"),
    }
}

/// What is not TLS cannot be opened: it goes through untouched, where a tunnel may.
async fn pass(shared: &Shared, client: Prefixed, target: Target) {
    let live = shared.live();
    let Route::Tunnel(target) = Route::tunnel(target, shared.reach, &live.route) else {
        warn!("client speaks no TLS to a Batch host, and the settings allow no tunnel there");
        return;
    };
    let connection = shared.metrics.connection(ConnectionKind::Tunnel);
    let idle_timeout = live.route.tunnel_idle_timeout;
    let dialled = live.dialer.dial(target.host(), target.port()).await;
    drop(live);
    match dialled {
        Ok(upstream) => {
            debug!(destination = %target, "client speaks no TLS to a Batch host: tunnelling");
            connection.end(tunnel::relay(client, upstream, &target, idle_timeout, &shared.metrics, &shared.drain).await);
        }
        Err(error) => {
            let prohibited = error.failure() == Failure::AddressProhibited;
            connection.end(if prohibited { ConnectionResult::Denied } else { ConnectionResult::Unreachable });
            warn!(destination = %target, error = error.failure().as_str(), "client speaks no TLS to a Batch host, and no tunnel could be made");
        }
    }
}

async fn open(shared: &Shared, client: Prefixed, target: Target, runtime: ClientRuntime) {
    // Counts as failed unless it is served.
    let connection = shared.metrics.connection(ConnectionKind::Intercept);
    let (_share, header_timeout) = {
        let live = shared.live();
        (live.forwarder.connection(), live.listen.header_timeout)
    };
    let config = match shared.certificates.for_host(target.host()) {
        Ok((config, issued)) => {
            let result = if issued == Issued::New { LeafResult::Issued } else { LeafResult::Cached };
            shared.metrics.leaf(result);
            config
        }
        Err(error) => {
            shared.metrics.leaf(LeafResult::Failed);
            warn!(destination = %target, %error, "no certificate could be made for this host");
            return;
        }
    };
    let accepting =
        TlsAcceptor::from(config).accept_with(ReadAhead::new(client), |tls| tls.set_buffer_limit(Some(TLS_WRITE_LIMIT)));
    let failure = match timeout(header_timeout, accepting).await {
        // Apart, so that the many quiet connections do not keep room for the handshake.
        Ok(Ok(stream)) => return connection.end(Box::pin(serve(shared, stream, target, runtime)).await),
        Ok(Err(error)) => match HandshakeFailure::of(&error) {
            // Node looks at the certificate by itself and hangs up without an alert.
            HandshakeFailure::Closed if runtime == ClientRuntime::Node => HandshakeFailure::UnknownCa,
            failure => failure,
        },
        Err(_) => HandshakeFailure::Timeout,
    };
    shared.metrics.handshake_failed(Side::Client, failure.as_str());
    if failure == HandshakeFailure::UnknownCa {
        warn!(destination = %target, "{}", distrust(runtime));
    } else {
        debug!(destination = %target, reason = failure.as_str(), "client's TLS handshake failed");
    }
}

async fn serve(
    shared: &Shared,
    stream: TlsStream<ReadAhead<Prefixed>>,
    target: Target,
    runtime: ClientRuntime,
) -> ConnectionResult {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let watch = {
        let live = shared.live();
        Watch::idle(live.listen.header_timeout, live.listen.idle_timeout)
    };
    let account = shared.metrics.account(target.host());
    let throttle = shared.throttles.of(target.host(), &account);
    let Some(origin) = target.origin() else {
        warn!(destination = %target, "the host of a CONNECT can be written in no URL");
        return ConnectionResult::Failed;
    };
    let endpoint = Endpoint { account, target, origin, throttle, client: stream.get_ref().0.get_ref().client() };
    let service = Opened { shared, endpoint, asked: AtomicBool::new(false) };
    let lasted = Instant::now();
    let result = if http2 {
        let handle = |request: http::Request<Incoming>| {
            let (live, busy) = (shared.live(), watch.busy());
            service.asked.store(true, Ordering::Relaxed);
            let endpoint = service.endpoint.clone();
            async move {
                let (parts, body) = request.into_parts();
                let answer = live.forwarder.forward(from_http_2(&parts), body, &endpoint).await;
                Ok(to_http_2(answer).map(|body| busy.until_written(body)))
            }
        };
        // Few clients speak it, and all would keep room for it.
        Box::pin(serve_http2(stream, handle, &watch, &shared.drain)).await
    } else {
        match serve_http1(stream, &service, &watch, &shared.drain).await {
            Ended::Closed(result) => result,
            Ended::Upgraded(_, never) => match never {},
        }
    };
    let Opened { endpoint, asked, .. } = service;
    // As above, where the end of Node's handshake got through before it hung up.
    let gone_at_once = !asked.load(Ordering::Relaxed) && lasted.elapsed() < DISTRUST_SHOWS_WITHIN;
    if gone_at_once && runtime == ClientRuntime::Node && !shared.drain.has_started() {
        shared.metrics.handshake_failed(Side::Client, HandshakeFailure::UnknownCa.as_str());
        warn!(destination = %endpoint.target, "{}", distrust(runtime));
        return ConnectionResult::Failed;
    }
    result
}

/// The requests inside an opened connection.
struct Opened<'a> {
    shared: &'a Shared,
    endpoint: Endpoint,
    asked: AtomicBool,
}

impl<S: AsyncBufRead + AsyncWrite + Send + Unpin + 'static> Service<S> for Opened<'_> {
    type Body = AnswerBody;
    type Upgrade = Infallible;

    async fn answer(&self, head: RequestHead, body: RequestStream<S>) -> Reply<AnswerBody, Infallible> {
        self.asked.store(true, Ordering::Relaxed);
        Reply::Answer(self.shared.live().forwarder.forward(head, body, &self.endpoint).await)
    }

    fn refuse(&self, malformed: MalformedHead) -> Response<AnswerBody> {
        self.asked.store(true, Ordering::Relaxed);
        self.shared.live().forwarder.refuse(malformed, &self.endpoint)
    }
}

/// An answer as HTTP/2 writes it, which has no fields about the connection.
fn to_http_2<B>(answer: Response<B>) -> http::Response<B> {
    let Response { mut head, body } = answer;
    head.fields.remove(&["connection", "transfer-encoding"]);
    let mut response = http::Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.fields.to_map();
    response
}

/// The one line that says what is wrong and what to set.
fn distrust(runtime: ClientRuntime) -> String {
    format!("a client does not trust this proxy's certificate authority; set {} and restart it", runtime.trust_advice())
}

/// The content type of a TLS record that carries a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;

/// A client that trusts us sends its request at once.
const DISTRUST_SHOWS_WITHIN: Duration = Duration::from_secs(1);
