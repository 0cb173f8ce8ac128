//! The account that all share: a token bucket, as Azure Resource Manager documents for its own throttling.

use std::time::Duration;

/// Accepts while there are tokens.
#[derive(Debug)]
pub(crate) struct Account {
    terms: Terms,
    tokens: f64,
    filled: Duration,
}

/// How an account throttles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Tokens a second.
    pub rate: f64,
    /// The most tokens there can be.
    pub burst: f64,
    /// What a refusal says.
    pub hint: Hint,
    /// What share of a token a refusal costs.
    pub refusal_cost: f64,
}

/// What a refusal says about when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing.
    None,
    /// The seconds until there is a token, rounded up, and at least these.
    Seconds(u64),
}

/// What the account does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    Accepted,
    /// A server error before any work.
    Failed,
    Throttled(Option<Duration>),
}

impl Account {
    /// With a full bucket.
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, tokens: terms.burst, filled: Duration::ZERO }
    }

    pub(crate) fn receive(&mut self, now: Duration) -> Answer {
        let Terms { rate, burst, hint, refusal_cost } = self.terms;
        self.tokens = (now - self.filled).as_secs_f64().mul_add(rate, self.tokens).min(burst);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Answer::Accepted;
        }
        self.tokens = (self.tokens - refusal_cost).max(-burst);
        let seconds = ((1.0 - self.tokens) / rate).ceil() as u64;
        Answer::Throttled(match hint {
            Hint::None => None,
            Hint::Seconds(least) => Some(Duration::from_secs(seconds.max(least))),
        })
    }
}
