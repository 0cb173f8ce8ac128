//! Who is asking: Shared Key signatures are computed again from what arrived, bearer tokens are believed.
//!
//! A proxy that changes what a client signed is found out here. Source: "Authenticate requests to the Azure Batch service" of
//! the REST reference. Clients differ from it in one point that works in practice, the case of query names; both are taken.

use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::hmac;
use thiserror::Error;

use super::answer::Refusal;
use super::request::Request;

/// The account's name and key.
pub(super) struct Gatekeeper {
    account: String,
    key: hmac::Key,
}

/// A key that is no base64.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the key of the simulated account is not base64")]
pub struct InvalidKey;

// === impl Gatekeeper ===

impl Gatekeeper {
    pub(super) fn new(account: &str, key: &str) -> Result<Self, InvalidKey> {
        let key = BASE64_STANDARD.decode(key).map_err(|_| InvalidKey)?;
        Ok(Self { account: account.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }

    /// Whether the request may come in.
    pub(super) fn admit(&self, request: &Request, now: SystemTime) -> Result<(), Refusal> {
        let Some((scheme, credential)) = request.header("authorization").and_then(|value| value.split_once(' ')) else {
            return Err(failed("The Authorization header is missing or has no scheme."));
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(());
        }
        let Some((account, signature)) = credential.split_once(':').filter(|_| scheme == "SharedKey") else {
            return Err(failed("The Authorization header is neither SharedKey with an account and a signature nor Bearer."));
        };
        if !account.eq_ignore_ascii_case(&self.account) {
            return Err(failed("The account in the Authorization header is not this one."));
        }
        let dated = request.header("ocp-date").or_else(|| request.header("date"));
        let Some(dated) = dated.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return Err(failed("The date of the request is missing or not of RFC 1123."));
        };
        if now.duration_since(dated).is_ok_and(|age| age > SIGNATURE_LIFE) {
            return Err(failed("The date of the request is more than 15 minutes ago."));
        }
        let found = BASE64_STANDARD.decode(signature).unwrap_or_default();
        let strings = [true, false].map(|lower| string_to_sign(request, &self.account, lower));
        if strings.iter().any(|string| hmac::verify(&self.key, string.as_bytes(), &found).is_ok()) {
            return Ok(());
        }
        Err(failed(&format!(
            "The MAC signature found in the HTTP request '{signature}' is not the same as any computed signature. \
             Server used following string to sign: '{}'.",
            strings[0]
        )))
    }
}

fn failed(detail: &str) -> Refusal {
    let message = "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly \
                   including the signature.";
    Refusal::new(403, "AuthenticationFailed", message).telling("AuthenticationErrorDetail", detail)
}

/// What a client signs of a request.
pub(super) fn string_to_sign(request: &Request, account: &str, lower_case_names: bool) -> String {
    let mut string = request.method.as_str().to_owned();
    for name in SIGNED_HEADERS {
        let superseded = name == "date" && request.headers.contains_key("ocp-date");
        string.push('\n');
        string.push_str(if superseded { "" } else { request.header(name).unwrap_or_default() });
    }
    string.push('\n');
    let mut own: Vec<_> = request.headers.iter().filter(|(name, _)| name.as_str().starts_with("ocp-")).collect();
    own.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in own {
        string.push_str(&format!("{name}:{}\n", String::from_utf8_lossy(value.as_bytes()).trim()));
    }
    string.push_str(&format!("/{account}{}", request.path));
    let named = |name: &str| if lower_case_names { name.to_ascii_lowercase() } else { name.to_owned() };
    let mut query: Vec<_> = request.query.iter().map(|(name, value)| (named(name), value.as_str())).collect();
    query.sort();
    for pairs in query.chunk_by(|left, right| left.0 == right.0) {
        let values: Vec<&str> = pairs.iter().map(|(_, value)| *value).collect();
        string.push_str(&format!("\n{}:{}", pairs[0].0, values.join(",")));
    }
    string
}

/// How long after its date a signed request is taken.
const SIGNATURE_LIFE: Duration = Duration::from_mins(15);

/// The headers of the string to sign, in its order.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;
    use http::{HeaderMap, Method};

    /// The string that a client logged in a public issue, for the request it was made of.
    #[test]
    fn the_string_to_sign_is_that_of_a_real_client() {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", "1166".parse().unwrap());
        headers.insert("content-type", "application/json;odata=minimalmetadata".parse().unwrap());
        headers.insert("ocp-date", "Tue, 26 Sep 2017 17:00:02 GMT".parse().unwrap());
        headers.insert("date", "ignored".parse().unwrap());
        let request = Request::new(Method::POST, "/pools?api-version=2017-05-01.5.0", headers, Bytes::new());
        assert_eq!(
            string_to_sign(&request, "acct", true),
            "POST\n\n\n1166\n\napplication/json;odata=minimalmetadata\n\n\n\n\n\n\nocp-date:Tue, 26 Sep 2017 17:00:02 GMT\n\
             /acct/pools\napi-version:2017-05-01.5.0"
        );
    }

    /// A signature holds for its string alone and for 15 minutes.
    #[test]
    fn a_signature_is_believed_while_it_is_young_and_right() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let gatekeeper = Gatekeeper::new("acct", "c2VjcmV0").unwrap();
        for (age, signed, sent, want) in [
            (0, "/jobs?timeOut=3&api-version=1", "/jobs?timeOut=3&api-version=1", true),
            (900, "/jobs?api-version=1", "/jobs?api-version=1", true),
            (901, "/jobs?api-version=1", "/jobs?api-version=1", false),
            (0, "/jobs?api-version=1", "/jobs?api-version=2", false),
            (0, "/jobs/a%2Fb?api-version=1", "/jobs/a%2fb?api-version=1", false),
        ] {
            for lower in [true, false] {
                let mut headers = HeaderMap::new();
                let date = httpdate::fmt_http_date(now - Duration::from_secs(age));
                headers.insert("ocp-date", date.parse().unwrap());
                let request = Request::new(Method::GET, signed, headers.clone(), Bytes::new());
                let tag = hmac::sign(&gatekeeper.key, string_to_sign(&request, "acct", lower).as_bytes());
                let authorization = format!("SharedKey acct:{}", BASE64_STANDARD.encode(tag));
                headers.insert("authorization", authorization.parse().unwrap());
                let admitted = gatekeeper.admit(&Request::new(Method::GET, sent, headers, Bytes::new()), now);
                assert_eq!(admitted.is_ok(), want, "{age} {signed} {sent} {lower} {admitted:?}");
            }
        }
    }
}
