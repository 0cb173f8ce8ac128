//! Plain-http requests in absolute form: sent on once, nothing added, never replayed.
//!
//! Node sends the metadata service this way when only HTTPS_PROXY is set; that service refuses requests with forwarding fields.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use tracing::debug;

use super::error::{Trouble, plain, unreached};
use super::headers::{lists_end_to_end, strip_hop_by_hop};
use super::template::{InvalidRequest, check_host, path_and_query, write_head};
use crate::http1::{RequestHead, Response};
use crate::metrics::labels::ConnectionResult;
use crate::retry::outcome::Failure;
use crate::upstream::{Origin, Outgoing, Pieces, RequestBody, Upload, Upstream};

/// A body of any origin.
pub(super) type AnyBody = BoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// Sends the request of `head` and `body` to `origin`, which its target names, and hands the answer back.
pub(super) async fn forward<B>(
    head: RequestHead,
    body: B,
    origin: &Origin,
    upstream: &Upstream,
    client_idle: Duration,
) -> (Response<AnyBody>, ConnectionResult)
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let RequestHead { method, target, version, mut fields } = head;
    let target: Uri = target.parse().unwrap_or_default();
    let misread = match check_host(&mut fields, version, origin) {
        // The target counts, and what stands beside it is often the proxy (RFC 9112, 3.2.2).
        Err(InvalidRequest::OtherHost) => {
            fields.remove(&["host"]);
            fields.append("host", origin.host_field().as_bytes());
            None
        }
        checked => checked.err(),
    };
    if let Some(invalid) = misread.or_else(|| lists_end_to_end(&fields).then_some(InvalidRequest::Options)) {
        let mut response = any(plain(StatusCode::BAD_REQUEST, Trouble::from(invalid).message));
        response.head.fields.append("connection", b"close");
        return (response, ConnectionResult::Denied);
    }
    strip_hop_by_hop(&mut fields);
    let written = write_head(&method, &path_and_query(&target), &fields);
    let chunked = fields.contains("transfer-encoding");
    let outgoing = |head, body| Outgoing { head, method: method.clone(), chunked, body };
    // A pooled connection may turn out to be dead before anything was written: what has no body can take another one.
    let spare = body.is_end_stream().then(|| outgoing(written.clone(), RequestBody::empty()));
    let rest = Upload::new(body, client_idle);
    let request = outgoing(written, RequestBody::Streamed { prefix: Pieces::default(), rest, turn: None });
    let sent = match (upstream.send(origin, || request, None).await, spare) {
        (Err(error), Some(spare)) if error.failure == Failure::StaleConnection => {
            upstream.send(origin, || spare, None).await
        }
        (sent, _) => sent,
    };
    match sent {
        Ok(response) => {
            let mut response = response.map(|body| body.map_err(Into::into).boxed());
            strip_hop_by_hop(&mut response.head.fields);
            (response, ConnectionResult::Completed)
        }
        Err(error) => {
            debug!(%error, "plain request failed");
            let (response, result) = unreached(error.failure, error.transmission, &error.to_string());
            (any(response), result)
        }
    }
}

/// A response of text, as one of any body.
pub(super) fn any(response: http::Response<Full<Bytes>>) -> Response<AnyBody> {
    Response::from(response).map(|body| body.map_err(|never| match never {}).boxed())
}
