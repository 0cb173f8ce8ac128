//! The program put together: everything is opened and bound first, then it runs until it is drained.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::admin::{AdminContext, AdminServer, AuthorityInfo, Readiness};
use crate::config::Settings;
use crate::metrics::{BuildInfo, Metrics};
use crate::proxy::{Parts, Proxy};
use crate::retry::policy::RetryPolicy;
use crate::shutdown::{Drain, Drained, Shutdown};
use crate::telemetry::LogHandle;
use crate::tls::authority::{AuthorityError, CertificateAuthority};
use crate::tls::leaf::ServerConfigs;
use crate::tls::roots::{Roots, RootsError};
use crate::tls::trust::{self, PublishError};
use crate::upstream::{Dialer, Upstream};

/// The program with its sockets bound and its authority ready, not yet serving.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    authority: Arc<CertificateAuthority>,
    certificates: ServerConfigs,
    roots: Arc<Roots>,
    metrics: Metrics,
    proxy: Bound,
    admin: Bound,
}

/// Why the program cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The certificate authority cannot be made or read.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A port is taken, or an address is not this machine's.
    #[error("cannot listen on {address} ({key})")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The setting that asks for it.
        key: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The files clients need cannot be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Batch could not be verified.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// What a running program is told from outside, besides signals.
#[derive(Debug)]
pub struct Controls {
    /// Changes the log level.
    pub logs: LogHandle,
    /// The settings in force, as text.
    pub config: String,
    /// Starts draining.
    pub shutdown: Shutdown,
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

// === impl App ===

impl App {
    /// Opens the authority, binds both ports and writes the files clients need.
    ///
    /// # Errors
    /// [`StartError`] names the setting and what is wrong with it.
    pub async fn bind(settings: Settings) -> Result<Self, StartError> {
        let roots = Arc::new(Roots::load(&settings.upstream.ca_files)?);
        if roots.skipped() > 0 {
            warn!(count = roots.skipped(), "system roots that cannot be read are left out");
        }
        let authority = CertificateAuthority::open(&settings.route.intercept, &settings.ca, SystemTime::now())?;
        let authority = Arc::new(authority);
        let certificates = ServerConfigs::new(authority.clone(), SystemTime::now)?;
        let proxy = Bound::new(settings.listen.address, "listen.address")?;
        let admin = Bound::new(settings.admin.address, "admin.address")?;
        if let Some(directory) = &settings.ca.publish {
            trust::publish(directory, &authority, &roots, proxy.address)?;
        }
        let metrics = Metrics::new(BuildInfo::current());
        Ok(Self { settings, authority, certificates, roots, metrics, proxy, admin })
    }

    /// Where the proxy listens.
    pub fn proxy_address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// Where the admin server listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// The certificate that clients must trust.
    pub fn root_pem(&self) -> &str {
        self.authority.root_pem()
    }

    /// Where the files clients need were written, if anywhere.
    pub fn published(&self) -> Option<&PathBuf> {
        self.settings.ca.publish.as_ref()
    }

    /// How long requests may take to finish once draining begins.
    pub fn grace(&self) -> Duration {
        self.settings.shutdown_grace
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves until `drain` begins, then until every connection has ended or the grace has passed.
    pub async fn run(self, drain: Drain, controls: Controls) -> Drained {
        let readiness = Readiness::default();
        let admin = AdminServer::new(self.admin_context(&readiness, controls));
        let dialer = Dialer::new(&self.settings.upstream);
        let parts = Parts {
            upstream: Upstream::new(&self.settings.upstream, dialer.clone(), self.roots.client_config()),
            listen: self.settings.listen,
            route: self.settings.route,
            throttle: self.settings.throttle,
            bodies: self.settings.bodies,
            body_idle_timeout: self.settings.upstream.body_idle_timeout,
            policy: RetryPolicy::new(self.settings.retry),
            certificates: self.certificates,
            dialer,
            metrics: self.metrics,
            drain: drain.clone(),
        };
        let proxy = Proxy::new(parts, self.proxy.address);
        // The admin server answers until the last connection has ended: a drain can be watched.
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let admin = tokio::spawn(admin.serve(self.admin.listener, async move {
            let _ = end.await;
        }));
        readiness.set_published();
        readiness.set_listening();
        info!(proxy = %self.proxy.address, admin = %self.admin.address, "listening");
        let draining = drain.clone();
        tokio::join!(proxy.serve(self.proxy.listener), async {
            draining.started().await;
            readiness.set_draining();
            info!("draining");
        });
        let drained = drain.finished().await;
        drop(ended);
        let _ = admin.await;
        match drained {
            Drained::Cut(connections) => warn!(connections, "shutdown.grace passed, connections are cut off"),
            Drained::Finished => info!("stopped"),
        }
        drained
    }

    fn admin_context(&self, readiness: &Readiness, controls: Controls) -> AdminContext {
        let Controls { logs, config, shutdown } = controls;
        let grace = self.settings.shutdown_grace;
        let (authority, roots) = (self.authority.clone(), self.roots.clone());
        AdminContext {
            build: BuildInfo::current(),
            proxy_address: self.proxy.address,
            allow_shutdown: self.settings.admin.allow_shutdown,
            authority: AuthorityInfo {
                subject: self.authority.subject(),
                fingerprint: self.authority.fingerprint_sha256(),
                not_after: self.authority.not_after(),
                root_pem: Bytes::copy_from_slice(self.authority.root_pem().as_bytes()),
                bundle_pem: Bytes::from(trust::bundle_pem(&self.authority, &self.roots)),
            },
            // Made when asked for: few ask, and it takes longer than the rest of the start.
            truststore: Box::new(move || match trust::truststore_p12(&authority, &roots) {
                Ok(store) => Some(Bytes::from(store)),
                Err(error) => {
                    warn!(%error, "no truststore");
                    None
                }
            }),
            proxy_env: Bytes::from(trust::proxy_env(self.proxy.address, self.settings.ca.publish.as_deref())),
            metrics: self.metrics.clone(),
            readiness: readiness.clone(),
            logs,
            config: Box::new(move || config.clone()),
            shutdown: Box::new(move || shutdown.drain(grace)),
        }
    }
}

// === impl Bound ===

impl Bound {
    fn new(address: SocketAddr, key: &'static str) -> Result<Self, StartError> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restart takes over the port at once, though old connections linger in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bound().map_err(|source| StartError::Bind { address, key, source })
    }
}

/// Connections that wait to be accepted; Node opens one for each request.
const BACKLOG: u32 = 1024;
