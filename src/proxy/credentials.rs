//! The name and password that clients have to give: Basic, in `Proxy-Authorization` (RFC 7617).
//!
//! Unencrypted on the network, so they keep out who cannot listen there. Only their digest is kept, and neither they nor what a client gave is
//! ever written anywhere.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, PROXY_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use thiserror::Error;

use super::error::plain;
use crate::batch::fields::{Fields, visible};

/// What clients have to know, written `user:password`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// What is compared is not the secret itself: how long that takes tells nothing of it.
    digest: [u8; 32],
}

/// Why a text is not [`Credentials`]. It does not repeat the text.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be \"user:password\", neither of them empty and without control characters")]
pub struct InvalidCredentials;

/// What a client gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// None.
    Nothing,
    /// What is asked for.
    Right,
    /// Others.
    Wrong,
}

// === impl Credentials ===

impl Credentials {
    /// What these fields hold of them.
    pub(super) fn given(&self, fields: &impl Fields) -> Given {
        let mut values = fields.values("proxy-authorization");
        match (values.next(), values.next()) {
            (None, _) => Given::Nothing,
            (Some(value), None) if decode(value).is_some_and(|text| digest_of(&text) == self.digest) => Given::Right,
            // Of two it is not said which counts.
            (Some(_), _) => Given::Wrong,
        }
    }
}

impl FromStr for Credentials {
    type Err = InvalidCredentials;

    fn from_str(text: &str) -> Result<Self, InvalidCredentials> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() && !text.chars().any(char::is_control) => {
                Ok(Self { digest: digest_of(text.as_bytes()) })
            }
            _ => Err(InvalidCredentials),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// The answer to who gave none, or others.
pub(super) fn challenge() -> Response<Full<bytes::Bytes>> {
    let mut response = plain(
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        "listen.credentials asks for a name and a password. Name them to the program in HTTPS_PROXY=http://user:password@host:port.",
    );
    let headers = response.headers_mut();
    headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"batch-retry-proxy\", charset=\"UTF-8\""));
    response
}

fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, token) = visible(value)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(token.trim_start_matches(' ')).ok()).flatten()
}

fn digest_of(text: &[u8]) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, text).as_ref());
    octets
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, PROXY_AUTHORIZATION};

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (PROXY_AUTHORIZATION, HeaderValue::from_str(value).unwrap())).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        )
    }

    #[test]
    fn what_is_given_is_right_in_one_field_and_to_the_letter() {
        let credentials: Credentials = "ann:pass:wörd".parse().unwrap();
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let right = encoded("ann:pass:wörd");
        for (values, want) in [
            (&[][..], Given::Nothing),
            (&[&*right], Given::Right),
            (&[&*right.replace("Basic", "bASIC")], Given::Right),
            (&[&*right.replace("Basic ", "Basic   ")], Given::Right),
            (&[&*encoded("ann:pass:word")], Given::Wrong),
            (&[&*encoded("ann:")], Given::Wrong),
            (&[&*right.replace("Basic", "Bearer")], Given::Wrong),
            (&["Basic"], Given::Wrong),
            (&["Basic ann:pass:word"], Given::Wrong),
            (&[&*right, &*right], Given::Wrong),
            (&[&*format!("{right}, {right}")], Given::Wrong),
        ] {
            assert_eq!(credentials.given(&headers(values)), want, "{values:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_name_and_password_is_refused_and_never_repeated() {
        for text in ["secret", "", ":secret", "secret:", "a:secret\n"] {
            let error = text.parse::<Credentials>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text:?}");
        }
        assert!(!format!("{:?}", "a:secret".parse::<Credentials>().unwrap()).contains("secret"));
    }
}
