//! The status as server-sent events (HTML Living Standard, 9.2): one when something has changed, once a second at most.
//!
//! An event is the `/status` document with those replays alone that the client has not had, a few at a time; its id says up to which, and a
//! client that comes again with it goes on from there. A stream ends with its connection's time or the server, and with a client that does not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use super::Visitor;
use super::body::PageBody;
use super::page::{Page, Pages, page, text};
use crate::metrics::Replay;

/// One client's stream.
struct Feed {
    pages: Arc<Pages>,
    visitor: Visitor,
    /// Taken from all streams together.
    place: OwnedSemaphorePermit,
    /// The last replay that the client has.
    seen: u64,
    sink: mpsc::Sender<Bytes>,
}

/// Why a stream ends.
struct Ended;

// === impl Pages ===

impl Pages {
    /// The answer to a request for the stream.
    pub(super) fn stream<B>(self: &Arc<Self>, request: &Request<B>, visitor: &Visitor) -> Page {
        // It could read nothing but take up the places.
        if is_for_a_page_from_elsewhere(request.headers()) {
            return text(StatusCode::FORBIDDEN, "a web page from elsewhere may not do this\n");
        }
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open\n");
        };
        let (sink, source) = mpsc::channel(1);
        if request.method() == Method::GET {
            let seen = seen(request.headers(), self.process());
            let feed = Feed { pages: Arc::clone(self), visitor: visitor.clone(), place, seen, sink };
            visitor.tasks.spawn(feed.run());
        }
        let mut page = page(StatusCode::OK, "text/event-stream", Bytes::new());
        *page.body_mut() = PageBody::Events(source);
        page
    }

    /// How things stand, to be compared: without the time that passes and without replays.
    fn stands(&self, address: Option<SocketAddr>) -> Vec<u8> {
        serde_json::to_vec(&self.status(address).without_uptime()).unwrap_or_default()
    }

    /// How things stand with these `replays`, in one document or more, each with the number of its last replay, if it has any.
    fn events(&self, replays: &[Arc<Replay>], address: Option<SocketAddr>) -> Vec<(Option<u64>, String)> {
        // One without replays where there are none.
        let portions = replays.chunks(PORTION).chain(replays.is_empty().then_some(&[][..]));
        let documents = portions.map(|portion| {
            let status = self.status(address).with(portion.to_vec());
            (portion.last().map(|replay| replay.number), serde_json::to_string(&status).unwrap_or_default())
        });
        documents.collect()
    }

    /// Tells this process from the next.
    fn process(&self) -> u128 {
        self.start.process()
    }
}

// === impl Feed ===

impl Feed {
    /// Tells what changes until somebody ends it.
    async fn run(mut self) {
        let mut second = interval(SECOND);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        let mut spoke = Instant::now();
        let mut going = self.send(format!("retry: {}\n\n", RETRY.as_millis()).into()).await;
        while going.is_ok() {
            tokio::select! {
                () = self.visitor.ending.cancelled() => break,
                () = self.sink.closed() => break,
                _ = second.tick() => {}
            }
            let now = self.pages.stands(self.visitor.address);
            let replays = self.pages.context.metrics.replays_after(self.seen);
            if told.as_ref() != Some(&now) || !replays.is_empty() {
                told = Some(now);
                going = self.tell(&replays).await;
                spoke = Instant::now();
            } else if spoke.elapsed() >= KEEP_ALIVE {
                going = self.send(": still here\n\n".into()).await;
                spoke = Instant::now();
            }
        }
        drop(self.place);
    }

    async fn tell(&mut self, replays: &[Arc<Replay>]) -> Result<(), Ended> {
        for (last, json) in self.pages.events(replays, self.visitor.address) {
            let seen = last.unwrap_or(self.seen);
            self.send(format!("id: {}-{seen}\ndata: {json}\n\n", self.pages.process()).into()).await?;
            self.seen = seen;
        }
        Ok(())
    }

    async fn send(&self, text: Bytes) -> Result<(), Ended> {
        tokio::select! {
            sent = self.sink.send_timeout(text, PATIENCE) => match sent {
                Ok(()) => Ok(()),
                Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Ended),
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                    debug!(peer = %self.visitor.peer, "a client does not read its events");
                    self.visitor.cut.cancel();
                    Err(Ended)
                }
            },
            () = self.visitor.ending.cancelled() => Err(Ended),
        }
    }
}

/// What a browser tells with a request that another server's page makes: an origin with some of them, and with all, also for an image, which
/// has none, where the page is from. `none` is the person at the browser.
fn is_for_a_page_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(header::ORIGIN) || site.is_some_and(|site| site != "same-origin" && site != "none")
}

/// The last replay that a client had from this `process` before it came again.
fn seen(headers: &HeaderMap, process: u128) -> u64 {
    let id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let of = id.split_once('-').filter(|(of, _)| *of == process.to_string());
    of.and_then(|(_, seen)| seen.parse().ok()).unwrap_or_default()
}

const SECOND: Duration = Duration::from_secs(1);
/// Shorter than the idle limits of what may be in between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// For a client that does not read.
const PATIENCE: Duration = Duration::from_secs(10);
/// After that a client comes again.
const RETRY: Duration = Duration::from_secs(1);
/// How many streams there may be: few enough that most of the server's places are left for probes and scrapers.
pub(super) const STREAMS: usize = 16;
/// Replays in an event: a few KiB.
const PORTION: usize = 8;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_goes_on_where_it_was_unless_another_process_told_it() {
        for (id, want) in [("7-12", 12), ("8-12", 0), ("7-", 0), ("12", 0), ("7-12-3", 0), ("", 0)] {
            let headers = [("last-event-id".parse().unwrap(), HeaderValue::from_static(id))].into_iter().collect();
            assert_eq!(seen(&headers, 7), want, "{id}");
        }
        assert_eq!(seen(&HeaderMap::new(), 7), 0);
    }
}
