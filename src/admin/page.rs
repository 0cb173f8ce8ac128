//! What each endpoint answers.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::body::PageBody;
use super::endpoint::Endpoint;
use super::events;
use super::history::History;
use super::html::{self, Html};
use super::readiness::Readiness;
use super::status::{ConfigStatus, Start, Status};
use super::{Visitor, names};
use crate::metrics::{self, BuildInfo, Metrics};
use crate::telemetry::{LogHandle, level_name, parse_level};

/// What the admin server tells and may change. All of it is read anew for each request.
pub struct AdminContext {
    /// What is running.
    pub build: BuildInfo,
    /// Where the proxy listens.
    pub proxy_address: SocketAddr,
    /// Whether `POST /shutdown` from loopback is obeyed.
    pub allow_shutdown: Box<dyn Fn() -> bool + Send + Sync>,
    /// The authority that clients must trust.
    pub authority: AuthorityInfo,
    /// Makes the truststore for Java, PKCS#12; `None` where that fails.
    pub truststore: Box<dyn Fn() -> Option<Bytes> + Send + Sync>,
    /// Lines for a shell that name the proxy and the files to trust it by.
    pub proxy_env: Bytes,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the proxy may be used.
    pub readiness: Readiness,
    /// Reads and changes the log level.
    pub logs: LogHandle,
    /// The settings in force as a JSON text, secrets hidden.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
    /// Where the settings came from, and whether they could be read anew.
    pub config_status: Box<dyn Fn() -> ConfigStatus + Send + Sync>,
    /// Starts draining.
    pub shutdown: Box<dyn Fn() + Send + Sync>,
}

/// A certificate authority as its clients see it.
#[derive(Clone, Debug)]
pub struct AuthorityInfo {
    /// The root's subject.
    pub subject: String,
    /// SHA-256 over the root, in hexadecimal.
    pub fingerprint: String,
    /// When the root expires.
    pub not_after: SystemTime,
    /// The root, in PEM.
    pub root_pem: Bytes,
    /// The roots the proxy itself trusts and then its own, in PEM.
    pub bundle_pem: Bytes,
}

/// Answers requests. Shared by all connections.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) context: AdminContext,
    pub(super) start: Start,
    history: History,
    html: Html,
    /// A place for each stream of events.
    pub(super) streams: Arc<Semaphore>,
}

pub(super) type Page = Response<PageBody>;

// === impl AdminContext ===

impl AdminContext {
    fn offers(&self, endpoint: Endpoint) -> bool {
        endpoint != Endpoint::Shutdown || (self.allow_shutdown)()
    }
}

impl fmt::Debug for AdminContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminContext")
            .field("build", &self.build)
            .field("proxy_address", &self.proxy_address)
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

// === impl Pages ===

impl Pages {
    pub(super) fn new(context: AdminContext) -> Self {
        let start = Start::now();
        let (html, history) = (Html::new(), History::begin(start.instant));
        Self { context, start, history, html, streams: Arc::new(Semaphore::new(events::STREAMS)) }
    }

    /// The answer to a request of `visitor`.
    pub(super) async fn answer<B>(self: &Arc<Self>, request: Request<B>, visitor: &Visitor) -> Page
    where
        B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let (path, peer) = (request.uri().path(), visitor.peer);
        let Some(endpoint) = Endpoint::at(path).filter(|endpoint| self.context.offers(*endpoint)) else {
            debug!(%peer, method = %request.method(), path, "admin path is unknown");
            return text(StatusCode::NOT_FOUND, format!("not found; there are:\n\n{}", self.index()));
        };
        if !endpoint.takes(request.method()) {
            let mut page = text(StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes {}\n", endpoint.allow()));
            page.headers_mut().insert(header::ALLOW, HeaderValue::from_static(endpoint.allow()));
            return page;
        }
        if matches!(*request.method(), Method::PUT | Method::POST) {
            if let Err(reason) = may_change(request.headers(), peer.ip()) {
                debug!(%peer, path, reason, "admin change refused");
                return text(StatusCode::FORBIDDEN, format!("{reason}\n"));
            }
            return match endpoint {
                Endpoint::Shutdown => self.shut_down(peer),
                _ => self.change_log_level(request.into_body(), peer).await,
            };
        }
        let for_people = endpoint == Endpoint::Index && html::is_wanted(request.headers());
        let private = for_people || matches!(endpoint, Endpoint::Config | Endpoint::Events | Endpoint::Status);
        if private && !names::are_own(request.headers()) {
            debug!(%peer, path, "admin request by a foreign name refused");
            return text(StatusCode::FORBIDDEN, FOREIGN);
        }
        match endpoint {
            Endpoint::Events => self.stream(&request, visitor),
            Endpoint::Index => {
                let mut page = if for_people { self.html() } else { text(StatusCode::OK, self.index()) };
                page.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
                page
            }
            _ => self.read(endpoint, visitor.address),
        }
    }

    /// Looks at the counters from time to time, for ever.
    pub(super) async fn keep_history(&self) {
        let mut slots = tokio::time::interval_at(self.start.instant + History::SLOT, History::SLOT);
        loop {
            let now = slots.tick().await;
            self.history.turn(now.max(Instant::now()), self.context.metrics.requests_by_fate());
        }
    }

    fn read(&self, endpoint: Endpoint, address: Option<SocketAddr>) -> Page {
        let context = &self.context;
        match endpoint {
            Endpoint::BundlePem => page(StatusCode::OK, PEM, context.authority.bundle_pem.clone()),
            Endpoint::CaPem => page(StatusCode::OK, PEM, context.authority.root_pem.clone()),
            Endpoint::Config => page(StatusCode::OK, JSON, (context.config)()),
            // The first two are answered before, and `/shutdown` takes no GET.
            Endpoint::Events | Endpoint::Index | Endpoint::Shutdown => text(StatusCode::OK, self.index()),
            Endpoint::Livez => text(StatusCode::OK, "ok\n"),
            Endpoint::LogLevel => text(StatusCode::OK, format!("{}\n", level_name(context.logs.level()))),
            Endpoint::Metrics => page(StatusCode::OK, metrics::CONTENT_TYPE, context.metrics.encode()),
            Endpoint::ProxyEnv => text(StatusCode::OK, context.proxy_env.clone()),
            Endpoint::Readyz => match context.readiness.check() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            Endpoint::Status => {
                let status = self.status(address).with(context.metrics.replays_after(0));
                match serde_json::to_vec_pretty(&status) {
                    Ok(json) => page(StatusCode::OK, JSON, json),
                    Err(error) => {
                        debug!(%error, "status cannot be written");
                        text(StatusCode::INTERNAL_SERVER_ERROR, "the status cannot be written as JSON\n")
                    }
                }
            }
            Endpoint::Truststore => match (context.truststore)() {
                Some(store) => page(StatusCode::OK, PKCS12, store),
                None => text(StatusCode::INTERNAL_SERVER_ERROR, "the truststore cannot be made, the log says why\n"),
            },
        }
    }

    /// How things stand, without replays.
    pub(super) fn status(&self, address: Option<SocketAddr>) -> Status<'_> {
        Status::of(&self.context, self.start, &self.history, address)
    }

    fn html(&self) -> Page {
        let mut page = page(StatusCode::OK, "text/html; charset=utf-8", self.html.text(self.offered()));
        let headers = page.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.html.policy.clone());
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
        page
    }

    fn shut_down(&self, peer: SocketAddr) -> Page {
        info!(%peer, "shutdown was asked for");
        (self.context.shutdown)();
        text(StatusCode::ACCEPTED, "draining\n")
    }

    async fn change_log_level<B>(&self, body: B, peer: SocketAddr) -> Page
    where
        B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let body = pin!(body);
        let body = Limited::new(body, LEVEL_LIMIT).collect();
        let body = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                debug!(%peer, %error, "admin body cannot be read");
                return text(StatusCode::BAD_REQUEST, "the body must be one word: off, error, warn, info, debug or trace\n");
            }
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body did not come\n"),
        };
        match parse_level(&String::from_utf8_lossy(&body)) {
            Ok(level) => {
                self.context.logs.set_level(level);
                info!(%peer, log_level = level_name(level), "log level changed");
                text(StatusCode::OK, format!("{}\n", level_name(level)))
            }
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }

    fn index(&self) -> String {
        self.offered().map(|endpoint| format!("{:<17}{}\n", endpoint.path(), endpoint.purpose())).collect()
    }

    /// The endpoints there are, as the settings are now.
    fn offered(&self) -> impl Iterator<Item = Endpoint> {
        Endpoint::ALL.into_iter().filter(|endpoint| self.context.offers(*endpoint))
    }
}

/// Whether a request may change something.
///
/// A browser sends `Origin` with every PUT and POST, so a web page that aims at the loopback address is told apart from a
/// local program, which sends none. The name it asks by tells it apart as well.
fn may_change(headers: &HeaderMap, peer: IpAddr) -> Result<(), &'static str> {
    if !peer.to_canonical().is_loopback() {
        return Err("only a program on the same machine may do this");
    }
    if headers.contains_key(header::ORIGIN) || !names::are_own(headers) {
        return Err("a web page may not do this");
    }
    Ok(())
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    page(status, "text/plain; charset=utf-8", body)
}

pub(super) fn page(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(PageBody::Whole(Full::new(body.into())));
    *page.status_mut() = status;
    page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    page.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}

const FOREIGN: &str = "\
this is told by an IP address or localhost only, because a name can be pointed here by a stranger's web page; \
/metrics and the probes answer to any name\n";
const JSON: &str = "application/json";
const PEM: &str = "application/x-pem-file";
const PKCS12: &str = "application/x-pkcs12";

/// In bytes. The longest word has five letters.
const LEVEL_LIMIT: usize = 64;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
