//! Header fields that belong to one connection and not to the message (RFC 9110, 7.6.1).
//!
//! A length beside a transfer coding is removed too (RFC 9112, 6.3): it means nothing, and hyper would not write such an answer.
//!
//! What is removed is removed by building the map anew: `HeaderMap::remove` moves the last field into the hole, and the order in which a
//! client sent its fields is kept. `Connection: keep-alive` says nothing that is not true of both connections, so it stays where it is.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

/// Removes what belongs to the connection the message came on. HTTP/2 has more to remove; hyper does that where it writes it.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let keep_length = !headers.contains_key(TRANSFER_ENCODING) || !headers.contains_key(CONTENT_LENGTH);
    if keep_length && !headers.keys().any(is_hop_by_hop) && is_plain_keep_alive(headers) {
        return;
    }
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .collect();
    let keep_connection = is_plain_keep_alive(headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    for (name, value) in std::mem::take(headers) {
        if let Some(name) = name {
            current = Some(name);
        }
        let Some(name) = &current else { continue };
        let removed = is_hop_by_hop(name)
            || listed.contains(name)
            || *name == CONNECTION && !keep_connection
            || *name == CONTENT_LENGTH && !keep_length;
        if !removed {
            kept.append(name.clone(), value);
        }
    }
    *headers = kept;
}

/// Whether the fields ask for the connection to stay and for nothing else.
fn is_plain_keep_alive(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().all(|value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
}

/// `Trailer` and `Transfer-Encoding` are not here: they describe the body, which goes on as it is.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    // One look at the length instead of six comparisons: asked for each field of each message.
    matches!(
        name.as_str(),
        "keep-alive" | "proxy-authenticate" | "proxy-authorization" | "proxy-connection" | "te" | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut map);
        map.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_of_the_connection_go_and_the_others_keep_their_order() {
        for (fields, want) in [
            (
                &[("host", "h"), ("proxy-connection", "x"), ("a", "1"), ("te", "trailers"), ("b", "2"), ("a", "3")][..],
                &[("host", "h"), ("a", "1"), ("a", "3"), ("b", "2")][..],
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
