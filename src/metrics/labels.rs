//! The closed label values. What is open (accounts) is bounded by [`super::Accounts`].
//!
//! Words of the retry core (class, stop reason, failure) label themselves and are declared there.

use serde::{Serialize, Serializer};

/// Declares an enum whose variants are label values: `as_str` gives the text, also in JSON, and `ALL` lists the variants.
macro_rules! labels {
    ($($(#[$meta:meta])* pub enum $name:ident { $($(#[$value_meta:meta])* $value:ident => $text:literal,)+ })+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_meta])* $value,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The label value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )+ };
}

labels! {
    /// What became of a connection, as counted when it ends.
    pub enum ConnectionResult {
        /// Ended in order by either side.
        Completed => "completed",
        /// Not allowed by the settings.
        Denied => "denied",
        /// Broken off: reset, cut short, timed out, or its handshake failed.
        Failed => "failed",
        /// The other end could not be reached.
        Unreachable => "unreachable",
    }

    /// What a client's connection is used for.
    pub enum ConnectionKind {
        /// Plain-http requests in absolute form.
        Forward => "forward",
        /// A CONNECT that is opened.
        Intercept => "intercept",
        /// A CONNECT whose bytes pass unseen.
        Tunnel => "tunnel",
    }

    /// Which way a tunnel's bytes went, seen from the client.
    pub enum Direction {
        /// From the server to the client.
        Received => "received",
        /// From the client to the server.
        Sent => "sent",
    }

    /// What became of an answer that may have been the echo of an earlier send.
    pub enum EchoResolution {
        /// Handed over as it was, and marked.
        Passed => "passed",
        /// A delete or transition whose end was reached: answered as its success.
        Resolved => "resolved",
        /// A create that exists: answered as its success because `retry.echo.creates` trusts it.
        Trusted => "trusted",
        /// A create that exists and was made since the first send: answered as its success.
        Verified => "verified",
    }

    /// How an opened request ended, as the program saw it. Each ends in exactly one.
    pub enum Fate {
        /// An answer under way was cut off.
        Broken => "broken",
        /// The account's budget for replays was used up.
        Budget => "budget",
        /// The client hung up first.
        ClientGone => "client_gone",
        /// Success, read from the echo of an earlier send.
        Echo => "echo",
        /// Attempts or deadline were used up.
        Exhausted => "exhausted",
        /// Success with the first attempt.
        FirstTry => "first_try",
        /// A replay would have been worth it, but operation, body or signature forbade it.
        NotReplayable => "not_replayable",
        /// A final answer that is never replayed.
        Permanent => "permanent",
        /// A client's own repeat of what was given up failed again; it is sent once.
        Repeat => "repeat",
        /// Success after one replay or more.
        Replayed => "replayed",
    }

    /// Where a leaf certificate came from.
    pub enum LeafResult {
        /// Made earlier and still good.
        Cached => "cached",
        /// Could not be made.
        Failed => "failed",
        /// Made for this handshake.
        Issued => "issued",
    }

    /// What came of reading the settings anew.
    pub enum ReloadResult {
        /// New settings are in force.
        Applied => "applied",
        /// They cannot be used, and the old ones stay.
        Failed => "failed",
        /// Nothing that can be replaced while running differs.
        Unchanged => "unchanged",
    }

    /// What came of a download that broke off under way.
    pub enum RepairResult {
        /// It could not be had again.
        Abandoned => "abandoned",
        /// What came does not continue it.
        Changed => "changed",
        /// It went on.
        Repaired => "repaired",
    }

    /// Why a request was sent again.
    pub enum RetryReason {
        /// The attempt did not reach the service.
        NotSent => "not_sent",
        /// A quota was used up, and `retry.quota` allows a replay.
        Quota => "quota",
        /// A read did not see what was just created, and `retry.read_after_create` allows a replay.
        ReadLag => "read_lag",
        /// The resource was in a passing state, and `retry.state` allows a replay.
        State => "state",
        /// The service asked for time.
        Throttled => "throttled",
        /// The service or the network failed and may recover.
        Transient => "transient",
        /// The answer was cut short.
        Truncated => "truncated",
    }

    /// Whose TLS handshake failed.
    pub enum Side {
        /// Between a client and the proxy.
        Client => "client",
        /// Between the proxy and the upstream.
        Upstream => "upstream",
    }

    /// Why the body of a request, or of an answer, was not held for a replay.
    pub enum UnheldReason {
        /// All held bodies and answers together reached `retry.memory_limit`.
        Memory => "memory",
        /// A request's body is larger than `retry.body_limit`.
        Size => "size",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::policy::WaitCause;

    /// What `family` needs: see its note on how children are found.
    #[test]
    fn no_label_value_of_an_enum_ends_in_another_of_it() {
        fn check<T: Copy>(all: &[T], text: fn(T) -> &'static str) {
            assert!(all.len() > 1);
            for (i, a) in all.iter().enumerate() {
                for (j, b) in all.iter().enumerate() {
                    assert!(i == j || !text(*a).ends_with(text(*b)), "{} {}", text(*a), text(*b));
                }
            }
        }
        check(ConnectionResult::ALL, ConnectionResult::as_str);
        check(ConnectionKind::ALL, ConnectionKind::as_str);
        check(Direction::ALL, Direction::as_str);
        check(EchoResolution::ALL, EchoResolution::as_str);
        check(Fate::ALL, Fate::as_str);
        check(LeafResult::ALL, LeafResult::as_str);
        check(ReloadResult::ALL, ReloadResult::as_str);
        check(RepairResult::ALL, RepairResult::as_str);
        check(RetryReason::ALL, RetryReason::as_str);
        check(Side::ALL, Side::as_str);
        check(UnheldReason::ALL, UnheldReason::as_str);
        check(WaitCause::ALL, WaitCause::as_str);
    }
}
