use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::pem::PemObject;

use super::*;
use crate::tls::testing::{authority, openssl};

/// Where the proxy listens.
const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3128);

/// Roots that are two certificates in one file and whatever this machine trusts.
fn roots() -> (Roots, [CertificateDer<'static>; 2]) {
    let certificates =
        [authority(&["one.example"]), authority(&["two.example"])].map(|authority| authority.root_der().clone());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, certificates.iter().map(authority::to_pem).collect::<String>()).unwrap();
    (Roots::load(&[file.path().to_owned()]).unwrap(), certificates)
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

#[test]
fn the_bundle_adds_the_authority_to_all_roots() {
    let (roots, own) = roots();
    let authority = authority(&["*.*.batch.azure.com"]);
    let bundle = certificates(&bundle_pem(&authority, &roots));
    let (last, others) = bundle.split_last().unwrap();
    assert_eq!(last, authority.root_der());
    assert_eq!(others, roots.certificates());
    assert!(own.iter().all(|certificate| others.contains(certificate)));
}

#[test]
fn each_certificate_stands_below_its_subject_in_ascii() {
    let (roots, _) = roots();
    let authority = authority(&["*.*.batch.azure.com"]);
    let bundle = bundle_pem(&authority, &roots);
    assert!(bundle.is_ascii() && !bundle.contains('\r'));
    assert!(
        bundle.contains(&format!("\n# {}\n-----BEGIN CERTIFICATE-----\n", authority.subject())),
        "{}",
        authority.subject()
    );
    let lines: Vec<_> = bundle.lines().collect();
    let subjects = lines.windows(2).filter(|pair| pair[0].starts_with("# ") && pair[1].starts_with("-----BEGIN")).count();
    assert_eq!(subjects, roots.certificates().len() + 1);
}

/// A subject is somebody else's text: it must not be able to end the comment.
#[test]
fn a_subject_stays_on_its_line() {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "a\n-----BEGIN CERTIFICATE-----\né");
    let key = rcgen::KeyPair::generate().unwrap();
    let text = commented(params.self_signed(&key).unwrap().der());
    assert!(text.starts_with(r"# CN=a\n-----BEGIN CERTIFICATE-----\n\u{e9}"), "{text}");
    assert_eq!(certificates(&text).len(), 1);
}

#[test]
fn files_are_published_for_everyone_to_read() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a").join("b");
    let (roots, _) = roots();
    let (old, new) = (authority(&["*.*.batch.azure.com"]), authority(&["*.*.batch.azure.com"]));
    for authority in [&old, &new] {
        publish(&directory, authority, &roots, PROXY).unwrap();
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!(certificates(&read("ca.pem")), [authority.root_der().clone()]);
        assert_eq!(read("bundle.pem"), bundle_pem(authority, &roots));
    }
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bundle.pem", "ca.pem", "proxy.env", "truststore.p12"], "no temporary file stays");
    for name in names {
        assert_eq!(fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777, 0o644);
    }
}

/// A reader that has the old file open goes on reading the old file to its end.
#[test]
fn a_published_file_is_replaced_not_rewritten() {
    use std::io::Read;
    let directory = tempfile::tempdir().unwrap();
    let (roots, _) = roots();
    let old = authority(&["*.*.batch.azure.com"]);
    publish(directory.path(), &old, &roots, PROXY).unwrap();
    let mut reader = fs::File::open(directory.path().join("ca.pem")).unwrap();
    publish(directory.path(), &authority(&["*.*.batch.azure.com"]), &roots, PROXY).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(certificates(&text), [old.root_der().clone()]);
}

#[test]
fn what_cannot_be_published_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("ca.pem")).unwrap();
    let (roots, _) = roots();
    let authority = authority(&["*.*.batch.azure.com"]);
    for (path, named) in [(file.path().join("below"), "below"), (directory.path().to_owned(), "ca.pem")] {
        let error = publish(&path, &authority, &roots, PROXY).unwrap_err().to_string();
        assert!(error.contains("`ca.publish`") && error.contains(named), "{error}");
    }
}

#[test]
fn openssl_reads_the_published_authority() {
    let directory = tempfile::tempdir().unwrap();
    let (roots, _) = roots();
    let authority = authority(&["*.*.batch.azure.com"]);
    publish(directory.path(), &authority, &roots, PROXY).unwrap();
    let file = directory.path().join("ca.pem");
    let output = openssl(&["x509".as_ref(), "-noout".as_ref(), "-subject".as_ref(), "-in".as_ref(), file.as_ref()]);
    let subject = String::from_utf8(output.stdout).unwrap();
    assert!(subject.contains("CN = batch-retry-proxy CA "), "{subject}");
}
