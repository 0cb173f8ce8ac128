//! 64 MiB at once, one transfer after the other on one connection.

use std::io;
use std::time::{Duration, Instant};

use crate::client::{Answer, Client, Door};
use crate::process::Meter;
use crate::request::{BULK, Request, Subject, host};

/// What whole transfers took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfers {
    gigabytes: f64,
    elapsed: Duration,
    cpu: Duration,
}

/// Transfers one way for at least `length`, after one that is not counted.
pub(crate) async fn transfer(
    door: &Door,
    subject: Subject,
    length: Duration,
    meter: impl FnOnce() -> Meter,
) -> io::Result<Transfers> {
    let mut client = door.open(&host(0)).await?;
    let mut request = client.request(subject, 0);
    let piece = vec![b'x'; PIECE];
    once(&mut client, &mut request, &piece).await?.wanted()?;
    let meter = meter();
    let (began, before, mut count) = (Instant::now(), meter.read(), 0);
    while began.elapsed() < length {
        once(&mut client, &mut request, &piece).await?.wanted()?;
        count += 1;
    }
    let (elapsed, cpu) = (began.elapsed(), meter.read().since(before).on_core);
    Ok(Transfers { gigabytes: (count * BULK) as f64 / 1e9, elapsed, cpu })
}

async fn once(client: &mut Client, request: &mut Request, piece: &[u8]) -> io::Result<Answer> {
    if request.subject() == Subject::Upload { client.upload(request, piece).await } else { client.ask(request).await }
}

// === impl Transfers ===

impl Transfers {
    /// 10^9 bytes in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.gigabytes / self.elapsed.as_secs_f64()
    }

    /// Seconds on the proxy's core for 10^9 bytes.
    pub(crate) fn cpu_of_gigabyte(&self) -> f64 {
        self.cpu.as_secs_f64() / self.gigabytes
    }
}

const PIECE: usize = 256 << 10;
