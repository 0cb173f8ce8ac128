//! What is said of proxy variables.

use super::super::check::Status;
use super::*;

fn shell(variables: &[(&str, &str)]) -> Shell {
    Shell::new(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

fn checks(variables: &[(&str, &str)]) -> Vec<Check> {
    let parse = |patterns: &[&str]| patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
    let hosts = HostSet::new(parse(&["*.*.batch.azure.com"]), parse(&["*.service.batch.azure.com"]));
    shell(variables).checks(None, "127.0.0.1:3128".parse().unwrap(), &hosts)
}

/// The checks that are not fine, by name and status.
fn complaints(variables: &[(&str, &str)]) -> Vec<(String, Status)> {
    let checks = checks(variables).into_iter().filter(|check| check.status != Status::Ok);
    checks.map(|check| (check.name, check.status)).collect()
}

#[test]
fn each_oddity_of_a_proxy_variable_is_named_once() {
    use Status::{Fail, Warn};
    const OTHER: &str = "http://corp.example:8080";
    for (variables, want) in [
        (&[][..], &[][..]),
        (&[("HTTPS_PROXY", "")], &[]),
        (&[("NO_PROXY", "localhost,.blob.core.windows.net")], &[]),
        // Where nothing runs, and another's.
        (&[("https_proxy", "http://localhost:3128"), ("NO_PROXY", DIRECT)], &[("https_proxy", Fail)]),
        (&[("HTTPS_PROXY", OTHER), ("NO_PROXY", DIRECT)], &[("HTTPS_PROXY", Warn)]),
        (&[("HTTPS_PROXY", OTHER)], &[("HTTPS_PROXY", Warn), ("NO_PROXY", Warn)]),
        (
            &[("HTTPS_PROXY", OTHER), ("https_proxy", "http://a:1"), ("no_proxy", DIRECT)],
            &[("HTTPS_PROXY", Warn), ("https_proxy", Warn)],
        ),
        (
            &[("HTTPS_PROXY", "corp.example:8080"), ("NO_PROXY", "*")],
            &[("HTTPS_PROXY", Warn), ("HTTPS_PROXY", Warn), ("NO_PROXY", Fail)],
        ),
        (&[("HTTPS_PROXY", "socks5://a:1"), ("no_proxy", DIRECT)], &[("HTTPS_PROXY", Warn), ("HTTPS_PROXY", Warn)]),
        (&[("all_proxy", OTHER)], &[("all_proxy", Warn)]),
        (&[("HTTP_PROXY", OTHER), ("NO_PROXY", DIRECT)], &[("HTTP_PROXY", Warn)]),
        // Who obeys an entry decides how bad it is.
        (&[("NO_PROXY", "*.batch.azure.com")], &[("NO_PROXY", Warn)]),
        (&[("no_proxy", ".batch.azure.com")], &[("NO_PROXY", Fail)]),
        (&[("NO_PROXY", "batch.azure.com")], &[("NO_PROXY", Fail)]),
    ] {
        let want: Vec<(String, Status)> = want.iter().map(|(name, status)| ((*name).to_owned(), *status)).collect();
        assert_eq!(complaints(variables), want, "{variables:?}");
    }
}

#[test]
fn the_line_to_paste_keeps_what_does_no_harm() {
    for (variables, want) in [
        (&[("NO_PROXY", "corp.example,.azure.com"), ("no_proxy", "it's,corp.example")][..], r"'corp.example,it'\''s'"),
        (&[("NO_PROXY", "*")], "'169.254.169.254,168.63.129.16,localhost,127.0.0.1'"),
    ] {
        let check = checks(variables).into_iter().find(|check| check.name == "NO_PROXY");
        let advice = check.and_then(|check| check.advice).unwrap();
        assert_eq!(advice.lines, [format!("export NO_PROXY={want} no_proxy={want}")]);
    }
}

#[test]
fn an_address_is_the_same_however_it_is_written() {
    for (value, address, want) in [
        ("http://127.0.0.1:3128", "127.0.0.1:3128", true),
        ("127.0.0.1:3128", "127.0.0.1:3128", true),
        ("http://user:word@LocalHost:3128/", "127.0.0.1:3128", true),
        ("http://[::1]:3128", "[::1]:3128", true),
        ("http://127.0.0.1:3128", "0.0.0.0:3128", true),
        ("http://10.0.0.1:3128", "0.0.0.0:3128", false),
        ("http://127.0.0.1:3129", "127.0.0.1:3128", false),
        ("http://127.0.0.1", "127.0.0.1:80", false),
        ("http://corp.example:3128", "127.0.0.1:3128", false),
    ] {
        let named = Named { name: "HTTPS_PROXY", value: value.to_owned() };
        assert_eq!(named.is(address.parse().unwrap()), want, "{value} {address}");
    }
}
