//! The outcomes to ask about: every failure, and the answers that the rules tell apart.

use std::time::Duration;

use http::StatusCode;

use crate::batch::fault::{self, FaultKind};
use crate::retry::outcome::{Failure, Outcome, Transmission};

/// An outcome to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case<'a> {
    /// The outcome.
    pub outcome: Outcome<'a>,
    /// How it is shown.
    pub shape: Shape,
}

/// Whether a case stands for itself or for others like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// For itself.
    Alone,
    /// For all 5xx that no list names.
    AnyOther5xx,
    /// For all codes that end in `Exists`.
    AnyExists,
}

// === impl Case ===

impl<'a> Case<'a> {
    /// A failure, with what is known of the request's way when the upstream client reports it. A lost connection counts as sent.
    pub fn failed(failure: Failure) -> Self {
        let transmission = match failure {
            Failure::AddressProhibited
            | Failure::CertificateInvalid
            | Failure::ConnectFailed
            | Failure::ConnectRefused
            | Failure::ConnectTimeout
            | Failure::DnsFailed
            | Failure::DnsNotFound
            | Failure::StaleConnection
            | Failure::TlsFailed => Transmission::NotSent,
            Failure::ConnectionLost | Failure::RequestBody => Transmission::Unknown,
            Failure::ProtocolError | Failure::ResponseTimeout | Failure::Truncated => Transmission::Sent,
        };
        Self { outcome: Outcome::Failed { failure, transmission }, shape: Shape::Alone }
    }

    /// An answer.
    pub fn answered(status: StatusCode, hint: Option<Duration>, fault: Option<&'a str>) -> Self {
        Self { outcome: Outcome::Responded { status, hint, fault }, shape: Shape::Alone }
    }

    /// Every outcome worth a line: the failures, then the answers by status.
    pub fn all() -> Vec<Case<'static>> {
        let mut cases: Vec<Case<'static>> = Failure::ALL.iter().map(|failure| Case::failed(*failure)).collect();
        let plain = |status| Case::answered(status, None, None);
        let hinted = |status| Case::answered(status, Some(HINT), None);
        let coded = |status, code| Case::answered(status, None, Some(code));
        cases.extend([
            plain(StatusCode::OK),
            coded(StatusCode::UNAUTHORIZED, "InvalidAuthenticationInfo"),
            coded(StatusCode::FORBIDDEN, "AuthenticationFailed"),
            coded(StatusCode::NOT_FOUND, "JobNotFound"),
            plain(StatusCode::REQUEST_TIMEOUT),
            Case { shape: Shape::AnyExists, ..coded(StatusCode::CONFLICT, "JobExists") },
        ]);
        let passing = fault::known()
            .filter(|code| matches!(fault::kind(code), FaultKind::BeingDeleted | FaultKind::Quota | FaultKind::StateClears));
        cases.extend(passing.map(|code| coded(StatusCode::CONFLICT, code)));
        cases.extend([
            coded(StatusCode::PRECONDITION_FAILED, "ConditionNotMet"),
            plain(StatusCode::TOO_MANY_REQUESTS),
            hinted(StatusCode::TOO_MANY_REQUESTS),
            plain(StatusCode::INTERNAL_SERVER_ERROR),
            plain(StatusCode::NOT_IMPLEMENTED),
            plain(StatusCode::BAD_GATEWAY),
            plain(StatusCode::SERVICE_UNAVAILABLE),
            hinted(StatusCode::SERVICE_UNAVAILABLE),
        ]);
        let throttling = fault::known().filter(|code| fault::kind(code) == FaultKind::Throttle);
        cases.extend(throttling.map(|code| coded(StatusCode::SERVICE_UNAVAILABLE, code)));
        cases.extend([
            plain(StatusCode::GATEWAY_TIMEOUT),
            Case { shape: Shape::AnyOther5xx, ..plain(StatusCode::INSUFFICIENT_STORAGE) },
        ]);
        cases
    }
}

/// What Batch asks for where a line shows that it asks.
const HINT: Duration = Duration::from_secs(5);
