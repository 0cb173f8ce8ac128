#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| batch_retry_proxy::fuzzing::retry_after(data));
