//! What an origin does with a request, as a list of steps that tests put together.

use bytes::Bytes;

use super::gate::Gate;

/// Steps done in order. Unless the last one ends the connection, it is kept for the next request.
#[derive(Clone)]
pub(crate) struct Action {
    pub(crate) steps: Vec<Step>,
}

/// One thing done to the connection.
#[derive(Clone)]
pub(crate) enum Step {
    /// Written, but not in answer to a HEAD.
    Body(Vec<u8>),
    /// Ended in good order: TLS close_notify where there is TLS, then FIN.
    Close,
    /// Ended by a FIN alone, which under TLS is an end that proves nothing.
    Cut,
    /// Ended by a TCP RST.
    Reset,
    /// Written like a body, of a size that should not be copied.
    Shared(Bytes),
    /// Nothing more is written; lasts until the other side ends the connection or the test is over.
    Stall,
    /// Held until the gate opens.
    Wait(Gate),
    /// Written as it is.
    Write(Vec<u8>),
}

// === impl Action ===

impl Action {
    /// Does `next` after this.
    pub(crate) fn then(mut self, next: Self) -> Self {
        self.steps.extend(next.steps);
        self
    }

    /// Does this once the gate is open.
    pub(crate) fn after(self, gate: &Gate) -> Self {
        Self::of(Step::Wait(gate.clone())).then(self)
    }

    /// Answers with `Connection: close` and closes.
    ///
    /// # Panics
    /// If this does not begin with a head.
    pub(crate) fn closing(mut self) -> Self {
        let Some(Step::Write(head)) = self.steps.first_mut() else {
            panic!("only an answer can say that it closes");
        };
        let end = head.len() - 2;
        head.splice(end..end, *b"Connection: close\r\n");
        self.then(close())
    }

    fn of(step: Step) -> Self {
        Self { steps: vec![step] }
    }
}

/// An answer with `Content-Length`, or none where the status allows no body.
pub(crate) fn respond(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Action {
    let body = body.as_ref();
    let length = body.len().to_string();
    let mut fields = headers.to_vec();
    if status != 204 && status != 304 {
        fields.push(("Content-Length", &length));
    }
    raw(head(status, &fields)).then(Action::of(Step::Body(body.to_vec())))
}

/// An answer in chunks of the given sizes; empty ones are left out, since an empty chunk ends the body.
pub(crate) fn respond_chunked<B: AsRef<[u8]>>(status: u16, headers: &[(&str, &str)], chunks: &[B]) -> Action {
    let mut fields = headers.to_vec();
    fields.push(("Transfer-Encoding", "chunked"));
    let mut body: Vec<u8> = chunks.iter().map(AsRef::as_ref).filter(|data| !data.is_empty()).flat_map(chunk).collect();
    body.extend(b"0\r\n\r\n");
    raw(head(status, &fields)).then(Action::of(Step::Body(body)))
}

/// Exactly these bytes, whatever they mean.
pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Action {
    Action::of(Step::Write(bytes.into()))
}

/// An answer that announces `length` bytes, gives `part` of them, and goes on with the next action.
pub(crate) fn partial(status: u16, headers: &[(&str, &str)], length: usize, part: impl AsRef<[u8]>) -> Action {
    let length = length.to_string();
    let mut fields = headers.to_vec();
    fields.push(("Content-Length", &length));
    raw(head(status, &fields)).then(Action::of(Step::Body(part.as_ref().to_vec())))
}

/// Bytes that many actions may share.
pub(crate) fn shared(bytes: Bytes) -> Action {
    Action::of(Step::Shared(bytes))
}

/// The head of an answer, to be sent with [`raw`] or looked at.
pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
    let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} {reason}\r\n{fields}\r\n").into_bytes()
}

/// See [`Step::Close`].
pub(crate) fn close() -> Action {
    Action::of(Step::Close)
}

/// See [`Step::Cut`].
pub(crate) fn cut() -> Action {
    Action::of(Step::Cut)
}

/// See [`Step::Reset`].
pub(crate) fn reset() -> Action {
    Action::of(Step::Reset)
}

/// See [`Step::Stall`].
pub(crate) fn stall() -> Action {
    Action::of(Step::Stall)
}

/// See [`Step::Wait`]: holds in the middle of an answer.
pub(crate) fn wait(gate: &Gate) -> Action {
    Action::of(Step::Wait(gate.clone()))
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}
