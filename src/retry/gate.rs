//! Closes the way to an account that throttles, and opens it again at a pace.
//!
//! Azure throttles the account, not the connection. Without a gate each request learns it alone, waits alone and comes back together with all
//! the others. There is one [`Gate`] for each account host. It has three states, seen in [`Snapshot`]:
//!
//! * **out of the way**: nothing was throttled for a while, and passing is one check;
//! * **closed**: the service named a time, and until then nothing passes;
//! * **paced**: requests pass at a rate that grows while the service accepts and shrinks when it does not (`gate/pace.rs`).
//!
//! A refusal that names no time closes nothing, it only cuts the pace, and at most once a second: the answers to what was already on its way
//! say nothing new. Those who wait are let through reads first, then the oldest, and every client has its turn (`gate/queue.rs`).
//! What is throttled more narrowly than the account, enableautoscale for each pool, closes only its own [`Scope`].
//!
//! The gate is a value: it is told the time and whom it may release. Waking those who wait, deadlines and the answer to a request that
//! cannot wait are the forwarder's.
//!
//! # How to drive it
//!
//! [`admit`](Gate::admit) before every send, replays too, with the ticket the request got on arrival. Whoever is told to wait is woken by
//! [`release`](Gate::release), called until it returns nothing whenever [`next_wake`](Gate::next_wake) has come (read it anew after every call), or
//! goes away with [`leave`](Gate::leave). Each answer is told: [`throttled`](Gate::throttled) or [`accepted`](Gate::accepted).

use std::time::{Duration, Instant};

use self::pace::{Meter, Pace};
use self::queue::Queue;
pub use self::queue::{Lane, Ticket};
pub use self::scope::Scope;
use self::scope::Scopes;
pub use self::settings::{GateSettings, InvalidGate};

mod pace;
mod queue;
mod scope;
mod settings;

/// The gate of one account.
#[derive(Debug)]
pub struct Gate {
    settings: GateSettings,
    meter: Meter,
    force: Option<Force>,
    queue: Queue,
    scopes: Scopes,
}

/// What is known while the gate is in force.
#[derive(Debug)]
struct Force {
    /// Until when the service wants nothing.
    opens: Instant,
    /// When the pace lets the next one through; never before `opens`.
    next: Instant,
    pace: Pace,
    /// The last refusal, or the last time somebody had to wait for the pace.
    needed: Instant,
    /// Whether somebody had to wait since an answer last proved the pace: one client alone never leaves a queue behind it.
    pressed: bool,
}

/// What a request that asks to pass is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Send.
    Pass,
    /// It is not queued and will not be, as the gate opens too late for it or as many as may wait are waiting. The proxy answers in the service's
    /// place and names the time of [`Gate::opens_for`].
    Refuse,
    /// It is queued: wait for the release, which does not come before [`Gate::opens_for`].
    Wait,
}

/// The gate as seen from outside, for gauges and the status page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// When the service's own wait ends, while it lasts.
    pub closed_until: Option<Instant>,
    /// How many wait, for the account or a narrower scope.
    pub waiting: usize,
    /// Requests a second; `None` while the gate is out of the way.
    pub pace: Option<f64>,
    /// When the next one in line is due.
    pub next_opening: Option<Instant>,
}

// === impl Gate ===

impl Gate {
    /// A gate that is out of the way.
    pub fn new(settings: GateSettings) -> Self {
        let (meter, queue, scopes) = (Meter::default(), Queue::default(), Scopes::default());
        Self { settings, meter, force: None, queue, scopes }
    }

    /// Other numbers from now on. What is closed stays closed, who waits keeps waiting, and the pace is what it is: they count when the service
    /// next refuses, and for who asks to pass.
    pub fn reconfigure(&mut self, settings: GateSettings) {
        self.settings = settings;
    }

    /// Whether this request may be sent now. `deadline` is the last moment at which a send is still of use to it.
    pub fn admit(&mut self, now: Instant, ticket: Ticket, deadline: Instant) -> Admission {
        if let Some(opens) = ticket.scope.and_then(|scope| self.scopes.closed_until(scope, now)) {
            if !self.may_wait(opens, deadline) {
                return Admission::Refuse;
            }
            self.scopes.hold(opens, ticket);
            return Admission::Wait;
        }
        let Some(force) = &mut self.force else {
            self.scopes.sent(&ticket, now);
            return Admission::Pass;
        };
        if self.queue.is_empty() && now >= force.next {
            if force.is_rested(now) {
                self.force = None;
            } else {
                force.spend(now);
            }
            self.scopes.sent(&ticket, now);
            return Admission::Pass;
        }
        let opens = force.next.max(now);
        if !self.may_wait(opens, deadline) {
            return Admission::Refuse;
        }
        self.enqueue(now, ticket);
        Admission::Wait
    }

    /// The next request whose turn it is, if it is anybody's.
    pub fn release(&mut self, now: Instant) -> Option<Ticket> {
        while let Some(ticket) = self.scopes.due(now) {
            // Those that waited for a scope wait for the account like any other, in the place their age gives them.
            self.enqueue(now, ticket);
        }
        loop {
            match &mut self.force {
                Some(force) if now < force.next => return None,
                Some(force) if !self.queue.is_empty() => {
                    force.needed = now;
                }
                _ => {}
            }
            let ticket = self.queue.pop()?;
            // Another one for the same scope may have passed meanwhile.
            if let Some(opens) = ticket.scope.and_then(|scope| self.scopes.closed_until(scope, now)) {
                self.scopes.hold(opens, ticket);
                continue;
            }
            if let Some(force) = &mut self.force {
                force.spend(now);
            }
            self.scopes.sent(&ticket, now);
            return Some(ticket);
        }
    }

    /// When [`release`](Self::release) is worth calling; `None` while nobody waits.
    pub fn next_wake(&self) -> Option<Instant> {
        let paced = self.force.as_ref().filter(|_| !self.queue.is_empty()).map(|force| force.next);
        paced.into_iter().chain(self.scopes.next_due()).min()
    }

    /// When a request with this ticket could be sent, if nobody were before it.
    pub fn opens_for(&self, now: Instant, ticket: &Ticket) -> Instant {
        let scope = ticket.scope.and_then(|scope| self.scopes.closed_until(scope, now));
        let account = self.force.as_ref().map(|force| force.next);
        scope.into_iter().chain(account).fold(now, Instant::max)
    }

    /// Whether the service wants nothing at all now.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.force.as_ref().is_some_and(|force| force.opens > now)
    }

    /// Whether only its own scope is closed to a request with this ticket.
    pub fn is_scope_alone(&self, now: Instant, ticket: &Ticket) -> bool {
        !self.is_closed(now) && ticket.scope.is_some_and(|scope| self.scopes.closed_until(scope, now).is_some())
    }

    /// A request that waits does so no longer: its client hung up, or its deadline came. Whether it was waiting.
    pub fn leave(&mut self, ticket: &Ticket) -> bool {
        self.queue.remove(ticket) || self.scopes.remove(ticket)
    }

    /// An answer came that asks for nothing, be it a success or not.
    pub fn accepted(&mut self, now: Instant) {
        self.meter.count(now);
        if let Some(force) = &mut self.force {
            // A pace that holds nobody up is not proven by being kept.
            let pressed = std::mem::take(&mut force.pressed) || !self.queue.is_empty();
            let proven = pressed && now >= force.opens;
            force.pace.accepted(now, proven);
        }
    }

    /// The service refused a request, with or without naming a time. A `scope` takes the refusal for itself.
    /// `entropy` is chance from 0 up to 1: it keeps the gates of several proxies from opening with one beat.
    pub fn throttled(&mut self, now: Instant, hint: Option<Duration>, scope: Option<Scope>, entropy: f64) {
        let hint = hint.map(|hint| hint.min(self.settings.hint_max));
        if let Some(scope) = scope {
            self.scopes.close(scope, now, hint.unwrap_or_default());
            return;
        }
        let settings = &self.settings;
        let accepted = self.meter.rate(now);
        let queued = !self.queue.is_empty();
        let force = self.force.get_or_insert_with(|| Force {
            opens: now,
            next: now,
            pace: Pace::after_refusal(accepted, now),
            needed: now,
            pressed: false,
        });
        force.needed = now;
        // Where nobody had to wait, the pace is a permission that was not tried: what was accepted is what counts. But one quiet moment must
        // not undo all that was learned.
        let known =
            if queued || force.pace.is_guess() { f64::INFINITY } else { accepted.max(force.pace.per_second() / 2.0) };
        force.pace.refused(settings, known, hint.unwrap_or_default(), now);
        let spread = force.pace.interval().mul_f64(entropy.clamp(0.0, 1.0));
        if let Some(opens) = hint.map(|hint| now + hint).filter(|opens| *opens > force.opens) {
            force.opens = opens;
            force.pace.rests_until(opens);
        }
        force.next = force.next.max(force.opens + spread);
    }

    /// What there is to see at `now`.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let force = self.force.as_ref().filter(|force| !self.queue.is_empty() || !force.is_rested(now));
        Snapshot {
            closed_until: force.map(|force| force.opens).filter(|opens| *opens > now),
            waiting: self.waiting(),
            pace: force.map(|force| force.pace.per_second()),
            next_opening: self.next_wake(),
        }
    }

    fn enqueue(&mut self, now: Instant, ticket: Ticket) {
        if let Some(force) = &mut self.force {
            force.needed = now;
            force.pressed = true;
        }
        self.queue.push(ticket);
    }

    fn waiting(&self) -> usize {
        self.queue.len() + self.scopes.waiting()
    }

    fn may_wait(&self, opens: Instant, deadline: Instant) -> bool {
        opens <= deadline && self.waiting() < self.settings.max_waiting
    }
}

// === impl Force ===

impl Force {
    /// Takes one place in the pace.
    fn spend(&mut self, now: Instant) {
        // Timers come late by a little; what they lost may be caught up with, what nobody asked for may not.
        let caught_up = now.checked_sub(CATCH_UP).map_or(now, |earliest| earliest.max(self.opens));
        self.next = self.next.max(caught_up) + self.pace.interval();
    }

    /// Whether nothing was refused and nobody waited for so long that the gate has nothing left to do.
    fn is_rested(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.needed.max(self.opens)) >= REST
    }
}

/// How long nothing must be refused and nobody must wait before the gate steps out of the way.
const REST: Duration = Duration::from_secs(10);

/// How far releases may lag behind the pace and still make up for it: a timer's grain and a busy machine's delay.
const CATCH_UP: Duration = Duration::from_millis(10);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests need some instant to begin with")]
mod tests;
