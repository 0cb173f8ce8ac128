use std::pin::Pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body_util::Full;
use proptest::prelude::*;

use super::outbox::Outbox;
use super::*;
use crate::batch::fields::Fields;

fn request(text: &str) -> Result<RequestHead, MalformedHead> {
    RequestHead::parse(text.as_bytes()).map(|parsed| parsed.expect("a whole head").0)
}

fn response(text: &str) -> ResponseHead {
    ResponseHead::parse(text.as_bytes()).unwrap().expect("a whole head").0
}

fn written(fields: &FieldLines) -> String {
    let mut out = Vec::new();
    fields.write_to(&mut out);
    assert!(out.len() <= fields.written_len());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_head_is_what_was_sent_and_ends_where_it_ends() {
    let text = "get /a?b=%2f HTTP/1.0\r\nHOST: x\r\nEmpty:\r\nx-Y:  1 \t\r\nhost: y\r\n\r\n";
    let (head, length) = RequestHead::parse(format!("{text}rest").as_bytes()).unwrap().unwrap();
    assert_eq!(
        (length, head.method.as_str(), &*head.target, head.version),
        (text.len(), "get", "/a?b=%2f", Version::HTTP_10)
    );
    assert_eq!(written(&head.fields), "HOST: x\r\nEmpty:\r\nx-Y: 1\r\nhost: y\r\n");
    assert_eq!(head.fields.values("host").collect::<Vec<_>>(), [b"x", b"y"]);
    for end in 0..text.len() {
        assert!(RequestHead::parse(&text.as_bytes()[..end]).unwrap().is_none(), "{end} bytes");
    }
}

#[test]
fn what_is_wrong_with_a_head_has_a_name() {
    let long = "x".repeat(HEAD_LIMIT);
    let many = "a: b\r\n".repeat(FIELD_LIMIT + 1);
    for (text, want) in [
        ("GET / HTTP/1.1\na: b\r\n\r\n", MalformedHead::LineEnd),
        ("GET / HTTP/1.1\r\na: b\n\r\n", MalformedHead::LineEnd),
        ("GET / HTTP/1.1\r\na: b\r\n\n", MalformedHead::LineEnd),
        ("\nGET / HTTP/1.1\r\n\r\n", MalformedHead::LineEnd),
        ("GET / HTTP/1.1\r\na: b\rc\r\n\r\n", MalformedHead::FieldValue),
        ("GET / HTTP/1.1\r\na: b\0\r\n\r\n", MalformedHead::FieldValue),
        ("GET / HTTP/1.1\r\na : b\r\n\r\n", MalformedHead::FieldName),
        ("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", MalformedHead::FieldName),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n", MalformedHead::Target),
        ("GET /#a HTTP/1.1\r\n\r\n", MalformedHead::Target),
        ("GET / HTTP/2.0\r\n\r\n", MalformedHead::Version),
        ("GET / HTTP/1.1 \r\n\r\n", MalformedHead::LineEnd),
        ("all work and no play\r\n\r\n", MalformedHead::RequestLine),
        ("G@T / HTTP/1.1\r\n\r\n", MalformedHead::RequestLine),
        (&format!("GET /{long} HTTP/1.1\r\n\r\n"), MalformedHead::TargetTooLong),
        (&format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), MalformedHead::TooLong),
        (&format!("GET / HTTP/1.1\r\n{many}\r\n"), MalformedHead::TooManyFields),
    ] {
        assert_eq!(request(text).unwrap_err(), want, "{:?}", text.get(..40).unwrap_or(text));
    }
}

#[test]
fn the_body_of_a_request_is_framed_in_one_way_or_in_none() {
    for (version, fields, want) in [
        ("1.1", "", Ok(Some(0))),
        ("1.1", "Content-Length: 0\r\n", Ok(Some(0))),
        ("1.0", "content-length: 12\r\n", Ok(Some(12))),
        ("1.1", "Transfer-Encoding: CHUNKED\r\n", Ok(None)),
        ("1.0", "Transfer-Encoding: chunked\r\n", Err(MalformedHead::Coding)),
        ("1.1", "Transfer-Encoding: gzip, chunked\r\n", Err(MalformedHead::Coding)),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(MalformedHead::Coding)),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Err(MalformedHead::TwoFramings)),
        ("1.1", "Content-Length: 1\r\ncontent-length: 1\r\n", Err(MalformedHead::Length)),
        ("1.1", "Content-Length: 1, 1\r\n", Err(MalformedHead::Length)),
        ("1.1", "Content-Length: +1\r\n", Err(MalformedHead::Length)),
        ("1.1", "Content-Length:\r\n", Err(MalformedHead::Length)),
        ("1.1", "Content-Length: 9223372036854775808\r\n", Err(MalformedHead::Length)),
    ] {
        let head = request(&format!("PUT / HTTP/{version}\r\n{fields}\r\n")).unwrap();
        assert_eq!(BodyDecoder::of_request(&head).map(|decoder| decoder.left()), want, "{fields}");
    }
}

#[test]
fn the_body_of_an_answer_ends_as_other_clients_see_it() {
    let close = |decoder: BodyDecoder| (decoder.left(), decoder.ends_by_close());
    for (method, status, fields, want) in [
        ("GET", 200, "Content-Length: 7\r\n", Ok((Some(7), false))),
        ("GET", 200, "Content-Length: 7, 7\r\n", Ok((Some(7), false))),
        ("GET", 200, "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", Ok((None, false))),
        ("GET", 200, "Transfer-Encoding: gzip\r\n", Ok((None, true))),
        ("GET", 200, "", Ok((None, true))),
        ("HEAD", 200, "Content-Length: 7\r\n", Ok((Some(0), false))),
        ("GET", 204, "Transfer-Encoding: chunked\r\n", Ok((Some(0), false))),
        ("GET", 304, "Content-Length: 7\r\n", Ok((Some(0), false))),
        ("GET", 200, "Content-Length: 7\r\nContent-Length: 8\r\n", Err(MalformedHead::Length)),
        ("GET", 200, "Content-Length: x\r\n", Err(MalformedHead::Length)),
    ] {
        let head = response(&format!("HTTP/1.1 {status} X\r\n{fields}\r\n"));
        let method: Method = method.parse().unwrap();
        assert_eq!(BodyDecoder::of_response(&head, &method).map(close), want, "{method} {status} {fields}");
    }
}

#[test]
fn a_connection_stays_unless_one_side_says_otherwise() {
    for (version, value, want) in [
        ("1.1", "", true),
        ("1.1", "connection: x, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        assert_eq!(request(&format!("GET / HTTP/{version}\r\n{value}\r\n")).unwrap().keeps_alive(), want, "{value}");
        assert_eq!(response(&format!("HTTP/{version} 200 OK\r\n{value}\r\n")).keeps_alive(), want, "{value}");
    }
}

#[test]
fn an_answer_is_written_with_its_own_words_or_the_usual_ones() {
    for (line, want) in [
        ("HTTP/1.1 404 Gone Away", "HTTP/1.1 404 Gone Away\r\n\r\n"),
        ("HTTP/1.0 404 Not Found", "HTTP/1.1 404 Not Found\r\n\r\n"),
        ("HTTP/1.1 404", "HTTP/1.1 404 \r\n\r\n"),
        ("HTTP/1.1 299 ", "HTTP/1.1 299 \r\n\r\n"),
    ] {
        let written = response(&format!("{line}\r\n\r\n")).written();
        assert_eq!(String::from_utf8(written).unwrap(), want, "{line}");
    }
    assert_eq!(ResponseHead::new(StatusCode::OK).reason, None);
}

#[test]
fn fields_are_added_and_removed_without_moving_the_others() {
    let mut fields = request("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC:3\r\nD: 4\r\nE: 5\r\n\r\n").unwrap().fields;
    fields.append("f", b"6");
    fields.remove(&["b", "x"]);
    fields.append("B", b"7");
    assert_eq!(written(&fields), "A: 1\r\nC: 3\r\nD: 4\r\nE: 5\r\nf: 6\r\nB: 7\r\n");
    assert_eq!((fields.text("b"), fields.contains("f"), fields.contains("x")), (Some("7"), true, false));
    assert_eq!(written(&FieldLines::from(&fields.to_map())), "a: 1\r\nc: 3\r\nd: 4\r\ne: 5\r\nf: 6\r\nb: 7\r\n");
    assert!(!format!("{fields:?}").contains('7'), "values may be secret");
}

/// All of a body that comes in pieces of these sizes, what is left of the input, and whether it ended.
fn decode(decoder: &mut BodyDecoder, mut input: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, usize, bool), MalformedBody> {
    let (mut data, mut held) = (Vec::new(), Vec::new());
    for size in sizes.iter().cycle() {
        if decoder.is_over() || input.is_empty() && held.is_empty() {
            break;
        }
        let (more, rest) = input.split_at((*size).min(input.len()));
        (held, input) = ([held.as_slice(), more].concat(), rest);
        loop {
            let decoded = decoder.decode(&held)?;
            data.extend_from_slice(&held[decoded.data]);
            held.drain(..decoded.consumed);
            if decoded.consumed == 0 || held.is_empty() {
                break;
            }
        }
        if input.is_empty() {
            break;
        }
    }
    Ok((data, held.len() + input.len(), decoder.is_over()))
}

#[test]
fn chunks_are_read_strictly() {
    for (text, want) in [
        ("5\r\nhello\r\n0\r\n\r\nGET", Ok("hello")),
        ("5;a=\"b\"\r\nhello\r\n00\r\n\r\nGET", Ok("hello")),
        ("A \t;x\r\n0123456789\r\n0\r\n\r\nGET", Ok("0123456789")),
        ("0\r\nX-Sum: 1\r\n\r\nGET", Ok("")),
        ("5\nhello\r\n0\r\n\r\n", Err(MalformedBody::ChunkSize)),
        ("\r\n", Err(MalformedBody::ChunkSize)),
        ("+5\r\n", Err(MalformedBody::ChunkSize)),
        ("0x5\r\n", Err(MalformedBody::ChunkSize)),
        ("5 \r\n", Err(MalformedBody::ChunkSize)),
        ("1000000000000000\r\n", Err(MalformedBody::ChunkSize)),
        ("5;a\nb\r\n", Err(MalformedBody::ChunkExtension)),
        ("5;\x01\r\n", Err(MalformedBody::ChunkExtension)),
        ("5\r\nhelloX", Err(MalformedBody::ChunkEnd)),
        ("5\r\nhello\n", Err(MalformedBody::ChunkEnd)),
        ("0\r\nX: 1\n\r\n", Err(MalformedBody::Trailers)),
        ("0\r\nContent-Length: 5\r\n\r\n", Err(MalformedBody::Trailers)),
        ("0\r\nHost: x\r\n\r\n", Err(MalformedBody::Trailers)),
        ("0\r\n x\r\n\r\n", Err(MalformedBody::Trailers)),
    ] {
        for size in [1, 3, 1000] {
            let mut decoder = BodyDecoder::Chunked(Box::default());
            let decoded = decode(&mut decoder, text.as_bytes(), &[size]);
            let want = want.map(|data| (data.as_bytes().to_vec(), 3, true));
            assert_eq!(decoded, want, "{text:?} by {size}");
        }
    }
    let mut decoder = BodyDecoder::Chunked(Box::default());
    decode(&mut decoder, b"0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n", &[4]).unwrap();
    assert!(decoder.has_trailers());
    assert_eq!(decoder.take_trailers().unwrap().get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(!decoder.has_trailers());
}

/// Everything that is left in an outbox, written in steps of this size.
fn drained(outbox: &mut Outbox, step: usize, out: &mut Vec<u8>) {
    while !outbox.is_empty() {
        let count = outbox.next().len().min(step);
        out.extend_from_slice(&outbox.next()[..count]);
        outbox.advance(count);
    }
}

/// A message with this body, written to its end; `None` where it has none.
fn sent(body: &'static str, ends: Ends) -> Option<String> {
    let mut writing = Writing::new(b"head ".to_vec(), Some(Full::<Bytes>::from(body)), ends);
    let (mut cx, mut out) = (Context::from_waker(Waker::noop()), Vec::new());
    loop {
        let left = writing.fill(&mut cx).ok()?;
        assert!(writing.poll_write(Pin::new(&mut out), left, &mut cx).is_ready());
        if left == Left::Last {
            return Some(String::from_utf8(out).unwrap());
        }
    }
}

#[test]
fn a_body_that_is_not_as_long_as_was_announced_is_never_taken_for_one_that_is() {
    for (body, ends, want) in [
        ("abc", Ends::Length(3), Some("head abc")),
        ("", Ends::Length(0), Some("head ")),
        ("abc", Ends::Length(2), None),
        ("abc", Ends::Length(4), None),
        ("", Ends::Length(1), None),
        ("abc", Ends::Close, Some("head abc")),
        ("abc", Ends::Chunked, Some("head 3\r\nabc\r\n0\r\n\r\n")),
        ("", Ends::Chunked, Some("head 0\r\n\r\n")),
    ] {
        assert_eq!(sent(body, ends).as_deref(), want, "{body:?} {ends:?}");
    }
    for (fields, want) in [
        ("Content-Length: 7\r\n", Ends::Length(7)),
        ("Transfer-Encoding: chunked\r\n", Ends::Chunked),
        ("", Ends::Length(0)),
    ] {
        let head = request(&format!("PUT / HTTP/1.1\r\n{fields}\r\n")).unwrap();
        assert_eq!(Ends::of_request(&head.fields), want, "{fields}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_in_chunks_is_read_as_it_was(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 0..5),
        step in 1_usize..20_000,
        sizes in prop::collection::vec(1_usize..20_000, 1..4),
    ) {
        let (mut outbox, mut out) = (Outbox::new(b"head".to_vec()), Vec::new());
        for piece in &pieces {
            if outbox.is_full() {
                drained(&mut outbox, step, &mut out);
            }
            outbox.push(piece.clone().into(), true);
        }
        drained(&mut outbox, step, &mut out);
        outbox.end(None);
        drained(&mut outbox, step, &mut out);
        let body = out.strip_prefix(b"head").unwrap();
        let decoded = decode(&mut BodyDecoder::Chunked(Box::default()), body, &sizes).unwrap();
        prop_assert!(decoded == (pieces.concat(), 0, true));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = RequestHead::parse(&bytes);
        let _ = ResponseHead::parse(&bytes);
        let _ = decode(&mut BodyDecoder::Chunked(Box::default()), &bytes, &[7]);
    }
}
