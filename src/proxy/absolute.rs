//! Plain-http requests in absolute form: sent on once, nothing added, never replayed.
//!
//! Node sends the metadata service this way when only HTTPS_PROXY is set; that service refuses requests with forwarding fields.

use std::error::Error as StdError;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use tracing::debug;

use super::error::{Trouble, plain};
use super::headers::strip_hop_by_hop;
use crate::metrics::labels::ConnectionResult;
use crate::upstream::{RequestBody, Upstream};

/// A body of any origin.
pub(super) type AnyBody = BoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// Sends `request` to the host of its target and hands the answer back.
pub(super) async fn forward(mut request: Request<Incoming>, upstream: &Upstream) -> (Response<AnyBody>, ConnectionResult) {
    let version = request.version();
    strip_hop_by_hop(request.headers_mut());
    let request = request.map(|rest| RequestBody::Streamed { prefix: Bytes::new(), rest });
    let (mut response, result) = match upstream.send(request).await {
        Ok(response) => (response.map(|body| body.map_err(Into::into).boxed()), ConnectionResult::Completed),
        Err(error) => {
            debug!(%error, "plain request failed");
            let trouble = Trouble::of(error.failure);
            (any(plain(trouble.status, &error.to_string())), ConnectionResult::Unreachable)
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
