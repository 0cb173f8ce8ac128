//! What a client's bytes are to a reader that takes no more than it must: which requests, in which order, with which bodies.

/// One request, as far as two readers must agree about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As spelled.
    pub method: Vec<u8>,
    /// Without scheme and host.
    pub target: Vec<u8>,
    /// Without chunk framing.
    pub body: Vec<u8>,
}

/// The requests that `bytes` begin with, up to the first that is cut short or malformed.
pub fn requests(mut bytes: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        let Some((request, length)) = request(bytes) else { return requests };
        requests.push(request);
        bytes = &bytes[length..];
    }
}

/// The request whose head is `head`, which ends with the empty line.
pub fn of_head(head: &[u8], body: Vec<u8>) -> Option<Request> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    (words.next().is_none() && version.starts_with(b"HTTP/1.")).then(|| Request {
        method: method.to_vec(),
        target: origin_form(target).to_vec(),
        body,
    })
}

fn request(bytes: &[u8]) -> Option<(Request, usize)> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let (head, rest) = bytes.split_at(end);
    let values = |name: &str| -> Vec<Vec<u8>> {
        let fields = head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii().to_vec())
        });
        fields.collect()
    };
    let (body, taken) = match (values("content-length").as_slice(), values("transfer-encoding").as_slice()) {
        ([], []) => (Vec::new(), 0),
        ([length], []) => {
            let length = std::str::from_utf8(length).ok()?.parse::<usize>().ok()?;
            (rest.get(..length)?.to_vec(), length)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => chunks(rest)?,
        _ => return None,
    };
    Some((of_head(head, body)?, end + taken))
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let end = at + find(&bytes[at..], b"\r\n")?;
        let digits = bytes[at..end].split(|byte| *byte == b';').next()?.trim_ascii_end();
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let length = find(&bytes[at..], b"\r\n")?;
        at += length + 2;
        if length == 0 {
            return Some((body, at));
        }
    }
}

fn origin_form(target: &[u8]) -> &[u8] {
    let Some(at) = find(target, b"://").filter(|_| !target.starts_with(b"/")) else { return target };
    let rest = &target[at + 3..];
    rest.iter().position(|byte| b"/?".contains(byte)).map_or(b"/", |at| &rest[at..])
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
