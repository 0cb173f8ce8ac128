//! What the chaos is played on: the account, the network and the names before it, the disk and the clock, and the proxy's settings.
//!
//! What needs root, a mount namespace or libfaketime is left out where it cannot be had, which is said once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use batch_retry_proxy::shutdown::{self, Shutdown};
use batch_retry_proxy::simulator::{Observer, Scenario, Simulator, SimulatorSettings};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::super::FAULTS;
use super::super::ground::Ground;
use super::clock::FakeClock;
use super::disk::SmallDisk;
use super::dns::{NameServer, Says};
use crate::support::guard_for;
use crate::support::relay::Relay;

/// Everything around the proxy.
pub(super) struct Stage {
    folder: TempDir,
    /// The first three bytes of all addresses on loopback that belong to this run.
    network: [u8; 3],
    pub(super) ground: Arc<Ground>,
    host: String,
    account: SocketAddr,
    observer: Observer,
    stop: Shutdown,
    serving: JoinHandle<()>,
    seed: u64,
    /// The way to the account, and by which of its two addresses it goes.
    pub(super) relay: Relay,
    place: u8,
    names: Option<NameServer>,
    pub(super) disk: Option<SmallDisk>,
    pub(super) clock: Option<FakeClock>,
}

/// Settings that a reload changes.
#[derive(Clone, Copy)]
pub(super) struct Changing {
    pub(super) backoff_max: &'static str,
    pub(super) connect_timeout: &'static str,
}

// === impl Stage ===

impl Stage {
    pub(super) async fn set_up(seed: u64, ground: Arc<Ground>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scenario = Scenario::parse("soak", FAULTS).unwrap();
        let account = Simulator::bind(SimulatorSettings { scenario, seed, ..SimulatorSettings::demo() }).await.unwrap();
        let (observer, host, address) = (account.observer(), account.host().to_owned(), account.address());
        std::fs::write(folder.path().join("account.pem"), account.ca_pem()).unwrap();
        std::fs::create_dir(folder.path().join("published")).unwrap();
        let (stop, drain) = shutdown::channel();
        let serving = tokio::spawn(account.serve(drain));
        // Others may run the same on this machine.
        let network = [127, fastrand::u8(1..255), fastrand::u8(1..255)];
        let relay = Relay::start(socket(network, FIRST, 443), address, seed).await;
        let names = match &relay {
            Ok(_) => names(folder.path(), network).await.inspect_err(|reason| println!("{reason}")).ok(),
            Err(error) => {
                println!("chaos: no DNS failures, since only root may serve port 443: {error}");
                None
            }
        };
        let relay = match relay {
            Ok(relay) => relay,
            Err(_) => Relay::start(socket(network, FIRST, 0), address, seed).await.unwrap(),
        };
        let disk = SmallDisk::mount(&folder.path().join("published"));
        if disk.is_none() {
            println!("chaos: no full disk, since a small one cannot be mounted");
        }
        let clock = FakeClock::find(folder.path());
        if clock.is_none() {
            println!("chaos: no clock jumps, since there is no libfaketime");
        }
        let (account, place) = (address, FIRST);
        Self { folder, network, ground, host, account, observer, stop, serving, seed, relay, place, names, disk, clock }
    }

    pub(super) fn observer(&self) -> Observer {
        self.observer.clone()
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Where the proxy listens, each after the other.
    pub(super) fn proxy(&self) -> SocketAddr {
        // No connection of another program has this address for its own end, so that it is free at every start.
        socket(self.network, 3, 3128)
    }

    pub(super) fn published(&self) -> PathBuf {
        self.folder.path().join("published")
    }

    /// Lets names be answered so; `false` where the proxy does not ask us.
    pub(super) fn fail_names(&self, silently: bool) -> bool {
        let Some(names) = &self.names else { return false };
        names.say(if silently { Says::Nothing } else { Says::Failure });
        true
    }

    /// Lets names be found again.
    pub(super) fn mend_names(&self) {
        if let Some(names) = &self.names {
            names.say(Says::Address(Ipv4Addr::from(address(self.network, self.place))));
        }
    }

    /// Moves the account to its other address, and gives the way to the old one. Where no DNS says so, the settings must.
    pub(super) async fn move_account(&mut self) -> Relay {
        self.place = if self.place == FIRST { SECOND } else { FIRST };
        let port = if self.names.is_some() { 443 } else { 0 };
        let relay = Relay::start(socket(self.network, self.place, port), self.account, self.seed).await.unwrap();
        self.mend_names();
        std::mem::replace(&mut self.relay, relay)
    }

    /// Whether the account's address stands in the proxy's settings.
    pub(super) fn has_address_in_settings(&self) -> bool {
        self.names.is_none()
    }

    /// Writes the proxy's settings.
    pub(super) fn write_settings(&self, changing: Changing) {
        let Changing { backoff_max, connect_timeout } = changing;
        let folder = self.folder.path().display();
        let resolve = match &self.names {
            Some(_) => String::new(),
            None => format!("resolve = {{ \"{}:443\" = \"{}\" }}", self.host, self.relay.address()),
        };
        let text = format!(
            "listen.address = \"{}\"\nadmin.address = \"127.0.0.1:0\"\nlog.format = \"json\"\n\
             [ca]\ndirectory = \"{folder}/authority\"\npublish = \"{folder}/published\"\nleaf_lifetime = \"1h\"\n\
             [upstream]\nca_files = [\"{folder}/account.pem\"]\n{resolve}\n\
             connect_timeout = \"{connect_timeout}\"\nresponse_timeout = \"2s\"\npool_idle_timeout = \"1s\"\n\
             [retry]\nmax_attempts = 200\ndeadline = \"15s\"\nbudget.min_per_second = 1_000_000\n\
             backoff.initial = \"50ms\"\nbackoff.max = \"{backoff_max}\"\n\
             throttle.initial_share = 1.0\nthrottle.cut = 0.95\nthrottle.growth_per_second = 1.0\n",
            self.proxy(),
        );
        self.write_file(&text);
    }

    /// Writes whatever it is where the proxy's settings are read.
    pub(super) fn write_file(&self, text: &str) {
        let next = self.folder.path().join("next.toml");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.settings()).unwrap();
    }

    /// What starts the proxy here.
    pub(super) fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_batch-retry-proxy");
        let mut command = match &self.names {
            Some(_) => with_names(self.folder.path()),
            None => Command::new("env"),
        };
        command.arg(binary).args(["serve", "--config"]).arg(self.settings());
        if let Some(clock) = &self.clock {
            clock.give(&mut command);
        }
        command
    }

    /// Starts it where it cannot start.
    pub(super) async fn fail_to_start(&self) -> Output {
        guard_for(PATIENCE, "a start that fails", self.command().kill_on_drop(true).output()).await.unwrap()
    }

    pub(super) async fn end(self) {
        self.stop.drain(Duration::ZERO);
        guard_for(PATIENCE, "the account's end", self.serving).await.unwrap();
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }
}

/// A name server that the proxy will ask, if it can be had.
async fn names(folder: &Path, network: [u8; 3]) -> Result<NameServer, String> {
    let server = socket(network, 53, 53);
    let says = Says::Address(Ipv4Addr::from(address(network, FIRST)));
    let names =
        NameServer::start(server, says).await.map_err(|error| format!("chaos: no DNS failures: {server}: {error}"))?;
    let resolver = format!("nameserver {}\noptions timeout:1 attempts:1\n", server.ip());
    std::fs::write(folder.join("resolv.conf"), resolver).unwrap();
    std::fs::write(folder.join("nsswitch.conf"), "hosts: dns\n").unwrap();
    let tried = with_names(folder).arg("true").output().await.map_err(|error| error.to_string());
    match tried {
        Ok(output) if output.status.success() => Ok(names),
        Ok(output) => Err(format!("chaos: no DNS failures: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("chaos: no DNS failures: unshare: {error}")),
    }
}

/// Runs what is added to it in a mount namespace of its own, in which names are looked up at the stage's server.
fn with_names(folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1/resolv.conf\" /etc/resolv.conf && mount --bind \"$1/nsswitch.conf\" /etc/nsswitch.conf && shift && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(folder);
    command
}

fn socket(network: [u8; 3], last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((address(network, last), port))
}

fn address([a, b, c]: [u8; 3], last: u8) -> [u8; 4] {
    [a, b, c, last]
}

/// The last bytes of the account's two addresses.
const FIRST: u8 = 1;
const SECOND: u8 = 2;

const PATIENCE: Duration = Duration::from_secs(60);
