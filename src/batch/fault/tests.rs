use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BATCH_BODY: &str = r#"{
  "odata.metadata":"https://a.westeurope.batch.azure.com/$metadata#Container.errors/@Element",
  "code":"JobExists","message":{
    "lang":"en-US","value":"The specified job already exists.\nRequestId:11111111-2222-3333-4444-555555555555"
  },"values":[{"key":"Reason","value":"\"code\":\"Wrong\""}]
}"#;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_code_of_a_batch_error_body_is_read() {
    assert_eq!(code(BATCH_BODY.as_bytes(), None).as_deref(), Some("JobExists"));
}

#[test]
fn only_a_plausible_code_at_the_right_place_counts() {
    let at_limit = format!(r#"{{"code":"{}"}}"#, "x".repeat(128));
    let past_limit = format!(r#"{{"code":"{}"}}"#, "x".repeat(129));
    assert_eq!(code(at_limit.as_bytes(), None), Some("x".repeat(128)));
    assert_eq!(code(past_limit.as_bytes(), None), None);

    for (body, want) in [
        // Order and white space.
        (r#"{"code":"A"}"#, Some("A")),
        (" \r\n\t{ \"code\" \n:\t\"A\" } ", Some("A")),
        ("\u{feff}{\"code\":\"A\"}", Some("A")),
        (r#"{"message":{"lang":"en","value":"x"},"values":[{"key":"k","value":"v"},[[]],{}],"code":"A"}"#, Some("A")),
        (r#"{"a":null,"b":-1.5e+3,"c":true,"d":"","e":[],"f":{},"code":"A"}"#, Some("A")),
        (r#"{"code":"A","code":"B"}"#, Some("A")),
        // Only the top level, and no text inside strings.
        (r#"{"message":{"code":"B"},"values":[{"code":"C"}]}"#, None),
        (r#"{"message":{"code":"B"},"code":"A"}"#, Some("A")),
        (r#"{"message":"{\"code\":\"B\"}","code":"A"}"#, Some("A")),
        (r#"{"message":"\\","code":"A"}"#, Some("A")),
        (r#"{"message":"\\\",\"code\":\"B\"","code":"A"}"#, Some("A")),
        (r#"["code","A"]"#, None),
        (r#"[{"code":"A"}]"#, None),
        (r#""code""#, None),
        (r#"{"Code":"A"}"#, None),
        (r#"{"decode":"A"}"#, None),
        // The form of gateways, as second choice.
        (r#"{"error":{"code":"G","message":"m"}}"#, Some("G")),
        (r#"{"error":{"message":{"code":"B"},"code":"G"}}"#, Some("G")),
        (r#"{"error":{"code":"G"},"code":"A"}"#, Some("A")),
        (r#"{"error":{"error":{"code":"B"}}}"#, None),
        (r#"{"error":[{"code":"B"}]}"#, None),
        (r#"{"error":"text","code":"A"}"#, Some("A")),
        (r#"{"error":{"code":"G""#, Some("G")),
        (r#"{"error":{"code":"G"},"error":{"code":"H"}}"#, Some("G")),
        // Escapes.
        (r#"{"\u0063ode":"A\u0042C"}"#, Some("ABC")),
        (r#"{"code":"A\"B"}"#, None),
        (r#"{"code":"\ud83d\ude00"}"#, None),
        (r#"{"code":"\ud83d"}"#, None),
        (r#"{"code":"\x41"}"#, None),
        // Characters and types.
        (r#"{"code":"A-b_9.z"}"#, Some("A-b_9.z")),
        (r#"{"code":""}"#, None),
        (r#"{"code":"A B"}"#, None),
        (r#"{"code":"é"}"#, None),
        (r#"{"code":"A\n"}"#, None),
        (r#"{"code":403}"#, None),
        (r#"{"code":null,"error":{"code":"G"}}"#, Some("G")),
        (r#"{"code":403,"code":"A"}"#, Some("A")),
        // Cut short.
        (r#"{"code":"Job"#, None),
        (r#"{"code":"Job\"#, None),
        (r#"{"code":"A""#, Some("A")),
        (r#"{"code""#, None),
        (r#"{"#, None),
        // No JSON.
        ("", None),
        ("   ", None),
        ("<html><body>503</body></html>", None),
        (r#"{"a" 1,"code":"A"}"#, None),
        (r#"{"a":1 "code":"A"}"#, None),
        (r#"{"a":,"code":"A"}"#, None),
        (r#"{"a":,,"code":"A"}"#, None),
        (r#"{"a":],"code":"A"}"#, None),
        (r#"{a:1,"code":"A"}"#, None),
    ] {
        assert_eq!(code(body.as_bytes(), None).as_deref(), want, "{body}");
    }
}

#[test]
fn deep_nesting_is_skipped() {
    let deep = format!(r#"{{"values":{}{},"code":"A"}}"#, "[".repeat(3_000), "]".repeat(3_000));
    assert_eq!(code(deep.as_bytes(), None).as_deref(), Some("A"));
}

#[test]
fn bytes_past_the_prefix_limit_are_not_read() {
    let padded = |padding: usize| format!(r#"{{"message":"{}","code":"A"}}"#, "x".repeat(padding)).into_bytes();
    assert_eq!(code(&padded(PREFIX_LIMIT / 2), None).as_deref(), Some("A"));
    assert_eq!(code(&padded(PREFIX_LIMIT), None), None);
}

#[test]
fn known_content_codings_are_undone_and_unknown_ones_yield_nothing() {
    let (plain, zipped) = (BATCH_BODY.as_bytes(), gzip(BATCH_BODY.as_bytes()));
    for (bytes, coding, want) in [
        (plain, None, true),
        (plain, Some(""), true),
        (plain, Some("identity"), true),
        (plain, Some("gzip"), false),
        (plain, Some("br"), false),
        (&zipped, Some("gzip"), true),
        (&zipped, Some(" GZip "), true),
        (&zipped, Some("x-gzip"), true),
        (&zipped, Some("gzip, gzip"), false),
        (&zipped, Some("deflate"), false),
        (&zipped, None, false),
    ] {
        assert_eq!(code(bytes, coding).is_some(), want, "{coding:?}");
    }
}

#[test]
fn a_gzip_stream_cut_short_yields_what_it_has() {
    let zipped = gzip(BATCH_BODY.as_bytes());
    let readable = (0..zipped.len()).filter(|&end| code(&zipped[..end], Some("gzip")).is_some()).count();
    assert!(readable > 8, "only {readable} of {} cuts yield the code", zipped.len());
    assert_eq!(code(&zipped[..zipped.len() - 8], Some("gzip")).as_deref(), Some("JobExists"));
}

#[test]
fn a_small_body_is_not_inflated_without_bound() {
    let zipped = gzip(&vec![b' '; 4 << 20]);
    assert!(zipped.len() < PREFIX_LIMIT);
    assert_eq!(inflate(&zipped).len() as u64, INFLATED_LIMIT);
}

#[test]
fn each_code_has_the_kind_its_text_promises() {
    for (codes, want) in [
        (&["ServerBusy", "TooManyEnableAutoScaleRequests", "TooManyRequests"][..], FaultKind::Throttle),
        (&["PoolBeingResized", "PoolBeingCreated"], FaultKind::StateClears),
        (&["NodeBeingCreated", "NodeBeingStarted", "NodeBeingReimaged", "NodeBeingRebooted"], FaultKind::StateClears),
        (&["PoolBeingDeleted", "JobBeingDeleted", "JobScheduleBeingDeleted"], FaultKind::BeingDeleted),
        (&["CertificateBeingDeleted", "TaskBeingDeleted"], FaultKind::BeingDeleted),
        (&["ActiveJobAndScheduleQuotaReached", "PoolQuotaReached"], FaultKind::Quota),
        (&["JobBeingTerminated", "JobScheduleBeingTerminated", "InternalError", "JobExists"], FaultKind::Other),
        (&["serverbusy", "AccountCoreQuotaReached", "BeingDeletedX", ""], FaultKind::Other),
    ] {
        for code in codes {
            assert_eq!(kind(code), want, "{code}");
        }
    }
}

#[test]
fn a_label_is_a_known_code_or_other() {
    assert_eq!(KNOWN_CODES.len(), 120);
    assert!(KNOWN_CODES.is_sorted_by(|a, b| a < b));
    for code in KNOWN_CODES {
        assert_eq!(label(code), code);
    }
    for documented in
        ["AccountIsDisabled", "JobExists", "ServerBusy", "TaskNotFound", "TooManyRequests", "UpgradePoolVersionConflict"]
    {
        assert_eq!(label(documented), documented);
    }
    for made_up in ["", "other", "jobexists", "JobExists ", "Zzz", "AAA"] {
        assert_eq!(label(made_up), "other");
    }
}

/// A body in the service's form or in a gateway's, its members in any order, and the code in it.
fn body() -> impl Strategy<Value = (String, String)> {
    let text = "[\\PC\"\\\\{}\\[\\],:\n]{0,40}";
    let nested = (text, text)
        .prop_map(|(a, b)| json!({"code": a, "lang": "en-US", "value": b, "values": [{"code": b}, [1.5e3, null]]}));
    ("[A-Za-z0-9_.-]{1,128}", nested, text, any::<bool>(), any::<bool>(), 0..3_usize).prop_map(
        |(code, nested, text, gateway, pretty, place)| {
            let mut members = vec![("message", nested), ("values", Value::from(text))];
            members.insert(place, ("code", Value::from(code.clone())));
            let render = |value: &Value| if pretty { format!("{value:#}") } else { value.to_string() };
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\" : {}", render(value))).collect();
            let object = format!("{{{}}}", members.join(","));
            (if gateway { format!("{{\"error\":{object}}}") } else { object }, code)
        },
    )
}

proptest! {
    #[test]
    fn no_bytes_make_the_reading_fail(bytes in prop::collection::vec(any::<u8>(), 0..600), coding in "(gzip|identity)?") {
        let found = code(&bytes, Some(&coding));
        prop_assert!(found.is_none_or(|code| is_plausible(&code)));
    }

    #[test]
    fn no_text_that_looks_like_json_makes_the_reading_fail(
        text in "[{}\\[\\]\",:\\\\codeu0 ]{0,60}|\\{(\"(code|error)\":[{\"a\\]]?){0,6}"
    ) {
        code(text.as_bytes(), None);
    }

}

proptest! {
    // Every case tries some hundred cuts.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_body_cut_at_any_byte_yields_its_code_or_none((body, want) in body()) {
        prop_assert_eq!(code(body.as_bytes(), None), Some(want.clone()), "{}", body);
        for end in 0..body.len() {
            let found = code(&body.as_bytes()[..end], None);
            prop_assert!(found.as_ref().is_none_or(|found| *found == want), "{found:?} of {body} cut at {end}");
        }
        let zipped = gzip(body.as_bytes());
        prop_assert_eq!(code(&zipped, Some("gzip")), Some(want.clone()));
        for end in 0..zipped.len() {
            let found = code(&zipped[..end], Some("gzip"));
            prop_assert!(found.is_none_or(|found| found == want));
        }
    }

}

proptest! {
    #[test]
    fn damaged_gzip_is_survived(at in 0..200_usize, byte: u8) {
        let mut zipped = gzip(BATCH_BODY.as_bytes());
        let at = at.min(zipped.len() - 1);
        zipped[at] = byte;
        code(&zipped, Some("gzip"));
    }
}
