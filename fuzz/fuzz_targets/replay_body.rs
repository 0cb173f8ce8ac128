//! How a body comes and how often it is sent: two bytes that say how many sends fail and in how large pieces it is written, one that says
//! whether it comes in chunks and how large these are, and the body.

#![no_main]

use std::time::Duration;

use batch_retry_proxy_fuzz::{HOST, Place, Stage};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [failures, piece, chunk, body @ ..] = data else { return };
    let failures = usize::from(failures % 4);
    let mut sent = format!("PUT /jobs/j HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n").into_bytes();
    let chunked = chunk % 2 == 1;
    if chunked {
        sent.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for part in body.chunks(usize::from(chunk / 2) + 1) {
            sent.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            sent.extend_from_slice(part);
            sent.extend_from_slice(b"\r\n");
        }
        sent.extend_from_slice(b"0\r\n\r\n");
    } else {
        sent.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        sent.extend_from_slice(body);
    }
    let conversation = Stage::get().converse(Place::Inside, &sent, usize::from(*piece) * 16 + 1, failures, QUIET);
    let answer = String::from_utf8_lossy(&conversation.answers);
    assert!(conversation.malformed.is_empty(), "the service got what is no request: {:?}", conversation.malformed);
    assert!(answer.starts_with("HTTP/1.1 200 "), "after {failures} failures: {answer}");
    assert_eq!(conversation.requests.len(), failures + 1, "sends");
    for request in &conversation.requests {
        assert!(request.body == body, "another body than the client's: {request:?}");
        assert_eq!(request.head, conversation.requests[0].head, "another head than the first");
        let head = String::from_utf8_lossy(&request.head).to_ascii_lowercase();
        assert_eq!(head.contains("transfer-encoding: chunked"), chunked, "{head}");
    }
});

/// Longer than all waits before a replay.
const QUIET: Duration = Duration::from_secs(10);
