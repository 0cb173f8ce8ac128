//! The load generator in a closed loop: kept connections whose next request follows an answer, and connections made for one request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::{Client, Door};
use crate::process::Meter;
use crate::request::{Subject, host};
use crate::tally::{Tally, Window};

/// Which account a new connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// The same one, whose leaf the proxy has.
    Same,
    /// Each another one of so many.
    New(usize),
}

/// `connections` that each send their next request when the last one is answered, for `length` after they have run warm.
pub(crate) async fn closed_loop(
    door: &Door,
    connections: usize,
    length: Duration,
    meter: impl FnOnce() -> Meter,
) -> io::Result<Window> {
    let tally = Arc::new(Tally::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for number in 0..connections {
        let mut client = door.open(&host(0)).await?;
        let (tally, stop, door) = (tally.clone(), stop.clone(), door.clone());
        workers.spawn(async move {
            let mut request = client.request(Subject::Task, number);
            while !stop.load(Relaxed) {
                let answer = client.ask(&mut request).await;
                let broken = answer.is_err();
                tally.count(answer);
                if broken {
                    let Ok(another) = door.open(&host(0)).await else { return };
                    client = another;
                }
            }
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let window = tally.window(length, &meter()).await;
    stop.store(true, Relaxed);
    while workers.join_next().await.is_some() {}
    Ok(window)
}

/// Connections made for one request each, eight at a time.
pub(crate) async fn new_connections(
    door: &Door,
    hosts: Hosts,
    length: Duration,
    meter: impl FnOnce() -> Meter,
) -> io::Result<Window> {
    let tally = Arc::new(Tally::default());
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (tally, stop, begun, door) = (tally.clone(), stop.clone(), begun.clone(), door.clone());
        workers.spawn(async move {
            while !stop.load(Relaxed) {
                let number = 1 + begun.fetch_add(1, Relaxed);
                let account = match hosts {
                    Hosts::Same => 0,
                    Hosts::New(accounts) if number < accounts => number,
                    Hosts::New(_) => return tally.fail("there are no more hosts that are new"),
                };
                match door.open(&host(account)).await {
                    Ok(mut client) => {
                        let mut request = client.request(Subject::Task, number);
                        tally.count(client.ask(&mut request).await);
                        // The other end may have gone first.
                        let _ = client.close().await;
                    }
                    Err(error) => tally.fail(&error.to_string()),
                }
            }
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let window = tally.window(length, &meter()).await;
    stop.store(true, Relaxed);
    while workers.join_next().await.is_some() {}
    Ok(window)
}

/// Opens so many connections, a few at a time, and asks once on each. They stay open.
pub(crate) async fn idle_connections(door: &Door, count: usize) -> io::Result<Vec<Client>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..2 * AT_A_TIME {
        let (next, door) = (next.clone(), door.clone());
        workers.spawn(async move {
            let mut clients = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return Ok::<_, io::Error>(clients);
                }
                let mut client = door.open(&host(0)).await?;
                let mut request = client.request(Subject::Task, number);
                client.ask(&mut request).await?.wanted()?;
                clients.push(client);
            }
        });
    }
    let mut clients = Vec::with_capacity(count);
    while let Some(some) = workers.join_next().await {
        clients.extend(some??);
    }
    Ok(clients)
}

const AT_A_TIME: usize = 8;

/// Until what is measured has met every path once.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);
