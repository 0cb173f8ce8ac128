//! The program put together: everything is opened and bound first, then it runs until it is drained.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::admin::{AdminContext, AdminServer, AuthorityInfo, Readiness};
use crate::config::Settings;
use crate::metrics::{BuildInfo, Metrics};
use crate::proxy::{Parts, Proxy};
use crate::shutdown::{Drain, Drained, Shutdown};
use crate::telemetry::LogHandle;
use crate::tls::authority::{AuthorityError, CertificateAuthority, Held};
use crate::tls::leaf::ServerConfigs;
use crate::tls::roots::{Roots, RootsError};
use crate::tls::trust::{self, PublishError};

mod in_force;
mod reload;

pub use self::in_force::InForce;
use self::reload::Reloader;
pub use self::reload::{Reload, terms};

/// The program with its sockets bound and its authority ready, not yet serving.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    authority: Arc<CertificateAuthority>,
    certificates: ServerConfigs,
    roots: Arc<Roots>,
    metrics: Metrics,
    in_force: InForce,
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
    /// Where the settings came from.
    pub config: Configuration,
    /// Starts draining.
    pub shutdown: Shutdown,
}

/// Where the settings came from, and whether they can be had anew.
#[derive(Debug)]
pub enum Configuration {
    /// They stay as they are; this is their text.
    Fixed(String),
    /// They are read anew while the program runs.
    Reloadable(Box<Reload>),
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
        if authority.held() == Held::Root {
            warn!(
                "ca.directory holds the root's own key, and Java believes whoever steals it for any host; remove ca.pem and ca-key.pem there to have \
                 another authority made, and distribute the new ca.pem"
            );
        }
        let authority = Arc::new(authority);
        let certificates = ServerConfigs::new(authority.clone(), SystemTime::now)?;
        let proxy = Bound::new(settings.listen.address, "listen.address")?;
        let admin = Bound::new(settings.admin.address, "admin.address")?;
        if let Some(directory) = &settings.ca.publish {
            trust::publish(directory, &authority, &roots, proxy.address)?;
        }
        let metrics = Metrics::new(BuildInfo::current());
        let in_force = InForce::new(&settings);
        Ok(Self { settings, authority, certificates, roots, metrics, in_force, proxy, admin })
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

    /// The settings in force, also once they are others than at the start.
    pub fn in_force(&self) -> InForce {
        self.in_force.clone()
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves until `drain` begins, then until every connection has ended or the grace has passed.
    pub async fn run(self, drain: Drain, controls: Controls) -> Drained {
        let Controls { logs, config, shutdown } = controls;
        let readiness = Readiness::default();
        let admin = AdminServer::new(self.admin_context(&readiness, logs.clone(), shutdown));
        let tls = self.roots.client_config();
        let (dialer, upstream) = reload::connect(&self.settings, tls.clone());
        let terms = terms(&self.settings, dialer, upstream);
        let parts = Parts {
            terms: terms.clone(),
            certificates: self.certificates,
            metrics: self.metrics.clone(),
            drain: drain.clone(),
        };
        let proxy = Proxy::new(parts, self.proxy.address);
        match config {
            Configuration::Fixed(text) => self.in_force.describe(text, None),
            Configuration::Reloadable(reload) => {
                self.in_force.describe(reload.text(), reload.file());
                let reloader = Reloader {
                    reload: *reload,
                    in_force: self.in_force,
                    proxy: proxy.clone(),
                    terms,
                    tls,
                    authority: self.authority,
                    metrics: self.metrics,
                    logs,
                };
                let draining = drain.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = reloader.run() => {}
                        () = draining.started() => {}
                    }
                });
            }
        }
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

    fn admin_context(&self, readiness: &Readiness, logs: LogHandle, shutdown: Shutdown) -> AdminContext {
        let (authority, roots) = (self.authority.clone(), self.roots.clone());
        let [allowing, asking, telling, stopping] = [(); 4].map(|()| self.in_force.clone());
        AdminContext {
            build: BuildInfo::current(),
            proxy_address: self.proxy.address,
            allow_shutdown: Box::new(move || allowing.allow_shutdown()),
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
            config: Box::new(move || telling.text()),
            config_status: Box::new(move || asking.status()),
            shutdown: Box::new(move || shutdown.drain(stopping.grace())),
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
