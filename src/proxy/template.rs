//! A request as it is sent, every time: what the client signed goes out byte for byte.

use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, HeaderValue, TRANSFER_ENCODING, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};
use thiserror::Error;

use super::headers::strip_hop_by_hop;
use super::route::Target;
use crate::upstream::{Origin, RequestBody, origin_form};

/// What every attempt of a request has in common.
#[derive(Clone, Debug)]
pub(super) struct Template {
    method: Method,
    origin: Origin,
    /// Path and query.
    uri: Uri,
    headers: HeaderMap,
    /// Carries the spelling of the header names from hyper's server to its client.
    extensions: Extensions,
}

/// Why a request inside an opened connection cannot be sent on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum InvalidRequest {
    #[error("CONNECT inside an opened connection")]
    Connect,
    #[error("the request names another host than the connection was opened to")]
    OtherHost,
}

// === impl Template ===

impl Template {
    /// The request of `parts`, which came for `target`, to be sent to `origin`.
    ///
    /// # Errors
    /// The request belongs to another host, or opens a connection.
    pub(super) fn new(parts: Parts, target: &Target, origin: &Origin) -> Result<Self, InvalidRequest> {
        let Parts { method, uri, version, mut headers, extensions, .. } = parts;
        if method == Method::CONNECT {
            return Err(InvalidRequest::Connect);
        }
        let authority = uri.authority().map(|authority| authority.as_str());
        let hosts = headers.get_all(HOST).iter().map(|value| value.to_str().unwrap_or_default());
        if authority.into_iter().chain(hosts).any(|named| !target.is_named_by(named)) {
            return Err(InvalidRequest::OtherHost);
        }
        if version == Version::HTTP_2 {
            from_http_2(&mut headers, authority);
        }
        strip_hop_by_hop(&mut headers);
        Ok(Self { method, origin: origin.clone(), uri: origin_form(uri), headers, extensions })
    }

    /// The request of one attempt.
    pub(super) fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        request
    }

    /// A read in the client's name of something else on the same account. Only for a credential that is no signature over the request.
    pub(super) fn read(&self, target: &str) -> Option<Request<RequestBody>> {
        let target: PathAndQuery = target.parse().ok()?;
        let mut headers = HeaderMap::new();
        for name in [HOST, USER_AGENT, AUTHORIZATION] {
            if let Some(value) = self.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut request = Request::new(RequestBody::empty());
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = headers;
        Some(request)
    }

    /// The id that the client gave this call and gives its own repeats of it.
    pub(super) fn request_id(&self) -> Option<&HeaderValue> {
        self.headers.get("client-request-id").or_else(|| self.headers.get("x-ms-client-request-id"))
    }

    /// Where it is sent.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query, as they are written.
    pub(super) fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn user_agent(&self) -> &str {
        self.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.headers.contains_key(TRANSFER_ENCODING)
    }
}

/// HTTP/1.1 wants a `Host`, first, and one `cookie` field (RFC 9113, 8.2.3).
fn from_http_2(headers: &mut HeaderMap, authority: Option<&str>) {
    let fields = std::mem::take(headers);
    let cookies: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let cookies = HeaderValue::from_bytes(&cookies.join(&b"; "[..])).ok().filter(|joined| !joined.is_empty());
    if let Some(host) = authority.filter(|_| !fields.contains_key(HOST)).and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.append(HOST, host);
    }
    for (name, value) in &fields {
        if name != COOKIE {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(cookies) = cookies {
        headers.append(COOKIE, cookies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::new("acct.example", 443)
    }

    fn template(request: http::request::Builder) -> Result<Template, InvalidRequest> {
        let target = target();
        Template::new(request.body(()).unwrap().into_parts().0, &target, &target.origin().unwrap())
    }

    #[test]
    fn the_target_goes_out_as_it_came_in() {
        for path in
            ["/", "/jobs?$filter=state%20eq%20'x'&%24select=id", "/a%2fb/../c?x=%7e&y=a+b;", "/files/wd%5Cstdout.txt?"]
        {
            let template = template(Request::get(path).header("host", "acct.example")).unwrap();
            let sent = template.request(RequestBody::empty());
            assert_eq!(sent.uri().path_and_query().unwrap().as_str(), path);
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
            let sent = template(Request::options(target)).unwrap().request(RequestBody::empty());
            assert_eq!(sent.uri().to_string(), want, "{target}");
        }
    }

    #[test]
    fn a_request_for_another_host_is_refused() {
        for (request, want) in [
            (Request::get("/").header("host", "other.example"), InvalidRequest::OtherHost),
            (Request::get("/").header("host", "acct.example").header("host", "other.example"), InvalidRequest::OtherHost),
            (Request::get("https://other.example/"), InvalidRequest::OtherHost),
            (Request::get("/").header("host", "acct.example:8443"), InvalidRequest::OtherHost),
            (Request::connect("acct.example:443"), InvalidRequest::Connect),
        ] {
            assert_eq!(template(request).unwrap_err(), want);
        }
        for request in [
            Request::get("/"),
            Request::get("https://ACCT.example:443/"),
            Request::get("/").header("host", "acct.example:443"),
        ] {
            assert!(template(request).is_ok());
        }
    }

    #[test]
    fn an_http_2_request_gets_the_host_first_and_one_cookie() {
        let request = Request::get("https://acct.example/x")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("accept", "*/*")
            .header("cookie", "b=2");
        let template = template(request).unwrap();
        let fields: Vec<_> =
            template.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("host", "acct.example"), ("accept", "*/*"), ("cookie", "a=1; b=2")]);
    }
}
