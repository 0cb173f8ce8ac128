//! The rules compared, each as its project states it.
//!
//! To compare the rules and not their limits, Envoy's and linkerd's get as many tries and as much time as the proxy; their own defaults, one retry
//! each, would lose nearly every request here.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use batch_retry_proxy::config::Settings;
use batch_retry_proxy::retry::budget::{Budget, Withdrawal};
use batch_retry_proxy::retry::gate::GateSettings;
use fastrand::Rng;

use crate::account::Answer;

/// What decides about replays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Full jitter over 25 ms doubled up to 250 ms; a hint plus up to half of it.
    Envoy,
    /// Half jitter over 25 ms doubled up to 250 ms, whatever the hint, while a fifth of the requests plus 10 a second is not spent.
    Linkerd,
    /// This crate's gate, policy and budget.
    Proxy(GateSettings),
    /// azure-core: reads 4 tries at 0, 1.6 and 3.2 s, others one; with a hint all 4 tries, after the hint.
    Python,
}

impl Rule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy's rule",
            Self::Linkerd => "linkerd's rule",
            Self::Proxy(_) => "the proxy",
            Self::Python => "Python SDK alone",
        }
    }

    /// The wait before the next try, or `None` to give up. Not for the proxy, which asks the crate.
    pub(crate) fn wait(
        self,
        answer: Answer,
        attempts: u32,
        reads: bool,
        budget: &mut Budget,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Duration> {
        let hint = if let Answer::Throttled(hint) = answer { hint } else { None };
        let doubled = |base: u64, most: u64| base.saturating_mul(1 << attempts.min(20)).min(most) as f64 / 1000.0;
        let seconds = match self {
            Self::Python => {
                let is_tried = reads || hint.is_some() || answer == Answer::Failed;
                if attempts >= 4 || !is_tried {
                    return None;
                }
                hint.map_or([0.0, 1.6, 3.2][attempts as usize - 1], |hint| hint.as_secs_f64())
            }
            Self::Envoy => match hint {
                _ if attempts >= DEFAULTS.retry.max_attempts.get() => return None,
                Some(hint) => hint.as_secs_f64() * (1.0 + rng.f64() / 2.0),
                None => doubled(25, 250) * rng.f64(),
            },
            Self::Linkerd => {
                if attempts >= DEFAULTS.retry.max_attempts.get() || budget.withdraw(now) != Withdrawal::Granted {
                    return None;
                }
                doubled(25, 250) / 2.0 * (1.0 + rng.f64())
            }
            Self::Proxy(_) => return None,
        };
        Some(Duration::from_secs_f64(seconds))
    }
}

/// What the proxy does where nothing is set. Tries, deadline and the budget, whose numbers are linkerd's, are those of the other rules too.
pub(crate) static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| Settings::from_toml("").expect("the defaults are valid"));
