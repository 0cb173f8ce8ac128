//! Virtual time: events in order, workers that send one request after the other, proxies between them and the account.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use batch_retry_proxy::retry::budget::{Budget, Withdrawal};
use batch_retry_proxy::retry::classify::Class;
use batch_retry_proxy::retry::gate::{Admission, Gate, Lane, Ticket};
use batch_retry_proxy::retry::outcome::Outcome;
use batch_retry_proxy::retry::policy::{Decision, Earlier, LaneReplays, Origin, Replayable, RetryPolicy, Situation};
use batch_retry_proxy::retry::subject::Subject;
use fastrand::Rng;
use http::{Method, StatusCode};

use crate::account::{Account, Answer, Terms};
use crate::rule::{DEFAULTS, Rule};
use crate::score::Score;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub proxies: usize,
    /// What the workers would send if all were accepted, as a multiple of the account's rate.
    pub load: f64,
    pub terms: Terms,
    pub rule: Rule,
    pub length: Duration,
    pub seed: u64,
}

/// Everything there is.
struct World {
    scene: Scene,
    epoch: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    dealt: u64,
    rng: Rng,
    account: Account,
    policy: RetryPolicy,
    proxies: Vec<Proxy>,
    workers: Vec<Worker>,
    score: Score,
}

struct Proxy {
    gate: Option<Gate>,
    budget: Budget,
    wake: Option<Duration>,
}

struct Worker {
    subject: Subject,
    ticket: Ticket,
    born: Duration,
    attempts: u32,
    waits: bool,
    owes_budget: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Answer(usize, Answer),
    Arrive(usize),
    Born(usize),
    Expire(usize, u64),
    Ready(usize),
    Wake(usize),
}

/// Lets the scene play.
pub(crate) fn play(scene: Scene) -> Score {
    let epoch = Instant::now();
    let count = scene.proxies * WORKERS;
    let subject = Subject::of(&Method::GET, "/jobs/j");
    let ticket = Ticket { order: 0, lane: Lane::Read, client: 0, scope: None };
    let worker = |_| Worker { subject, ticket, born: Duration::ZERO, attempts: 0, waits: false, owes_budget: false };
    let proxy = |_| Proxy {
        gate: if let Rule::Proxy(settings) = scene.rule { Some(Gate::new(settings)) } else { None },
        budget: Budget::new(DEFAULTS.throttle.budget, epoch),
        wake: None,
    };
    let mut world = World {
        scene,
        epoch,
        now: Duration::ZERO,
        events: BinaryHeap::new(),
        dealt: 0,
        rng: Rng::with_seed(scene.seed),
        account: Account::new(scene.terms),
        policy: RetryPolicy::new(DEFAULTS.retry.clone()),
        proxies: (0..scene.proxies).map(proxy).collect(),
        workers: (0..count).map(worker).collect(),
        score: Score::new(scene),
    };
    for worker in 0..count {
        let think = world.think();
        world.at(think, Event::Born(worker));
    }
    world.run();
    world.score
}

impl World {
    fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > self.scene.length {
                return;
            }
            self.now = at;
            match event {
                Event::Answer(worker, answer) => self.answer(worker, answer),
                Event::Arrive(worker) => self.arrive(worker),
                Event::Born(worker) => self.born(worker),
                Event::Expire(worker, order) => self.expire(worker, order),
                Event::Ready(worker) => self.ready(worker),
                Event::Wake(proxy) => self.wake(proxy),
            }
        }
    }

    fn born(&mut self, worker: usize) {
        // Six in ten poll, three create, one is a bulk create: a workflow engine's mix.
        let (method, path) = match self.rng.u32(0..30) {
            0..18 => (Method::GET, "/jobs/j"),
            18..27 => (Method::POST, "/jobs/j/tasks"),
            _ => (Method::POST, "/jobs/j/addtaskcollection"),
        };
        let subject = Subject::of(&method, path);
        let ticket = Ticket { order: self.dealt, lane: Lane::of(&subject), client: worker as u64, scope: None };
        self.workers[worker] = Worker { subject, ticket, born: self.now, attempts: 0, waits: false, owes_budget: false };
        let now = self.instant();
        self.proxies[worker / WORKERS].budget.deposit(now);
        self.ready(worker);
    }

    /// The request is ready to be sent as far as it is concerned.
    fn ready(&mut self, worker: usize) {
        let (now, deadline) = (self.instant(), self.epoch + self.workers[worker].born + deadline());
        let proxy = &mut self.proxies[worker / WORKERS];
        let Some(gate) = &mut proxy.gate else { return self.send(worker) };
        let owes = std::mem::take(&mut self.workers[worker].owes_budget);
        let withdrawal = if owes { proxy.budget.withdraw(now) } else { Withdrawal::Granted };
        if let Withdrawal::NotBefore(at) = withdrawal {
            if at >= deadline {
                return self.lose(worker);
            }
            self.workers[worker].owes_budget = true;
            return self.at(at - self.epoch, Event::Ready(worker));
        }
        match gate.admit(now, self.workers[worker].ticket, deadline) {
            Admission::Pass => self.send(worker),
            Admission::Refuse => self.lose(worker),
            Admission::Wait => {
                self.workers[worker].waits = true;
                self.at(deadline - self.epoch, Event::Expire(worker, self.workers[worker].ticket.order));
                self.set_alarm(worker / WORKERS);
            }
        }
    }

    fn send(&mut self, worker: usize) {
        self.workers[worker].attempts += 1;
        self.workers[worker].waits = false;
        let way = self.way();
        self.at(self.now + way, Event::Arrive(worker));
    }

    fn arrive(&mut self, worker: usize) {
        let answer = if self.rng.f64() < FAILURES { Answer::Failed } else { self.account.receive(self.now) };
        self.score.sent(self.now, worker / WORKERS, answer);
        let way = self.way();
        self.at(self.now + way, Event::Answer(worker, answer));
    }

    fn answer(&mut self, worker: usize, answer: Answer) {
        let (now, chance) = (self.instant(), self.rng.f64());
        if let Some(gate) = &mut self.proxies[worker / WORKERS].gate {
            match answer {
                // A server error asks for nothing: to the gate it is an answer like any other.
                Answer::Accepted | Answer::Failed => gate.accepted(now),
                Answer::Throttled(hint) => gate.throttled(now, hint, None, chance),
            }
            self.set_alarm(worker / WORKERS);
        }
        if answer == Answer::Accepted {
            self.score.done(self.now - self.workers[worker].born);
            return self.rest(worker);
        }
        match self.next_try(worker, answer) {
            Some(wait) if self.now + wait < self.workers[worker].born + deadline() => {
                self.at(self.now + wait, Event::Ready(worker))
            }
            _ => self.lose(worker),
        }
    }

    /// How long to wait before the next try, or `None` to give up.
    fn next_try(&mut self, worker: usize, answer: Answer) -> Option<Duration> {
        let now = self.instant();
        let request = &mut self.workers[worker];
        if !matches!(self.scene.rule, Rule::Proxy(_)) {
            let reads = request.ticket.lane == Lane::Read;
            let budget = &mut self.proxies[worker / WORKERS].budget;
            return self.scene.rule.wait(answer, request.attempts, reads, budget, now, &mut self.rng);
        }
        let (status, hint) = match answer {
            Answer::Throttled(hint) => (StatusCode::TOO_MANY_REQUESTS, hint),
            Answer::Accepted | Answer::Failed => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        let situation = Situation {
            subject: request.subject,
            body: Replayable::Held,
            attempts: request.attempts,
            origin: Origin::Program,
            earlier: Earlier::MayHaveLanded,
            lane_replays: LaneReplays::default(),
            lags_until: None,
            now,
            deadline: self.epoch + request.born + deadline(),
            drain_by: None,
            fresh_until: None,
            entropy: self.rng.f64(),
        };
        let verdict = self.policy.decide(&situation, &Outcome::Responded { status, hint, fault: None });
        request.owes_budget = verdict.class == Class::Transient;
        if let Decision::Replay { after, .. } = verdict.decision { Some(after) } else { None }
    }

    fn wake(&mut self, proxy: usize) {
        if self.proxies[proxy].wake.take_if(|wake| *wake <= self.now).is_none() {
            return;
        }
        let now = self.instant();
        while let Some(ticket) = self.proxies[proxy].gate.as_mut().and_then(|gate| gate.release(now)) {
            self.send(ticket.client as usize);
        }
        self.set_alarm(proxy);
    }

    fn expire(&mut self, worker: usize, order: u64) {
        let Worker { ticket, waits, .. } = self.workers[worker];
        if waits && ticket.order == order {
            if let Some(gate) = &mut self.proxies[worker / WORKERS].gate {
                gate.leave(&ticket);
            }
            self.lose(worker);
        }
    }

    fn lose(&mut self, worker: usize) {
        self.workers[worker].waits = false;
        self.score.lost();
        self.rest(worker);
    }

    fn rest(&mut self, worker: usize) {
        let think = self.think();
        self.at(self.now + think, Event::Born(worker));
    }

    /// Wakes the proxy when its gate wants to be, on a timer with the grain of tokio's.
    fn set_alarm(&mut self, proxy: usize) {
        let Some(at) = self.proxies[proxy].gate.as_ref().and_then(Gate::next_wake) else { return };
        let at = Duration::from_millis((at - self.epoch).max(self.now).as_nanos().div_ceil(1_000_000) as u64);
        if self.proxies[proxy].wake.is_none_or(|set| at < set) {
            self.proxies[proxy].wake = Some(at);
            self.at(at, Event::Wake(proxy));
        }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.dealt += 1;
        self.events.push(Reverse((at, self.dealt, event)));
    }

    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    /// One way over the network.
    fn way(&mut self) -> Duration {
        ONE_WAY.mul_f64(0.75 + self.rng.f64() / 2.0)
    }

    /// What a worker does between two requests: the load is right if all are accepted.
    fn think(&mut self) -> Duration {
        let period = (self.scene.proxies * WORKERS) as f64 / (self.scene.load * self.scene.terms.rate);
        let mean = (period - 2.0 * ONE_WAY.as_secs_f64()).max(0.0);
        Duration::from_secs_f64(-mean * (1.0 - self.rng.f64()).ln())
    }
}

/// How long a request has. With the other rules it is the patience of their caller.
fn deadline() -> Duration {
    DEFAULTS.retry.deadline
}

/// Workers behind one proxy, or one client of the SDK.
pub(crate) const WORKERS: usize = 10;

/// Half of what an answer takes, 20 ms on average.
const ONE_WAY: Duration = Duration::from_millis(10);

/// The share of sends that meet a server error of another kind.
const FAILURES: f64 = 0.002;
