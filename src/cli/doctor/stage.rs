//! Where the runtimes are tried: a proxy and a simulated account of the doctor's own, and the two environments a program is tried in.
//!
//! A program tried as the shell has it must meet an authority that it trusts just when it trusts the one in use. A kept authority is used
//! itself. That of a proxy that runs has its key in memory there; its place is taken by the doctor's own, in copies of the files that the
//! shell's variables name.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::running::{Running, holds};
use super::shell::{Named, Shell};
use crate::app::{App, Configuration, Controls};
use crate::cli::Failure;
use crate::cli::run::{NODE_PEM, environment, make_private, take_over_certificates, temporary_folder, write_node_file};
use crate::config::Settings;
use crate::shutdown::{self, Shutdown};
use crate::simulator::{Simulator, SimulatorSettings};
use crate::telemetry::LogHandle;
use crate::tls::authority::{AuthorityError, CertificateAuthority};
use crate::tls::roots::Roots;
use crate::tls::trust::{BUNDLE_PEM, CA_PEM, ClientFiles, TRUSTSTORE_P12, TRUSTSTORE_PASSWORD, truststore_holds};

/// Which authority the shell's programs should trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// The one in `ca.directory`.
    Kept,
    /// One whose certificate is known, in PEM.
    Known(String),
    /// None yet: each start makes another.
    Unknown,
}

/// A proxy and an account to try programs with. Dropped, nothing is left of them.
pub(super) struct Stage {
    /// A host of the account, opened by the proxy.
    pub(super) host: String,
    /// Where the proxy listens.
    pub(super) proxy: SocketAddr,
    /// The variables of a program as the shell has it, but for the proxy's address.
    pub(super) as_is: Variables,
    /// The variables that `run` would set.
    pub(super) with_run: Variables,
    folder: TempDir,
    _serving: [Shutdown; 2],
}

/// What is set over the shell's own variables.
pub(super) type Variables = Vec<(String, OsString)>;

// === impl Authority ===

impl Authority {
    /// The authority that counts: that of the proxy that runs, or else what the next start will use.
    ///
    /// # Errors
    /// Where the kept one cannot be used.
    pub(super) fn find(settings: &Settings, running: Option<&Running>) -> Result<Self, AuthorityError> {
        let kept = settings.ca.directory.as_deref().map(|directory| directory.join(CA_PEM)).filter(|file| file.exists());
        match (kept, running) {
            (Some(file), running) if running.is_none_or(|running| holds(&file, &running.ca_pem)) => {
                CertificateAuthority::open(&settings.route.intercept, &settings.ca, SystemTime::now()).map(|_| Self::Kept)
            }
            (_, Some(running)) => Ok(Self::Known(running.ca_pem.clone())),
            (_, None) => {
                // A start that publishes puts new files in the place of these.
                let published = settings.ca.publish.as_deref().map(|directory| fs::read_to_string(directory.join(CA_PEM)));
                Ok(published.and_then(Result::ok).map_or(Self::Unknown, Self::Known))
            }
        }
    }
}

// === impl Stage ===

impl Stage {
    /// Starts both.
    pub(super) async fn open(
        settings: &Settings,
        shell: &Shell,
        authority: &Authority,
        running: Option<&Running>,
        logs: LogHandle,
    ) -> Result<Self, Failure> {
        let folder = temporary_folder()?;
        let account = Simulator::bind(SimulatorSettings::demo()).await?;
        let host = account.host().to_owned();
        let account_ca = folder.path().join("account.pem");
        fs::write(&account_ca, account.ca_pem())?;

        let mut own = settings.clone();
        make_private(&mut own, folder.path());
        if *authority == Authority::Kept {
            own.ca.directory.clone_from(&settings.ca.directory);
        }
        if !own.route.intercept.contains(&host) {
            // Only other hosts are opened: what is learnt of the programs is the same.
            own.route.intercept = Settings::from_toml("")?.route.intercept;
            own.ca.directory = None;
        }
        if Roots::load(&own.upstream.ca_files).is_err() {
            // Reported by its own check.
            own.upstream.ca_files.clear();
        }
        own.upstream.ca_files.push(account_ca);
        own.upstream.resolve = [(format!("{host}:443"), account.address())].into();
        // What cannot be read is warned of by `run` itself; here the trial shows what comes of it.
        take_over_certificates(&mut own, folder.path())?;
        let hosts = own.route.intercept.clone();

        let app = App::bind(own).await?;
        let [bundle, node, truststore] = [BUNDLE_PEM, NODE_PEM, TRUSTSTORE_P12].map(|name| folder.path().join(name));
        write_node_file(folder.path(), &node)?;
        let files = ClientFiles { proxy: app.proxy_address(), bundle: &bundle, node: &node, truststore: &truststore };
        let with_run = environment::environment(|name| shell.raw(name), &files, &hosts).variables;
        let with_run = with_run.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let stand_in = match authority {
            Authority::Known(pem) => Some(pem.as_str()),
            Authority::Kept | Authority::Unknown => None,
        };
        let mut as_is = as_is(shell, &files, stand_in, app.root_pem(), folder.path())?;
        if let Some(options) = shell.text(environment::JAVA) {
            let used = running.map_or(settings.listen.address, |running| running.proxy);
            as_is.push((environment::JAVA.to_owned(), java_as_is(&options, &files, stand_in, used).into()));
        }

        let (account_shutdown, account_drain) = shutdown::channel();
        tokio::spawn(account.serve(account_drain));
        let (shutdown, drain) = shutdown::channel();
        let (proxy, controls) = (
            app.proxy_address(),
            Controls { logs, config: Configuration::Fixed("{}".to_owned()), shutdown: shutdown.clone() },
        );
        tokio::spawn(app.run(drain, controls));
        Ok(Self { host, proxy, as_is, with_run, folder, _serving: [account_shutdown, shutdown] })
    }

    /// What programs ask for.
    pub(super) fn url(&self) -> String {
        format!("https://{}/jobs?api-version=2024-07-01.20.0", self.host)
    }

    /// A file for the programs, which goes away with this.
    pub(super) fn file(&self, name: &str, contents: &str) -> std::io::Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, contents)?;
        Ok(path)
    }

    /// Where a file of that name lies.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Where the files are.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The shell's variables as they are, with our address where they would have the proxy's, and our certificate where they have `stand_in`.
fn as_is(
    shell: &Shell,
    files: &ClientFiles<'_>,
    stand_in: Option<&str>,
    own_pem: &str,
    folder: &Path,
) -> std::io::Result<Variables> {
    let mut variables: Variables = Vec::new();
    for name in ["HTTPS_PROXY", "https_proxy"] {
        variables.push((name.to_owned(), files.proxy_url().into()));
    }
    for name in PEM_VARIABLES {
        let (Some(pem), Some(path)) = (stand_in, shell.raw(name)) else { continue };
        if holds(Path::new(&path), pem) {
            let copy = folder.join(format!("as-is-{name}.pem"));
            fs::write(&copy, [&fs::read(&path)?, b"\n".as_slice(), own_pem.as_bytes()].concat())?;
            variables.push((name.to_owned(), copy.into()));
        }
    }
    Ok(variables)
}

/// The JVM's options as they are, with ours after those that ours take the place of. Where they name another proxy than the `used` one, they
/// name none: it is not to be asked, and a JVM that goes there goes around ours.
fn java_as_is(options: &str, files: &ClientFiles<'_>, stand_in: Option<&str>, used: SocketAddr) -> String {
    let mut options = options.to_owned();
    if let Some(host) = property(&options, "https.proxyHost") {
        let port = property(&options, "https.proxyPort").unwrap_or_default();
        if (Named { name: environment::JAVA, value: format!("{host}:{port}") }).is(used) {
            let (ip, port) = (files.proxy.ip(), files.proxy.port());
            options.push_str(&format!(" -Dhttps.proxyHost={ip} -Dhttps.proxyPort={port}"));
        } else {
            options.push_str(" -Dhttps.proxyHost=");
        }
    }
    let trusted = stand_in.and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
    if let (Some(certificate), Some(store)) = (trusted, property(&options, "javax.net.ssl.trustStore")) {
        let password = property(&options, "javax.net.ssl.trustStorePassword").unwrap_or_default();
        if fs::read(store).is_ok_and(|contents| truststore_holds(&contents, &password, &certificate)) {
            options.push_str(&format!(
                " -Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStoreType=PKCS12 \
                 -Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}",
                files.truststore.display()
            ));
        }
    }
    options
}

/// The last value of a system property in a JVM's options, which may have it in quotes.
fn property(options: &str, name: &str) -> Option<String> {
    let rest = options.rsplit_once(&format!("-D{name}="))?.1;
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
    match quote {
        Some(quote) => rest[1..].split(quote).next().map(str::to_owned),
        None => rest.split_whitespace().next().map(str::to_owned),
    }
}

/// Name files or directories of certificates in PEM.
const PEM_VARIABLES: [&str; 5] =
    ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jvm_is_tried_with_our_proxy_only_where_it_uses_the_one_in_use() {
        let (used, file) = ("127.0.0.1:3128".parse().unwrap(), Path::new("/f"));
        let files = ClientFiles { proxy: "127.0.0.1:9".parse().unwrap(), bundle: file, node: file, truststore: file };
        for (options, more) in [
            ("-Dhttps.proxyHost=localhost -Dhttps.proxyPort=3128", " -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9"),
            ("-Dhttps.proxyHost=corp.example -Dhttps.proxyPort=3128", " -Dhttps.proxyHost="),
            ("-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3129", " -Dhttps.proxyHost="),
            ("-Dhttps.proxyHost=127.0.0.1", " -Dhttps.proxyHost="),
            ("-Xmx1g", ""),
        ] {
            assert_eq!(java_as_is(options, &files, None, used), format!("{options}{more}"));
        }
    }

    #[test]
    fn a_property_is_the_last_of_its_name_without_quotes() {
        for (options, want) in [
            ("-Da.b=1", Some("1")),
            ("-Xmx1g -Da.b=1 -Da.b=\"two words\" -Dc=3", Some("two words")),
            ("-Da.b='x y'", Some("x y")),
            ("-Da.bc=1", None),
            ("", None),
        ] {
            assert_eq!(property(options, "a.b").as_deref(), want, "{options}");
        }
    }
}
