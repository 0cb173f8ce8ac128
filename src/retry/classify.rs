//! What an outcome means: one [`Class`] for each, decided by the first rule that applies.
//!
//! | class | from | meaning |
//! |---|---|---|
//! | `Success` | 2xx, 3xx | deliver |
//! | `Throttled` | 429; 503 with a hint or a throttle code | the service asks for time |
//! | `State`, `Quota` | 409 with a code that clears by itself | nothing was done; delivered unless the settings open its lane |
//! | `Transient` | `retry.statuses`; lost connections, timeouts, cut answers; for safe operations any 5xx but 501 and 505 | may have been carried out |
//! | `ReadLag` | 404 to a read of what was just created | reads may not have caught up |
//! | `NotSent` | no connection was made, or the pooled one was dead | certainly not carried out |
//! | `Permanent` | everything else | never replayed |
//!
//! Whether a class leads to a replay is decided in [`super::policy`].

use http::StatusCode;

use super::outcome::{Failure, Outcome, Transmission};
use super::subject::Subject;
use crate::batch::fault::{self, FaultKind};
use crate::batch::operation::Idempotency;

/// What an outcome means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Certainly not carried out.
    NotSent,
    /// A final answer, or a failure that another try cannot mend.
    Permanent,
    /// A quota is used up; clears in minutes or hours.
    Quota,
    /// What was just created is not seen yet by reads.
    ReadLag,
    /// The resource is in a state that clears by itself.
    State,
    /// The operation succeeded.
    Success,
    /// The service asks for time.
    Throttled,
    /// May have been carried out, or not.
    Transient,
}

/// Whether reads are taken to see what was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// They do.
    Current,
    /// What the request asks for was created so short a time ago that a 404 may be wrong.
    MayLag,
}

/// The class of `outcome`, where `statuses` are those worth a replay.
pub fn classify(subject: &Subject, outcome: &Outcome<'_>, statuses: &[StatusCode], reading: Reading) -> Class {
    match *outcome {
        Outcome::Failed { failure, transmission } => classify_failure(failure, transmission),
        Outcome::Responded { status, hint, fault } => {
            let kind = fault.map_or(FaultKind::Other, fault::kind);
            let listed = statuses.contains(&status);
            match status.as_u16() {
                200..400 => Class::Success,
                429 if listed => Class::Throttled,
                503 if listed && (hint.is_some() || kind == FaultKind::Throttle) => Class::Throttled,
                409 if kind == FaultKind::Quota => Class::Quota,
                409 if kind == FaultKind::StateClears => Class::State,
                // On anything but a create the thing being deleted is the request's own target: nothing to wait for.
                409 if kind == FaultKind::BeingDeleted && subject.creates() => Class::State,
                404 if reading == Reading::MayLag && subject.idempotency() == Idempotency::Safe => Class::ReadLag,
                _ if listed => Class::Transient,
                // Not implemented and HTTP version not supported do not pass with time.
                501 | 505 => Class::Permanent,
                500..600 if subject.idempotency() == Idempotency::Safe => Class::Transient,
                _ => Class::Permanent,
            }
        }
    }
}

fn classify_failure(failure: Failure, transmission: Transmission) -> Class {
    match (failure, transmission) {
        (Failure::AddressProhibited | Failure::CertificateInvalid | Failure::RequestBody, _) => Class::Permanent,
        (_, Transmission::NotSent) => Class::NotSent,
        (_, Transmission::Sent | Transmission::Unknown) => Class::Transient,
    }
}

// === impl Class ===

impl Class {
    /// The label value in `attempts_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Permanent => "permanent",
            Self::Quota => "quota",
            Self::ReadLag => "read_lag",
            Self::State => "state",
            Self::Success => "success",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
        }
    }
}

#[cfg(test)]
mod tests;
