//! A request as it is sent, every time: what the client signed goes out byte for byte.

use http::uri::{PathAndQuery, Scheme};
use http::{Method, Uri, Version};
use thiserror::Error;

use super::headers::{lists_end_to_end, strip_hop_by_hop};
use super::held::ClientBody;
use crate::batch::fields::Fields;
use crate::http1::{FieldLines, RequestHead, path_len};
use crate::upstream::{Origin, Outgoing, Pieces, RequestBody};

/// What every attempt of a request has in common.
#[derive(Clone, Debug)]
pub(super) struct Template {
    method: Method,
    origin: Origin,
    /// Path and query.
    target: Box<str>,
    path_len: usize,
    fields: FieldLines,
}

/// Why a request inside an opened connection cannot be sent on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum InvalidRequest {
    #[error("CONNECT inside an opened connection")]
    Connect,
    #[error("the connection's options name a field that belongs to the request")]
    Options,
    #[error("no Host, or more than one")]
    Hosts,
    #[error("the request names another host than the connection was opened to")]
    OtherHost,
    #[error("the request target is neither a path nor a URL")]
    Target,
}

// === impl Template ===

impl Template {
    /// The request of `head`, to be sent to `origin`.
    ///
    /// # Errors
    /// The request belongs to another host, opens a connection, or could be taken for another one by the next who reads it.
    pub(super) fn new(head: RequestHead, origin: &Origin) -> Result<Self, InvalidRequest> {
        let RequestHead { method, target: written, version, mut fields } = head;
        if method == Method::CONNECT {
            return Err(InvalidRequest::Connect);
        }
        let plain = written.starts_with('/') || &*written == "*" && method == Method::OPTIONS;
        let written = if plain { written } else { origin_form(&written, origin)? };
        settle(&mut fields, version, origin)?;
        Ok(Self { method, origin: origin.clone(), path_len: path_len(&written), target: written, fields })
    }

    /// Says how long the body is, where the client's protocol had no need to.
    pub(super) fn frame(&mut self, body: &ClientBody) {
        if self.fields.contains("content-length") || self.fields.contains("transfer-encoding") {
            return;
        }
        match body {
            ClientBody::Held(_) => {
                let length = body.pieces().map_or(0, Pieces::len);
                if length > 0 {
                    self.fields.append("content-length", length.to_string().as_bytes());
                }
            }
            ClientBody::Streamed(_) => self.fields.append("transfer-encoding", b"chunked"),
            ClientBody::Spent => {}
        }
    }

    /// The request of one attempt.
    pub(super) fn request(&self, body: RequestBody) -> Outgoing {
        Outgoing::new(&self.method, &self.target, &self.fields, body)
    }

    /// A read in the client's name of something else on the same account. Only for a credential that is no signature over the request.
    pub(super) fn read(&self, target: &str) -> Outgoing {
        let mut fields = FieldLines::default();
        for name in ["host", "user-agent", "authorization"] {
            if let Some(value) = self.fields.value(name) {
                fields.append(name, value);
            }
        }
        fields.append("accept", b"application/json");
        Outgoing::new(&Method::GET, target, &fields, RequestBody::empty())
    }

    /// The id that the client gave this call and gives its own repeats of it.
    pub(super) fn request_id(&self) -> Option<&[u8]> {
        self.fields.value("client-request-id").or_else(|| self.fields.value("x-ms-client-request-id"))
    }

    /// Where it is sent.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query, as they are written.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn path(&self) -> &str {
        &self.target[..self.path_len]
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn query(&self) -> &str {
        self.target.get(self.path_len + 1..).unwrap_or_default()
    }

    pub(super) fn fields(&self) -> &FieldLines {
        &self.fields
    }

    pub(super) fn user_agent(&self) -> &str {
        self.fields.text("user-agent").unwrap_or_default()
    }
}

/// Makes the fields of a client's request those of a request to `origin`. One of HTTP/1.0 may have no `Host` (RFC 9112, 3.2) and is given it.
///
/// # Errors
/// The request belongs to another host, or to nobody knows whom.
pub(super) fn settle(fields: &mut FieldLines, version: Version, origin: &Origin) -> Result<(), InvalidRequest> {
    match fields.values("host").count() {
        0 if version == Version::HTTP_10 => fields.append("host", origin.host_field().as_bytes()),
        1 if names_host(fields, origin) => {}
        1 => return Err(InvalidRequest::OtherHost),
        _ => return Err(InvalidRequest::Hosts),
    }
    if lists_end_to_end(fields) {
        return Err(InvalidRequest::Options);
    }
    strip_hop_by_hop(fields);
    Ok(())
}

/// Whether the first `Host` names `origin`.
pub(super) fn names_host(fields: &FieldLines, origin: &Origin) -> bool {
    fields.text("host").is_some_and(|host| origin.is_named_by(host))
}

/// Path and query of a target in absolute form, which must lead to `origin`.
fn origin_form(written: &str, origin: &Origin) -> Result<Box<str>, InvalidRequest> {
    let uri: Uri = written.parse().map_err(|_| InvalidRequest::Target)?;
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(InvalidRequest::Target) };
    if *scheme != Scheme::HTTPS || !origin.is_named_by(authority.as_str()) {
        return Err(InvalidRequest::OtherHost);
    }
    Ok(path_and_query(&uri))
}

/// What is written of a target to its origin (RFC 9112, 3.2.1).
pub(super) fn path_and_query(target: &Uri) -> Box<str> {
    match target.path_and_query().map(PathAndQuery::as_str) {
        None | Some("") => "/".into(),
        Some(query) if query.starts_with('?') => format!("/{query}").into(),
        Some(target) => target.into(),
    }
}

/// An HTTP/2 request as HTTP/1.1 writes it: with its target in absolute form, one `cookie` field (RFC 9113, 8.2.3), and a `Host`, first.
pub(super) fn from_http_2(parts: &http::request::Parts) -> RequestHead {
    let mut fields = FieldLines::default();
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(host) = authority.filter(|_| !parts.headers.contains_key("host")) {
        fields.append("host", host.as_bytes());
    }
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != "cookie") {
        fields.append(name.as_str(), value.as_bytes());
    }
    let cookies: Vec<&[u8]> = parts.headers.get_all("cookie").iter().map(|value| value.as_bytes()).collect();
    if !cookies.is_empty() {
        fields.append("cookie", &cookies.join(&b"; "[..]));
    }
    RequestHead { method: parts.method.clone(), target: parts.uri.to_string().into(), version: Version::HTTP_2, fields }
}

#[cfg(test)]
mod tests {
    use super::super::route::Target;
    use super::*;
    use crate::http1::write_request;

    fn head(request: &str) -> RequestHead {
        RequestHead::parse(format!("{request}\r\n\r\n").as_bytes()).unwrap().unwrap().0
    }

    fn template(request: &str) -> Result<Template, InvalidRequest> {
        let target = Target::new("acct.example", 443);
        Template::new(head(request), &target.origin().unwrap())
    }

    fn written(template: &Template) -> String {
        String::from_utf8(write_request(&template.method, &template.target, &template.fields)).unwrap()
    }

    #[test]
    fn a_request_goes_out_as_it_came_in() {
        for path in
            ["/", "/jobs?$filter=state%20eq%20'x'&%24select=id", "/a%2fb/../c?x=%7e&y=a+b;", "/files/wd%5Cstdout.txt?"]
        {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHOST: acct.example\r\nocp-Date: x  y\r\nX-Empty:\r\na: 1\r\nb: 2\r\nA: 3\r\n\r\n"
            );
            let template = template(request.trim_end()).unwrap();
            assert_eq!(written(&template), request);
            assert_eq!(
                format!("{}?{}", template.path(), template.query()).trim_end_matches('?'),
                path.trim_end_matches('?')
            );
        }
    }

    #[test]
    fn of_a_target_in_absolute_form_the_path_is_left() {
        for (target, want) in [
            ("https://acct.example", "/"),
            ("https://acct.example/", "/"),
            ("https://acct.example?a=1", "/?a=1"),
            ("https://acct.example:443/jobs?a=1", "/jobs?a=1"),
            ("*", "*"),
        ] {
            let template = template(&format!("OPTIONS {target} HTTP/1.0")).unwrap();
            assert_eq!(written(&template), format!("OPTIONS {want} HTTP/1.1\r\nhost: acct.example\r\n\r\n"), "{target}");
        }
    }

    #[test]
    fn a_request_that_may_be_meant_for_another_host_is_refused() {
        for (request, want) in [
            ("GET / HTTP/1.1\r\nhost: other.example", InvalidRequest::OtherHost),
            ("GET / HTTP/1.1\r\nhost: acct.example\r\nhost: other.example", InvalidRequest::Hosts),
            ("GET / HTTP/1.1\r\nhost: acct.example\r\nhost: acct.example", InvalidRequest::Hosts),
            ("GET https://other.example/ HTTP/1.1", InvalidRequest::OtherHost),
            ("GET / HTTP/1.1\r\nhost: acct.example:8443", InvalidRequest::OtherHost),
            ("CONNECT acct.example:443 HTTP/1.1", InvalidRequest::Connect),
            ("GET acct.example HTTP/1.1", InvalidRequest::Target),
            ("GET / HTTP/1.1\r\nhost: acct.example\r\nconnection: x, Content-Length", InvalidRequest::Options),
            ("GET / HTTP/1.1", InvalidRequest::Hosts),
            ("GET http://acct.example/ HTTP/1.1", InvalidRequest::OtherHost),
            ("GET * HTTP/1.1\r\nhost: acct.example", InvalidRequest::Target),
        ] {
            assert_eq!(template(request).unwrap_err(), want);
        }
        for request in
            ["GET / HTTP/1.0", "GET https://ACCT.example:443/ HTTP/1.0", "GET / HTTP/1.1\r\nhost: acct.example:443"]
        {
            assert!(template(request).is_ok());
        }
    }

    #[test]
    fn an_http_2_request_gets_the_host_first_and_one_cookie() {
        let request = http::Request::get("https://acct.example/x?y")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("accept", "*/*")
            .header("cookie", "b=2");
        let target = Target::new("acct.example", 443);
        let head = from_http_2(&request.body(()).unwrap().into_parts().0);
        let template = Template::new(head, &target.origin().unwrap()).unwrap();
        assert_eq!(written(&template), "GET /x?y HTTP/1.1\r\nhost: acct.example\r\naccept: */*\r\ncookie: a=1; b=2\r\n\r\n");
    }
}
