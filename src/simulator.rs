//! A stand-in Batch account on loopback, for demonstrations and tests: real TLS, real state, faults by scenario.
//!
//! | part | task |
//! |---|---|
//! | `account`, `store` | pools, jobs, schedules, tasks, nodes, files; pure |
//! | `ledger`, `register` | what happened, to be read from outside; pure |
//! | `auth` | Shared Key signatures computed again; pure |
//! | `scenario`, `faults` | what goes wrong, from a seed; pure but for reading the file |
//! | `traits` | what the account is like besides: slow to delete or to show, short of quota; pure |
//! | `window`, `limit`, `hint` | when the account takes no requests, how many it takes, how it says so; pure |
//! | `front` | all of it together: a request and the time in, a reaction out; pure |
//! | `shell` | sockets |
//!
//! It is no model of Batch's speed, and its tasks run nothing. What it answers follows the REST reference and recordings of the
//! SDKs; no live account was compared.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::batch::endpoint::{HostPattern, HostSet, InvalidHostPattern};
use crate::shutdown::Drain;
use crate::tls::CaSettings;
use crate::tls::authority::{AuthorityError, CertificateAuthority, IssueError};
use crate::tls::leaf::ServerConfigs;

mod account;
mod answer;
mod auth;
mod faults;
mod front;
mod hint;
mod ledger;
mod limit;
mod register;
mod request;
mod scenario;
mod shell;
mod store;
mod traits;
mod window;

pub use auth::InvalidKey;
pub use ledger::Ledger;
pub use register::Life;
pub use scenario::{Scenario, ScenarioError};

use account::Account;
use auth::Gatekeeper;
use faults::Dealer;
use front::Front;

/// What the simulator is started with.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The account's name, the first label of its host.
    pub account: String,
    /// The account's key in base64.
    pub key: String,
    /// What goes wrong.
    pub scenario: Scenario,
    /// Where chance begins: the same seed deals the same requests the same faults.
    pub seed: u64,
}

/// A stand-in Batch account.
#[derive(Clone, Copy, Debug)]
pub struct Simulator;

/// A simulator that has its address and accepts nothing yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    host: String,
    ca_pem: String,
    tls: Tls,
    observer: Observer,
}

/// What the account presents, by the name it is called by.
#[derive(Clone)]
struct Tls {
    account: Arc<ServerConfig>,
    local: Arc<ServerConfig>,
}

/// Looks into the account from outside; it may outlive the serving.
#[derive(Clone)]
pub struct Observer {
    front: Arc<Mutex<Front>>,
}

/// Why a simulator cannot be started.
#[derive(Debug, Error)]
pub enum SimulatorError {
    /// It cannot have a certificate authority.
    #[error("certificate authority of the simulated account: {0}")]
    Authority(#[from] AuthorityError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address as given.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The account's name makes no host name.
    #[error("account name of the simulator: {0}")]
    Host(#[from] InvalidHostPattern),
    /// The key is no base64.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// It cannot have a certificate.
    #[error("certificate of the simulated account: {0}")]
    Leaf(#[from] IssueError),
    /// The TLS library has no randomness.
    #[error("TLS of the simulated account: {0}")]
    Tls(#[from] rustls::Error),
}

// === impl SimulatorSettings ===

impl SimulatorSettings {
    /// The account `demo` in good health, with the key that is the same every time, on a free port of loopback.
    pub fn demo() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            account: "demo".to_owned(),
            key: BASE64_STANDARD.encode(DEMO_KEY),
            scenario: Scenario::calm(),
            seed: 0,
        }
    }
}

// === impl Simulator ===

impl Simulator {
    /// Takes the address and makes a certificate for the account's host.
    ///
    /// # Errors
    /// [`SimulatorError`], by what is missing.
    pub async fn bind(settings: SimulatorSettings) -> Result<Bound, SimulatorError> {
        let host = format!("{}.simulated.batch.azure.com", settings.account.to_ascii_lowercase());
        let gatekeeper = Gatekeeper::new(&settings.account, &settings.key)?;
        let hosts = HostSet::new(vec![host.parse::<HostPattern>()?, LOCAL_HOST.parse::<HostPattern>()?], Vec::new());
        let ca = CaSettings { directory: None, publish: None, lifetime: CA_LIFETIME, leaf_lifetime: LEAF_LIFETIME };
        let authority = Arc::new(CertificateAuthority::open(&hosts, &ca, SystemTime::now())?);
        let ca_pem = authority.root_pem().to_owned();
        let configs = ServerConfigs::new(authority, SystemTime::now)?;
        let config = |host: &str| -> Result<Arc<ServerConfig>, IssueError> {
            let mut config = (*configs.for_host(host)?.0).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        };
        let tls = Tls { account: config(&host)?, local: config(LOCAL_HOST)? };
        let bind = |source| SimulatorError::Bind { address: settings.address, source };
        let listener = TcpListener::bind(settings.address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let dealer = Dealer::new(&settings.scenario, settings.seed);
        let account = Account::new(settings.scenario.account);
        let front = Arc::new(Mutex::new(Front::new(gatekeeper, dealer, account, &host, settings.seed)));
        Ok(Bound { listener, address, host, ca_pem, tls, observer: Observer { front } })
    }
}

// === impl Bound ===

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root that a client must trust, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The account's host name, such as `demo.simulated.batch.azure.com`. It is in no DNS; `localhost` is served as well.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A look into the account.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Serves until `drain` has started and the requests under way are answered.
    pub async fn serve(self, drain: Drain) {
        shell::accept(self.listener, self.tls, self.observer, drain.clone()).await;
        drain.finished().await;
    }
}

// === impl Tls ===

impl Tls {
    /// The configuration for a client that asks for this name.
    fn of(&self, name: Option<&str>) -> Arc<ServerConfig> {
        let local = name.is_some_and(|name| name.eq_ignore_ascii_case(LOCAL_HOST));
        Arc::clone(if local { &self.local } else { &self.account })
    }
}

// === impl Observer ===

impl Observer {
    /// What happened so far.
    pub fn ledger(&self) -> Ledger {
        self.ledger_at(SystemTime::now())
    }

    /// The same with the states that everything will have at `time` if nothing more is asked: what takes time needs no waiting for.
    pub fn ledger_at(&self, time: SystemTime) -> Ledger {
        self.front().ledger(time)
    }

    fn front(&self) -> MutexGuard<'_, Front> {
        // A panic in one request leaves the counts as they were: better than none.
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client on this machine may call the account, for want of its name in the DNS.
const LOCAL_HOST: &str = "localhost";

/// No secret: it guards nothing.
const DEMO_KEY: &[u8] = b"the key of a simulated account, known to all";

/// A simulator is started for minutes or days.
const CA_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// Its one certificate is never renewed.
const LEAF_LIFETIME: Duration = Duration::from_hours(364 * 24);
