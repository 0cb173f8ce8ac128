//! Until when the credential of a request may be presented again.
//!
//! A replay goes out with the bytes the client sent, its signature or token among them, and nobody but the client can
//! renew these. Once they are stale the service answers 401 or 403, which would hide the answer that came before. Waits
//! are held against this limit by `retry::policy`; the first send always goes.
//!
//! Nothing here keeps or prints a credential.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::fields::{Fields, visible};

/// When a credential becomes stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// From then on the request must not be sent again. The margin for clocks that differ and for the way to the service
    /// is taken off.
    pub at: SystemTime,
    /// What becomes stale.
    pub credential: Credential,
}

/// The credentials whose end can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A token of Entra ID, with an end of its own.
    BearerToken,
    /// A signature over the request and its date.
    SharedKeySignature,
}

/// Until when a request with these headers may be sent again; `None` where no limit is known.
///
/// With Shared Key the date of the request counts, `ocp-date` before `Date`, plus 14 minutes. A signed request without a
/// readable date has no limit here: the service refuses it at its first send, so that no replay comes of it. A readable
/// `Date` does not stand in for an unreadable `ocp-date`, because the service looks at that one alone.
///
/// With a bearer token it is the `exp` of a JWT (RFC 7519, 4.1.4), less 30 seconds. A token that is no JWT, has no such
/// claim or is longer than 16 KiB tells nothing, and neither does an end later than a [`SystemTime`] can be.
pub fn expiry(headers: &impl Fields) -> Option<Expiry> {
    let authorization = headers.value("authorization")?.trim_ascii();
    let end = authorization.iter().position(|b| b" \t".contains(b))?;
    let (scheme, credential) = authorization.split_at(end);
    if SHARED_KEY_SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        let at = signed_at(headers)?.checked_add(SIGNATURE_LIFETIME - SIGNATURE_MARGIN)?;
        Some(Expiry { at, credential: Credential::SharedKeySignature })
    } else if scheme.eq_ignore_ascii_case(b"Bearer") {
        let at = token_end(credential.trim_ascii())?;
        Some(Expiry { at: at.checked_sub(TOKEN_MARGIN).unwrap_or(at), credential: Credential::BearerToken })
    } else {
        None
    }
}

/// The date a signature was made for.
fn signed_at(headers: &impl Fields) -> Option<SystemTime> {
    let date = headers.value("ocp-date").or_else(|| headers.value("date"))?;
    httpdate::parse_http_date(visible(date)?).ok()
}

/// The end a token names in its payload.
fn token_end(token: &[u8]) -> Option<SystemTime> {
    if token.len() > TOKEN_LIMIT {
        return None;
    }
    let payload = token.split(|&b| b == b'.').nth(1)?;
    let claims: Value = serde_json::from_slice(&BASE64_URL.decode(payload).ok()?).ok()?;
    // A claim before 1970 is past like any other.
    let seconds = claims.get("exp")?.as_f64()?.max(0.0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// Both spellings are compared without regard to case (RFC 9110, 11.1).
const SHARED_KEY_SCHEMES: [&[u8]; 2] = [b"SharedKey", b"SharedKeyLite"];

/// The service must receive a request within 15 minutes of its date: "Authenticate requests to the Azure Batch service"
/// in the REST documentation.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The client's clock made the date and the service's judges it; both may be off, and the way there takes time.
const SIGNATURE_MARGIN: Duration = Duration::from_secs(60);

/// Less than for a signature: the client's clock has no part in a token's end, only ours and the way to the service.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// Tokens of Entra ID have 1 to 4 KiB; a longer one is not worth the work.
const TOKEN_LIMIT: usize = 16 * 1024;

/// The alphabet of JWTs (RFC 7515, 2), which have no padding; what pads all the same is read too.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests;
