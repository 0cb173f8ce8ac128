//! Answers the proxy makes itself: one mapping from what went wrong to status, words and body.
//!
//! Inside an opened connection they have the form of a Batch error, `application/json`, because HTML or plain text makes an SDK fail inside its
//! own error printing. They carry Retry-After, which azure-core obeys on any status, only where the account is known to throttle. To a CONNECT or a plain-http request they are text.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::route::Rejection;
use super::template::InvalidRequest;
use super::throttle::Refused;
use crate::http1::MalformedHead;
use crate::metrics::labels::ConnectionResult;
use crate::retry::outcome::{Failure, Transmission};

/// What the proxy has to say about a request it could not get answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// The error type of RFC 9209, for `Proxy-Status`.
    pub(super) error: &'static str,
    /// The `code` of the Batch error body; none of Batch's own, but for an account that is known to throttle.
    pub(super) code: Cow<'static, str>,
    /// What happened and what to look at.
    pub(super) message: &'static str,
    /// Seconds, where the time is the service's own.
    pub(super) retry_after: Option<u64>,
}

// === impl Trouble ===

impl Trouble {
    fn new(status: StatusCode, error: &'static str, code: &'static str, message: &'static str) -> Self {
        Self { status, error, code: code.into(), message, retry_after: None }
    }

    /// What a request is told that cannot wait until its account opens: what the account told the one before it.
    pub(super) fn throttled(refused: &Refused) -> Self {
        Self {
            status: refused.refusal.status,
            error: "proxy_internal_response",
            code: refused.refusal.code.clone().into(),
            message: "The account asked for time, and this request cannot wait for so long. The proxy did not send it.",
            // Rounded up: who waits as long is not early.
            retry_after: Some(refused.after.as_secs() + u64::from(refused.after.subsec_nanos() > 0)).map(|wait| wait.max(1)),
        }
    }

    /// What a failed attempt is to the client.
    pub(super) fn of(failure: Failure, transmission: Transmission) -> Self {
        let bad = |error, code, message| Self::new(StatusCode::BAD_GATEWAY, error, code, message);
        let late = |error, code, message| Self::new(StatusCode::GATEWAY_TIMEOUT, error, code, message);
        match failure {
            Failure::AddressProhibited => bad(
                "destination_ip_prohibited",
                "ProxyUpstreamAddressProhibited",
                "Only the proxy's own machine may reach the addresses of this host: the proxy is bound wider than loopback. If it shall be \
                 reached nevertheless, name host and address in upstream.resolve.",
            ),
            Failure::CertificateInvalid => bad(
                "tls_certificate_error",
                "ProxyUpstreamCertificateInvalid",
                "The certificate of the Batch endpoint does not verify. If a proxy in between has its own authority, add it to upstream.ca_files.",
            ),
            Failure::ConnectFailed => {
                bad("destination_unavailable", "ProxyUpstreamUnreachable", "The Batch endpoint cannot be reached.")
            }
            Failure::ConnectRefused => {
                bad("connection_refused", "ProxyUpstreamRefused", "The Batch endpoint refused the connection.")
            }
            Failure::ConnectTimeout => late(
                "connection_timeout",
                "ProxyUpstreamConnectTimeout",
                "No connection to the Batch endpoint within upstream.connect_timeout.",
            ),
            Failure::ConnectionLost | Failure::StaleConnection if transmission == Transmission::NotSent => bad(
                "connection_terminated",
                "ProxyUpstreamConnectionLost",
                "The connection to the Batch endpoint was lost before the request was sent.",
            ),
            Failure::ConnectionLost | Failure::StaleConnection => bad(
                "connection_terminated",
                "ProxyUpstreamConnectionLost",
                "The connection to the Batch endpoint was lost before it answered. The request may have been carried out.",
            ),
            Failure::DnsFailed => {
                bad("dns_error", "ProxyUpstreamNameFailed", "The name of the Batch endpoint could not be looked up.")
            }
            Failure::DnsNotFound => bad(
                "dns_error",
                "ProxyUpstreamNameNotFound",
                "The name of the Batch endpoint does not exist. Check account and region.",
            ),
            Failure::ProtocolError => bad(
                "http_protocol_error",
                "ProxyUpstreamProtocolError",
                "The Batch endpoint sent something that is not an HTTP/1.1 answer.",
            ),
            Failure::RequestBody => Self::new(
                StatusCode::BAD_REQUEST,
                "http_request_error",
                "ProxyRequestBodyIncomplete",
                "The request's body broke off or is malformed.",
            ),
            Failure::ResponseTimeout => late(
                "http_response_timeout",
                "ProxyUpstreamTimeout",
                "The Batch endpoint did not answer in time. The request may have been carried out.",
            ),
            Failure::TlsFailed => {
                bad("tls_protocol_error", "ProxyUpstreamTlsFailed", "The TLS handshake with the Batch endpoint failed.")
            }
            Failure::Truncated => bad(
                "http_response_incomplete",
                "ProxyUpstreamAnswerIncomplete",
                "The answer of the Batch endpoint was cut short. The request may have been carried out.",
            ),
        }
    }

    /// The answer inside an opened connection, in the form of a Batch error. `host` is the account's endpoint, `id` what the log calls it.
    pub(super) fn batch_answer(&self, host: &str, id: &str, now: &str) -> Response<Bytes> {
        let body = json!({
            "odata.metadata": format!("https://{host}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"),
            "code": self.code,
            "message": { "lang": "en-US", "value": format!("{}\nRequestId:{id}\nTime:{now}", self.message) },
        });
        let body = Bytes::from(body.to_string());
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; odata=minimalmetadata"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert("request-id", id);
        }
        *response.body_mut() = body;
        response
    }
}

impl From<MalformedHead> for Trouble {
    fn from(malformed: MalformedHead) -> Self {
        let status = match malformed {
            MalformedHead::Coding => StatusCode::NOT_IMPLEMENTED,
            MalformedHead::TargetTooLong => StatusCode::URI_TOO_LONG,
            MalformedHead::TooLong | MalformedHead::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            MalformedHead::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, "http_request_error", "ProxyRequestMalformed", malformed.as_str())
    }
}

/// The answer to a CONNECT or a plain-http request whose destination cannot be reached, and what the connection came to.
pub(super) fn unreached(
    failure: Failure,
    transmission: Transmission,
    words: &str,
) -> (Response<Full<Bytes>>, ConnectionResult) {
    let trouble = Trouble::of(failure, transmission);
    if failure == Failure::AddressProhibited {
        return (plain(StatusCode::FORBIDDEN, trouble.message), ConnectionResult::Denied);
    }
    (plain(trouble.status, words), ConnectionResult::Unreachable)
}

impl From<InvalidRequest> for Trouble {
    fn from(invalid: InvalidRequest) -> Self {
        let message = match invalid {
            InvalidRequest::Connect => "CONNECT inside a connection that is already opened.",
            InvalidRequest::Hosts => "The request has no Host, or more than one.",
            InvalidRequest::Options => "Connection names a field that belongs to the request and not to the connection.",
            InvalidRequest::Target => "The request target is neither a path nor a URL.",
            InvalidRequest::OtherHost => "The request names another host than the CONNECT this connection began with.",
        };
        Self::new(StatusCode::BAD_REQUEST, "http_request_error", "ProxyRequestInvalid", message)
    }
}

/// The answer to a CONNECT or a plain-http request that goes nowhere.
pub(super) fn rejection(rejection: Rejection, listen: &str) -> Response<Full<Bytes>> {
    let (status, words) = match rejection {
        Rejection::Authority => {
            (StatusCode::BAD_REQUEST, "The target names a user, no host, or a port that is no number.".to_owned())
        }
        Rejection::ConnectFields => (StatusCode::BAD_REQUEST, "The CONNECT has a body, or more than one Host.".to_owned()),
        Rejection::ConnectTarget => (StatusCode::BAD_REQUEST, "CONNECT needs a target of the form host:port.".to_owned()),
        Rejection::ForwardHost => (StatusCode::FORBIDDEN, "forward.allow does not name this host.".to_owned()),
        Rejection::NotAProxyRequest => (
            StatusCode::BAD_REQUEST,
            format!(
                "This is a forward proxy for Azure Batch, not a web server.\nSet HTTPS_PROXY=http://{listen} in the environment of the \
                 program that talks to Batch.\nMetrics and status are on another port (admin.address)."
            ),
        ),
        Rejection::Scheme => (
            StatusCode::BAD_REQUEST,
            "Absolute targets are for http:// only; reach https:// through CONNECT, as HTTPS_PROXY makes clients do."
                .to_owned(),
        ),
        Rejection::TunnelHost => {
            (StatusCode::FORBIDDEN, "tunnel.allow does not name this host, or tunnel.deny does.".to_owned())
        }
        Rejection::TunnelPort => (
            StatusCode::FORBIDDEN,
            "tunnel.ports does not name this port (443 only by default where the proxy is bound wider than loopback)."
                .to_owned(),
        ),
    };
    let mut response = plain(status, &words);
    // Whoever sent this may have meant more by what follows.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A text for people.
pub(super) fn plain(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("batch-retry-proxy: {words}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
