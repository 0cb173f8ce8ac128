//! A byte that says whom the client speaks to and in how large pieces, and what it sends.

#![no_main]

use std::time::Duration;

use batch_retry_proxy_fuzz::{Place, Stage, reference};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((how, sent)) = data.split_first() else { return };
    let place = if how % 2 == 0 { Place::Inside } else { Place::Port };
    let piece = if how & 2 == 0 { sent.len() } else { usize::from(how >> 2) + 1 };
    let conversation = Stage::get().converse(place, sent, piece, 0, QUIET);
    assert!(conversation.malformed.is_empty(), "a server got what is no request: {:?}", conversation.malformed);
    let meant = reference::requests(sent);
    let got: Vec<_> = conversation.requests.iter().map(|it| reference::of_head(&it.head, it.body.clone())).collect();
    let agreed = got.len() <= meant.len() && got.iter().zip(&meant).all(|(got, meant)| got.as_ref() == Some(meant));
    assert!(agreed, "the client sent {meant:?}, and a server got {got:?}");
});

/// What is cut short is answered by nothing, so its client goes soon.
const QUIET: Duration = Duration::from_millis(10);
