//! The variables of the shell that the doctor was called from, and what is wrong with those that concern proxies: pure.
//!
//! The rules are those of the clients themselves, and no two agree; see `docs/clients.md`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::check::Check;
use super::running::Running;
use crate::batch::endpoint::HostSet;
use crate::cli::run::bypass::Bypass;
use crate::tls::trust::DIRECT;

/// The variables, by name.
#[derive(Clone, Default)]
pub(super) struct Shell(BTreeMap<OsString, OsString>);

/// A proxy as a variable names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The variable.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) value: String,
}

// === impl Shell ===

impl Shell {
    /// These variables.
    pub(super) fn new(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.collect())
    }

    /// As it is; what is empty counts as not set, as it does for the clients.
    pub(super) fn raw(&self, name: &str) -> Option<OsString> {
        self.0.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()).cloned()
    }

    /// As text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// All of them as text.
    pub(super) fn texts(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.0.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
    }

    /// The first of `names` that is set.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<Named> {
        names.iter().find_map(|name| self.text(name).map(|value| Named { name, value }))
    }

    /// The entries of `NO_PROXY`, of both spellings.
    pub(super) fn direct(&self) -> Vec<(&'static str, String)> {
        let mut entries: Vec<(&'static str, String)> = Vec::new();
        for name in ["NO_PROXY", "no_proxy"] {
            for entry in self.text(name).unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                if !entries.iter().any(|(_, known)| known == entry) {
                    entries.push((name, entry.to_owned()));
                }
            }
        }
        entries
    }

    /// Whether the shell sends programs to the proxy that runs.
    pub(super) fn points_to(&self, proxy: SocketAddr) -> bool {
        self.first(&HTTPS).is_some_and(|named| named.is(proxy))
    }

    /// What is wrong with the proxy variables. `listen` is where the settings have the proxy.
    pub(super) fn checks(&self, running: Option<&Running>, listen: SocketAddr, hosts: &HostSet) -> Vec<Check> {
        let mut checks = vec![self.https_proxy(running, listen)];
        checks.extend(self.oddities());
        checks.push(self.no_proxy(hosts));
        checks.extend(self.metadata());
        checks
    }

    fn https_proxy(&self, running: Option<&Running>, listen: SocketAddr) -> Check {
        const NAME: &str = "HTTPS_PROXY";
        let Some(named) = self.first(&HTTPS) else {
            return match running {
                None => Check::ok(NAME, "not set; `run --` sets it for its program").advise(
                    "run a program behind a proxy of its own, or keep one (second line) and read its variables in the program's shell (third)",
                    BEGIN,
                ),
                Some(running) => Check::warn(NAME, "not set: programs of this shell do not use the proxy that runs")
                    .advise("in the shell of the program", running.shell_lines()),
            };
        };
        let (name, value) = (named.name, &named.value);
        match running {
            Some(running) if named.is(running.proxy) => Check::ok(name, format!("{value}, the proxy that runs")),
            Some(running) => Check::warn(name, format!("{value}, not the proxy that runs on {}", running.proxy))
                .advise("in the shell of the program", running.shell_lines()),
            None if named.is(listen) => {
                Check::fail(name, format!("{value}, where no proxy runs: programs of this shell fail")).advise(
                    "start the proxy, or let programs connect directly",
                    ["batch-retry-proxy", "unset HTTPS_PROXY https_proxy"],
                )
            }
            None => Check::warn(
                name,
                format!("{value}, another proxy; with `run --` a program uses its own, which connects directly"),
            ),
        }
    }

    /// Values that some clients take and others do not.
    fn oddities(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        if let (Some(upper), Some(lower)) = (self.text(HTTPS[0]), self.text(HTTPS[1]))
            && upper != lower
        {
            let both = format!("export https_proxy=\"$HTTPS_PROXY\"   # or the other way round, {upper} or {lower}");
            checks.push(
                Check::warn("https_proxy", "differs from HTTPS_PROXY: Python and curl take it, Node takes the other")
                    .advise("make them the same", [both]),
            );
        }
        if let Some(named) = self.first(&HTTPS) {
            let form = match named.value.split_once("://") {
                None => Some("has no scheme: aiohttp refuses it, and the newer Batch clients for Node crash"),
                Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => None,
                Some(_) => Some("does not begin with http://, which is all that every client understands"),
            };
            let rest = named.value.split_once("://").map_or(&*named.value, |(_, rest)| rest);
            checks.extend(form.map(|form| {
                let line = format!("export HTTPS_PROXY=http://{rest} https_proxy=http://{rest}");
                Check::warn(named.name, form).advise("write it in full", [line])
            }));
        } else if let Some(all) = self.first(&["ALL_PROXY", "all_proxy"]) {
            let finding = format!("{}, but HTTPS_PROXY is not set: aiohttp and Java do not read it", all.value);
            let line = format!("export HTTPS_PROXY=\"${0}\" https_proxy=\"${0}\"", all.name);
            checks.push(Check::warn(all.name, finding).advise("name the proxy where all programs look", [line]));
        } else if let Some(http) = self.first(&HTTP) {
            checks.push(Check::warn(
                http.name,
                "is set and HTTPS_PROXY is not: the Batch clients for Node take it for https as well, no others do",
            ));
        }
        checks
    }

    fn no_proxy(&self, hosts: &HostSet) -> Check {
        const NAME: &str = "NO_PROXY";
        let entries = self.direct();
        let found = entries.iter().filter_map(|(name, entry)| Some((*name, entry, Bypass::of(entry, hosts)?)));
        let found: Vec<(&str, &String, Bypass)> = found.collect();
        if found.is_empty() {
            return Check::ok(NAME, "keeps no Batch host away from the proxy");
        }
        let said = found.iter().map(|(name, entry, bypass)| format!("`{entry}` in {name} in {}", bypass.who()));
        let finding = format!("keeps Batch away from the proxy: {}", said.collect::<Vec<_>>().join(", "));
        let kept: Vec<&str> = entries
            .iter()
            .map(|(_, entry)| entry.as_str())
            .filter(|entry| !found.iter().any(|(_, bypassing, _)| bypassing == entry))
            .collect();
        let kept = quoted(&if kept.is_empty() { DIRECT.to_owned() } else { kept.join(",") });
        let check = if found.iter().all(|(_, _, bypass)| *bypass == Bypass::JavaAndGo) {
            Check::warn(NAME, finding)
        } else {
            Check::fail(NAME, finding)
        };
        check.advise("leave the entry out", [format!("export NO_PROXY={kept} no_proxy={kept}")])
    }

    /// Managed identity: its address answers the machine itself only.
    fn metadata(&self) -> Option<Check> {
        self.first(&HTTPS).or_else(|| self.first(&HTTP))?;
        let entries = self.direct();
        let listed = |address: &str| entries.iter().any(|(_, entry)| entry == address || entry == "*");
        if listed(METADATA) {
            return None;
        }
        let all: Vec<&str> = entries.iter().map(|(_, entry)| entry.as_str()).collect();
        let missing = DIRECT.split(',').filter(|address| !listed(address));
        let list = quoted(&all.into_iter().chain(missing).collect::<Vec<_>>().join(","));
        Some(
            Check::warn("NO_PROXY", format!("lacks {METADATA}: Node asks for managed identity through the proxy"))
                .advise("add it", [format!("export NO_PROXY={list} no_proxy={list}")]),
        )
    }
}

// === impl Named ===

impl Named {
    /// Whether this is the proxy on `address`, as seen from this machine.
    pub(super) fn is(&self, address: SocketAddr) -> bool {
        let rest = self.value.split_once("://").map_or(&*self.value, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
        let Some((host, port)) = authority.rsplit_once(':') else { return false };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ip = if host.eq_ignore_ascii_case("localhost") {
            Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        } else {
            host.parse::<IpAddr>().ok()
        };
        let same = |ip: IpAddr| ip == address.ip() || (address.ip().is_unspecified() && ip.is_loopback());
        port.parse() == Ok(address.port()) && ip.is_some_and(same)
    }
}

/// A word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The same, in quotes only where the text needs them.
pub(super) fn quoted_if_needed(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { text.to_owned() } else { quoted(text) }
}

/// In the order in which most read them.
pub(super) const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];

/// The two ways to begin.
const BEGIN: [&str; 3] = [
    "batch-retry-proxy run -- COMMAND",
    "batch-retry-proxy --publish \"$HOME/.batch-retry-proxy\"",
    ". \"$HOME/.batch-retry-proxy/proxy.env\"",
];

/// Azure's instance metadata service.
const METADATA: &str = "169.254.169.254";

#[cfg(test)]
mod tests;
