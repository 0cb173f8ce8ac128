//! Error codes of the Batch service: reading one from the body of an answer, and what is known about it.
//!
//! The body of a Batch error is `{"odata.metadata": .., "code": .., "message": {..}, "values": [..]}`. Only its beginning is
//! looked at, and it may be cut short, compressed or no JSON at all: no bytes make this fail. What a code means for a
//! replay is for `retry::classify` to say, together with the status.
//!
//! Source of codes and shape: "Batch Status and Error Codes" of the REST documentation, and the error code constants of
//! the .NET client.

mod json;
mod known;

use std::io::Read;

use flate2::read::GzDecoder;

use self::known::KNOWN_CODES;
use super::coding::Coding;

/// What kind of trouble a code names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Something of that name is being deleted. A create can succeed once it is gone.
    BeingDeleted,
    /// Nothing that time would heal, nothing known, or what the status says already.
    Other,
    /// A quota is used up until something else ends, in minutes or hours.
    Quota,
    /// A passing state of the resource refuses the request; it was not carried out.
    StateClears,
    /// The service asks for time.
    Throttle,
}

/// The code of a Batch error body, from its first bytes as received.
///
/// No more than [`PREFIX_LIMIT`] bytes of `prefix` are read. It may end anywhere: what is complete up to there counts.
/// `content_encoding` is the field of that name; `gzip` and none are understood. The `code` at the top level counts; where
/// there is none, that of `{"error": {"code": ..}}`, as gateways before the service write it.
///
/// `None` where no code is found, and for one longer than 128 bytes or with a character outside `[A-Za-z0-9_.-]`: such a
/// text is no code, and must not get into logs and conditions as if it were.
pub fn code(prefix: &[u8], content_encoding: Option<&str>) -> Option<String> {
    let prefix = &prefix[..prefix.len().min(PREFIX_LIMIT)];
    match Coding::of(content_encoding)? {
        Coding::Gzip => json::error_code(&inflate(prefix)),
        Coding::Identity => json::error_code(prefix),
    }
    .filter(|code| is_plausible(code))
}

/// What kind of trouble `code` names.
pub fn kind(code: &str) -> FaultKind {
    match code {
        "ServerBusy" | "TooManyEnableAutoScaleRequests" | "TooManyRequests" => FaultKind::Throttle,
        "NodeBeingCreated" | "NodeBeingRebooted" | "NodeBeingReimaged" | "NodeBeingStarted" => FaultKind::StateClears,
        "PoolBeingCreated" | "PoolBeingResized" => FaultKind::StateClears,
        "ActiveJobAndScheduleQuotaReached" | "PoolQuotaReached" => FaultKind::Quota,
        _ if code.ends_with("BeingDeleted") => FaultKind::BeingDeleted,
        _ => FaultKind::Other,
    }
}

/// The codes that the documentation and the .NET client name, in the order of their bytes.
pub fn known() -> impl Iterator<Item = &'static str> {
    KNOWN_CODES.iter().copied()
}

/// `code` as a metric label: itself where it is a known code, `other` where it is not, so that no peer can make labels up.
pub fn label(code: &str) -> &'static str {
    KNOWN_CODES.binary_search(&code).map_or("other", |at| KNOWN_CODES[at])
}

/// As much of a gzip stream as can be had, within bounds.
fn inflate(compressed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    // An error is the cut end of the stream, or garbage after a sound beginning: what came before it counts.
    let _ = GzDecoder::new(compressed).take(INFLATED_LIMIT).read_to_end(&mut plain);
    plain
}

fn is_plausible(code: &str) -> bool {
    (1..=CODE_LIMIT).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// How many bytes of a body, as received, are worth keeping for [`code`]. An error body of Batch has under 2 KiB, and
/// its code stands at the beginning.
pub const PREFIX_LIMIT: usize = 8 * 1024;

/// How many bytes are inflated at most, so that a small body cannot become a large one.
const INFLATED_LIMIT: u64 = 16 * 1024;

/// The longest known code has 36 bytes.
const CODE_LIMIT: usize = 128;

#[cfg(test)]
mod tests;
