//! What all requests to one account share: its gate, its budget, and who waits for them.
//!
//! When to pass and in which order is decided in [`crate::retry::gate`] and [`crate::retry::budget`]. Here those who wait are kept, woken when
//! their turn has come, and taken out when their client hangs up. A task that wakes them runs only while somebody waits.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::metrics::{Account, Metrics, ThrottleState};
use crate::retry::budget::{Budget, BudgetSettings, Withdrawal};
use crate::retry::gate::{Admission, Gate, GateSettings, Lane, Scope, Ticket};
use crate::retry::subject::Subject;

/// The throttles of all accounts. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Throttles(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    hosts: HashMap<Box<str>, Arc<Throttle>>,
    settings: ThrottleSettings,
}

/// The numbers of gate and budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleSettings {
    /// The gate's (`retry.throttle.*`).
    pub gate: GateSettings,
    /// The budget's (`retry.budget.*`).
    pub budget: BudgetSettings,
}

/// One account's gate and budget.
#[derive(Debug)]
pub(super) struct Throttle {
    account: Account,
    state: Mutex<State>,
    /// The time of the next release may have changed.
    changed: Notify,
    /// The service asked for time.
    closed: Notify,
    arrivals: AtomicU64,
}

/// A request that may have to wait, known to the gate from its arrival to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(Ticket);

/// A request that cannot wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// How long until it could be sent, as far as that is known.
    pub(super) after: Duration,
    /// What the service last refused with.
    pub(super) refusal: ServiceRefusal,
}

/// The words in which the service refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceRefusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
}

#[derive(Debug)]
struct State {
    gate: Gate,
    budget: Budget,
    waiting: HashMap<u64, oneshot::Sender<()>>,
    /// Whether a task wakes those who wait.
    driven: bool,
    /// The last of the account.
    refusal: ServiceRefusal,
    /// The last of a scope.
    narrow_refusal: ServiceRefusal,
}

/// A place in the queue, given up when dropped.
struct Place<'t> {
    throttle: &'t Throttle,
    ticket: Ticket,
}

// === impl Throttles ===

impl Throttles {
    /// No account yet. `metrics` shows each as it is when asked.
    pub(super) fn new(settings: ThrottleSettings, metrics: &Metrics) -> Self {
        let known = Arc::new(Mutex::new(Known { hosts: HashMap::new(), settings }));
        let shown = Arc::downgrade(&known);
        metrics.show_throttles(Box::new(move || Self::states(&shown)));
        Self(known)
    }

    /// Other numbers from now on, for the accounts there are too. No gate opens by it, and nobody who waits loses a place.
    pub(super) fn reconfigure(&self, settings: ThrottleSettings) {
        let mut known = lock(&self.0);
        if known.settings != settings {
            known.settings = settings;
            known.hosts.values().for_each(|throttle| throttle.reconfigure(settings));
        }
    }

    /// The throttle of the account at `host`.
    pub(super) fn of(&self, host: &str, account: &Account) -> Arc<Throttle> {
        let mut known = lock(&self.0);
        if let Some(throttle) = known.hosts.get(host) {
            return throttle.clone();
        }
        if known.hosts.len() >= MOST {
            // Those that nobody holds and nothing restrains are as good as new ones.
            known.hosts.retain(|_, throttle| Arc::strong_count(throttle) > 1 || throttle.is_in_force());
        }
        let throttle = Arc::new(Throttle::new(account.clone(), known.settings));
        known.hosts.insert(host.into(), throttle.clone());
        throttle
    }

    fn states(known: &Weak<Mutex<Known>>) -> Vec<ThrottleState> {
        let Some(known) = known.upgrade() else { return Vec::new() };
        let throttles: Vec<Arc<Throttle>> = lock(&known).hosts.values().cloned().collect();
        throttles.iter().map(|throttle| throttle.show()).collect()
    }
}

// === impl Throttle ===

impl Throttle {
    fn new(account: Account, settings: ThrottleSettings) -> Self {
        let refusal = ServiceRefusal { status: StatusCode::TOO_MANY_REQUESTS, code: "TooManyRequests".to_owned() };
        let state = State {
            gate: Gate::new(settings.gate),
            budget: Budget::new(settings.budget, now()),
            waiting: HashMap::new(),
            driven: false,
            narrow_refusal: refusal.clone(),
            refusal,
        };
        Self {
            account,
            state: Mutex::new(state),
            changed: Notify::new(),
            closed: Notify::new(),
            arrivals: AtomicU64::new(0),
        }
    }

    fn reconfigure(&self, settings: ThrottleSettings) {
        let mut state = self.state();
        state.gate.reconfigure(settings.gate);
        state.budget.reconfigure(settings.budget, now());
    }

    /// A request arrived from a client at this address. Connections make no clients: one of HTTP/1.1 never has two requests that wait.
    pub(super) fn arrive(&self, subject: &Subject, path: &str, client: IpAddr) -> Caller {
        self.state().budget.deposit(now());
        let order = self.arrivals.fetch_add(1, Ordering::Relaxed);
        Caller(Ticket { order, lane: Lane::of(subject), client: number(client), scope: scope(subject, path) })
    }

    /// Waits until the request may be sent. `by` is when a send is no longer of use.
    ///
    /// # Errors
    /// It would have to wait past `by`, or as many wait as may.
    pub(super) async fn pass(self: &Arc<Self>, caller: Caller, by: Instant) -> Result<(), Refused> {
        let ticket = caller.0;
        let turn = {
            let mut state = self.state();
            match state.gate.admit(now(), ticket, by.into_std()) {
                Admission::Pass => return Ok(()),
                Admission::Refuse => return Err(state.refuse(&ticket)),
                Admission::Wait => {}
            }
            let (turn, woken) = oneshot::channel();
            state.waiting.insert(ticket.order, turn);
            if state.driven {
                self.changed.notify_one();
            } else {
                state.driven = true;
                tokio::spawn(drive(self.clone()));
            }
            woken
        };
        let place = Place { throttle: self, ticket };
        let passed = timeout_at(by, turn).await;
        // The place leaves the queue, where it still stands in it.
        drop(place);
        match passed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(self.state().refuse(&ticket)),
        }
    }

    /// Takes a token for a replay; `Err` tells when there may be one.
    pub(super) fn withdraw(&self) -> Result<(), Instant> {
        match self.state().budget.withdraw(now()) {
            Withdrawal::Granted => Ok(()),
            Withdrawal::NotBefore(at) => Err(Instant::from_std(at)),
        }
    }

    /// Whether the service wants nothing now.
    pub(super) fn is_closed(&self) -> bool {
        self.state().gate.is_closed(now())
    }

    /// Waits until the service wants nothing: what has passed and not left yet must pass again.
    pub(super) async fn closing(&self) {
        // Asked for before the look, so that no closing falls between.
        let closed = self.closed.notified();
        if !self.is_closed() {
            closed.await;
        }
    }

    /// What `caller` is told if it will not be sent.
    pub(super) fn refused(&self, caller: Caller) -> Refused {
        self.state().refuse(&caller.0)
    }

    /// The service answered and asked for no time.
    pub(super) fn accepted(&self) {
        self.state().gate.accepted(now());
    }

    /// The service refused `caller` and asked for time, perhaps for how much.
    pub(super) fn throttled(&self, caller: Caller, hint: Option<Duration>, status: StatusCode, code: Option<&str>) {
        let (mut state, scope) = (self.state(), caller.0.scope);
        state.gate.throttled(now(), hint, scope, fastrand::f64());
        let refusal = ServiceRefusal { status, code: code.unwrap_or("TooManyRequests").to_owned() };
        *state.last_refusal(scope) = refusal;
        let closed = state.gate.is_closed(now());
        drop(state);
        self.changed.notify_one();
        if closed {
            self.closed.notify_waiters();
        }
    }

    /// The code of a refusal that was told before it was known.
    pub(super) fn named(&self, caller: Caller, code: Option<&str>) {
        let (mut state, Some(code)) = (self.state(), code) else { return };
        code.clone_into(&mut state.last_refusal(caller.0.scope).code);
    }

    fn is_in_force(&self) -> bool {
        let snapshot = self.state().gate.snapshot(now());
        snapshot.pace.is_some() || snapshot.waiting > 0
    }

    fn show(&self) -> ThrottleState {
        let (mut state, now) = (self.state(), now());
        let snapshot = state.gate.snapshot(now);
        let left = |at: Option<std::time::Instant>| at.map(|at| at.saturating_duration_since(now));
        ThrottleState {
            account: self.account.clone(),
            closed_for: left(snapshot.closed_until),
            waiting: snapshot.waiting as u64,
            pace_per_second: snapshot.pace,
            next_opening: left(snapshot.next_opening),
            budget_balance: state.budget.balance(now),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Wakes those who wait, each when its turn has come, until nobody does.
async fn drive(throttle: Arc<Throttle>) {
    loop {
        let next = {
            let mut state = throttle.state();
            while let Some(ticket) = state.gate.release(now()) {
                if let Some(turn) = state.waiting.remove(&ticket.order) {
                    // Who hung up in this moment does not take it; the pace lost one place.
                    let _ = turn.send(());
                }
            }
            match state.gate.next_wake() {
                Some(next) => Instant::from_std(next),
                None => {
                    state.driven = false;
                    return;
                }
            }
        };
        tokio::select! {
            () = sleep_until(next) => {}
            () = throttle.changed.notified() => {}
        }
    }
}

// === impl State ===

impl State {
    /// The last refusal of the account, or of a scope.
    fn last_refusal(&mut self, scope: Option<Scope>) -> &mut ServiceRefusal {
        if scope.is_none() { &mut self.refusal } else { &mut self.narrow_refusal }
    }

    /// What a request is told that will not be sent: the words of whatever is closed to it, and how long that lasts.
    fn refuse(&self, ticket: &Ticket) -> Refused {
        let now = now();
        let narrow = self.gate.is_scope_alone(now, ticket);
        let refusal = if narrow { &self.narrow_refusal } else { &self.refusal };
        Refused { after: self.gate.opens_for(now, ticket).saturating_duration_since(now), refusal: refusal.clone() }
    }
}

// === impl Place ===

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        if state.waiting.remove(&self.ticket.order).is_some() {
            state.gate.leave(&self.ticket);
            drop(state);
            self.throttle.changed.notify_one();
        }
    }
}

/// What a request is throttled by besides the account: the service wants time between two of some operations on one resource, and says so
/// with the codes of an account that is throttled too. Read as no more than that, a refusal of the account is learnt by the next request.
fn scope(subject: &Subject, path: &str) -> Option<Scope> {
    let interval = subject.min_interval();
    (!interval.is_zero()).then(|| Scope { key: number((subject.name(), path)), interval })
}

/// A number for what only has to be told from others.
fn number(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The runtime's clock, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a gate that is still a gate.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program talks to one account or a few; the hosts are chosen by clients.
const MOST: usize = 1024;

#[cfg(test)]
mod tests;
