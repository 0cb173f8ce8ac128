//! The body of an answer, which brings its connection back to the pool.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::HttpConnection;
use super::origin::Origin;
use super::pool::Pool;

/// The body of an answer as it comes. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct ResponseBody {
    body: Incoming,
    lease: Option<Box<Lease>>,
}

/// A connection in use, and where it belongs.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: HttpConnection,
    pub(super) origin: Origin,
    pub(super) pool: Pool,
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        Self { body, lease: Some(Box::new(lease)) }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(lease) = &mut self.lease {
            // When the work is over, it has said so to the body.
            let _ = lease.connection.poll_work(cx);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = self.poll_body(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => self.lease = None,
            Poll::Ready(frame) => {
                if (frame.is_none() || self.body.is_end_stream())
                    && let Some(lease) = self.lease.take()
                {
                    lease.release(cx);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Nobody asks for the rest of a body that has none.
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.release(&mut Context::from_waker(Waker::noop()));
        }
    }
}

// === impl Lease ===

impl Lease {
    /// The answer has come to its end.
    fn release(mut self, cx: &mut Context<'_>) {
        // One that is still busy with the request, which the answer did not wait for, is closed.
        if self.connection.is_ready(cx) {
            self.pool.put(&self.origin, self.connection);
        }
    }
}
