//! Requests from `tests/fixtures/hostile`, whose README says how they are written.

use std::path::{Path, PathBuf};

use super::message::{Message, messages};
use crate::support::batch::HOST;

/// One hostile client.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// The section of an RFC, and a word.
    pub(super) why: String,
    pub(super) place: Place,
    pub(super) verdict: Verdict,
    /// What the client sends.
    pub(super) bytes: Vec<u8>,
    /// Whether the client sends nothing after it, not even the request that shows whether the connection lives on.
    pub(super) alone: bool,
    /// What reaches the service.
    pub(super) upstream: Vec<Message>,
}

/// Whom the client speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The service, through a connection that the proxy opened.
    Inside,
    /// The proxy, on its own port.
    Port,
}

/// What must happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection ends, and nothing is sent on. There may be an answer, for a client that broke off.
    Dropped,
    /// What is said to reach the service does, it is answered, and then comes the end.
    Forwarded(End),
    /// One of these statuses, with a reason; the connection ends, and nothing is sent on.
    Rejected(Vec<u16>),
}

/// What becomes of the connection after an answer of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is closed without another word.
    Closed,
    /// It carries the next request.
    Open,
    /// What comes next is rejected as in [`Verdict::Rejected`].
    Rejected(Vec<u16>),
}

/// All cases, in the order of their files.
///
/// # Panics
/// If a file is not as the README says.
pub(super) fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

/// The request that follows most cases on their connection.
pub(super) fn probe(place: Place) -> Vec<u8> {
    match place {
        Place::Inside => format!("GET /probe HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        Place::Port => format!("GET http://{PLAIN}/probe HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n"),
    }
    .into_bytes()
}

fn read(file: &Path) -> Vec<Case> {
    let place = if file.ends_with("port.txt") { Place::Port } else { Place::Inside };
    let text = std::fs::read_to_string(file).unwrap();
    let mut cases = Vec::new();
    for part in format!("\n{text}").split("\n== ").skip(1) {
        let (name, lines) = part.split_once('\n').unwrap_or((part, ""));
        cases.push(Case::read(name.trim(), lines, place));
    }
    cases
}

// === impl Case ===

impl Case {
    fn read(name: &str, lines: &str, place: Place) -> Self {
        let mut case = Self {
            name: name.to_owned(),
            why: String::new(),
            place,
            verdict: Verdict::Dropped,
            bytes: Vec::new(),
            alone: false,
            upstream: Vec::new(),
        };
        let (mut must, mut upstream) = (None, Vec::new());
        for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(' ') {
                Some(("why", why)) => case.why = why.to_owned(),
                Some(("must", verdict)) => must = Some(Verdict::read(verdict, name)),
                Some((">", text)) => case.bytes.extend(unescaped(text, name)),
                Some(("<", text)) => upstream.extend(unescaped(text, name)),
                None if line == "alone" => case.alone = true,
                _ => panic!("{name}: what is {line:?}"),
            }
        }
        case.verdict = must.unwrap_or_else(|| panic!("{name} does not say what must happen"));
        if matches!(case.verdict, Verdict::Forwarded(_)) {
            let bytes = if upstream.is_empty() { &case.bytes } else { &upstream };
            case.upstream =
                messages(bytes).unwrap_or_else(|error| panic!("{name}: what is to reach the service is {error}"));
        } else {
            assert!(upstream.is_empty(), "{name} is not sent on, so nothing reaches the service");
        }
        case
    }
}

// === impl Verdict ===

impl Verdict {
    fn read(text: &str, name: &str) -> Self {
        let statuses = |text: &str| {
            text.split(' ')
                .map(|status| status.parse().unwrap_or_else(|_| panic!("{name}: {status:?} is no status")))
                .collect()
        };
        match text {
            "be dropped" => Self::Dropped,
            "be forwarded" => Self::Forwarded(End::Open),
            "be forwarded, then closed" => Self::Forwarded(End::Closed),
            text => match (text.strip_prefix("be forwarded, then rejected "), text.strip_prefix("be rejected ")) {
                (Some(text), _) => Self::Forwarded(End::Rejected(statuses(text))),
                (_, Some(text)) => Self::Rejected(statuses(text)),
                _ => panic!("{name}: must what? {text:?}"),
            },
        }
    }
}

/// The bytes that a line of a case stands for.
fn unescaped(text: &str, name: &str) -> Vec<u8> {
    let text = text.replace("{host}", HOST).replace("{plain}", PLAIN);
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some(character) = rest.chars().next() {
        let mut width = character.len_utf8();
        let escape = rest.as_bytes().get(1).copied();
        match (character, escape) {
            ('\\', Some(b'r')) => bytes.push(b'\r'),
            ('\\', Some(b'n')) => bytes.push(b'\n'),
            ('\\', Some(b't')) => bytes.push(b'\t'),
            ('\\', Some(b'\\')) => bytes.push(b'\\'),
            ('\\', Some(b'x')) => {
                let digits = rest.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(digits.unwrap_or_else(|| panic!("{name}: an escape without digits: {rest:?}")));
                width = 3;
            }
            // `\(text*count)`
            ('\\', Some(b'(')) => {
                let (inner, _) = rest[2..].split_once(')').unwrap_or_else(|| panic!("{name}: no end of {rest:?}"));
                let (repeated, count) = inner.rsplit_once('*').unwrap_or_else(|| panic!("{name}: no count in {rest:?}"));
                bytes.extend(unescaped(repeated, name).repeat(count.parse().unwrap()));
                width = inner.len() + 2;
            }
            ('\\', _) => panic!("{name}: an escape that means nothing: {rest:?}"),
            _ => bytes.extend_from_slice(&rest.as_bytes()[..width]),
        }
        rest = &rest[width + usize::from(character == '\\')..];
    }
    bytes
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile")
}

/// What `{plain}` stands for: a server that is not the service, for plain requests through the proxy.
pub(super) const PLAIN: &str = "plain.example";
