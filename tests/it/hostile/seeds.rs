//! What the fuzzers begin with: the hostile requests, cut as each fuzzer wants them. `make fuzz` asks for it.

use std::path::PathBuf;

use super::corpus::{Case, Place, cases};
use super::message::Message;
use crate::support::fixture::{wire, wire_names};

#[test]
#[ignore = "writes files for make fuzz, which says where"]
fn the_fuzzers_begin_with_the_hostile_requests() {
    let root = PathBuf::from(std::env::var("FUZZ_SEEDS").expect("FUZZ_SEEDS names a folder"));
    let write = |fuzzer: &str, nth: usize, seed: &[u8]| {
        let folder = root.join(fuzzer);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{nth:04}")), seed).unwrap();
    };
    for (nth, case) in cases().iter().enumerate() {
        write("proxy", nth, &[&[u8::from(case.place == Place::Port)], case.bytes.as_slice()].concat());
        if let Some(seed) = route(case) {
            write("route", nth, &seed);
        }
        if let Some(seed) = operation(&case.bytes) {
            write("operation", nth, &seed);
        }
    }
    let recorded = ["azure-batch-14.2.0", "azure-batch-15.1.0", "azure-batch-js-10.2.0"].map(wire_names).concat();
    for (nth, request) in recorded.iter().map(|name| wire(name)).enumerate() {
        let nth = 5000 + nth;
        write("proxy", nth, &[&[0], request.as_slice()].concat());
        if let Some(seed) = operation(&request) {
            write("operation", nth, &seed);
        }
        let Ok((message, _)) = Message::read(&request) else { continue };
        // Failing once, in large pieces, and both in chunks and not.
        write("replay_body", 2 * nth, &[&[1, 255, 0], message.body.as_slice()].concat());
        write("replay_body", 2 * nth + 1, &[&[2, 1, 101], message.body.as_slice()].concat());
    }
}

/// Method, target and `Host`.
fn route(case: &Case) -> Option<Vec<u8>> {
    let [method, target] = words(&case.bytes)?;
    let host = String::from_utf8_lossy(&case.bytes).lines().find_map(|line| line.strip_prefix("Host: ").map(str::to_owned));
    Some([method, target, host.unwrap_or_default().as_bytes()].join(&b'\n'))
}

/// Method and path.
fn operation(request: &[u8]) -> Option<Vec<u8>> {
    let [method, target] = words(request)?;
    let path = target.split(|byte| *byte == b'?').next()?;
    Some([method, path].join(&b'\n'))
}

fn words(request: &[u8]) -> Option<[&[u8]; 2]> {
    let mut words = request.splitn(3, |byte| *byte == b' ');
    Some([words.next()?, words.next()?])
}
