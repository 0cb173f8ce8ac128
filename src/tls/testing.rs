//! What the tests of this module share: a fixed time, authorities, verifiers and handshakes in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    SupportedProtocolVersion,
};

use super::CaSettings;
use super::authority::{CertificateAuthority, to_pem};
use crate::batch::endpoint::HostSet;

/// A clock that stands still until it is moved.
#[derive(Clone, Debug)]
pub(super) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW_SECONDS)))
    }

    pub(super) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    pub(super) fn set(&self, time: SystemTime) {
        self.0.store(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), Ordering::SeqCst);
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::SeqCst))))
    }
}

pub(super) fn now() -> SystemTime {
    TestClock::new().now()
}

pub(super) fn hosts(patterns: &[&str]) -> HostSet {
    HostSet::new(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect(), Vec::new())
}

pub(super) fn settings(directory: Option<&Path>) -> CaSettings {
    CaSettings { directory: directory.map(Path::to_owned), publish: None, lifetime: 365 * DAY, leaf_lifetime: DAY }
}

pub(super) fn authority(patterns: &[&str]) -> CertificateAuthority {
    CertificateAuthority::open(&hosts(patterns), &settings(None), now()).unwrap()
}

/// A client that trusts `root`, with `clock`'s time.
pub(super) fn client(
    root: &CertificateDer<'static>,
    clock: &TestClock,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(clock.clone()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A whole handshake in memory, session tickets included; the error of the side that fails first.
pub(super) fn shake(
    client: &Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name)?;
    let mut server = ServerConnection::new(server)?;
    while client.wants_write() || server.wants_write() {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking(), "the handshake stalled");
    Ok((client, server))
}

fn pass<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// Whether `openssl verify` in its strict mode accepts `chain` as `host` at the fixed time.
pub(super) fn openssl_verify(root: &CertificateDer<'_>, chain: &[CertificateDer<'_>], host: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, certificates: &[CertificateDer<'_>]| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, certificates.iter().map(to_pem).collect::<String>()).unwrap();
        path
    };
    let name = if host.parse::<std::net::IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
    let output = openssl(&[
        "verify".as_ref(),
        "-x509_strict".as_ref(),
        "-attime".as_ref(),
        NOW_SECONDS.to_string().as_ref(),
        "-purpose".as_ref(),
        "sslserver".as_ref(),
        name.as_ref(),
        host.as_ref(),
        "-CAfile".as_ref(),
        write("root.pem", std::slice::from_ref(root)).as_ref(),
        "-untrusted".as_ref(),
        write("untrusted.pem", &chain[1..]).as_ref(),
        write("leaf.pem", &chain[..1]).as_ref(),
    ]);
    let said = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    if output.status.success() { Ok(()) } else { Err(said(&output.stdout) + &said(&output.stderr)) }
}

/// Runs OpenSSL's command, a verifier not of our making, without the machine's own roots.
pub(super) fn openssl(arguments: &[&std::ffi::OsStr]) -> std::process::Output {
    Command::new("openssl")
        .args(arguments)
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/dev/null")
        .output()
        .expect("these tests need the `openssl` command (Debian: apt-get install openssl)")
}

const NOW_SECONDS: u64 = 1_800_000_000;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
