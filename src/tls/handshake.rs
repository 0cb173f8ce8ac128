//! Why a client's TLS handshake with us failed, and what to tell its user.
//!
//! The commonest failure is a client that does not trust the authority. What to set for it depends on its runtime, which
//! shows in its CONNECT request. A client that checks the certificate only after the handshake (Node) does not show up here.

use std::io;

use http::Version;
use rustls::AlertDescription as Alert;

use crate::batch::fields::Fields;

/// The reason a handshake failed, as a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The client left before it was done.
    Closed,
    /// Anything else, a fault of our own included.
    Other,
    /// No common version, cipher or application protocol, or no TLS at all.
    Protocol,
    /// It took too long.
    Timeout,
    /// The client does not accept our certificate: it was not told to trust the authority.
    UnknownCa,
}

/// What a client is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRuntime {
    /// Python's aiohttp.
    Aiohttp,
    /// curl.
    Curl,
    /// .NET.
    DotNet,
    /// Go.
    Go,
    /// Java.
    Java,
    /// Node.js.
    Node,
    /// Python's requests.
    Requests,
    /// It does not show.
    Unknown,
}

// === impl HandshakeFailure ===

impl HandshakeFailure {
    /// The reason in the error that accepting a TLS connection gave.
    pub fn of(error: &io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::of_tls(error);
        }
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::DecryptError
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InappropriateMessage { .. }
            | Error::InvalidMessage(_)
            | Error::NoApplicationProtocol
            | Error::PeerIncompatible(_)
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord => Self::Protocol,
            _ => Self::Other,
        }
    }

    /// Clients do not agree on the alert for an unknown authority: OpenSSL sends unknown_ca, Java certificate_unknown, Go
    /// bad_certificate. As our leaves are right in every other way, any complaint about the certificate means the same.
    fn of_alert(alert: Alert) -> Self {
        match alert {
            Alert::BadCertificate
            | Alert::BadCertificateHashValue
            | Alert::BadCertificateStatusResponse
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::CertificateUnobtainable
            | Alert::NoCertificate
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate => Self::UnknownCa,
            Alert::CloseNotify | Alert::UserCanceled => Self::Closed,
            Alert::InternalError | Alert::AccessDenied | Alert::Unknown(_) => Self::Other,
            _ => Self::Protocol,
        }
    }

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Other => "other",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::UnknownCa => "unknown_ca",
        }
    }
}

// === impl ClientRuntime ===

impl ClientRuntime {
    /// The runtime, by the look of a CONNECT request; [`ClientRuntime::Unknown`] rather than a doubtful guess.
    pub fn guess(version: Version, headers: &impl Fields) -> Self {
        if let Some(agent) = headers.value("user-agent") {
            let agent = String::from_utf8_lossy(agent).to_ascii_lowercase();
            let known = USER_AGENTS.iter().find(|(text, _)| agent.contains(text));
            return known.map_or(Self::Unknown, |(_, runtime)| *runtime);
        }
        // Python's http.client up to 3.11; later ones send HTTP/1.1 with a Host, as others do.
        if version == Version::HTTP_10 && headers.names().all(|name| name.eq_ignore_ascii_case(b"proxy-authorization")) {
            return Self::Requests;
        }
        let close = |name| headers.value(name).is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        if close("connection") || close("proxy-connection") { Self::Node } else { Self::Unknown }
    }

    /// What its user has to set so that it trusts the authority, with the published file it goes to. Which of them add to
    /// the usual roots and which replace them decides between `ca.pem` and `bundle.pem`.
    pub fn trust_advice(self) -> &'static str {
        match self {
            Self::Aiohttp | Self::DotNet | Self::Go => "SSL_CERT_FILE=bundle.pem",
            Self::Curl => "CURL_CA_BUNDLE=bundle.pem",
            Self::Java => {
                "JAVA_TOOL_OPTIONS='-Djavax.net.ssl.trustStore=truststore.p12 -Djavax.net.ssl.trustStorePassword=changeit'"
            }
            Self::Node => "NODE_EXTRA_CA_CERTS=ca.pem",
            Self::Requests => "REQUESTS_CA_BUNDLE=bundle.pem",
            Self::Unknown => {
                "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and SSL_CERT_FILE=bundle.pem, NODE_EXTRA_CA_CERTS=ca.pem, \
                 JAVA_TOOL_OPTIONS='-Djavax.net.ssl.trustStore=truststore.p12 -Djavax.net.ssl.trustStorePassword=changeit'"
            }
        }
    }
}

/// Text in a CONNECT's User-Agent, in lower case; the first that is found counts.
const USER_AGENTS: [(&str, ClientRuntime); 9] = [
    ("aiohttp", ClientRuntime::Aiohttp),
    ("azsdk-net", ClientRuntime::DotNet),
    (".net", ClientRuntime::DotNet),
    ("go-http-client", ClientRuntime::Go),
    ("java", ClientRuntime::Java),
    ("node", ClientRuntime::Node),
    ("python-requests", ClientRuntime::Requests),
    ("python-urllib3", ClientRuntime::Requests),
    ("curl", ClientRuntime::Curl),
];

#[cfg(test)]
mod tests;
