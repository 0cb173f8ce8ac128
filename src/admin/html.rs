//! The page for people at `/`: one document that holds its own style and script, asks `/events` of its own server and nothing else.
//!
//! The policy allows exactly that style and that script, by their hashes. Texts that come from requests are in no page: the script gets them as
//! JSON and shows them as text.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use ring::digest::{SHA256, digest};

use super::endpoint::Endpoint;

/// The page and what a browser must be told with it.
#[derive(Debug)]
pub(super) struct Html {
    /// All but the endpoints, which a reload may change.
    frame: String,
    /// The value of `Content-Security-Policy`.
    pub(super) policy: HeaderValue,
}

// === impl Html ===

impl Html {
    /// The page.
    pub(super) fn new() -> Self {
        let frame = PAGE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
            source(SCRIPT),
            source(STYLE),
        );
        Self { frame, policy: HeaderValue::try_from(policy).expect("words and hashes are ASCII") }
    }

    /// Its text, which links these endpoints.
    pub(super) fn text(&self, endpoints: impl Iterator<Item = Endpoint>) -> Bytes {
        self.frame.replace("{{endpoints}}", &list(endpoints)).into()
    }
}

/// Whether a client would rather have a page than a list. Programs such as curl take anything and name no media type.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}

fn list(endpoints: impl Iterator<Item = Endpoint>) -> String {
    let mut text = String::new();
    for endpoint in endpoints {
        let (path, purpose) = (endpoint.path(), endpoint.purpose());
        // A link is followed by a GET.
        let named = if endpoint.takes(&http::Method::GET) {
            format!("<a href=\"{path}\">{path}</a>")
        } else {
            format!("<code>{path}</code>")
        };
        // A String takes every line.
        let _ = writeln!(text, "    <dt>{named}</dt><dd>{purpose}</dd>");
    }
    text
}

/// The text of an element as a source of the policy.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

const PAGE: &str = include_str!("html/status.html");
const STYLE: &str = include_str!("html/status.css");
const SCRIPT: &str = include_str!("html/status.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_everything_and_names_nothing_outside() {
        let text = Html::new().text(Endpoint::ALL.into_iter());
        let text = std::str::from_utf8(&text).unwrap();
        assert!(!text.contains("{{"), "something was not filled in");
        for needed in [STYLE, SCRIPT, "<a href=\"/metrics\">", "<code>/shutdown</code>"] {
            assert!(text.contains(needed), "{needed}");
        }
        for forbidden in [" style=", " onclick=", "innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        // Names of namespaces and the lines for the shell; nothing is loaded from there.
        for (at, mark) in text.match_indices("://") {
            let rest = &text[at + mark.len()..];
            assert!(rest.starts_with("www.w3.org/2000/svg'") || rest.starts_with("${"), "{}", &rest[..40]);
        }
        for element in [" src=", "<link rel=\"stylesheet", "@import", "url(", "fetch(", "XMLHttpRequest"] {
            assert!(!text.contains(element), "{element}");
        }
        // What is read as markup must not end early.
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
        assert!(text.len() < 40 * 1024, "{}", text.len());
    }

    #[test]
    fn the_policy_allows_the_pages_own_style_and_script_and_no_other() {
        let html = Html::new();
        let policy = html.policy.to_str().unwrap();
        let text = &html.frame;
        for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
            let (_, rest) = text.split_once(&format!("<{element}>")).unwrap();
            let (content, _) = rest.split_once(&format!("</{element}>")).unwrap();
            assert!(policy.contains(&format!("{directive} {};", source(content))), "{policy}");
        }
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        for directive in ["connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(policy.contains(directive), "{policy}");
        }
    }

    #[test]
    fn a_browser_wants_the_page_and_programs_do_not() {
        for (accept, wanted) in
            [("text/html,application/xhtml+xml,*/*;q=0.8", true), ("*/*", false), ("application/json", false), ("", false)]
        {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(is_wanted(&headers), wanted, "{accept}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
