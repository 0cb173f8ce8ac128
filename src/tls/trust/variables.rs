//! The variables by which programs find the proxy and trust it, and `proxy.env`, which sets them in a shell.
//!
//! What each client reads differs: Python and curl take a bundle that replaces their roots, Node one that adds, and Java hears of
//! a proxy only through system properties. Merging with what a user has already set is the task of `run`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::truststore::TRUSTSTORE_PASSWORD;

/// Where a program finds the proxy and the files to trust it by. Each file is named as the program would open it.
#[derive(Clone, Copy, Debug)]
pub struct ClientFiles<'a> {
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// The roots in use and the proxy's, in PEM.
    pub bundle: &'a Path,
    /// What Node adds to its roots, in PEM.
    pub node: &'a Path,
    /// The bundle for Java, PKCS#12.
    pub truststore: &'a Path,
}

// === impl ClientFiles ===

impl ClientFiles<'_> {
    /// The value of `HTTPS_PROXY`, with the scheme: one Batch client for Node crashes without.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", reachable(self.proxy))
    }

    /// The JVM's options, to be appended to `JAVA_TOOL_OPTIONS`, where the last of two wins. `direct` is the value of `NO_PROXY`.
    pub fn java_options(&self, direct: &str) -> String {
        let address = reachable(self.proxy);
        // The JVM splits the variable at blanks, except within quotes.
        let store = self.truststore.display().to_string();
        let quote = if store.contains('"') { '\'' } else { '"' };
        format!(
            "-Dhttps.proxyHost={} -Dhttps.proxyPort={} -Dhttp.nonProxyHosts={quote}{}{quote} \
             -Djavax.net.ssl.trustStore={quote}{store}{quote} -Djavax.net.ssl.trustStoreType=PKCS12 \
             -Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}",
            address.ip(),
            address.port(),
            non_proxy_hosts(direct),
        )
    }

    /// `proxy.env`: lines for a shell to read with `.`, or with `set -a` or not.
    pub fn shell_lines(&self) -> String {
        let url = self.proxy_url();
        let [bundle, node] = [self.bundle, self.node].map(|path| path.display().to_string());
        let mut text = "# Replaces what these variables held; `batch-retry-proxy run` adds to it instead.\n".to_owned();
        for (name, value) in [
            ("HTTPS_PROXY", &*url),
            ("https_proxy", &url),
            ("NO_PROXY", DIRECT),
            ("no_proxy", DIRECT),
            ("REQUESTS_CA_BUNDLE", &bundle),
            ("SSL_CERT_FILE", &bundle),
            ("CURL_CA_BUNDLE", &bundle),
            ("NODE_EXTRA_CA_CERTS", &node),
            ("JAVA_TOOL_OPTIONS", &self.java_options(DIRECT)),
        ] {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "export {name}={}", quoted(value));
        }
        text
    }
}

/// `http.nonProxyHosts` for the hosts of a `NO_PROXY` value: separated by `|`, and a domain's hosts only by `*.`.
fn non_proxy_hosts(direct: &str) -> String {
    let mut hosts: Vec<String> = Vec::new();
    for entry in direct.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match entry.strip_prefix('.') {
            Some(domain) => hosts.push(format!("*.{domain}")),
            // Other clients read a bare name as the domain below it as well.
            None if entry.contains('*') || entry.parse::<IpAddr>().is_ok() => hosts.push(entry.to_owned()),
            None => hosts.extend([entry.to_owned(), format!("*.{entry}")]),
        }
    }
    hosts.join("|")
}

/// The address itself, or loopback where the proxy listens on all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A word of the shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What never goes through the proxy: Azure's metadata addresses, which answer the machine itself only, and loopback.
pub const DIRECT: &str = "169.254.169.254,168.63.129.16,localhost,127.0.0.1";

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(proxy: &str, folder: &'a [&'a Path; 3]) -> ClientFiles<'a> {
        ClientFiles { proxy: proxy.parse().unwrap(), bundle: folder[0], node: folder[1], truststore: folder[2] }
    }

    #[test]
    fn a_proxy_on_all_addresses_is_reached_on_loopback() {
        let folder = ["b", "n", "t"].map(Path::new);
        for (proxy, want) in [
            ("127.0.0.1:3128", "http://127.0.0.1:3128"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("10.0.0.7:80", "http://10.0.0.7:80"),
        ] {
            assert_eq!(files(proxy, &folder).proxy_url(), want);
        }
    }

    #[test]
    fn hosts_that_go_direct_are_told_to_java_in_its_own_form() {
        for (direct, want) in [
            ("", ""),
            ("127.0.0.1, localhost,", "127.0.0.1|localhost|*.localhost"),
            (".corp.example,*.x,*", "*.corp.example|*.x|*"),
        ] {
            assert_eq!(non_proxy_hosts(direct), want, "{direct}");
        }
    }

    #[test]
    fn proxy_env_survives_blanks_and_quotes_in_paths() {
        let folder = ["/it's here/bundle.pem", "/it's here/ca.pem", "/it's here/truststore.p12"].map(Path::new);
        let text = files("127.0.0.1:3128", &folder).shell_lines();
        assert!(text.contains("export SSL_CERT_FILE='/it'\\''s here/bundle.pem'\n"), "{text}");
        assert!(text.contains("-Djavax.net.ssl.trustStore=\"/it'\\''s here/truststore.p12\" "), "{text}");
        for line in text.lines().skip(1) {
            assert!(line.starts_with("export ") && line.ends_with('\''), "{line}");
        }
    }
}
