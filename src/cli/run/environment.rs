//! What the command's environment holds besides its parent's: a pure function of both.
//!
//! Variables that replace are set, lists are added to. `HTTP_PROXY` is left alone: Azure's metadata service, which refuses proxies, is
//! asked by plain http. Reading the files that the parent's variables name is the task of `certificates`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::bypass::Bypass;
use crate::batch::endpoint::HostSet;
use crate::tls::trust::{ClientFiles, DIRECT};

/// What to set for the command, and what the user should know about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Environment {
    /// By name; the rest stays as the parent has it.
    pub(in crate::cli) variables: Vec<(&'static str, OsString)>,
    /// A line each.
    pub(in crate::cli) warnings: Vec<String>,
}

/// The variables for a command whose parent has the variables that `parent` gives, where `hosts` are opened.
pub(in crate::cli) fn environment(
    parent: impl Fn(&str) -> Option<OsString>,
    files: &ClientFiles<'_>,
    hosts: &HostSet,
) -> Environment {
    let text = |name: &str| parent(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    let mut warnings = Vec::new();
    let direct = joined(&[&text("NO_PROXY"), &text("no_proxy"), DIRECT]);
    let java = text(JAVA);
    let java_direct = joined(&[&direct, &option(&java, NON_PROXY_HOSTS).unwrap_or_default().replace('|', ",")]);
    for entry in java_direct.split(',') {
        let name = if direct.split(',').any(|listed| listed == entry) { "NO_PROXY" } else { NON_PROXY_HOSTS };
        if let Some(bypass) = Bypass::of(entry, hosts) {
            warnings.push(format!("`{entry}` in {name} keeps requests to Batch away from the proxy in {}", bypass.who()));
        }
    }
    if ["HTTPS_PROXY", "https_proxy"].iter().any(|name| !text(name).is_empty()) {
        warnings.push("HTTPS_PROXY was set: the command uses this proxy instead, which connects directly".to_owned());
    }
    if option(&java, "javax.net.ssl.trustStore").is_some() {
        warnings.push(format!("the trustStore in {JAVA} is replaced, its certificates are not taken over"));
    }
    let url = OsString::from(files.proxy_url());
    let bundle = files.bundle.as_os_str();
    let mut options = parent(JAVA).unwrap_or_default();
    if !options.is_empty() {
        options.push(" ");
    }
    // The JVM takes the last of two.
    options.push(files.java_options(&java_direct));
    let variables = vec![
        ("HTTPS_PROXY", url.clone()),
        ("https_proxy", url),
        ("NO_PROXY", direct.clone().into()),
        ("no_proxy", direct.into()),
        ("REQUESTS_CA_BUNDLE", bundle.to_owned()),
        ("SSL_CERT_FILE", bundle.to_owned()),
        ("CURL_CA_BUNDLE", bundle.to_owned()),
        (NODE, files.node.as_os_str().to_owned()),
        (JAVA, options),
    ];
    Environment { variables, warnings }
}

/// The files and directories of certificates that the parent's variables name, each once.
pub(in crate::cli) fn certificate_files(parent: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, PathBuf)> {
    let mut files: Vec<(&'static str, PathBuf)> = Vec::new();
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", NODE] {
        let Some(path) = parent(name).filter(|value| !value.is_empty()).map(PathBuf::from) else { continue };
        if !files.iter().any(|(_, known)| Path::new(known) == path) {
            files.push((name, path));
        }
    }
    files
}

/// All entries of comma-separated lists in their order, each once.
fn joined(lists: &[&str]) -> String {
    let mut entries: Vec<&str> = Vec::new();
    for entry in lists.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|entry| !entry.is_empty()) {
        if !entries.iter().any(|known| known.eq_ignore_ascii_case(entry)) {
            entries.push(entry);
        }
    }
    entries.join(",")
}

/// The value of the system property `name` in a JVM's options, without its quotes.
fn option(options: &str, name: &str) -> Option<String> {
    let mut words =
        options.split_whitespace().filter_map(|word| word.strip_prefix("-D")?.strip_prefix(name)?.strip_prefix('='));
    words.next_back().map(|value| value.replace(['"', '\''], ""))
}

/// Adds to Node's own roots.
pub(in crate::cli) const NODE: &str = "NODE_EXTRA_CA_CERTS";
pub(in crate::cli) const JAVA: &str = "JAVA_TOOL_OPTIONS";
const NON_PROXY_HOSTS: &str = "http.nonProxyHosts";

#[cfg(test)]
mod tests;
