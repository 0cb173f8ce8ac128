//! Plain-http requests in absolute form: sent on once, nothing added, never replayed.
//!
//! Node sends the metadata service this way when only HTTPS_PROXY is set; that service refuses requests with forwarding fields.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use tracing::debug;

use super::error::{Trouble, plain};
use super::headers::strip_hop_by_hop;
use crate::metrics::labels::ConnectionResult;
use crate::retry::outcome::Failure;
use crate::upstream::{Origin, Pieces, RequestBody, Upload, Upstream, origin_form};

/// A body of any origin.
pub(super) type AnyBody = BoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// Sends `request` to `origin`, which its target names, and hands the answer back.
pub(super) async fn forward(
    mut request: Request<Incoming>,
    origin: &Origin,
    upstream: &Upstream,
    client_idle: Duration,
) -> (Response<AnyBody>, ConnectionResult) {
    let version = request.version();
    strip_hop_by_hop(request.headers_mut());
    let (mut head, body) = request.into_parts();
    head.uri = origin_form(head.uri);
    // A pooled connection may turn out to be dead before anything was written: what has no body can take another one.
    let spare = body.is_end_stream().then(|| Request::from_parts(head.clone(), RequestBody::empty()));
    let rest = Upload::new(body, client_idle);
    let request = Request::from_parts(head, RequestBody::Streamed { prefix: Pieces::default(), rest, turn: None });
    let sent = match (upstream.send(origin, || request, None).await, spare) {
        (Err(error), Some(spare)) if error.failure == Failure::StaleConnection => {
            upstream.send(origin, || spare, None).await
        }
        (sent, _) => sent,
    };
    let (mut response, result) = match sent {
        Ok(response) => (response.map(|body| body.map_err(Into::into).boxed()), ConnectionResult::Completed),
        Err(error) => {
            debug!(%error, "plain request failed");
            (
                any(plain(Trouble::of(error.failure, error.transmission).status, &error.to_string())),
                ConnectionResult::Unreachable,
            )
        }
    };
    *response.version_mut() = version;
    strip_hop_by_hop(response.headers_mut());
    (response, result)
}

/// A response of text, as one of any body.
pub(super) fn any(response: Response<http_body_util::Full<Bytes>>) -> Response<AnyBody> {
    response.map(|body| body.map_err(|never| match never {}).boxed())
}

/// The answer to an accepted CONNECT.
pub(super) fn established() -> Response<AnyBody> {
    let mut response = any(Response::new(http_body_util::Full::default()));
    *response.status_mut() = StatusCode::OK;
    response
}
