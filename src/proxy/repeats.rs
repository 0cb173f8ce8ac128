//! Requests that were given up on: what a client sends again by itself is recognised and sent once.
//!
//! No SDK can be told to stop retrying, but every SDK sends its own retry byte for byte, the request id and the signature included. Replayed
//! as if it were new it would multiply the client's tries with the proxy's. Requests that carry neither an id nor a signature are never
//! remembered: the same bytes may well be another call.

use std::time::{Duration, Instant as StdInstant};

use moka::Expiry;
use moka::sync::Cache;
use ring::digest::{Context, SHA256};
use tokio::time::Instant;

use super::template::Template;
use crate::batch::fields::Fields;
use crate::retry::echo::Window;
use crate::retry::policy::Earlier;
use crate::upstream::Pieces;

/// The memory of what was given up; of nothing, by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    memory: Duration,
    /// `None` where nothing is to be remembered.
    cache: Option<Cache<RepeatKey, Remembered>>,
}

/// What was given up, and for how long that is remembered: a reload changes it for those to come.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    left: GivenUp,
    memory: Duration,
}

/// Each entry brings its own life.
struct OwnLife;

/// A request as its repeat shows it, without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RepeatKey([u8; 32]);

/// What the sends of a request that was given up leave to its repeat.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenUp {
    /// What they may have done.
    pub(super) earlier: Earlier,
    /// When the first of them that may have been carried out began.
    pub(super) first_sent: Instant,
    /// When that was by the service's clock.
    pub(super) window: Window,
}

// === impl Repeats ===

impl Repeats {
    /// The same memory, which keeps what comes from now on for `memory`.
    pub(super) fn lasting(&self, memory: Duration) -> Self {
        let new = || Cache::builder().max_capacity(MOST).expire_after(OwnLife).build();
        Self { memory, cache: (!memory.is_zero()).then(|| self.cache.clone().unwrap_or_else(new)) }
    }

    /// What was left by the request that this one repeats. `key` is asked for only if there is something to look among.
    pub(super) fn recall(&self, key: impl FnOnce() -> Option<RepeatKey>) -> Option<GivenUp> {
        let cache = self.cache.as_ref()?;
        // In good times nothing was given up, and no request is hashed.
        if cache.entry_count() == 0 {
            return None;
        }
        cache.get(&key()?).map(|remembered| remembered.left)
    }

    /// Remembers that this request was given up.
    pub(super) fn remember(&self, key: impl FnOnce() -> Option<RepeatKey>, left: GivenUp) {
        let Some(cache) = &self.cache else { return };
        if let Some(key) = key() {
            cache.insert(key, Remembered { left, memory: self.memory });
            // Counts it at once, which `recall` relies on.
            cache.run_pending_tasks();
        }
    }

    /// Forgets a request that got its answer.
    pub(super) fn forget(&self, key: RepeatKey) {
        if let Some(cache) = &self.cache {
            cache.invalidate(&key);
            cache.run_pending_tasks();
        }
    }
}

// === impl OwnLife ===

impl Expiry<RepeatKey, Remembered> for OwnLife {
    fn expire_after_create(&self, _: &RepeatKey, remembered: &Remembered, _: StdInstant) -> Option<Duration> {
        Some(remembered.memory)
    }

    fn expire_after_update(
        &self,
        _: &RepeatKey,
        remembered: &Remembered,
        _: StdInstant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(remembered.memory)
    }
}

// === impl RepeatKey ===

impl RepeatKey {
    /// The key of a request that a repeat can be told by; `body` is `None` where it is not held.
    pub(super) fn of(template: &Template, body: Option<&Pieces>) -> Option<Self> {
        let authorization = template.fields().value("authorization").unwrap_or_default();
        let id = template.request_id();
        // A signature is over a date and a length: with the body, and only with it, it tells one call from another.
        let signed = authorization.get(..SHARED_KEY.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SHARED_KEY));
        if id.is_none() && !(signed && body.is_some()) {
            return None;
        }
        let mut context = Context::new(&SHA256);
        for part in [
            template.method().as_str().as_bytes(),
            template.origin().authority().as_str().as_bytes(),
            template.target().as_bytes(),
            authorization,
            id.unwrap_or_default(),
        ] {
            // With its length, so that no two lists of parts look alike.
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.update(&body.map_or(0, Pieces::len).to_le_bytes());
        for piece in body.into_iter().flat_map(Pieces::iter) {
            context.update(piece);
        }
        let digest = context.finish();
        digest.as_ref().try_into().ok().map(Self)
    }
}

/// More requests than this given up within minutes are an outage, in which forgetting the oldest does little harm: 100 bytes each.
const MOST: u64 = 10_000;

/// Begins `SharedKey` and `SharedKeyLite`.
const SHARED_KEY: &[u8] = b"SharedKey";

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::super::route::Target;
    use super::super::template::from_http_2;
    use super::*;

    fn template(method: &str, target: &str, fields: &[(&'static str, &'static str)]) -> Template {
        let mut request = Request::builder().method(method).uri(target).header("host", "acct.example");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let target = Target::new("acct.example", 443);
        Template::new(from_http_2(&request.body(()).unwrap().into_parts().0), &target.origin().unwrap()).unwrap()
    }

    fn given_up() -> GivenUp {
        GivenUp { earlier: Earlier::MayHaveLanded, first_sent: Instant::now(), window: Window::default() }
    }

    /// In as many pieces as there are texts.
    fn pieces<const N: usize>(texts: [&'static str; N]) -> Pieces {
        let mut pieces = Pieces::default();
        texts.into_iter().for_each(|text| pieces.push(Bytes::from_static(text.as_bytes())));
        pieces
    }

    const SIGNED: (&str, &str) = ("authorization", "SharedKey a:b");
    const BEARER: (&str, &str) = ("authorization", "Bearer t");
    const ID: (&str, &str) = ("client-request-id", "1");

    #[test]
    fn only_the_same_bytes_are_a_repeat() {
        let body = pieces(["{}"]);
        let repeats = Repeats::default().lasting(Duration::from_secs(300));
        let first = template("POST", "/jobs?a=1", &[SIGNED, ID]);
        repeats.remember(|| RepeatKey::of(&first, Some(&body)), given_up());
        let (parted, other) = (pieces(["{", "}"]), pieces(["[]"]));
        for (repeat, body, want) in [
            (template("POST", "/jobs?a=1", &[SIGNED, ID]), Some(&body), true),
            (template("POST", "/jobs?a=1", &[SIGNED, ID]), Some(&parted), true),
            (template("POST", "/jobs?a=1", &[SIGNED, ID, ("user-agent", "x")]), Some(&body), true),
            (template("POST", "/jobs?a=1", &[SIGNED, ID]), Some(&other), false),
            (template("POST", "/jobs?a=1", &[SIGNED, ID]), None, false),
            (template("PUT", "/jobs?a=1", &[SIGNED, ID]), Some(&body), false),
            (template("POST", "/jobs?a=2", &[SIGNED, ID]), Some(&body), false),
            (template("POST", "/jobs?a=1", &[BEARER, ID]), Some(&body), false),
            (template("POST", "/jobs?a=1", &[SIGNED, ("client-request-id", "2")]), Some(&body), false),
            (template("POST", "/jobs?a=1", &[SIGNED]), Some(&body), false),
        ] {
            assert_eq!(repeats.recall(|| RepeatKey::of(&repeat, body)).is_some(), want, "{repeat:?}");
        }
        let key = RepeatKey::of(&first, Some(&body));
        assert!(repeats.recall(|| key).is_some());
        repeats.forget(key.unwrap());
        assert!(repeats.recall(|| key).is_none());
    }

    #[test]
    fn what_could_be_another_call_is_not_remembered() {
        let body = pieces(["{}"]);
        for (fields, body, want) in [
            (&[SIGNED, ID][..], Some(&body), true),
            (&[BEARER, ID], Some(&body), true),
            (&[BEARER, ("x-ms-client-request-id", "1")], Some(&body), true),
            (&[BEARER, ID], None, true),
            (&[SIGNED], Some(&body), true),
            (&[SIGNED], None, false),
            (&[BEARER], Some(&body), false),
            (&[], Some(&body), false),
        ] {
            let repeats = Repeats::default().lasting(Duration::from_secs(300));
            let template = template("POST", "/jobs", fields);
            repeats.remember(|| RepeatKey::of(&template, body), given_up());
            assert_eq!(repeats.recall(|| RepeatKey::of(&template, body)).is_some(), want, "{fields:?}");
        }
    }

    #[test]
    fn another_memory_keeps_what_was_remembered_under_the_one_before() {
        let repeats = Repeats::default().lasting(Duration::from_secs(300));
        let template = template("GET", "/jobs", &[SIGNED, ID]);
        let key = RepeatKey::of(&template, Some(&pieces([])));
        repeats.remember(|| key, given_up());
        let shorter = repeats.lasting(Duration::from_nanos(1));
        assert!(shorter.recall(|| key).is_some());
        shorter.remember(|| key, given_up());
        assert!(repeats.recall(|| key).is_none(), "it was forgotten when its own time was over");
        assert!(repeats.lasting(Duration::ZERO).recall(|| key).is_none());
    }

    #[test]
    fn a_memory_of_nothing_remembers_nothing() {
        let repeats = Repeats::default().lasting(Duration::ZERO);
        let template = template("GET", "/jobs", &[SIGNED, ID]);
        let key = RepeatKey::of(&template, Some(&pieces([])));
        repeats.remember(|| key, given_up());
        assert!(repeats.recall(|| key).is_none());
    }
}
