//! Where a request stands when the rules are asked.

use std::time::Instant;

use super::StopReason;
use crate::batch::credential::Credential;
use crate::retry::classify::Reading;
use crate::retry::subject::Subject;

/// Where a request stands when an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// What the request is.
    pub subject: Subject,
    /// Whether its body can be sent again.
    pub body: Replayable,
    /// Sends made so far; those that met a stale pooled connection do not count.
    pub attempts: u32,
    /// Whose request it is.
    pub origin: Origin,
    /// What the sends before this one may have done.
    pub earlier: Earlier,
    /// Replays that a lane allowed so far.
    pub lane_replays: LaneReplays,
    /// Until when a 404 may be a read that has not caught up with a create, where there was one.
    pub lags_until: Option<Instant>,
    /// The monotonic clock.
    pub now: Instant,
    /// When the whole request must have its last answer.
    pub deadline: Instant,
    /// When the process will be gone, if it is draining.
    pub drain_by: Option<Instant>,
    /// Until when the request's credential may be presented again.
    pub fresh_until: Option<(Instant, Credential)>,
    /// Chance, from 0 up to 1.
    pub entropy: f64,
}

/// What sends that are over may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Earlier {
    /// There were none, or nothing of them left.
    Nothing,
    /// They reached the service, which refused them without doing anything.
    Refused,
    /// They may have been carried out. A throttled one counts: a create answered 429 has been seen to land.
    MayHaveLanded,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's.
    Program,
    /// The client's own repeat of one that was given up.
    Repeat,
}

/// How many replays the lanes have allowed for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneReplays {
    /// After `State` refusals.
    pub state: u32,
    /// After `Quota` refusals.
    pub quota: u32,
}

/// Whether a request's body can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayable {
    /// It is held whole.
    Held,
    /// It streams and is gone once sent.
    Streamed,
}

// === impl Situation ===

impl Situation {
    /// Whether what is read may have been made too short a time ago to be seen.
    pub(super) fn reading(&self) -> Reading {
        if self.lags_until.is_some_and(|until| self.now < until) { Reading::MayLag } else { Reading::Current }
    }

    pub(super) fn stale_credential(&self) -> StopReason {
        match self.fresh_until {
            Some((_, Credential::SharedKeySignature)) => StopReason::Signature,
            Some((_, Credential::BearerToken)) | None => StopReason::Token,
        }
    }
}
