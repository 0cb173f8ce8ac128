//! Which values each setting takes, and how they become the types their consumers declare.
//!
//! All of a section is read before it is put together, so that every fault is found in one go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ::config::{Value, ValueKind};
use ipnet::IpNet;

use super::Settings;
use super::cgroup;
use super::effective::resolve_key;
use super::error::ConfigError;
use super::keys::RESOLVE;
use super::reader::{self, DAY, Reader};
use crate::admin::AdminSettings;
use crate::batch::endpoint::{HostPattern, HostSet};
use crate::proxy::{BodySettings, InvalidCredentials, ListenSettings, RouteSettings};
use crate::telemetry::{LEVELS, LogFormat, LogSettings};
use crate::tls::CaSettings;
use crate::upstream::UpstreamSettings;

mod retry;

/// The settings in the merged tree. `root` is where `/proc` and `/sys` lie: `/` but in tests.
pub(super) fn settings(merged: &Value, root: &Path) -> Result<Settings, ConfigError> {
    let mut reader = Reader::new(merged);
    let listen = listen(&mut reader);
    let admin = admin(&mut reader);
    let route = route(&mut reader);
    let ca = ca(&mut reader);
    let upstream = upstream(&mut reader);
    let retry = retry::retry(&mut reader);
    let throttle = retry::throttle(&mut reader);
    let bodies = bodies(&mut reader, root);
    let shutdown_grace = reader.read("shutdown.grace", |kind| reader::duration(kind, Duration::ZERO..=LONGEST));
    let shutdown_delay = reader.read("shutdown.delay", |kind| reader::duration(kind, Duration::ZERO..=LONGEST));
    let log = log(&mut reader);
    let settings = (|| {
        Some(Settings {
            listen: listen?,
            admin: admin?,
            route: route?,
            bodies: bodies?,
            ca: ca?,
            upstream: upstream?,
            retry: retry?,
            throttle: throttle?,
            log: log?,
            shutdown_grace: shutdown_grace?,
            shutdown_delay: shutdown_delay?,
        })
    })();
    reader.finish(settings)
}

fn listen(reader: &mut Reader<'_>) -> Option<ListenSettings> {
    let address = reader.read("listen.address", address);
    let max_connections = reader.read("listen.max_connections", |kind| reader::whole(kind, 1..=MAX_CONNECTIONS));
    let header_timeout = positive(reader, "listen.header_timeout");
    let idle_timeout = positive(reader, "listen.idle_timeout");
    let allow = reader.list("listen.allow", network);
    let credentials = reader.read("listen.credentials", |kind| match reader::text(kind)? {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|invalid: InvalidCredentials| invalid.to_string()),
    });
    if let (Some(address), Some(allow), Some(None)) = (address, &allow, &credentials)
        && !address.ip().to_canonical().is_loopback()
        && allow.is_empty()
    {
        let reason = "beyond loopback, `listen.allow` or `listen.credentials` must say who may use the proxy";
        reader.wrong("listen.address", reader.value("listen.address"), reason.to_owned());
    }
    Some(ListenSettings {
        address: address?,
        max_connections: max_connections? as usize,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        allow: allow?,
        credentials: credentials?,
    })
}

fn admin(reader: &mut Reader<'_>) -> Option<AdminSettings> {
    let address = reader.read("admin.address", address);
    let allow_shutdown = reader.read("admin.allow_shutdown", reader::flag);
    Some(AdminSettings { address: address?, allow_shutdown: allow_shutdown? })
}

fn route(reader: &mut Reader<'_>) -> Option<RouteSettings> {
    let hosts = reader.list("intercept.hosts", host);
    let except = reader.list("intercept.except", host);
    let ports = reader.list("tunnel.ports", |kind| reader::whole(kind, 1..=u16::MAX));
    let allow = reader.list("tunnel.allow", host);
    let deny = reader.list("tunnel.deny", host);
    let idle_timeout = positive(reader, "tunnel.idle_timeout");
    let forward_allow = reader.list("forward.allow", host);
    Some(RouteSettings {
        intercept: HostSet::new(hosts?, except?),
        tunnel_ports: ports?,
        tunnel_allow: allow?,
        tunnel_deny: deny?,
        tunnel_idle_timeout: idle_timeout?,
        forward_allow: forward_allow?,
    })
}

fn bodies(reader: &mut Reader<'_>, root: &Path) -> Option<BodySettings> {
    let request_limit = reader.read("retry.body_limit", reader::size);
    let response_buffer = reader.read("retry.response_buffer", reader::size);
    let memory_limit = reader.read("retry.memory_limit", |kind| match kind {
        ValueKind::String(text) if text == "auto" => Ok(automatic_memory_limit(root)),
        kind => reader::size(kind).map_err(|reason| format!("{reason}, or \"auto\"")),
    });
    Some(BodySettings { request_limit: request_limit?, response_buffer: response_buffer?, memory_limit: memory_limit? })
}

fn ca(reader: &mut Reader<'_>) -> Option<CaSettings> {
    let directory = reader.read("ca.directory", reader::optional_path);
    let publish = reader.read("ca.publish", reader::optional_path);
    let lifetime = reader.read("ca.lifetime", |kind| reader::duration(kind, SHORTEST_LIFE..=LONGEST));
    let leaf_lifetime = reader.read("ca.leaf_lifetime", |kind| {
        let leaf = reader::duration(kind, SHORTEST_LIFE..=LONGEST)?;
        if lifetime.is_some_and(|authority| leaf > authority) {
            return Err("must not be longer than `ca.lifetime`".to_owned());
        }
        Ok(leaf)
    });
    Some(CaSettings { directory: directory?, publish: publish?, lifetime: lifetime?, leaf_lifetime: leaf_lifetime? })
}

fn upstream(reader: &mut Reader<'_>) -> Option<UpstreamSettings> {
    let ca_files = reader.list("upstream.ca_files", |kind| reader::full_text(kind).map(Into::into));
    let resolve = resolve(reader);
    let connect_timeout = positive(reader, "upstream.connect_timeout");
    let body_idle_timeout = positive(reader, "upstream.body_idle_timeout");
    let pool_idle_timeout = positive(reader, "upstream.pool_idle_timeout");
    Some(UpstreamSettings {
        ca_files: ca_files?,
        resolve: resolve?,
        connect_timeout: connect_timeout?,
        body_idle_timeout: body_idle_timeout?,
        pool_idle_timeout: pool_idle_timeout?,
    })
}

fn resolve(reader: &mut Reader<'_>) -> Option<HashMap<String, SocketAddr>> {
    let value = reader.value(RESOLVE);
    let ValueKind::Table(table) = &value.kind else {
        reader.wrong(RESOLVE, value, "not a table, write it as { \"host:port\" = \"ip:port\" }".to_owned());
        return None;
    };
    let mut entries: Vec<_> = table.iter().collect();
    // The order of a hash map would make the order of problems differ from run to run.
    entries.sort_by_key(|(name, _)| *name);
    let parsed: Vec<_> = entries
        .into_iter()
        .map(|(name, value)| {
            let address = reader.judge(&resolve_key(name), value, |kind| {
                if !is_host_and_port(name) {
                    return Err("the name before it must be \"host:port\"".to_owned());
                }
                reader::parsed(kind, "must be an IP address and a port such as \"127.0.0.1:8443\"")
            });
            address.map(|address| (name.clone(), address))
        })
        .collect();
    parsed.into_iter().collect()
}

fn log(reader: &mut Reader<'_>) -> Option<LogSettings> {
    let level = reader.read("log.level", |kind| reader::word(kind, &LEVELS));
    let format = reader.read("log.format", |kind| reader::word(kind, &FORMATS));
    Some(LogSettings { level: level?, format: format? })
}

/// Half of the cgroup's limit, because the rest of the program needs memory too, and never more than 256 MiB.
fn automatic_memory_limit(root: &Path) -> u64 {
    cgroup::memory_limit(root).map_or(MEMORY_LIMIT, |limit| MEMORY_LIMIT.min(limit / 2))
}

fn positive(reader: &mut Reader<'_>, key: &str) -> Option<Duration> {
    reader.read(key, |kind| reader::duration(kind, SHORTEST..=LONGEST))
}

fn address(kind: &ValueKind) -> Result<SocketAddr, String> {
    reader::parsed(kind, "must be an IP address and a port such as \"127.0.0.1:3128\" or \"[::1]:3128\"")
}

/// A CIDR block; an address alone is the block of itself.
fn network(kind: &ValueKind) -> Result<IpNet, String> {
    let expected = "must be a network such as \"10.0.0.0/8\" or an IP address";
    reader::parsed(kind, expected).or_else(|_| reader::parsed::<IpAddr>(kind, expected).map(IpNet::from))
}

fn host(kind: &ValueKind) -> Result<HostPattern, String> {
    reader::text(kind)?.parse().map_err(|err| format!("{err}"))
}

/// Hosts are looked up by this very text, so an IPv6 address needs its brackets and a port no sign and no leading zeros.
fn is_host_and_port(name: &str) -> bool {
    let Some((host, port)) = name.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => !host.contains([':', '*']) && host.parse::<HostPattern>().is_ok(),
    };
    is_host && port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
}

/// Shorter than this, a time limit would cut off everything; zero has no meaning of its own.
const SHORTEST: Duration = Duration::from_millis(1);

/// Longer than any use, and far from where adding it to a clock overflows.
const LONGEST: Duration = Duration::from_secs(3650 * DAY.as_secs());

/// Clocks of two machines may differ by minutes; a certificate must outlast that by far.
const SHORTEST_LIFE: Duration = Duration::from_secs(3600);

/// More sockets than one address has ports to serve.
const MAX_CONNECTIONS: u32 = 1_000_000;

/// `retry.memory_limit = "auto"` where nothing smaller is imposed, in bytes.
const MEMORY_LIMIT: u64 = 256 << 20;

const FORMATS: [(&str, Option<LogFormat>); 3] =
    [("auto", None), ("json", Some(LogFormat::Json)), ("text", Some(LogFormat::Text))];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_automatic_memory_limit_is_half_the_cgroups_and_never_above_256_mib() {
        for (limit, want) in [("max", 256 << 20), ("1073741824", 256 << 20), ("268435456", 128 << 20), ("1000", 500)] {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join("sys/fs/cgroup")).unwrap();
            std::fs::write(root.path().join("sys/fs/cgroup/memory.max"), limit).unwrap();
            assert_eq!(automatic_memory_limit(root.path()), want, "{limit}");
        }
    }

    #[test]
    fn a_name_to_resolve_is_host_and_port() {
        for (name, want) in [
            ("a.westeurope.batch.azure.com:443", true),
            ("localhost:1", true),
            ("10.0.0.1:80", true),
            ("[::1]:443", true),
            ("::1:443", false),
            ("a.b", false),
            ("a.b:", false),
            (":443", false),
            ("a.b:0", false),
            ("a.b:+443", false),
            ("a.b:0443", false),
            ("a.b:65536", false),
            ("*.b:443", false),
            ("[a.b]:443", false),
            ("https://a.b:443", false),
        ] {
            assert_eq!(is_host_and_port(name), want, "{name}");
        }
    }
}
