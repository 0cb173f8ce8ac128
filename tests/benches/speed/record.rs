//! TLS 1.3 records of AES-256-GCM, sealed and opened in place: what rustls does, without its buffers.

use std::io;
use std::ops::Range;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// The keys of one direction.
pub(crate) struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

/// What was in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Data of the application, where it is now.
    Data(Range<usize>),
    /// The other end closes.
    Closed,
    /// Something that changes nothing, such as a ticket.
    Nothing,
}

/// The whole size of the record that `bytes` begin with, once it can be told.
pub(crate) fn size(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(3..HEADER)?;
    Some(HEADER + usize::from(u16::from_be_bytes([length[0], length[1]])))
}

// === impl Keys ===

impl Keys {
    /// Goes on where a handshake has ended.
    pub(crate) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            return Err(io::Error::other("another cipher suite than AES-256-GCM"));
        };
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| broken())?;
        let iv = iv.as_ref().try_into().map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// Appends `data` to `wire` as records.
    pub(crate) fn seal(&mut self, data: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        for data in data.chunks(MAX_DATA) {
            self.seal_record(DATA, data, wire)?;
        }
        Ok(())
    }

    /// Appends a goodbye to `wire`.
    pub(crate) fn seal_goodbye(&mut self, wire: &mut Vec<u8>) -> io::Result<()> {
        self.seal_record(ALERT, &[WARNING, CLOSE_NOTIFY], wire)
    }

    fn seal_record(&mut self, kind: u8, data: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        let length = ((data.len() + 1 + MAX_TAG_LEN) as u16).to_be_bytes();
        let header = [DATA, 3, 3, length[0], length[1]];
        wire.extend_from_slice(&header);
        let begin = wire.len();
        wire.extend_from_slice(data);
        wire.push(kind);
        let nonce = self.nonce();
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut wire[begin..]);
        wire.extend_from_slice(tag.map_err(|_| broken())?.as_ref());
        Ok(())
    }

    /// Opens a whole record. Ranges are within it.
    pub(crate) fn open(&mut self, record: &mut [u8]) -> io::Result<Content> {
        let (header, sealed) = record.split_at_mut(HEADER);
        if header[0] == CHANGE_CIPHER_SPEC {
            return Ok(Content::Nothing);
        }
        let header: [u8; HEADER] = (&*header).try_into().map_err(io::Error::other)?;
        let nonce = self.nonce();
        let opened = self.key.open_in_place(nonce, Aad::from(header), sealed).map_err(|_| broken())?;
        let end = opened.iter().rposition(|byte| *byte != 0).ok_or_else(|| io::Error::other("a record of padding"))?;
        match (opened[end], &opened[..end]) {
            (DATA, data) => Ok(Content::Data(HEADER..HEADER + data.len())),
            (ALERT, [_, CLOSE_NOTIFY]) => Ok(Content::Closed),
            (HANDSHAKE, [NEW_SESSION_TICKET, ..]) => Ok(Content::Nothing),
            (kind, _) => Err(io::Error::other(format!("an unexpected record of type {kind}"))),
        }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, counted) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= counted;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

fn broken() -> io::Error {
    io::Error::other("a record that cannot be sealed or opened")
}

/// The largest record.
pub(crate) const MAX_RECORD: usize = HEADER + MAX_DATA + 256;

const HEADER: usize = 5;
const MAX_DATA: usize = 16 << 10;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
