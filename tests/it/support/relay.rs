//! A stretch of network with faults: a TCP relay between a proxy and its origin that delays, cuts and holds back what passes.
//!
//! What a closed connection still had under way is lost with it: nothing arrives after its sender was told that it is over.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::guard;

/// A relay to one address. Dropped, it ends everything and refuses what comes.
pub(crate) struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
    // Held for its drop, which ends the relay.
    _task: JoinSet<()>,
}

/// What the network is like; by default nothing is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weather {
    /// The share of pieces that come late, as after a loss that TCP makes good.
    pub(crate) late: f64,
    /// How much later.
    pub(crate) delay: Duration,
    /// The share of pieces at which the connection is reset, one half before they are passed on and one half after.
    pub(crate) reset: f64,
    /// Nothing passes in either direction, though connections stand.
    pub(crate) partitioned: bool,
}

/// What all connections of a relay see.
#[derive(Default)]
struct Line {
    weather: watch::Sender<Weather>,
    /// Counted up to cut what is connected.
    cuts: watch::Sender<u64>,
    accepted: watch::Sender<u64>,
    open: watch::Sender<u64>,
}

/// Why a connection is over.
struct Reset;

// === impl Relay ===

impl Relay {
    /// Relays what comes to `address` (port 0 lets the system choose) to `origin`. The same seed deals the same pieces in the same order the
    /// same faults.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub(crate) async fn start(address: SocketAddr, origin: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line::default());
        let mut task = JoinSet::new();
        task.spawn(accept(listener, origin, line.clone(), Rng::with_seed(seed)));
        Ok(Self { address, line, _task: task })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until so many connections were accepted.
    pub(crate) async fn until_accepted(&self, count: u64) {
        let mut accepted = self.line.accepted.subscribe();
        guard("connections at the relay", accepted.wait_for(|accepted| *accepted >= count))
            .await
            .expect("held by the relay");
    }

    /// Waits until none is connected.
    pub(crate) async fn until_idle(&self) {
        let mut open = self.line.open.subscribe();
        guard("an idle relay", open.wait_for(|open| *open == 0)).await.expect("held by the relay");
    }

    /// What the network is like from now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.line.weather.send_replace(weather);
    }

    /// Resets all that is connected.
    pub(crate) fn cut(&self) {
        self.line.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn accept(listener: TcpListener, origin: SocketAddr, line: Arc<Line>, mut rng: Rng) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                line.accepted.send_modify(|count| *count += 1);
                line.open.send_modify(|count| *count += 1);
                connections.spawn(relay(near, origin, line.clone(), rng.fork()));
            }
            // Those that ended are let go of: a run may take hours.
            Some(_) = connections.join_next() => line.open.send_modify(|count| *count -= 1),
        }
    }
}

/// Passes on between both sides until either ends or the weather does it.
async fn relay(near: TcpStream, origin: SocketAddr, line: Arc<Line>, mut rng: Rng) {
    let Ok(far) = TcpStream::connect(origin).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let mut cuts = line.cuts.subscribe();
    cuts.mark_unchanged();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) = (rng.fork(), rng.fork());
    let (mut there, mut back) = (Pump::new(near_in, far_out, &line, there), Pump::new(far_in, near_out, &line, back));
    let ended = tokio::select! {
        ended = there.run() => ended,
        ended = back.run() => ended,
        _ = cuts.changed() => Err(Reset),
    };
    for mut pump in [there, back] {
        match ended {
            Ok(()) => drop(pump.to.shutdown().await),
            Err(Reset) => {
                drop(pump.to.as_ref().set_zero_linger());
                // Dropped, it would say goodbye first.
                pump.to.forget();
            }
        }
    }
}

/// One direction of a connection.
struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    weather: watch::Receiver<Weather>,
    rng: Rng,
}

// === impl Pump ===

impl Pump {
    fn new(from: OwnedReadHalf, to: OwnedWriteHalf, line: &Line, rng: Rng) -> Self {
        Self { from, to, weather: line.weather.subscribe(), rng }
    }

    /// Until the sender ends in good order.
    async fn run(&mut self) -> Result<(), Reset> {
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            piece.clear();
            if self.from.read_buf(&mut piece).await.map_err(|_| Reset)? == 0 {
                return Ok(());
            }
            let weather = *self.weather.borrow();
            if self.rng.f64() < weather.late {
                tokio::time::sleep(weather.delay).await;
            }
            let (breaks, before) = (self.rng.f64() < weather.reset, self.rng.bool());
            if breaks && before {
                return Err(Reset);
            }
            self.hold(&mut piece).await?;
            self.to.write_all(&piece).await.map_err(|_| Reset)?;
            if breaks {
                return Err(Reset);
            }
        }
    }

    /// Waits for the end of a partition. Who ends the connection meanwhile takes back what was under way.
    async fn hold(&mut self, piece: &mut Vec<u8>) -> Result<(), Reset> {
        loop {
            tokio::select! {
                biased;
                over = self.weather.wait_for(|weather| !weather.partitioned) => return over.map(drop).map_err(|_| Reset),
                read = self.from.read_buf(piece), if piece.len() < HELD => {
                    if read.map_err(|_| Reset)? == 0 {
                        return Err(Reset);
                    }
                }
            }
        }
    }
}

/// Read at a time.
const PIECE: usize = 16 * 1024;

/// Read at most while nothing passes: what a window of TCP would take.
const HELD: usize = 256 * 1024;
