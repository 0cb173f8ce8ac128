//! What happened to one attempt: the narrow view of it that the rules may look at.

use std::time::Duration;

use http::StatusCode;

/// The end of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No complete answer came.
    Failed {
        /// What went wrong.
        failure: Failure,
        /// Whether the request may have reached the service.
        transmission: Transmission,
    },
    /// The service answered.
    Responded {
        /// The answer's status.
        status: StatusCode,
        /// How long the service asks to wait, see [`super::retry_after`].
        hint: Option<Duration>,
        /// The `code` of the Batch error body.
        fault: Option<&'a str>,
    },
}

/// Whether the request may have reached the service. What is not known counts as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmission {
    /// Certainly nothing of it was written.
    NotSent,
    /// It was written.
    Sent,
    /// Some of it may have been written.
    Unknown,
}

/// Why an attempt got no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The host has no address that connections may lead to.
    AddressProhibited,
    /// The service's certificate does not verify.
    CertificateInvalid,
    /// The connection could not be made: unreachable, reset while connecting, out of sockets.
    ConnectFailed,
    /// The port is closed.
    ConnectRefused,
    /// No connection within `upstream.connect_timeout`, TLS included.
    ConnectTimeout,
    /// The connection was reset or closed before an answer came.
    ConnectionLost,
    /// The name could not be looked up now.
    DnsFailed,
    /// The name does not exist.
    DnsNotFound,
    /// What came is not an HTTP/1.1 answer.
    ProtocolError,
    /// The client's own request body broke off or is malformed.
    RequestBody,
    /// No answer's head in time.
    ResponseTimeout,
    /// An idle pooled connection was found closed before anything was written to it.
    StaleConnection,
    /// The TLS handshake failed for another reason than the certificate.
    TlsFailed,
    /// The answer began and did not end: cut short, or silent for `upstream.body_idle_timeout`.
    Truncated,
}

// === impl Failure ===

impl Failure {
    /// Every value, in the order in which an attempt can meet them.
    pub const ALL: &'static [Self] = &[
        Self::DnsNotFound,
        Self::DnsFailed,
        Self::AddressProhibited,
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::CertificateInvalid,
        Self::StaleConnection,
        Self::RequestBody,
        Self::ConnectionLost,
        Self::ResponseTimeout,
        Self::ProtocolError,
        Self::Truncated,
    ];

    /// The label value in `upstream_errors_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AddressProhibited => "address_prohibited",
            Self::CertificateInvalid => "certificate_invalid",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectionLost => "connection_lost",
            Self::DnsFailed => "dns_failed",
            Self::DnsNotFound => "dns_not_found",
            Self::ProtocolError => "protocol_error",
            Self::RequestBody => "request_body",
            Self::ResponseTimeout => "response_timeout",
            Self::StaleConnection => "stale_connection",
            Self::TlsFailed => "tls_failed",
            Self::Truncated => "truncated",
        }
    }
}
