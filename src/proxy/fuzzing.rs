//! The way in for the fuzzer of routes; see [`crate::fuzzing`].

use std::time::Duration;

use ::http::{Method, Uri, Version};

use super::RouteSettings;
use super::route::{Reach, Route, Target};
use crate::batch::endpoint::{HostPattern, HostSet};
use crate::http1::{FieldLines, RequestHead};

/// A method, a target and a `Host` field, each on a line.
pub fn route(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (method, target, host) = (lines.next(), lines.next(), lines.next());
    let Some(Ok(method)) = method.map(Method::from_bytes) else { return };
    let Some(Ok(target)) = target.map(std::str::from_utf8) else { return };
    let Ok(uri) = target.parse::<Uri>() else { return };
    let head = RequestHead { method, target: target.into(), version: Version::HTTP_11, fields: FieldLines::default() };
    let method = &head.method;
    let patterns = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect::<Vec<HostPattern>>();
    let settings = RouteSettings {
        intercept: HostSet::new(patterns(&["*.*.batch.azure.com"]), patterns(&["*.service.batch.azure.com"])),
        tunnel_ports: vec![],
        tunnel_allow: vec![],
        tunnel_deny: patterns(&["*.denied.example"]),
        tunnel_idle_timeout: Duration::from_secs(1),
        forward_allow: patterns(&["*.plain.example", "169.254.169.254"]),
    };
    for reach in [Reach::Loopback, Reach::Network] {
        match Route::of(&head, reach, &settings) {
            Route::Forward(origin, path) => {
                assert!(*method != Method::CONNECT && !origin.is_secure(), "{method} {uri} is no plain request");
                let allowed = settings.forward_allow.iter().any(|pattern| pattern.matches(origin.host()));
                assert!(allowed, "{uri} leads to {}", origin.host());
                assert!(path.starts_with('/'), "{uri} asks for {path}");
            }
            Route::Intercept(target) => {
                assert!(
                    *method == Method::CONNECT && settings.intercept.contains(target.host()),
                    "{method} {uri} is opened"
                );
                assert_is_sound(&target, &uri, host);
            }
            Route::Reject(_) => {}
            Route::Tunnel(target) => {
                assert!(*method == Method::CONNECT && !settings.intercept.contains(target.host()), "{uri} is not opened");
                assert!(reach == Reach::Loopback || target.port() == 443, "{uri} from a network");
                assert!(!settings.tunnel_deny.iter().any(|pattern| pattern.matches(target.host())), "{uri} is denied");
                assert_is_sound(&target, &uri, host);
            }
        }
    }
}

/// A target is a host and a port and nothing else, and nobody else is taken for it.
fn assert_is_sound(target: &Target, uri: &Uri, host: Option<&[u8]>) {
    let (name, port) = (target.host(), target.port());
    assert!(port != 0 && !name.is_empty(), "{uri} leads to {target}");
    let strange = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_control() || b" @/?#\\".contains(&byte);
    assert!(!name.bytes().any(strange), "{uri} leads to {target}");
    let Some(origin) = target.origin() else { panic!("{uri} leads nowhere") };
    assert!(origin.is_named_by(&target.to_string()), "{target} is not named by itself");
    let Some(Ok(host)) = host.map(std::str::from_utf8) else { return };
    if origin.is_named_by(host) {
        let host = host.to_ascii_lowercase();
        let bare = host.strip_suffix(&format!(":{port}")).unwrap_or(&host);
        let spelled = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        assert_eq!(bare, spelled, "{host:?} is taken for {target}");
    }
}
