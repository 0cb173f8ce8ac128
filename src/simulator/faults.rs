//! Deals the faults of a scenario. Pure: chance comes from a seed and time as an argument, so that the same requests in the same
//! order meet the same faults. Only how long a throttle window is closed and what is past the account's limit depend on the clock.

use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::answer::Refusal;
use super::hint::{Hint, HintForm};
use super::ledger::PAST_LIMIT;
use super::limit::Bucket;
use super::scenario::{FaultKind, Rule, Scenario};
use super::window::Window;
use crate::batch::operation::Operation;

/// Decides for each request whether something goes wrong.
#[derive(Debug)]
pub(super) struct Dealer {
    rules: Vec<Dealing>,
    limit: Option<Bucket>,
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What it is called in counts.
    pub(super) name: &'static str,
    pub(super) effect: Effect,
    /// Whether the request came into a window that was known to be closed.
    pub(super) early: bool,
}

/// How it goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// An error answer that may name a wait; nothing is done.
    Refuse(Refusal, Option<Hint>),
    /// The work is done and an error answered all the same.
    RefuseAfterWork(Refusal, Option<Hint>),
    /// The work is done and the connection reset instead of an answer.
    ResetAfterWork,
    /// The connection is reset and nothing done.
    ResetBeforeWork,
    /// The work is done and answered after a time.
    Slow(Duration),
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
    window: Window,
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
            window: Window::new(
                rule.window.unwrap_or_default(),
                rule.allowance.unwrap_or(ALLOWANCE),
                rule.hint.unwrap_or_default(),
            ),
        };
        Self { rules: scenario.rules.iter().map(dealing).collect(), limit: scenario.limit.map(Bucket::new) }
    }

    /// What goes wrong with a request for `operation` that comes at `now`. The first rule that strikes decides, but what is closed is closed: no
    /// other fault hides who comes into a window, and none is dealt to what the account does not take.
    pub(super) fn deal(&mut self, operation: &Operation, now: SystemTime) -> Option<Fault> {
        let strikes = |dealing: &&mut Dealing| dealing.rule.strikes(operation);
        if let Some(fault) = self.rules.iter_mut().filter(strikes).find_map(|dealing| dealing.refuse_again(now)) {
            return Some(fault);
        }
        if let Some(Err(past)) = self.limit.as_mut().map(|bucket| bucket.take(now)) {
            return Some(Fault { name: PAST_LIMIT, effect: Effect::Refuse(TOO_MANY, past.hint), early: false });
        }
        self.rules.iter_mut().filter(strikes).find_map(|dealing| dealing.strike(now))
    }
}

// === impl Dealing ===

impl Dealing {
    /// Refuses what comes while the window is closed.
    fn refuse_again(&mut self, now: SystemTime) -> Option<Fault> {
        let intrusion = self.window.intrude(now)?;
        let effect = Effect::Refuse(TOO_MANY, intrusion.hint);
        Some(Fault { name: self.rule.kind.as_str(), effect, early: intrusion.early })
    }

    fn strike(&mut self, now: SystemTime) -> Option<Fault> {
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
        let kind = self.rule.kind;
        let effect = match kind {
            FaultKind::Refuse => {
                let (refusal, wait) = self.refusal(now);
                Effect::Refuse(refusal, wait)
            }
            FaultKind::RefuseAfterWork => {
                let (refusal, wait) = self.refusal(now);
                Effect::RefuseAfterWork(refusal, wait)
            }
            FaultKind::ResetAfterWork => Effect::ResetAfterWork,
            FaultKind::ResetBeforeWork => Effect::ResetBeforeWork,
            FaultKind::Slow => Effect::Slow(self.rule.hold.unwrap_or_default()),
            FaultKind::Stall => Effect::Stall(self.rule.hold.unwrap_or_default()),
            FaultKind::Throttle => Effect::Refuse(TOO_MANY, self.window.close(now)),
            FaultKind::Truncate => Effect::Truncate,
        };
        Some(Fault { name: kind.as_str(), effect, early: false })
    }

    /// The error answer of the rule, and the wait it names.
    fn refusal(&self, now: SystemTime) -> (Refusal, Option<Hint>) {
        let refusal = match self.rule.status {
            Some(429) => TOO_MANY,
            Some(500) => {
                Refusal::new(500, "InternalError", "Server encountered an internal error. Please try again after some time.")
            }
            _ => Refusal::new(503, "ServerBusy", "The server is busy. Please try again later."),
        };
        (refusal, self.rule.retry_after.and_then(|wait| HintForm::Seconds.tell(wait, now)))
    }
}

/// Two hundred connections on a busy machine are served in less. Hints are longer, so that who does not heed them is seen all the same.
const ALLOWANCE: Duration = Duration::from_millis(500);

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

    /// The faults dealt to a thousand requests.
    fn deals(seed: u64) -> Vec<Option<&'static str>> {
        let mut dealer = Dealer::new(&Scenario::load("mixed").unwrap(), seed);
        let operations = [operation(Method::GET, "/jobs"), operation(Method::POST, "/jobs/a/addtaskcollection")];
        (0..1000).map(|n| dealer.deal(operations[n % 2], at(n as u64 * 10)).map(|fault| fault.name)).collect()
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
            (500, Some((2, false))),
            (1500, Some((2, true))),
            (3400, Some((2, true))),
            (5400, None),
            (5410, Some((2, false))),
            (7409, Some((2, true))),
        ] {
            let found = dealer.deal(jobs, at(millis)).map(|fault| match fault.effect {
                Effect::Refuse(refusal, Some(hint)) if refusal.status == 429 => (hint.value.parse().unwrap(), fault.early),
                other => panic!("{other:?}"),
            });
            assert_eq!(found, want, "{millis}");
        }
    }

    /// A window that a later rule closed is not hidden by an earlier rule, whose turn does not come while it lasts.
    #[test]
    fn no_other_fault_hides_who_comes_into_a_window() {
        let rules = "[[fault]]\nkind='reset-before-work'\non=['all']\nevery=2\n\
                     [[fault]]\nkind='throttle'\non=['all']\nevery=1\nfor='2s'";
        let mut dealer = Dealer::new(&scenario(rules), 0);
        let jobs = operation(Method::GET, "/jobs");
        let dealt = [0, 100, 600, 2599, 4599, 4600].map(|millis| dealer.deal(jobs, at(millis)));
        let dealt = dealt.map(|fault| fault.map(|fault| (fault.name, fault.early)));
        let (window, early) = (Some(("throttle", false)), Some(("throttle", true)));
        assert_eq!(dealt, [window, window, early, early, Some(("reset-before-work", false)), window]);
    }

    /// What is past the limit meets no other fault and does not count for one.
    #[test]
    fn the_limit_is_for_all_operations_and_before_other_faults() {
        let rules = "[limit]\nper_second=1\nburst=2\n[[fault]]\nkind='refuse'\non=['all']\nevery=3\nstatus=500";
        let mut dealer = Dealer::new(&scenario(rules), 0);
        let operations = [operation(Method::GET, "/jobs"), operation(Method::POST, "/jobs/a/addtaskcollection")];
        let names = [0, 1, 2, 3, 1003].map(|n| dealer.deal(operations[n as usize % 2], at(n)).map(|fault| fault.name));
        assert_eq!(names, [None, None, Some("limit"), Some("limit"), Some("refuse")]);
    }

    #[test]
    fn a_limit_may_be_set_from_outside() {
        let scenario = scenario("[limit]\nper_second=9\nburst=9").limited_to(1.5).unwrap();
        let mut dealer = Dealer::new(&scenario, 0);
        let names = [0, 1, 2].map(|n| dealer.deal(operation(Method::GET, "/jobs"), at(n)).map(|fault| fault.name));
        assert_eq!(names, [None, None, Some("limit")]);
        assert!(Scenario::calm().limited_to(f64::NAN).is_err());
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
