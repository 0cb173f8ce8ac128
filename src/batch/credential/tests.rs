use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

/// 1994-11-06 08:49:37 UTC, the example of RFC 9110.
const SIGNED: u64 = 784_111_777;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |&(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    fields.iter().map(field).collect()
}

fn token(payload: &str) -> String {
    format!("Bearer {}.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#), URL_SAFE_NO_PAD.encode(payload))
}

fn bearer_end(authorization: &str) -> Option<SystemTime> {
    let expiry = expiry(&headers(&[("authorization", authorization)]))?;
    assert_eq!(expiry.credential, Credential::BearerToken);
    Some(expiry.at)
}

#[test]
fn a_signature_lasts_14_minutes_from_the_date_it_was_made_for() {
    let signed = Some(Expiry { at: at(SIGNED + 14 * 60), credential: Credential::SharedKeySignature });
    let other = "Sun, 06 Nov 1994 10:00:00 GMT";
    for (fields, want) in [
        // The three forms of RFC 9110, 5.6.7.
        (&[("ocp-date", "Sun, 06 Nov 1994 08:49:37 GMT")][..], signed),
        (&[("ocp-date", "Sunday, 06-Nov-94 08:49:37 GMT")], signed),
        (&[("ocp-date", "Sun Nov  6 08:49:37 1994")], signed),
        (&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")], signed),
        (&[("OCP-Date", " Sun, 06 Nov 1994 08:49:37 GMT ")], signed),
        // `ocp-date` is the one that is signed.
        (&[("date", other), ("ocp-date", "Sun, 06 Nov 1994 08:49:37 GMT")], signed),
        (&[("ocp-date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "nonsense")], signed),
        (&[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("ocp-date", "nonsense")], None),
        (&[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("ocp-date", "")], None),
        (&[("x-ms-date", "Sun, 06 Nov 1994 08:49:37 GMT")], None),
        (&[("ocp-date", "1994-11-06T08:49:37Z")], None),
        (&[("ocp-date", "So, 06 Nov 1994 08:49:37 GMT")], None),
        (&[("ocp-date", "Sun, 06 Nov 99999 08:49:37 GMT")], None),
        (&[], None),
    ] {
        let mut headers = headers(fields);
        headers.insert(AUTHORIZATION, HeaderValue::from_static("SharedKey account:c2lnbmF0dXJl"));
        assert_eq!(expiry(&headers), want, "{fields:?}");
    }
}

#[test]
fn the_scheme_decides_what_the_credential_is() {
    let jwt = token(r#"{"exp":1700000000}"#);
    let jwt = jwt.strip_prefix("Bearer ").unwrap();
    for (scheme, want) in [
        ("SharedKey", Some(Credential::SharedKeySignature)),
        ("sharedkey", Some(Credential::SharedKeySignature)),
        ("SHAREDKEY", Some(Credential::SharedKeySignature)),
        ("SharedKeyLite", Some(Credential::SharedKeySignature)),
        ("sharedkeylite", Some(Credential::SharedKeySignature)),
        ("Bearer", Some(Credential::BearerToken)),
        ("bearer", Some(Credential::BearerToken)),
        ("BEARER", Some(Credential::BearerToken)),
        ("Basic", None),
        ("SharedKeys", None),
        ("Bear", None),
        ("", None),
    ] {
        let authorization = format!("{scheme} {jwt}");
        let headers = headers(&[("ocp-date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("authorization", &authorization)]);
        assert_eq!(expiry(&headers).map(|expiry| expiry.credential), want, "{scheme}");
    }
    assert_eq!(expiry(&headers(&[("ocp-date", "Sun, 06 Nov 1994 08:49:37 GMT")])), None);
    assert_eq!(expiry(&headers(&[("ocp-date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("authorization", "SharedKey")])), None);
}

#[test]
fn a_token_lasts_until_30_seconds_before_the_end_it_names() {
    for (payload, want) in [
        (r#"{"exp":1700000030}"#, Some(at(1_700_000_000))),
        (r#"{"aud":"https://batch.core.windows.net/","exp":1700000030,"groups":["a","b"]}"#, Some(at(1_700_000_000))),
        (r#"{"exp":1700000030.5}"#, Some(at(1_700_000_000) + Duration::from_millis(500))),
        (r#"{"exp":1.70000003e9}"#, Some(at(1_700_000_000))),
        (r#" { "exp" : 1700000030 } "#, Some(at(1_700_000_000))),
        (r#"{"exp":-1}"#, Some(SystemTime::UNIX_EPOCH - Duration::from_secs(30))),
        (r#"{"exp":0}"#, Some(SystemTime::UNIX_EPOCH - Duration::from_secs(30))),
        (r#"{"exp":1e300}"#, None),
        (r#"{"exp":1e400}"#, None),
        (r#"{"exp":18446744073709551615}"#, None),
        (r#"{"exp":99999999999999999999999999}"#, None),
        (r#"{"exp":"1700000030"}"#, None),
        (r#"{"exp":null}"#, None),
        (r#"{"nbf":1700000030}"#, None),
        (r#"{"nested":{"exp":1700000030}}"#, None),
        (r#"["exp",1700000030]"#, None),
        (r#"{"exp":1700000030"#, None),
        ("1700000030", None),
        ("", None),
    ] {
        assert_eq!(bearer_end(&token(payload)), want, "{payload}");
    }
}

#[test]
fn the_payload_is_read_with_and_without_padding_and_in_no_other_alphabet() {
    let payload = r#"{"exp":1700000030,"n":"??>>~~é."}"#;
    assert!(URL_SAFE.encode(payload).ends_with('='));
    assert!(URL_SAFE.encode(payload).contains(['-', '_']));
    for (encoded, want) in [
        (URL_SAFE.encode(payload), Some(at(1_700_000_000))),
        (URL_SAFE_NO_PAD.encode(payload), Some(at(1_700_000_000))),
        (STANDARD.encode(payload), None),
        ("!!!".to_owned(), None),
        (String::new(), None),
    ] {
        assert_eq!(bearer_end(&format!("Bearer h.{encoded}.s")), want, "{encoded}");
        assert_eq!(bearer_end(&format!("Bearer \t h.{encoded}.s")), want, "{encoded}");
    }
}

#[test]
fn an_opaque_token_has_no_known_end() {
    for authorization in ["Bearer", "Bearer ", "Bearer abc", "Bearer a.b", "Bearer ..", "Bearer a.b.c.d.e"] {
        assert_eq!(bearer_end(authorization), None, "{authorization}");
    }
}

#[test]
fn a_token_longer_than_16_kib_is_not_looked_at() {
    let signed = token(r#"{"exp":1700000030}"#);
    let padded = |length: usize| format!("{signed}{}", "x".repeat(length + "Bearer ".len() - signed.len()));
    assert_eq!(bearer_end(&padded(16 * 1024)), Some(at(1_700_000_000)));
    assert_eq!(bearer_end(&padded(16 * 1024).replace(' ', " \t ")), Some(at(1_700_000_000)));
    assert_eq!(bearer_end(&padded(16 * 1024 + 1)), None);
}

proptest! {
    #[test]
    fn no_header_makes_the_reading_fail(
        scheme in "(SharedKey|Bearer|) ?",
        credential in prop::collection::vec(any::<u8>(), 0..200),
        date in "\\PC{0,40}|[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{0,10} GMT",
    ) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&[scheme.as_bytes(), &credential].concat()) {
            headers.insert(AUTHORIZATION, value);
        }
        if let Ok(value) = HeaderValue::from_bytes(date.as_bytes()) {
            headers.insert("ocp-date", value);
        }
        expiry(&headers);
    }

    #[test]
    fn no_payload_makes_the_reading_fail(
        payload in "\\PC{0,80}|\\{\"exp\":-?[0-9]{0,25}(\\.[0-9]{0,20})?(e[+-]?[0-9]{1,4})?\\}"
    ) {
        bearer_end(&token(&payload));
    }

    #[test]
    fn every_end_a_token_can_name_is_read(seconds in 0..4_000_000_000_u64) {
        let end = bearer_end(&token(&format!(r#"{{"exp":{seconds}}}"#)));
        prop_assert_eq!(end, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) - Duration::from_secs(30)));
    }
}
