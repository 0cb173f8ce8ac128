//! The body of an answer, which brings its connection back to the pool.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::HttpConnection;
use super::origin::Origin;
use super::pool::Pool;
use crate::http1::{BodyDecoder, CutOff, Part};

/// The body of an answer as it comes. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct ResponseBody {
    decoder: BodyDecoder,
    /// Gone once the end was read, or will not come.
    lease: Option<Box<Lease>>,
}

/// A connection in use, and where it belongs.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: HttpConnection,
    pub(super) origin: Origin,
    pub(super) pool: Pool,
    /// Whether the service keeps it open after this answer.
    pub(super) keeps_alive: bool,
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn new(decoder: BodyDecoder, lease: Lease) -> Self {
        Self { decoder, lease: Some(Box::new(lease)) }
    }

    /// Whether only the end of the connection marks its end: no proof that it is complete.
    pub fn ends_by_close(&self) -> bool {
        self.decoder.ends_by_close()
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, CutOff>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(Part::End)) };
        // The request may still be on its way. Where its upload breaks off, the answer tells what that came to.
        let _ = lease.connection.poll_send(cx);
        lease.connection.poll_part(&mut self.decoder, cx)
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        if let Some(lease) = self.lease.take()
            && self.decoder.is_over()
        {
            lease.release(cx);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let frame = ready!(self.poll_part(cx)).map(Part::into_frame).transpose();
        match &frame {
            Some(Err(_)) => self.lease = None,
            Some(Ok(_)) if !self.is_end_stream() => {}
            _ => self.end(cx),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() || self.decoder.is_over() && !self.decoder.has_trailers()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.lease, self.decoder.left()) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::new(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Nobody asks for the rest of a body that has none.
        self.end(&mut Context::from_waker(Waker::noop()));
    }
}

// === impl Lease ===

impl Lease {
    /// The answer has come to its end.
    fn release(mut self, cx: &mut Context<'_>) {
        // One that is still busy with the request, which the answer did not wait for, is closed.
        if self.keeps_alive && self.connection.is_ready(cx) {
            self.pool.put(&self.origin, self.connection);
        }
    }
}
