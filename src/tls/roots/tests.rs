use std::error::Error;
use std::fs;

use rustls::HandshakeKind;

use super::*;
use crate::tls::authority::CertificateAuthority;
use crate::tls::leaf::ServerConfigs;
use crate::tls::testing::{authority, hosts, settings, shake};

fn system(certificates: &[CertificateDer<'static>]) -> CertificateResult {
    let mut result = CertificateResult::default();
    result.certs = certificates.to_vec();
    result
}

/// What the search of a system met when it could not read a file.
fn unreadable() -> rustls_native_certs::Error {
    rustls_native_certs::load_certs_from_paths(Some(Path::new("/nonexistent/roots.pem")), None).errors.remove(0)
}

fn root() -> CertificateDer<'static> {
    authority(&["*.example.com"]).root_der().clone()
}

fn pem(certificates: &[&CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| crate::tls::authority::to_pem(certificate)).collect()
}

#[test]
fn roots_are_the_systems_and_those_of_the_files_without_repetitions() {
    let (one, two, three) = (root(), root(), root());
    let directory = tempfile::tempdir().unwrap();
    let files = [directory.path().join("a.pem"), directory.path().join("b.pem")];
    fs::write(&files[0], format!("# a comment\n{}", pem(&[&two, &three]))).unwrap();
    fs::write(&files[1], pem(&[&one, &three])).unwrap();
    let roots = Roots::from_parts(system(&[one.clone(), one.clone()]), &files).unwrap();
    assert_eq!(roots.certificates(), [one, two, three]);
    assert_eq!(roots.skipped(), 0);
}

#[test]
fn a_certificate_of_the_system_that_cannot_be_used_is_counted() {
    let good = root();
    let mut found = system(&[CertificateDer::from(vec![0x30, 0]), good.clone()]);
    found.errors.push(unreadable());
    let roots = Roots::from_parts(found, &[]).unwrap();
    assert_eq!(roots.certificates(), [good]);
    assert_eq!(roots.skipped(), 2);
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (name, text, want) in [
        ("missing.pem", None, "cannot read"),
        ("empty.pem", Some(String::new()), "holds no PEM certificate"),
        (
            "key.pem",
            Some("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n".to_owned()),
            "holds no PEM certificate",
        ),
        ("cut.pem", Some(pem(&[&root()]).replace("-----END", "")), "is not a PEM file"),
        ("broken.pem", Some(pem(&[&root()]) + broken), "certificate 2 in"),
    ] {
        let path = directory.path().join(name);
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let error = Roots::from_parts(system(&[root()]), std::slice::from_ref(&path)).unwrap_err().to_string();
        for want in [want, name, "`upstream.ca_files`"] {
            assert!(error.contains(want), "{name}: {error:?} lacks {want:?}");
        }
    }
}

#[test]
fn no_roots_at_all_is_an_error_that_says_what_to_do() {
    let mut nothing = system(&[]);
    let plain = Roots::from_parts(system(&[]), &[]).unwrap_err().to_string();
    nothing.errors.push(unreadable());
    let met = Roots::from_parts(nothing, &[]).unwrap_err();
    assert!(met.to_string().contains("/nonexistent/roots.pem"), "{met}");
    for error in [plain, met.to_string()] {
        assert!(error.contains("SSL_CERT_FILE") && error.contains("`upstream.ca_files`"), "{error}");
    }
    assert!(met.source().is_none());
}

#[test]
fn connections_to_batch_speak_http_1_and_resume() {
    let host = "acct.westeurope.batch.azure.com";
    let clock = std::time::SystemTime::now;
    let authority =
        Arc::new(CertificateAuthority::open(&hosts(&["*.*.batch.azure.com"]), &settings(None), clock()).unwrap());
    let servers = ServerConfigs::new(authority.clone(), clock).unwrap();
    let roots = Roots::from_parts(system(&[authority.root_der().clone()]), &[]).unwrap();
    for want in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (client, server) = shake(&roots.client_config(), servers.for_host(host).unwrap().0, host).unwrap();
        assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(server.handshake_kind(), Some(want));
    }
    let strange = Roots::from_parts(system(&[root()]), &[]).unwrap();
    assert!(shake(&strange.client_config(), servers.for_host(host).unwrap().0, host).is_err());
}
