//! Who gets the page and who the list, and by which names they may ask.

use super::*;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

#[tokio::test]
async fn a_browser_gets_the_page_and_a_program_the_list() {
    let admin = Setup { allow_shutdown: true, ..Setup::default() }.start().await;
    let page = admin.ask_with("GET", "/", BROWSER, "").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("vary", "accept"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let list = admin.ask_with("GET", "/", "Accept: */*\r\n", "").await;
    assert_eq!((list.header("content-type"), list.header("vary")), (Some("text/plain; charset=utf-8"), Some("accept")));
    for line in list.body.lines() {
        let path = line.split(' ').next().unwrap();
        assert!(page.body.contains(&format!(">{path}</")), "the page leads to {path}");
    }
    assert!(list.body.contains("/events") && list.body.contains("/shutdown"));
    admin.finish().await;

    let admin = Setup::default().start().await;
    assert!(!admin.ask_with("GET", "/", BROWSER, "").await.body.contains("/shutdown"));
    admin.finish().await;
}

/// A stranger's web page can have its own name resolve to this machine.
#[tokio::test]
async fn what_tells_of_requests_is_not_told_by_a_foreign_name() {
    let admin = Setup::default().start().await;
    let ask = async |path: &str, host: &str, fields: &str| {
        let mut stream = admin.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::rest_of(stream).await
    };
    for (path, fields) in [("/", BROWSER), ("/status", ""), ("/events", ""), ("/config", "")] {
        let got = ask(path, "evil.example:9464", fields).await;
        assert_eq!(got.status, 403, "{path}");
        assert!(got.body.contains("localhost"), "{}", got.body);
    }
    for path in ["/", "/metrics", "/livez", "/readyz", "/ca.pem"] {
        assert_ne!(ask(path, "evil.example:9464", "").await.status, 403, "{path}");
    }
    for host in ["localhost:9464", "127.0.0.1", "[::1]:9464"] {
        assert_eq!(ask("/", host, BROWSER).await.status, 200, "{host}");
        assert_eq!(ask("/status", host, "").await.status, 200, "{host}");
    }
    admin.finish().await;
}
