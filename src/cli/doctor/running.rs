//! The proxy that runs already, if one does: what it says of itself, and whether what it published still fits it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::time::timeout;

use super::check::Check;
use super::shell::{quoted, quoted_if_needed};
use crate::admin::probe::{self, ProbeError};
use crate::config::Settings;
use crate::tls::trust::{BUNDLE_PEM, CA_PEM, PROXY_ENV, TRUSTSTORE_P12, TRUSTSTORE_PASSWORD, truststore_holds};

/// A proxy whose admin server answers.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// Where it listens.
    pub(super) proxy: SocketAddr,
    /// Its version.
    version: String,
    /// The certificate to trust it by, in PEM.
    pub(super) ca_pem: String,
    /// Its `proxy.env`.
    env: String,
    /// Where it was asked.
    admin: SocketAddr,
}

/// What answers at `admin.address`.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Something that is not the proxy; why it is taken for that.
    Other(String),
    /// The proxy.
    Proxy(Running),
}

// === impl Found ===

impl Found {
    /// Asks at `admin`.
    pub(super) async fn at(admin: SocketAddr) -> Self {
        if admin.port() == 0 {
            return Self::Nothing;
        }
        match timeout(PATIENCE, Running::ask(admin)).await {
            Ok(Ok(Some(running))) => Self::Proxy(running),
            Ok(Ok(None)) => Self::Other("its answer is not the proxy's".to_owned()),
            Ok(Err(ProbeError::Connect { .. })) => Self::Nothing,
            Ok(Err(error)) => Self::Other(error.to_string()),
            Err(_) => Self::Other("it does not answer".to_owned()),
        }
    }

    /// The proxy, if that is what answers.
    pub(super) fn running(&self) -> Option<&Running> {
        match self {
            Self::Proxy(running) => Some(running),
            Self::Nothing | Self::Other(_) => None,
        }
    }

    /// Whether it runs, its ports and its files.
    pub(super) fn checks(&self, settings: &Settings) -> Vec<Check> {
        let (listen, admin) = (settings.listen.address, settings.admin.address);
        let mut checks = vec![match self {
            Self::Proxy(Running { proxy, version, .. }) => {
                Check::ok("running", format!("yes, {version} on {proxy}, http://{admin}/"))
            }
            Self::Nothing => Check::ok("running", "no; `run --` starts a proxy of its own for its program"),
            Self::Other(why) => Check::warn("running", format!("not known: at {admin} {why}")).advise(
                "name the admin server of the proxy that runs",
                ["batch-retry-proxy doctor --set admin.address=IP:PORT"],
            ),
        }];
        let taken = |address: SocketAddr| self.running().is_some_and(|running| running.proxy == address);
        checks.push(port("listen.address", "--listen", listen, taken(listen)));
        checks.push(port("admin.address", "--admin-listen", admin, self.running().is_some()));
        if let Some(running) = self.running() {
            checks.extend(running.files(settings));
        }
        checks
    }
}

// === impl Running ===

impl Running {
    /// `None` for an answer that is not the proxy's.
    async fn ask(admin: SocketAddr) -> Result<Option<Self>, ProbeError> {
        let status = probe::fetch(admin, "/status").await?;
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        let Some(proxy) = status["proxy_address"].as_str().and_then(|address| address.parse().ok()) else { return Ok(None) };
        let text = async |path| Ok(String::from_utf8_lossy(&probe::fetch(admin, path).await?).into_owned());
        let (ca_pem, env) = (text("/ca.pem").await?, text("/proxy.env").await?);
        let version = status["version"].as_str().unwrap_or("of an unknown version").to_owned();
        Ok(Some(Self { proxy, version, ca_pem, env, admin }))
    }

    /// One that published in `/p`.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        let env = "export SSL_CERT_FILE='/p/bundle.pem'\nexport REQUESTS_CA_BUNDLE='/p/bundle.pem'\n\
                   export NODE_EXTRA_CA_CERTS='/p/ca.pem'\nexport JAVA_TOOL_OPTIONS='-Dx'\n";
        let (proxy, admin) = (SocketAddr::from(([127, 0, 0, 1], 3128)), DEFAULT_ADMIN);
        Self { proxy, version: String::new(), ca_pem: String::new(), env: env.to_owned(), admin }
    }

    /// Where it wrote the files for clients, if anywhere.
    pub(super) fn published(&self) -> Option<PathBuf> {
        let bundle = self.value("SSL_CERT_FILE")?;
        let bundle = Path::new(&bundle);
        bundle.is_absolute().then(|| bundle.parent().map(Path::to_owned)).flatten()
    }

    /// What a shell has to run so that its programs use and trust it.
    pub(super) fn shell_lines(&self) -> Vec<String> {
        if let Some(directory) = self.published() {
            return vec![format!(". {}", quoted_if_needed(&directory.join(PROXY_ENV).display().to_string()))];
        }
        let files = FILES.iter().map(|(format, name)| self.export(format, Path::new(name)));
        let env = [self.export("env", Path::new(PROXY_ENV)), format!(". ./{PROXY_ENV}")];
        files.chain(env).collect()
    }

    /// The line that sets `variable` for it, after those that fetch the file it names.
    pub(super) fn lines(&self, variable: &str) -> Vec<String> {
        let line = match self.env.lines().find(|line| line.starts_with(&format!("export {variable}="))) {
            Some(line) => line.to_owned(),
            // Not among those that the proxy's clients read.
            None => {
                let bundle = self.value("SSL_CERT_FILE").unwrap_or_else(|| BUNDLE_PEM.to_owned());
                format!("export {variable}={}", quoted(&bundle))
            }
        };
        if self.published().is_some() {
            return vec![line];
        }
        let named = FILES.iter().filter(|(_, name)| line.contains(name));
        let fetch = named.map(|(format, name)| self.export(format, Path::new(name)));
        // A relative name holds only in this directory; the shell makes it a full one.
        let in_place = FILES
            .iter()
            .fold(line.clone(), |line, (_, name)| line.replace(&format!("='{name}'"), &format!("=\"$PWD/{name}\"")));
        fetch.chain([in_place]).collect()
    }

    /// The line that writes one of its files.
    fn export(&self, format: &str, file: &Path) -> String {
        let admin = if self.admin == DEFAULT_ADMIN { String::new() } else { format!(" --set admin.address={}", self.admin) };
        let file = quoted_if_needed(&file.display().to_string());
        format!("batch-retry-proxy ca export{admin} --format {format} --out {file}")
    }

    /// The value that its `proxy.env` gives to `variable`.
    fn value(&self, variable: &str) -> Option<String> {
        let value =
            self.env.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(variable)?.strip_prefix('='))?;
        Some(value.strip_prefix('\'')?.strip_suffix('\'')?.replace(r"'\''", "'"))
    }

    /// Whether a file for clients has its certificate.
    fn is_in(&self, file: &Path) -> bool {
        if !file.ends_with(TRUSTSTORE_P12) {
            return holds(file, &self.ca_pem);
        }
        let (Ok(contents), Ok(own)) = (std::fs::read(file), CertificateDer::from_pem_slice(self.ca_pem.as_bytes())) else {
            return false;
        };
        truststore_holds(&contents, TRUSTSTORE_PASSWORD, &own)
    }

    /// Whether the published files and the kept authority are those of the proxy that runs.
    fn files(&self, settings: &Settings) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut directories: Vec<PathBuf> = self.published().into_iter().collect();
        if let Some(directory) = &settings.ca.publish
            && !directories.iter().any(|known| same_place(known, directory))
        {
            directories.push(directory.clone());
        }
        for directory in directories {
            if !directory.exists() {
                let finding = format!("{} is not here: the proxy runs in another container or chroot", directory.display());
                let text = "share the folder, or fetch the files here and set what `ca export --format env` prints";
                let files = FILES.iter().map(|(format, name)| self.export(format, Path::new(name)));
                checks.push(Check::warn("published files", finding).advise(text, files));
                continue;
            }
            let stale = FILES.iter().map(|(_, name)| *name).find(|name| !self.is_in(&directory.join(name)));
            checks.push(match stale {
                None => Check::ok("published files", format!("{} fits the proxy that runs", directory.display())),
                Some(name) => {
                    let file = directory.join(name);
                    Check::fail(
                        "published files",
                        format!("{} does not hold the certificate of the proxy that runs", file.display()),
                    )
                    .advise(
                        "write them anew, and start programs that read the old ones again",
                        FILES.iter().map(|(format, name)| self.export(format, &directory.join(name))),
                    )
                }
            });
        }
        if let Some(directory) = &settings.ca.directory {
            let file = directory.join(CA_PEM);
            checks.push(if holds(&file, &self.ca_pem) {
                Check::ok("ca.directory", format!("{} is what the proxy that runs uses", file.display()))
            } else {
                Check::warn("ca.directory", format!("{} is not the certificate of the proxy that runs", file.display()))
                    .advise(
                        "restart the proxy with these settings",
                        [format!("batch-retry-proxy --set ca.directory={}", directory.display())],
                    )
            });
        }
        checks
    }
}

/// Whether the file in PEM has all certificates of `pem`.
pub(super) fn holds(file: &Path, pem: &str) -> bool {
    let Ok(contents) = std::fs::read(file) else { return false };
    let held: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&contents).flatten().collect();
    let mut wanted = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().peekable();
    wanted.peek().is_some() && wanted.all(|certificate| held.contains(&certificate))
}

fn same_place(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Whether `address` can be had. `ours` if the proxy that runs has it.
fn port(key: &'static str, flag: &str, address: SocketAddr, ours: bool) -> Check {
    if ours {
        return Check::ok(key, format!("{address}, the proxy that runs has it"));
    }
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(key, format!("{address} is free")),
        Err(error) => {
            let check = Check::fail(key, format!("{address} cannot be had, and no proxy of ours answers for it: {error}"));
            match free_beside(address) {
                Some(free) => {
                    check.advise("take another (`run --` needs none)", [format!("batch-retry-proxy {flag} {free}")])
                }
                None => check,
            }
        }
    }
}

/// A free port near the one wanted.
fn free_beside(address: SocketAddr) -> Option<SocketAddr> {
    let ip = if TcpListener::bind((address.ip(), 0)).is_ok() { address.ip() } else { [127, 0, 0, 1].into() };
    let ports = (1..=50).filter_map(|step| address.port().checked_add(step)).filter(|port| *port > 1023);
    ports.map(|port| SocketAddr::new(ip, port)).find(|address| TcpListener::bind(address).is_ok())
}

/// What `ca export` writes for clients, by format and name.
const FILES: [(&str, &str); 3] = [("pem", CA_PEM), ("bundle", BUNDLE_PEM), ("p12", TRUSTSTORE_P12)];

/// Where other commands look without being told.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_a_proxy_that_published_nothing_fetch_the_files_first() {
        let env = "export SSL_CERT_FILE='bundle.pem'\nexport NODE_EXTRA_CA_CERTS='ca.pem'\n".to_owned();
        let admin = "127.0.0.1:1".parse().unwrap();
        let running = Running { env, admin, ..Running::example() };
        assert_eq!(
            running.lines("NODE_EXTRA_CA_CERTS"),
            [
                "batch-retry-proxy ca export --set admin.address=127.0.0.1:1 --format pem --out ca.pem",
                "export NODE_EXTRA_CA_CERTS=\"$PWD/ca.pem\"",
            ]
        );
        assert_eq!(running.lines("GIT_SSL_CAINFO")[1], "export GIT_SSL_CAINFO=\"$PWD/bundle.pem\"");
        assert_eq!(running.shell_lines().len(), 5);
        let published = Running::example();
        assert_eq!(published.lines("GIT_SSL_CAINFO"), ["export GIT_SSL_CAINFO='/p/bundle.pem'"]);
        assert_eq!(published.shell_lines(), [". /p/proxy.env"]);
    }
}
