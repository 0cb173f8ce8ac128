//! What a thief of `ca.directory` can do: certificates forged with the key there, shown to real verifiers that trust the authority. For hosts
//! of Batch they are believed, for all others refused. A verifier that is not installed is skipped, and the test says so.
//!
//! What another thief could get hold of, the intermediate's key in memory, can do the same: it is the same kind of key.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use batch_retry_proxy::config::Settings;
use batch_retry_proxy::tls::authority::CertificateAuthority;
use batch_retry_proxy::tls::{roots::Roots, trust};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa};
use rcgen::{Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::client::Client;
use crate::support::guard_for;
use crate::support::pki::client_config;

const INSIDE: &str = "acct.westeurope.batch.azure.com";
const OUTSIDE: &str = "login.example.com";

/// What is forged: for which host, and whether a client of that host believes it.
const FORGERIES: [(&str, &str, bool); 7] = [
    ("a host of Batch", INSIDE, true),
    ("another host", OUTSIDE, false),
    ("both in one", OUTSIDE, false),
    ("a wildcard", OUTSIDE, false),
    ("a domain that ends otherwise", "batch.azure.com.example.com", false),
    ("a common name alone", OUTSIDE, false),
    ("under an authority of the thief's own", OUTSIDE, false),
];

/// Servers that show what was forged, and what clients are given to trust the authority by.
struct Stage {
    /// Holds `ca.pem`, `bundle.pem` and `truststore.p12`.
    folder: TempDir,
    ports: Vec<u16>,
    _servers: JoinSet<()>,
}

impl Stage {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let settings = Settings::from_toml(&format!("ca.directory = \"{}\"", kept.display())).unwrap();
        let hosts = &settings.route.intercept;
        let authority = CertificateAuthority::open(hosts, &settings.ca, SystemTime::now()).unwrap();
        let roots = Roots::load(&settings.upstream.ca_files).unwrap();
        trust::publish(folder.path(), &authority, &roots, "127.0.0.1:1".parse().unwrap()).unwrap();

        let stolen = std::fs::read(kept.join("ca-key.pem")).unwrap();
        let key = KeyPair::try_from(&PrivateKeyDer::from_pem_slice(&stolen).unwrap()).unwrap();
        let certificate = CertificateDer::from_pem_slice(&stolen).unwrap();
        let thief = Thief { issuer: Issuer::from_ca_cert_der(&certificate, key).unwrap(), certificate };
        let (mut ports, mut servers) = (Vec::new(), JoinSet::new());
        for (forgery, host, _) in FORGERIES {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            servers.spawn(serve(listener, thief.forge(forgery, host)));
        }
        Self { folder, ports, _servers: servers }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The hosts with their ports, as the clients of `tests/forged` are told.
    fn asked(&self) -> Vec<String> {
        FORGERIES.iter().zip(&self.ports).map(|((_, host, _), port)| format!("{host}:{port}")).collect()
    }

    /// Runs a client of `tests/forged` and compares what it says, `refusal` being what it says of the plainest forgery.
    async fn try_with(&self, program: impl AsRef<OsStr>, arguments: &[OsString], env: &[(&str, &OsStr)], refusal: &str) {
        let mut command = Command::new(&program);
        command.args(arguments).args(self.asked()).envs(env.iter().copied());
        let Some(output) = run(command).await else { return };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for (asked, (forgery, _, believed)) in self.asked().iter().zip(FORGERIES) {
            let verdict = said.lines().find(|line| line.contains(asked.as_str())).unwrap_or_default();
            let want = if believed { "accepted" } else { "refused" };
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(verdict.starts_with(want), "{forgery} is not {want} by {:?}: {said}{complaint}", program.as_ref());
            if forgery == "another host" {
                assert!(verdict.contains(refusal), "{verdict}");
            }
        }
    }

    /// The same with a program that is run anew for each.
    async fn try_each(&self, command: impl Fn(&str, u16) -> Command, refusal: &str) {
        for ((forgery, host, believed), port) in FORGERIES.into_iter().zip(&self.ports) {
            let Some(output) = run(command(host, *port)).await else { return };
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            assert_eq!(output.status.success(), believed, "{forgery}: {said}");
            assert!(forgery != "another host" || said.contains(refusal), "{said}");
        }
    }
}

/// Who has the key, and the certificate that goes with it.
struct Thief {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Thief {
    fn forge(&self, forgery: &str, host: &str) -> Arc<ServerConfig> {
        let names: &[&str] = match forgery {
            "both in one" => &[INSIDE, OUTSIDE],
            "a wildcard" => &["*.example.com"],
            "a common name alone" => &[],
            _ => &[host],
        };
        let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        leaf.distinguished_name = DistinguishedName::new();
        if names.is_empty() {
            leaf.distinguished_name.push(DnType::CommonName, host);
        }
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let chain = if forgery == "under an authority of the thief's own" {
            let mut own = CertificateParams::default();
            own.distinguished_name.push(DnType::CommonName, "the thief's own");
            own.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            own.use_authority_key_identifier_extension = true;
            let own_key = KeyPair::generate().unwrap();
            let certificate = own.signed_by(&own_key, &self.issuer).unwrap().der().clone();
            let leaf = leaf.signed_by(&key, &Issuer::new(own, own_key)).unwrap().der().clone();
            vec![leaf, certificate, self.certificate.clone()]
        } else {
            vec![leaf.signed_by(&key, &self.issuer).unwrap().der().clone(), self.certificate.clone()]
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        Arc::new(config)
    }
}

async fn serve(listener: TcpListener, config: Arc<ServerConfig>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = TlsAcceptor::from(config.clone());
        connections.spawn(async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
                let _ = stream.shutdown().await;
                // Until the client has seen enough.
                let _ = stream.read(&mut [0; 1]).await;
            }
        });
    }
}

/// What the program says and how it ends; nothing where it is not installed.
async fn run(mut command: Command) -> Option<Output> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "JAVA_TOOL_OPTIONS", "NODE_OPTIONS"] {
        command.env_remove(variable);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match guard_for(Duration::from_secs(300), &format!("the end of {name}"), output).await {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: {name} is not installed");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

fn script(name: &str) -> OsString {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forged").join(name).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn rustls_believes_no_forged_certificate_outside_batch() {
    let stage = Stage::open().await;
    let ca = std::fs::read_to_string(stage.file("ca.pem")).unwrap();
    for ((forgery, host, believed), port) in FORGERIES.into_iter().zip(&stage.ports) {
        let connector = tokio_rustls::TlsConnector::from(client_config(&ca, &[]));
        let stream = TcpStream::connect(("127.0.0.1", *port)).await.unwrap();
        let shaken = connector.connect(host.to_owned().try_into().unwrap(), stream).await;
        assert_eq!(shaken.is_ok(), believed, "{forgery}: {:?}", shaken.err());
        if forgery == "another host" {
            let refusal =
                Client::connect_tls(([127, 0, 0, 1], *port).into(), &ca, host, &[]).await.err().unwrap().to_string();
            assert!(refusal.contains("NameConstraintViolation"), "{refusal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_believes_no_forged_certificate_outside_batch() {
    let stage = Stage::open().await;
    let command = |host: &str, port: u16| {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-brief",
            "-verify_return_error",
            "-servername",
            host,
            "-verify_hostname",
            host,
            "-CAfile",
        ]);
        command.arg(stage.file("ca.pem")).args(["-connect", &format!("127.0.0.1:{port}")]);
        command
    };
    stage.try_each(command, "permitted subtree violation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_believes_no_forged_certificate_outside_batch() {
    let stage = Stage::open().await;
    let command = |host: &str, port: u16| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]).arg(stage.file("ca.pem"));
        command.args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}/")]);
        command
    };
    stage.try_each(command, "curl: (60)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_believes_no_forged_certificate_outside_batch() {
    let stage = Stage::open().await;
    let arguments = [script("client.py"), stage.file("ca.pem").into()];
    stage.try_with("python3", &arguments, &[], "permitted subtree violation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_believes_no_forged_certificate_outside_batch() {
    let stage = Stage::open().await;
    let ca = stage.file("ca.pem");
    let env = [("NODE_EXTRA_CA_CERTS", ca.as_os_str())];
    stage.try_with("node", &[script("client.js")], &env, "permitted subtree violation").await;
}

/// With the source compiled first, which takes a JDK.
#[tokio::test(flavor = "multi_thread")]
async fn java_believes_no_forged_certificate_outside_batch() {
    let stage = Stage::open().await;
    let mut javac = Command::new("javac");
    javac.arg("-d").args([stage.folder.path().as_os_str(), &script("Client.java")]);
    let Some(compiled) = run(javac).await else { return };
    assert!(compiled.status.success(), "{compiled:?}");
    let store = format!("-Djavax.net.ssl.trustStore={}", stage.file("truststore.p12").display());
    let mut arguments: Vec<OsString> = vec![store.into(), "-Djavax.net.ssl.trustStorePassword=changeit".into()];
    arguments.extend(["-cp".into(), stage.folder.path().into(), "Client".into()]);
    stage.try_with("java", &arguments, &[], "name constraints check failed").await;
}

/// `make test-forged` brings a Go.
#[tokio::test(flavor = "multi_thread")]
async fn go_believes_no_forged_certificate_outside_batch() {
    let stage = Stage::open().await;
    let bundle = stage.file("bundle.pem");
    let (modules, cache) =
        (OsString::from("off"), std::env::var_os("GOCACHE").unwrap_or_else(|| stage.file("cache").into()));
    let env = [("SSL_CERT_FILE", bundle.as_os_str()), ("GO111MODULE", &modules), ("GOCACHE", &cache)];
    let go = std::env::var_os("BATCH_TEST_GO").unwrap_or_else(|| "go".into());
    stage.try_with(go, &["run".into(), script("client.go")], &env, "not permitted by any constraint").await;
}
