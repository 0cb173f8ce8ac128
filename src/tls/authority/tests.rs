use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, PublicKeyData};
use x509_parser::prelude::{GeneralName, GeneralSubtree, ParsedExtension, X509Certificate};

use super::*;
use crate::tls::testing::{DAY, HOUR, authority, hosts, now, openssl, openssl_verify, settings};

const BATCH: &[&str] = &["*.*.batch.azure.com", "*.*.batch.usgovcloudapi.net"];
const ACCOUNT: &str = "acct.westeurope.batch.azure.com";

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    parse_x509_certificate(certificate).unwrap().1
}

fn open(directory: &Path, patterns: &[&str], now: SystemTime) -> Result<CertificateAuthority, AuthorityError> {
    CertificateAuthority::open(&hosts(patterns), &settings(Some(directory)), now)
}

/// A leaf for any name at all, as a thief of the intermediate's key could sign it.
fn forge(authority: &CertificateAuthority, host: &str) -> Leaf {
    authority.sign(host, alternative_name(host).unwrap(), now()).unwrap()
}

/// `(openssl accepts, rustls accepts)`.
fn verdicts(authority: &CertificateAuthority, host: &str, chain: &[CertificateDer<'_>]) -> (bool, bool) {
    (openssl_verify(&authority.root.der, chain, host).is_ok(), authority.verify(host, chain, now()).is_ok())
}

/// OpenSSL's strict mode, which checks RFC 5280 to the letter, finds no fault with a chain.
#[test]
fn a_leaf_is_accepted_by_openssl_in_strict_mode() {
    let authority = authority(&["*.*.batch.azure.com", "127.0.0.1", "::1"]);
    for host in [ACCOUNT, "127.0.0.1", "::1"] {
        let leaf = authority.issue(host, now()).unwrap();
        assert_eq!(openssl_verify(&authority.root.der, &leaf.chain, host), Ok(()), "{host}");
        assert_eq!(authority.verify(host, &leaf.chain, now()), Ok(()), "{host}");
    }
}

/// What a leaf may say is limited by the constraints alone: verifiers refuse what the key could sign.
#[test]
fn a_forged_leaf_is_refused_outside_the_constraints() {
    for (patterns, inside, outside) in [
        (
            BATCH,
            &[ACCOUNT, "a.b.batch.usgovcloudapi.net"][..],
            &["login.example.com", "batch.azure.com.example", "127.0.0.1", "::1"][..],
        ),
        (&["127.0.0.1"], &["127.0.0.1"], &["127.0.0.2", "::1", "localhost", ACCOUNT]),
        (&["::1"], &["::1"], &["::2", "127.0.0.1", "localhost", ACCOUNT]),
        (
            &["localhost", "10.0.0.1", "10.0.0.2", "::1"],
            &["localhost", "10.0.0.1", "10.0.0.2", "::1"],
            &["10.0.0.3", "::", ACCOUNT],
        ),
    ] {
        let authority = authority(patterns);
        for (hosts, accepted) in [(inside, true), (outside, false)] {
            for host in hosts {
                let chain = forge(&authority, host).chain;
                assert_eq!(verdicts(&authority, host, &chain), (accepted, accepted), "{host} under {patterns:?}");
                assert_eq!(authority.issue(host, now()).is_ok(), accepted, "{host} under {patterns:?}");
            }
        }
    }
}

#[test]
fn a_forged_leaf_is_refused_for_the_constraint_and_nothing_else() {
    let authority = authority(BATCH);
    let chain = forge(&authority, "login.example.com").chain;
    let openssl = openssl_verify(&authority.root.der, &chain, "login.example.com").unwrap_err();
    assert!(openssl.contains("permitted subtree violation"), "{openssl}");
    let rustls = authority.verify("login.example.com", &chain, now()).unwrap_err().to_string();
    assert!(rustls.contains("NameConstraintViolation"), "{rustls}");
}

/// The root's own constraints hold where an intermediate has none.
#[test]
fn an_unconstrained_intermediate_does_not_free_the_root() {
    let scope = NameScope::of(&hosts(BATCH));
    let root = Root::generate(&scope, DAY, now()).unwrap();
    let intermediate = Intermediate::under(&root, &scope, now()).unwrap();
    let mut authority = CertificateAuthority::with(root.certificate.clone(), intermediate, scope, &settings(None));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    let key = SecretKey::generate().unwrap();
    authority.intermediate.certificate.der = params.signed_by(&key, &root.issuer).unwrap().der().clone();
    authority.intermediate.issuer = Issuer::new(params, key);
    assert_eq!(authority.verify(ACCOUNT, &forge(&authority, ACCOUNT).chain, now()), Ok(()));
    let refusal = authority.verify("example.com", &forge(&authority, "example.com").chain, now()).unwrap_err().to_string();
    assert!(refusal.contains("NameConstraintViolation"), "{refusal}");
}

#[test]
fn certificates_of_the_authority_have_the_extensions_they_need() {
    let authority = authority(BATCH);
    for (certificate, path_length) in [(&authority.root.der, 1), (&authority.intermediate.certificate.der, 0)] {
        let certificate = parse(certificate);
        let basic = certificate.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca);
        assert_eq!(basic.value.path_len_constraint, Some(path_length));
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(usage.value.flags, 0b110_0000, "keyCertSign and cRLSign");
        assert!(certificate.name_constraints().unwrap().unwrap().critical);
    }
}

#[test]
fn constraints_say_what_is_intercepted() {
    let all_addresses = &[format!("IPAddress({:?})", [0; 8]), format!("IPAddress({:?})", [0; 32])][..];
    const LOOPBACK: &str = "IPAddress([127, 0, 0, 1, 255, 255, 255, 255])";
    for (patterns, permitted, excluded) in [
        (&["*.*.batch.azure.com", "*.batch.azure.com"][..], &[r#"DNSName("batch.azure.com")"#][..], all_addresses),
        (
            &["*.a.example", "b.example", "127.0.0.1", "127.0.0.1"],
            &[r#"DNSName("a.example")"#, r#"DNSName("b.example")"#, LOOPBACK],
            &[],
        ),
        (&["127.0.0.1"], &[r#"DNSName("invalid")"#, LOOPBACK], &[]),
        (&[], &[r#"DNSName("invalid")"#], all_addresses),
    ] {
        let authority = authority(patterns);
        for certificate in [&authority.root.der, &authority.intermediate.certificate.der] {
            let certificate = parse(certificate);
            let names = certificate.name_constraints().unwrap().unwrap().value;
            let bases = |trees: &Option<Vec<GeneralSubtree<'_>>>| -> Vec<String> {
                trees.iter().flatten().map(|tree| format!("{:?}", tree.base)).collect()
            };
            assert_eq!(bases(&names.permitted_subtrees), permitted, "{patterns:?}");
            assert_eq!(bases(&names.excluded_subtrees), excluded, "{patterns:?}");
        }
    }
}

#[test]
fn a_leaf_vouches_for_one_server() {
    let authority = authority(BATCH);
    let leaf = authority.issue("ACCT.WestEurope.batch.azure.com", now()).unwrap();
    assert_eq!(leaf.chain.len(), 2, "clients have the root");
    assert_eq!(leaf.chain[1], authority.intermediate.certificate.der);
    let certificate = parse(&leaf.chain[0]);
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::DNSName(ACCOUNT)]);
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 1, "digitalSignature");
    let extended = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any && extended.other.is_empty());
    assert!(!certificate.is_ca());
    assert_eq!(
        certificate.validity().not_before.timestamp() + 300,
        now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
    );
    assert_eq!(SystemTime::from(certificate.validity().not_after.to_datetime()), leaf.not_after);
    assert_eq!(leaf.not_after, now() + DAY);
}

#[test]
fn key_identifiers_link_the_chain() {
    let authority = authority(BATCH);
    let leaf = authority.issue(ACCOUNT, now()).unwrap();
    let identifiers = |certificate: &CertificateDer<'_>| {
        let (mut subject, mut issuer) = (None, None);
        for extension in parse(certificate).extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => subject = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => issuer = id.key_identifier.as_ref().map(|id| id.0.to_vec()),
                _ => {}
            }
        }
        (subject, issuer)
    };
    let (root, _) = identifiers(&authority.root.der);
    let (intermediate, above_intermediate) = identifiers(&authority.intermediate.certificate.der);
    let (own, above_leaf) = identifiers(&leaf.chain[0]);
    assert!(root.is_some() && intermediate.is_some() && own.is_some());
    assert_eq!(above_intermediate, root);
    assert_eq!(above_leaf, intermediate);
}

#[test]
fn serial_numbers_are_sixteen_octets_and_differ() {
    let authority = authority(BATCH);
    let leaves: Vec<_> = (0..20).map(|_| authority.issue(ACCOUNT, now()).unwrap().chain[0].clone()).collect();
    let all = leaves.iter().chain([&authority.root.der, &authority.intermediate.certificate.der]);
    let serials: Vec<_> = all.map(|certificate| parse(certificate).raw_serial().to_vec()).collect();
    assert!(serials.iter().all(|serial| serial.len() == 16 && serial[0] & 0x80 == 0), "{serials:?}");
    let distinct: std::collections::HashSet<_> = serials.iter().collect();
    assert_eq!(distinct.len(), 22);
}

#[test]
fn two_authorities_have_different_names() {
    let (one, other) = (authority(BATCH), authority(BATCH));
    assert!(one.subject().starts_with("O=batch-retry-proxy, CN=batch-retry-proxy CA "), "{}", one.subject());
    assert_ne!(one.subject(), other.subject());
    assert_ne!(subject(&one.intermediate.certificate.der), subject(&other.intermediate.certificate.der));
}

#[test]
fn the_fingerprint_is_what_openssl_prints() {
    let authority = authority(BATCH);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, authority.root_pem()).unwrap();
    let arguments = ["x509", "-noout", "-fingerprint", "-sha256", "-in", file.path().to_str().unwrap()];
    let output = openssl(&arguments.map(AsRef::as_ref));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.trim_end().rsplit_once('=').unwrap().1, authority.fingerprint_sha256());
}

#[test]
fn a_leaf_never_outlives_the_authority() {
    let authority = authority(BATCH);
    let end = authority.not_after();
    assert_eq!(end, now() + 365 * DAY);
    for (time, want) in
        [(now(), now() + DAY), (end - 2 * DAY, end - DAY), (end - HOUR, end), (end - Duration::from_secs(1), end)]
    {
        assert_eq!(authority.issue(ACCOUNT, time).unwrap().not_after, want);
    }
    for time in [end, end + Duration::from_secs(1)] {
        assert_eq!(authority.issue(ACCOUNT, time).unwrap_err(), IssueError::Expired { host: ACCOUNT.to_owned() });
    }
    let short = CaSettings { lifetime: HOUR, ..settings(None) };
    let short = CertificateAuthority::open(&hosts(BATCH), &short, now()).unwrap();
    assert_eq!(short.issue(ACCOUNT, now()).unwrap().not_after, now() + HOUR);
}

#[test]
fn strange_host_names_are_errors() {
    let authority = authority(BATCH);
    let long_label = format!("{}.westeurope.batch.azure.com", "a".repeat(64));
    let long_name = format!("{}batch.azure.com", "a.".repeat(130));
    for host in [
        "",
        " ",
        ".",
        ".batch.azure.com",
        "a b.westeurope.batch.azure.com",
        "a..batch.azure.com",
        "acct.westeurope.batch.azure.com.",
        "acct.westeurope.batch.azure.com:443",
        "*.westeurope.batch.azure.com",
        "kontö.westeurope.batch.azure.com",
        "a\0.westeurope.batch.azure.com",
        "a\n.westeurope.batch.azure.com",
        "[::1]",
        &long_label,
        &long_name,
    ] {
        assert_eq!(authority.issue(host, now()).unwrap_err(), IssueError::InvalidHost { host: host.to_owned() }, "{host:?}");
    }
    for host in ["example.com", "notbatch.azure.com", "azure.com", "10.0.0.1", "1.2.3"] {
        assert!(authority.issue(host, now()).is_err(), "{host}");
    }
}

#[test]
fn dates_no_certificate_can_hold_are_errors() {
    for lifetime in [Duration::MAX, 365 * 9000 * DAY] {
        let settings = CaSettings { lifetime, ..settings(None) };
        let error = CertificateAuthority::open(&hosts(BATCH), &settings, now()).unwrap_err();
        assert!(matches!(error, AuthorityError::Sign(SignError::Dates)), "{error:?}");
    }
    let error = CertificateAuthority::open(&hosts(BATCH), &settings(None), SystemTime::UNIX_EPOCH).unwrap_err();
    assert!(matches!(error, AuthorityError::Sign(SignError::Dates)), "{error:?}");
}

/// A start that could serve no host of a pattern fails at once, not at the first request.
#[test]
fn a_pattern_without_a_possible_host_fails_the_start() {
    let pattern = format!("*.{}.example", "a".repeat(64));
    let error = CertificateAuthority::open(&hosts(&[&pattern]), &settings(None), now()).unwrap_err();
    assert!(matches!(error, AuthorityError::Issue(IssueError::InvalidHost { .. })), "{error:?}");
}

#[test]
fn debug_output_holds_no_key() {
    let authority = authority(BATCH);
    let leaf = authority.issue(ACCOUNT, now()).unwrap();
    assert!(format!("{authority:?}").len() < 120 && format!("{leaf:?}").len() < 240, "{authority:?} {leaf:?}");
}

#[test]
fn a_kept_authority_is_the_same_after_a_restart() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("below").join("ca");
    let first = open(&directory, BATCH, now()).unwrap();
    let second = open(&directory, BATCH, now() + 100 * DAY).unwrap();
    assert_eq!(first.root_pem(), second.root_pem());
    assert_eq!(first.not_after(), second.not_after());
    assert_eq!(first.intermediate.certificate.der, second.intermediate.certificate.der);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("ca-key.pem")), 0o600);
    assert_eq!(mode(&directory.join("ca.pem")), 0o644);
    assert_eq!(fs::read_to_string(directory.join("ca.pem")).unwrap(), first.root_pem());
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "no temporary file stays");
    // A client that trusts the file accepts leaves of both, and none outlives the root.
    let time = now() + 100 * DAY;
    for authority in [first, second] {
        let chain = authority.issue(ACCOUNT, time).unwrap().chain;
        assert_eq!(authority.verify(ACCOUNT, &chain, time), Ok(()));
        assert_eq!(authority.held(), Held::Intermediate);
        assert_eq!(authority.intermediate.certificate.not_after, authority.not_after());
    }
}

/// Verifiers go by what the authority was made for, the proxy by what is intercepted now.
#[test]
fn a_kept_authority_issues_for_what_is_intercepted_now() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), &["*.*.batch.azure.com", "127.0.0.1"], now()).unwrap();
    let authority = open(directory.path(), &["*.westeurope.batch.azure.com"], now()).unwrap();
    assert!(authority.issue(ACCOUNT, now()).is_ok());
    for host in ["acct.northeurope.batch.azure.com", "127.0.0.1"] {
        let refused = authority.issue(host, now()).unwrap_err();
        assert_eq!(refused, IssueError::NotPermitted { host: host.to_owned() });
    }
}

/// A thief of the directory has the intermediate's key; the root's own would do harm where a verifier ignores the root's constraints.
#[test]
fn what_is_kept_is_not_the_key_of_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let authority = open(directory.path(), BATCH, now()).unwrap();
    let kept = fs::read_to_string(directory.path().join("ca-key.pem")).unwrap();
    let public = SecretKey::from_pem(&kept).unwrap().subject_public_key_info();
    assert_eq!(parse(&authority.intermediate.certificate.der).public_key().raw, public);
    assert_ne!(parse(&authority.root.der).public_key().raw, public);
    assert_eq!(kept.matches("PRIVATE KEY-----").count(), 2, "one, from its begin to its end");
}

/// As versions before kept it.
#[test]
fn a_kept_root_with_its_own_key_still_serves_and_is_known_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::generate(&NameScope::of(&hosts(BATCH)), 365 * DAY, now()).unwrap();
    fs::write(directory.path().join("ca.pem"), to_pem(&root.certificate.der)).unwrap();
    fs::write(directory.path().join("ca-key.pem"), root.issuer.key().to_pem()).unwrap();
    fs::set_permissions(directory.path().join("ca-key.pem"), Permissions::from_mode(0o600)).unwrap();
    let before = contents(directory.path());
    let authority = open(directory.path(), BATCH, now()).unwrap();
    assert_eq!((authority.held(), authority.root_der()), (Held::Root, &root.certificate.der));
    let chain = authority.issue(ACCOUNT, now()).unwrap().chain;
    assert_eq!(verdicts(&authority, ACCOUNT, &chain), (true, true));
    assert_eq!(contents(directory.path()), before);
}

#[test]
fn a_kept_intermediate_without_constraints_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::generate(&NameScope::of(&hosts(BATCH)), 365 * DAY, now()).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = SecretKey::generate().unwrap();
    let der = params.signed_by(&key, &root.issuer).unwrap().der().clone();
    let certificate = Certificate { der, ..root.certificate };
    let intermediate = Intermediate { certificate, issuer: Issuer::new(params, key) };
    Store::new(directory.path()).save(&root.certificate, &intermediate).unwrap();
    let error = open(directory.path(), BATCH, now()).unwrap_err().to_string();
    assert!(error.contains("ca-key.pem") && error.contains("no critical name constraints"), "{error}");
}

/// What is done to a good directory, at what time it is opened again and for which hosts, and what the error then says.
type Refusal = (&'static str, fn(&Path), SystemTime, &'static [&'static str], &'static [&'static str]);

#[test]
fn a_kept_authority_that_cannot_be_used_is_refused() {
    fn write(directory: &Path, name: &str, text: &str) {
        fs::write(directory.join(name), text).unwrap();
    }
    fn chmod(directory: &Path, mode: u32) {
        fs::set_permissions(directory.join("ca-key.pem"), Permissions::from_mode(mode)).unwrap();
    }
    fn other(name: &str) -> String {
        let other = tempfile::tempdir().unwrap();
        open(other.path(), BATCH, now()).unwrap();
        fs::read_to_string(other.path().join(name)).unwrap()
    }
    let end = now() + 365 * DAY;
    let refusals: &[Refusal] = &[
        (
            "no key",
            |d| fs::remove_file(d.join("ca-key.pem")).unwrap(),
            now(),
            BATCH,
            &["has", "ca.pem but not", "ca-key.pem"],
        ),
        ("no certificate", |d| fs::remove_file(d.join("ca.pem")).unwrap(), now(), BATCH, &["ca-key.pem but not"]),
        ("group reads", |d| chmod(d, 0o640), now(), BATCH, &["ca-key.pem", "mode 0640"]),
        ("others read", |d| chmod(d, 0o604), now(), BATCH, &["ca-key.pem", "mode 0604"]),
        ("corrupt key", |d| write(d, "ca-key.pem", "nonsense"), now(), BATCH, &["ca-key.pem cannot be used"]),
        ("corrupt certificate", |d| write(d, "ca.pem", "nonsense"), now(), BATCH, &["ca.pem cannot be used"]),
        (
            "cut certificate",
            |d| write(d, "ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
            now(),
            BATCH,
            &["ca.pem cannot be used"],
        ),
        (
            "foreign key",
            |d| write(d, "ca-key.pem", &other("ca-key.pem")),
            now(),
            BATCH,
            &["ca-key.pem does not belong", "ca.pem"],
        ),
        (
            "a directory in place of a file",
            |d| {
                fs::remove_file(d.join("ca.pem")).unwrap();
                fs::create_dir(d.join("ca.pem")).unwrap();
            },
            now(),
            BATCH,
            &["cannot read", "ca.pem"],
        ),
        ("expired", |_| {}, end + DAY, BATCH, &["valid until", "ca.leaf_lifetime", "remove", "ca-key.pem"]),
        ("about to expire", |_| {}, end - HOUR, BATCH, &["valid until", "remove"]),
        ("a clock before its time", |_| {}, now() - HOUR, BATCH, &["valid only from 2027-01-15T07:55:00Z", "clock"]),
        (
            "other domain",
            |_| {},
            now(),
            &["*.example.com"],
            &["`probe.example.com`", "remove", "ca.pem", "ca-key.pem", "distribute"],
        ),
        ("new address", |_| {}, now(), &["*.*.batch.azure.com", "10.0.0.1"], &["`10.0.0.1`", "remove"]),
    ];
    for (case, spoil, time, patterns, wanted) in refusals {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), BATCH, now()).unwrap();
        spoil(directory.path());
        let before = contents(directory.path());
        let error = open(directory.path(), patterns, *time).expect_err(case).to_string();
        for want in wanted.iter().chain(&["`ca.directory`"]) {
            assert!(error.contains(want), "{case}: {error:?} lacks {want:?}");
        }
        assert_eq!(contents(directory.path()), before, "{case}: a refused authority is left as it is");
    }
}

fn contents(directory: &Path) -> Vec<(String, Option<String>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).ok())).collect();
    files.sort();
    files
}

#[test]
fn a_certificate_that_may_not_sign_an_intermediate_is_refused() {
    for (case, path_length) in [("a server's", None), ("an intermediate's", Some(0))] {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = path_length.map_or(IsCa::ExplicitNoCa, |length| IsCa::Ca(BasicConstraints::Constrained(length)));
        fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(directory.path().join("ca-key.pem"), key.serialize_pem()).unwrap();
        fs::set_permissions(directory.path().join("ca-key.pem"), Permissions::from_mode(0o600)).unwrap();
        let error = open(directory.path(), BATCH, now()).unwrap_err().to_string();
        assert!(error.contains("not a certificate authority"), "{case}: {error}");
    }
}

#[test]
fn an_authority_that_could_not_be_opened_again_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let settings = CaSettings { lifetime: DAY, ..settings(Some(directory.path())) };
    let error = CertificateAuthority::open(&hosts(BATCH), &settings, now()).unwrap_err();
    assert!(matches!(error, AuthorityError::Lifetime), "{error:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open(&file.path().join("ca"), BATCH, now()).unwrap_err();
    assert!(error.to_string().contains("`ca.directory`") && error.source().is_some(), "{error:?}");
}

/// Two processes that start at once must not end up with the key of one and the certificate of the other.
#[test]
fn a_root_that_is_there_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), BATCH, now()).unwrap();
    let late = authority(BATCH);
    let saved = Store::new(directory.path()).save(&late.root, &late.intermediate);
    assert!(matches!(saved, Err(AuthorityError::Write { .. })));
    assert_eq!(open(directory.path(), BATCH, now()).unwrap().root_pem(), first.root_pem());
}
