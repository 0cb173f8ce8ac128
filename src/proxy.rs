//! Accept, route, tunnel, intercept, forward: everything between a client's socket and the upstream client.

mod absolute;
mod answer;
mod creations;
mod credentials;
mod echo;
mod error;
mod exchange;
mod forward;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod headers;
mod held;
mod http;
mod intercept;
mod memory;
mod prefixed;
mod record;
mod repeats;
mod route;
mod stream;
mod template;
mod terms;
mod throttle;
mod tunnel;
mod watch;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::http::{Method, StatusCode};
use ipnet::IpNet;
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use self::absolute::{AnyBody, any};
pub use self::credentials::{Credentials, InvalidCredentials};
use self::credentials::{Given, challenge};
use self::error::{Trouble, plain, rejection, unreached};
use self::http::{Ended, Reply, RequestStream, Service, serve_http1};
use self::prefixed::Prefixed;
use self::route::{Reach, Route, Target};
use self::terms::Live;
pub use self::terms::Terms;
pub use self::throttle::ThrottleSettings;
use self::throttle::Throttles;
use self::watch::Watch;
use crate::batch::endpoint::{HostPattern, HostSet};
use crate::http1::{MalformedHead, RequestHead, Response};
use crate::metrics::labels::{ConnectionKind, ConnectionResult};
use crate::metrics::{ConnectionGuard, Metrics};
use crate::retry::outcome::Transmission;
use crate::shutdown::Drain;
use crate::tls::handshake::ClientRuntime;
use crate::tls::leaf::ServerConfigs;
use crate::upstream::Upload;

/// The listening side.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Where the proxy listens (`listen.address`).
    pub address: SocketAddr,
    /// Connections served at a time; past it new ones wait in the backlog (`listen.max_connections`).
    pub max_connections: usize,
    /// From a connection's or request's first byte to the end of the request head (`listen.header_timeout`).
    pub header_timeout: Duration,
    /// How long a connection may stay without a request (`listen.idle_timeout`).
    pub idle_timeout: Duration,
    /// Client networks; empty allows loopback only, or any where there are credentials (`listen.allow`).
    pub allow: Vec<IpNet>,
    /// What clients have to give, if anything (`listen.credentials`).
    pub credentials: Option<Credentials>,
}

/// What becomes of a request by its host and port.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Hosts that are opened (`intercept.hosts`, `intercept.except`).
    pub intercept: HostSet,
    /// Ports a tunnel may lead to; empty means all on loopback and 443 when bound wider (`tunnel.ports`).
    pub tunnel_ports: Vec<u16>,
    /// Hosts a tunnel may lead to; empty means all (`tunnel.allow`).
    pub tunnel_allow: Vec<HostPattern>,
    /// Hosts no tunnel leads to (`tunnel.deny`).
    pub tunnel_deny: Vec<HostPattern>,
    /// How long a tunnel may stay without a byte (`tunnel.idle_timeout`).
    pub tunnel_idle_timeout: Duration,
    /// Hosts of plain-http requests; empty means all (`forward.allow`).
    pub forward_allow: Vec<HostPattern>,
}

/// How much of requests and answers is held.
#[derive(Clone, Debug)]
pub struct BodySettings {
    /// Largest request body held for a replay, in bytes (`retry.body_limit`).
    pub request_limit: u64,
    /// Largest answer read whole before it is handed over, in bytes (`retry.response_buffer`).
    pub response_buffer: u64,
    /// All held bodies and answers together, in bytes (`retry.memory_limit`).
    pub memory_limit: u64,
}

/// The proxy, ready to serve a listener.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

/// What the proxy is made of.
#[derive(Debug)]
pub struct Parts {
    /// What a reload may replace.
    pub terms: Terms,
    /// What opened connections present.
    pub certificates: ServerConfigs,
    /// Where things are counted.
    pub metrics: Metrics,
    /// What sees a shutdown.
    pub drain: Drain,
}

/// What every connection sees.
#[derive(Debug)]
struct Shared {
    reach: Reach,
    /// The address clients are told.
    address: SocketAddr,
    /// Locked for as long as it takes to clone the pointer.
    live: tokio::sync::watch::Sender<Arc<Live>>,
    certificates: ServerConfigs,
    throttles: Throttles,
    metrics: Metrics,
    drain: Drain,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy that will serve a listener bound to `address`.
    pub fn new(parts: Parts, address: SocketAddr) -> Self {
        let Parts { terms, certificates, metrics, drain } = parts;
        let throttles = Throttles::new(terms.throttle, &metrics);
        let live = tokio::sync::watch::Sender::new(Arc::new(Live::new(terms, metrics.clone(), drain.clone())));
        let reach = if address.ip().to_canonical().is_loopback() { Reach::Loopback } else { Reach::Network };
        let shared = Shared { reach, address, live, certificates, throttles, metrics, drain };
        Self { shared: Arc::new(shared) }
    }

    /// Puts other terms in force, for the connections and requests that begin from now on.
    pub fn replace(&self, terms: Terms) {
        self.shared.throttles.reconfigure(terms.throttle);
        self.shared.live.send_modify(|live| *live = Arc::new(live.under(terms)));
    }

    /// Accepts connections until draining begins. Connections under way are tasks of the drain.
    pub async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.shared.live().listen.max_connections));
        loop {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place,
                () = self.shared.drain.started() => return,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shared.drain.started() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let shared = self.shared.clone();
                    self.shared.drain.spawn(serve_conn(shared, stream, peer, place));
                }
                Err(error) => self.pause_after(error).await,
            }
        }
    }

    /// Errors of one connection pass at once. What is left is a shortage of the process: trying again without a pause would only spin.
    async fn pause_after(&self, error: io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind()) {
            return;
        }
        warn!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Serves a client's connection until it ends, whatever it becomes. `place` is kept as long.
async fn serve_conn(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
    let _place = place;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "client left before it was served");
        return;
    }
    let (allowed, credentials, watch) = {
        let live = shared.live();
        let watch = Watch::awaiting_head(live.listen.header_timeout, live.listen.idle_timeout);
        (live.allows(peer.ip()), live.listen.credentials.clone(), watch)
    };
    if !allowed {
        shared.metrics.connection(ConnectionKind::Forward).end(ConnectionResult::Denied);
        warn!(client = %peer.ip(), "client is not in listen.allow");
    }
    let stream = BufReader::with_capacity(CONNECT_BYTES, stream);
    // What a connection comes to is counted by what its requests ask for. Apart, so that what it becomes keeps no room for how it began.
    let front = Front { shared: &shared, client: peer.ip(), allowed, credentials };
    let ended = Box::pin(serve_http1(stream, &front, &watch, &shared.drain)).await;
    let Ended::Upgraded(stream, upgrade) = ended else { return };
    drop(watch);
    let client = Prefixed::new(stream);
    match upgrade {
        Upgrade::Intercept(target, runtime) => intercept::run(&shared, client, target, runtime).await,
        Upgrade::Tunnel(target, upstream, connection, idle_timeout) => {
            let relayed = tunnel::relay(client, upstream, &target, idle_timeout, &shared.metrics, &shared.drain);
            connection.end(Box::pin(relayed).await);
        }
    }
}

/// The proxy's port.
struct Front<'a> {
    shared: &'a Shared,
    client: IpAddr,
    allowed: bool,
    credentials: Option<Credentials>,
}

/// What an accepted CONNECT makes of a connection.
enum Upgrade {
    Intercept(Target, ClientRuntime),
    Tunnel(Target, TcpStream, ConnectionGuard, Duration),
}

// === impl Front ===

impl<S: AsyncBufRead + AsyncWrite + Send + Unpin + 'static> Service<S> for Front<'_> {
    type Body = AnyBody;
    type Upgrade = Upgrade;

    async fn answer(&self, head: RequestHead, body: RequestStream<S>) -> Reply<AnyBody, Upgrade> {
        if !self.allowed {
            return Reply::Answer(any(plain(StatusCode::FORBIDDEN, "listen.allow does not name your network.")));
        }
        let given = self.credentials.as_ref().map_or(Given::Right, |credentials| credentials.given(&head.fields));
        if given != Given::Right {
            self.shared.deny(&head.method);
            if given == Given::Wrong {
                warn!(client = %self.client, "client gave other credentials than listen.credentials");
            }
            return Reply::Answer(any(challenge()));
        }
        let (shared, live) = (self.shared, self.shared.live());
        match Route::of(&head, shared.reach, &live.route) {
            Route::Forward(origin, target) => {
                let connection = shared.metrics.connection(ConnectionKind::Forward);
                let upload = Upload::new(body, live.listen.idle_timeout);
                let (response, result) = absolute::forward(head, upload, &origin, &target, &live.forwarder.upstream).await;
                connection.end(result);
                Reply::Answer(response)
            }
            Route::Intercept(target) => {
                Reply::Upgrade(Upgrade::Intercept(target, ClientRuntime::guess(head.version, &head.fields)))
            }
            Route::Reject(reason) => {
                shared.deny(&head.method);
                Reply::Answer(any(rejection(reason, &shared.address.to_string())))
            }
            Route::Tunnel(target) => connect_tunnel(shared, &live, target).await,
        }
    }

    fn refuse(&self, malformed: MalformedHead) -> Response<AnyBody> {
        self.shared.metrics.connection(ConnectionKind::Forward).end(ConnectionResult::Denied);
        let words = malformed.as_str();
        debug!(reason = words, "what a client sent is no request");
        any(plain(Trouble::from(malformed).status, &format!("{words}.")))
    }
}

/// Answers 200 only once the way is clear.
async fn connect_tunnel(shared: &Shared, live: &Live, target: Target) -> Reply<AnyBody, Upgrade> {
    let connection = shared.metrics.connection(ConnectionKind::Tunnel);
    match live.dialer.dial(target.host(), target.port()).await {
        Ok(upstream) => Reply::Upgrade(Upgrade::Tunnel(target, upstream, connection, live.route.tunnel_idle_timeout)),
        Err(error) => {
            let words = format!("{error}: {}", error.failure().as_str());
            debug!(destination = %target, error = words, "no tunnel");
            let (response, result) = unreached(error.failure(), Transmission::NotSent, &words);
            connection.end(result);
            Reply::Answer(any(response))
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Counts a request for which nothing is done.
    fn deny(&self, method: &Method) {
        let kind = if *method == Method::CONNECT { ConnectionKind::Tunnel } else { ConnectionKind::Forward };
        self.metrics.connection(kind).end(ConnectionResult::Denied);
    }

    /// What is in force now.
    fn live(&self) -> Arc<Live> {
        self.live.borrow().clone()
    }
}

/// More than a CONNECT has, and given back once it was read.
const CONNECT_BYTES: usize = 2 * 1024;

/// After accepting failed for want of sockets or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
