//! Deals the faults of a scenario. Pure: chance comes from a seed and time as an argument, so that the same requests in the same
//! order meet the same faults. Only how long a throttle window is closed depends on the clock.

use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::answer::Refusal;
use super::scenario::{FaultKind, Rule, Scenario};
use crate::batch::operation::Operation;

/// Decides for each request whether something goes wrong.
#[derive(Debug)]
pub(super) struct Dealer {
    rules: Vec<Dealing>,
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) effect: Effect,
    /// Whether the request came into a window that was known to be closed.
    pub(super) early: bool,
}

/// How it goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// An error answer, with `Retry-After` in seconds where there is one; nothing is done.
    Refuse(Refusal, Option<u64>),
    /// The work is done and an error answered all the same.
    RefuseAfterWork(Refusal, Option<u64>),
    /// The work is done and the connection reset instead of an answer.
    ResetAfterWork,
    /// The connection is reset and nothing done.
    ResetBeforeWork,
    /// Nothing is said for a time, then the connection is closed; nothing is done.
    Stall(Duration),
    /// The work is done and the answer ends too soon.
    Truncate,
}

/// A rule and how far it has come.
#[derive(Debug)]
struct Dealing {
    rule: Rule,
    chance: Rng,
    matched: u64,
    /// How many of the burst are left.
    left: u32,
    closed_until: Option<SystemTime>,
}

// === impl Dealer ===

impl Dealer {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        // One generator to each rule, so that a rule's chances do not depend on the others.
        let mut seeds = Rng::with_seed(seed);
        let dealing = |rule: &Rule| Dealing {
            rule: rule.clone(),
            chance: Rng::with_seed(seeds.u64(..)),
            matched: 0,
            left: 0,
            closed_until: None,
        };
        Self { rules: scenario.rules.iter().map(dealing).collect() }
    }

    /// What goes wrong with a request for `operation` that comes at `now`. The first rule that strikes decides.
    pub(super) fn deal(&mut self, operation: &Operation, now: SystemTime) -> Option<Fault> {
        let mut rules = self.rules.iter_mut().filter(|dealing| dealing.rule.strikes(operation));
        rules.find_map(|dealing| dealing.strike(now))
    }
}

// === impl Dealing ===

impl Dealing {
    fn strike(&mut self, now: SystemTime) -> Option<Fault> {
        let kind = self.rule.kind;
        if let Some(rest) = self.closed_until.and_then(|until| until.duration_since(now).ok()).filter(|rest| !rest.is_zero())
        {
            return Some(Fault { kind, effect: throttled(rest), early: true });
        }
        if self.left == 0 {
            self.matched += 1;
            let begins = match (self.rule.every, self.rule.probability) {
                (Some(every), _) => self.matched.is_multiple_of(u64::from(every)),
                (None, Some(chance)) => self.chance.f64() < chance,
                (None, None) => false,
            };
            if !begins {
                return None;
            }
            self.left = self.rule.burst;
        }
        self.left -= 1;
        let effect = match kind {
            FaultKind::Refuse => {
                let (refusal, wait) = self.refusal();
                Effect::Refuse(refusal, wait)
            }
            FaultKind::RefuseAfterWork => {
                let (refusal, wait) = self.refusal();
                Effect::RefuseAfterWork(refusal, wait)
            }
            FaultKind::ResetAfterWork => Effect::ResetAfterWork,
            FaultKind::ResetBeforeWork => Effect::ResetBeforeWork,
            FaultKind::Stall => Effect::Stall(self.rule.hold.unwrap_or_default()),
            FaultKind::Throttle => {
                let window = self.rule.window.unwrap_or_default();
                self.closed_until = Some(now + window);
                throttled(window)
            }
            FaultKind::Truncate => Effect::Truncate,
        };
        Some(Fault { kind, effect, early: false })
    }

    /// The error answer of the rule, and the wait it names.
    fn refusal(&self) -> (Refusal, Option<u64>) {
        let refusal = match self.rule.status {
            Some(429) => TOO_MANY,
            Some(500) => {
                Refusal::new(500, "InternalError", "Server encountered an internal error. Please try again after some time.")
            }
            _ => Refusal::new(503, "ServerBusy", "The server is busy. Please try again later."),
        };
        (refusal, self.rule.retry_after.map(whole_seconds))
    }
}

fn throttled(rest: Duration) -> Effect {
    Effect::Refuse(TOO_MANY, Some(whole_seconds(rest)))
}

/// Rounded up: who waits as long is not early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

const TOO_MANY: Refusal =
    Refusal::new(429, "TooManyRequests", "Request failed as server encountered too many requests. Please try again.");

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;

    use crate::batch::operation::OperationTable;

    fn scenario(faults: &str) -> Scenario {
        Scenario::parse("test", &format!("name='test'\ndescription='x'\n{faults}")).unwrap()
    }

    fn operation(method: Method, path: &str) -> &'static Operation {
        OperationTable::find(&method, path).unwrap()
    }

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis)
    }

    /// The kinds dealt to a thousand requests.
    fn deals(seed: u64) -> Vec<Option<FaultKind>> {
        let mut dealer = Dealer::new(&Scenario::load("mixed").unwrap(), seed);
        let operations = [operation(Method::GET, "/jobs"), operation(Method::POST, "/jobs/a/addtaskcollection")];
        (0..1000).map(|n| dealer.deal(operations[n % 2], at(n as u64 * 10)).map(|fault| fault.kind)).collect()
    }

    #[test]
    fn the_same_seed_and_order_meet_the_same_faults() {
        assert_eq!(deals(7), deals(7));
        assert_ne!(deals(7), deals(8));
        assert!(deals(7).iter().flatten().count() > 20);
    }

    /// Who comes back too soon is refused again, told the rest and counted; who waits is let in.
    #[test]
    fn a_throttle_window_is_closed_until_its_end() {
        let mut dealer = Dealer::new(&scenario("[[fault]]\nkind='throttle'\non=['all']\nevery=2\nfor='2s'"), 0);
        let jobs = operation(Method::GET, "/jobs");
        for (millis, want) in [
            (0, None),
            (10, Some((2, false))),
            (500, Some((2, true))),
            (1500, Some((1, true))),
            (2010, None),
            (2020, Some((2, false))),
        ] {
            let found = dealer.deal(jobs, at(millis)).map(|fault| match fault.effect {
                Effect::Refuse(refusal, Some(wait)) if refusal.status == 429 => (wait, fault.early),
                other => panic!("{other:?}"),
            });
            assert_eq!(found, want, "{millis}");
        }
    }

    #[test]
    fn a_burst_strikes_requests_in_a_row() {
        let mut dealer = Dealer::new(&scenario("[[fault]]\nkind='refuse'\non=['reads']\nevery=3\nburst=2\nstatus=500"), 0);
        let struck: Vec<bool> = (0..8).map(|n| dealer.deal(operation(Method::GET, "/jobs"), at(n)).is_some()).collect();
        assert_eq!(struck, [false, false, true, true, false, false, true, true]);
        assert_eq!(dealer.deal(operation(Method::POST, "/jobs"), at(9)), None);
    }

    /// A second reboot is one too many, and who saw no answer to the first cannot know: only a scenario that names it loses that.
    #[test]
    fn the_answers_of_all_that_may_be_repeated_get_lost() {
        for kind in ["reset-after-work", "truncate", "refuse-after-work'\nstatus=500\nretry_after='1s"] {
            for (on, method, path, want) in [
                ("all", Method::GET, "/jobs", true),
                ("all", Method::POST, "/jobs/a/addtaskcollection", true),
                ("all", Method::DELETE, "/jobs/a", true),
                ("all", Method::POST, "/pools/a/nodes/b/reboot", false),
                ("writes", Method::POST, "/pools/a/nodes/b/reboot", false),
                ("Nodes_RebootNode", Method::POST, "/pools/a/nodes/b/reboot", true),
                ("writes", Method::GET, "/jobs", false),
                ("creates", Method::POST, "/jobs", true),
                ("creates", Method::POST, "/jobs/a/terminate", false),
                ("deletes", Method::DELETE, "/jobs/a", true),
                ("transitions", Method::POST, "/jobs/a/terminate", true),
                ("transitions", Method::PATCH, "/jobs/a", false),
                ("updates", Method::PATCH, "/jobs/a", true),
            ] {
                let mut dealer = Dealer::new(&scenario(&format!("[[fault]]\nkind='{kind}'\non=['{on}']\nevery=1")), 0);
                assert_eq!(dealer.deal(operation(method, path), at(0)).is_some(), want, "{kind} {on} {path}");
            }
        }
    }
}
