//! Plain-http requests in absolute form: sent on once, nothing added, never replayed.
//!
//! Node sends the metadata service this way when only HTTPS_PROXY is set; that service refuses requests with forwarding fields.

use std::error::Error as StdError;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use tracing::debug;

use super::error::{Trouble, plain, unreached};
use super::headers::strip_hop_by_hop;
use super::template::{names_host, settle};
use crate::batch::fields::Fields;
use crate::http1::{RequestHead, Response};
use crate::metrics::labels::ConnectionResult;
use crate::retry::outcome::Failure;
use crate::upstream::{Origin, Outgoing, Pieces, RequestBody, Upload, Upstream};

/// A body of any origin.
pub(super) type AnyBody = BoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// Sends the request of `head` and `upload` to `origin`, with path and query as in `target`, and hands the answer back.
pub(super) async fn forward(
    head: RequestHead,
    upload: Upload,
    origin: &Origin,
    target: &str,
    upstream: &Upstream,
) -> (Response<AnyBody>, ConnectionResult) {
    let RequestHead { method, version, mut fields, .. } = head;
    // The target counts, and what stands beside it is often the proxy (RFC 9112, 3.2.2).
    if fields.values("host").count() == 1 && !names_host(&fields, origin) {
        fields.remove(&["host"]);
        fields.append("host", origin.host_field().as_bytes());
    }
    if let Err(invalid) = settle(&mut fields, version, origin) {
        let mut response = any(plain(StatusCode::BAD_REQUEST, Trouble::from(invalid).message));
        response.head.fields.append("connection", b"close");
        return (response, ConnectionResult::Denied);
    }
    let outgoing = |body| Outgoing::new(&method, target, &fields, body);
    // A pooled connection may turn out to be dead before anything was written: what has no body can take another one.
    let spare = upload.is_empty().then(|| outgoing(RequestBody::empty()));
    let request = outgoing(RequestBody::Streamed { prefix: Pieces::default(), rest: upload, turn: None });
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
