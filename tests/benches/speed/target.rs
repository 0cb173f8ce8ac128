//! What is measured: a target is started anew for every figure, answers a first request, and is killed at the end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Result;
use crate::client::{Door, Opening};
use crate::machine::Cores;
use crate::origin::Origin;
use crate::pki::{self, Pki};
use crate::plan::{Kind, Setup, Site};
use crate::process::{Meter, Process};
use crate::request::{Subject, host};

/// What all targets share.
pub(crate) struct World {
    pub(crate) cores: Cores,
    pub(crate) origin: Origin,
    pub(crate) pki: Pki,
}

/// Something that can be measured.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A target that has answered its first request.
pub(crate) struct Running {
    pub(crate) door: Door,
    pub(crate) process: Option<Process>,
    /// From the start of the process to the first answer.
    pub(crate) ready: Duration,
    _folder: TempDir,
}

// === impl World ===

impl World {
    /// With certificates in `folder`, and an origin that serves.
    pub(crate) async fn create(folder: &Path, cores: Cores) -> Result<Self> {
        let pki = Pki::create(folder)?;
        let origin = Origin::start(pki.server()?).await?;
        Ok(Self { cores, origin, pki })
    }
}

// === impl Target ===

impl Target {
    /// Starts it and waits for the first answer.
    pub(crate) async fn start(&self, world: &World, setup: Setup) -> Result<Running> {
        self.start_as(world, setup, PATIENCE, |command| command).await
    }

    /// The same with its command made another by `wrap`, and waiting for `patience`.
    pub(crate) async fn start_as(
        &self,
        world: &World,
        setup: Setup,
        patience: Duration,
        wrap: impl FnOnce(Command) -> Command,
    ) -> Result<Running> {
        world.origin.refresh();
        let folder = TempDir::with_prefix("speed-")?;
        let origin = world.origin.address();
        let site = Site { listen: free_address()?, origin, pki: &world.pki, folder: folder.path() };
        let Some(plan) = self.kind.plan(&site, setup)? else {
            let began = Instant::now();
            let door = first_answer(origin, Opening::Straight, origin.port(), &world.pki.ca).await?;
            return Ok(Running { door, process: None, ready: began.elapsed(), _folder: folder });
        };
        let began = Instant::now();
        let mut process = Process::start(wrap(plan.command), world.cores, &folder.path().join("log"))?;
        loop {
            match first_answer(site.listen, plan.opening, origin.port(), &plan.trusted).await {
                Ok(door) => return Ok(Running { door, process: Some(process), ready: began.elapsed(), _folder: folder }),
                Err(error) if began.elapsed() > patience => return Err(format!("no answer after its start: {error}").into()),
                Err(_) => process.check()?,
            }
            // Shorter than the timer of the runtime can, and there is nothing else to do.
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

// === impl Running ===

impl Running {
    /// Counts the time on the proxy's core; without a proxy there is none.
    pub(crate) fn meter(&self) -> Meter {
        self.process.as_ref().map_or_else(Meter::none, Process::meter)
    }
}

/// One try to get an answer through what listens at `address`.
async fn first_answer(address: SocketAddr, opening: Opening, port: u16, trusted: &Path) -> Result<Door> {
    // Most tries end here, before the file is there.
    drop(TcpStream::connect(address).await?);
    let door = Door::new(address, opening, port, pki::client(trusted)?);
    let ask = async {
        let mut client = door.open(&host(0)).await?;
        let mut request = client.request(Subject::Task, 0);
        client.ask(&mut request).await?.wanted()?;
        client.close().await
    };
    timeout(PATIENCE, ask).await??;
    Ok(door)
}

/// A port that was free just now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

const PATIENCE: Duration = Duration::from_secs(20);
