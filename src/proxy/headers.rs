//! Header fields that belong to one connection and not to the message (RFC 9110, 7.6.1).
//!
//! A length beside a transfer coding is removed from an answer too (RFC 9112, 6.3): it means nothing.
//!
//! `Connection: keep-alive` says nothing that is not true of both connections, so it stays where it is.

use crate::batch::fields::Fields;
use crate::http1::FieldLines;

/// Removes what belongs to the connection the message came on.
pub(super) fn strip_hop_by_hop(fields: &mut FieldLines) {
    let (mut coded, mut sized, mut removes) = (false, false, false);
    for (name, value) in fields.iter() {
        match known(name) {
            Known::Coding => coded = true,
            Known::Length => sized = true,
            Known::HopByHop => removes = true,
            Known::Connection => removes |= !is_keep_alive(value),
            Known::Other => {}
        }
    }
    let lengthless = coded && sized;
    if !removes && !lengthless {
        return;
    }
    let listed: Vec<Vec<u8>> = options(fields).map(<[u8]>::to_ascii_lowercase).collect();
    let keep_connection = fields.values("connection").all(is_keep_alive);
    fields.retain(|name, _| {
        let stays = match known(name) {
            Known::HopByHop => false,
            Known::Connection => keep_connection,
            Known::Length => !lengthless,
            Known::Coding | Known::Other => true,
        };
        stays && (keep_connection || !listed.iter().any(|listed| name.eq_ignore_ascii_case(listed)))
    });
}

/// Whether the connection's options name a field without which the message would be another one.
pub(super) fn lists_end_to_end(fields: &FieldLines) -> bool {
    const NEEDED: [&[u8]; 4] = [b"authorization", b"content-length", b"host", b"transfer-encoding"];
    options(fields).any(|option| NEEDED.iter().any(|needed| option.eq_ignore_ascii_case(needed)))
}

/// What the `Connection` fields list.
fn options(fields: &FieldLines) -> impl Iterator<Item = &[u8]> {
    fields.values("connection").flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether the field asks for the connection to stay and for nothing else.
fn is_keep_alive(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"keep-alive")
}

/// The fields that mean something here.
enum Known {
    Coding,
    Connection,
    HopByHop,
    Length,
    Other,
}

/// `Trailer` and `Transfer-Encoding` do not belong to a connection: they describe the body, which goes on as it is.
fn known(name: &[u8]) -> Known {
    // One look at the length instead of nine comparisons: asked for each field of each message.
    let (candidate, known): (&[u8], Known) = match name.len() {
        2 => (b"te", Known::HopByHop),
        7 => (b"upgrade", Known::HopByHop),
        10 if name[0] | 0x20 == b'k' => (b"keep-alive", Known::HopByHop),
        10 => (b"connection", Known::Connection),
        14 => (b"content-length", Known::Length),
        16 => (b"proxy-connection", Known::HopByHop),
        17 => (b"transfer-encoding", Known::Coding),
        18 => (b"proxy-authenticate", Known::HopByHop),
        19 => (b"proxy-authorization", Known::HopByHop),
        _ => return Known::Other,
    };
    if name.eq_ignore_ascii_case(candidate) { known } else { Known::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut lines = FieldLines::default();
        for (name, value) in fields {
            lines.append(name, value.as_bytes());
        }
        strip_hop_by_hop(&mut lines);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        lines.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_of_the_connection_go_and_the_others_keep_their_order() {
        for (fields, want) in [
            (
                &[("host", "h"), ("proxy-connection", "x"), ("a", "1"), ("te", "trailers"), ("b", "2"), ("a", "3")][..],
                &[("host", "h"), ("a", "1"), ("b", "2"), ("a", "3")][..],
            ),
            (&[("connection", "close"), ("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]),
            (
                &[("a", "1"), ("connection", "keep-alive"), ("b", "2")],
                &[("a", "1"), ("connection", "keep-alive"), ("b", "2")],
            ),
            (&[("a", "1"), ("connection", "keep-alive, x-hop"), ("x-hop", "y"), ("b", "2")], &[("a", "1"), ("b", "2")]),
            (&[("proxy-authorization", "Basic x"), ("a", "1")], &[("a", "1")]),
            (&[("upgrade", "websocket"), ("connection", "upgrade"), ("a", "1")], &[("a", "1")]),
            (
                &[("content-length", "5"), ("a", "1"), ("transfer-encoding", "chunked")],
                &[("a", "1"), ("transfer-encoding", "chunked")],
            ),
            (&[("transfer-encoding", "chunked"), ("trailer", "t")], &[("transfer-encoding", "chunked"), ("trailer", "t")]),
        ] {
            assert_eq!(strip(fields), owned(want), "{fields:?}");
        }
    }
}
