//! The sockets of the simulator: TLS, HTTP/1.1, and the ways in which a connection ends badly.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request as HttpRequest, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::Acceptor;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::answer::{Answer, Framing, Refusal};
use super::front::Reaction;
use super::request::Request;
use super::store::timestamp;
use super::{Observer, Tls};
use crate::shutdown::Drain;

/// The body of an answer.
struct Reply {
    rest: Option<Bytes>,
    framing: Framing,
    /// What the length says, whether or not it comes.
    length: u64,
    /// Whether it ends before its end, and how far that is.
    cut: Cut,
}

/// How far a body is from being cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// It is not.
    Never,
    /// After what is there.
    Coming,
    /// After a turn in which what was written leaves.
    Flushing,
}

/// The end of a connection that was meant to go wrong.
#[derive(Clone, Copy, Debug, Error)]
#[error("the scenario ends this connection")]
struct Dealt;

/// Accepts until draining begins. Connections end after the request under way.
pub(super) async fn accept(listener: TcpListener, tls: Tls, observer: Observer, drain: Drain) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: some come back when connections end.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        drain.spawn(serve(stream, tls.clone(), observer.clone(), drain.clone()));
    }
}

async fn serve(stream: TcpStream, tls: Tls, observer: Observer, drain: Drain) {
    let stream = tokio::select! {
        stream = opened(stream, &tls) => stream,
        () = drain.started() => return,
    };
    let Ok(stream) = stream else { return };
    let service = service_fn(|request| Box::pin(answer(request, observer.clone())));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut drained = false;
    let ended = loop {
        tokio::select! {
            // Without shutdown, so that the socket is still ours to reset.
            ended = std::future::poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            () = drain.started(), if !drained => {
                drained = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let dealt = ended.err().is_some_and(|error| error.source().is_some_and(|source| source.is::<Dealt>()));
    let mut stream = connection.into_parts().io.into_inner();
    if dealt {
        // The reset is what dropping the socket sends.
        let _ = stream.get_ref().0.set_zero_linger();
    } else {
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
    }
}

/// The stream once its TLS stands.
async fn opened(stream: TcpStream, tls: &Tls) -> io::Result<TlsStream<TcpStream>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let config = tls.of(start.client_hello().server_name());
    start.into_stream(config).await
}

async fn answer(request: HttpRequest<Incoming>, observer: Observer) -> Result<Response<Reply>, Dealt> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let refusal =
                Refusal::new(413, "RequestBodyTooLarge", "The size of the request body exceeds the maximum permitted.");
            let time = timestamp(SystemTime::now());
            return Ok(response(Answer::refused(&refusal, "", "", &time), false));
        }
        Err(_) => return Err(Dealt),
    };
    let request = Request::new(head.method, target, head.headers, body);
    let reaction = observer.front().receive(&request, SystemTime::now());
    match reaction {
        Reaction::Answer(answer) => Ok(response(answer, false)),
        Reaction::Late(answer, hold) => {
            tokio::time::sleep(hold).await;
            Ok(response(answer, false))
        }
        Reaction::Cut(answer) => {
            if answer.body.len() < 2 {
                return Err(Dealt);
            }
            Ok(response(answer, true))
        }
        Reaction::Reset => Err(Dealt),
        Reaction::Stall(hold) => {
            tokio::time::sleep(hold).await;
            Err(Dealt)
        }
    }
}

fn response(answer: Answer, cut: bool) -> Response<Reply> {
    let length = answer.body.len() as u64;
    let mut rest = answer.body;
    if cut {
        rest.truncate(rest.len() / 2);
    }
    let mut response = Response::new(Reply {
        rest: Some(rest).filter(|rest| !rest.is_empty()),
        framing: answer.framing,
        length,
        cut: if cut { Cut::Coming } else { Cut::Never },
    });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

// === impl Reply ===

impl Body for Reply {
    type Data = Bytes;
    type Error = Dealt;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dealt>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        match self.cut {
            Cut::Never => Poll::Ready(None),
            Cut::Coming => {
                self.cut = Cut::Flushing;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Cut::Flushing => Poll::Ready(Some(Err(Dealt))),
        }
    }

    fn is_end_stream(&self) -> bool {
        // An empty chunked body has not ended: its last chunk is to be sent.
        self.framing == Framing::Sized && self.rest.is_none() && self.cut == Cut::Never
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Chunked => SizeHint::default(),
            Framing::Sized => SizeHint::with_exact(self.length),
        }
    }
}

/// More than any documented request.
const MAX_BODY: usize = 8 << 20;
