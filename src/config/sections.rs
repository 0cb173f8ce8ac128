//! Which values each setting takes, and how they become the types their consumers declare.
//!
//! All of a section is read before it is put together, so that every fault is found in one go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use ::config::{Value, ValueKind};
use http::StatusCode;
use ipnet::IpNet;

use super::Settings;
use super::cgroup;
use super::effective::resolve_key;
use super::error::{ConfigError, Problem};
use super::keys::{self, RESOLVE};
use super::reader::{self, DAY, Reader};
use crate::admin::AdminSettings;
use crate::batch::endpoint::{HostPattern, HostSet};
use crate::proxy::{BodySettings, ListenSettings, RouteSettings, ThrottleSettings};
use crate::retry::backoff::{ExponentialBackoff, InvalidBackoff};
use crate::retry::budget::{BudgetSettings, InvalidBudget};
use crate::retry::echo::{Creates, EchoSettings, Others};
use crate::retry::gate::{GateSettings, InvalidGate};
use crate::retry::policy::{Lane, PatientClient, RetrySettings};
use crate::telemetry::{LEVELS, LogFormat, LogSettings};
use crate::tls::CaSettings;
use crate::upstream::UpstreamSettings;

/// The settings in the merged tree. `root` is where `/proc` and `/sys` lie: `/` but in tests.
pub(super) fn settings(merged: &Value, root: &Path) -> Result<Settings, ConfigError> {
    let mut reader = Reader::new(merged);
    let listen = listen(&mut reader);
    let admin = admin(&mut reader);
    let route = route(&mut reader);
    let ca = ca(&mut reader);
    let upstream = upstream(&mut reader);
    let retry = retry(&mut reader);
    let throttle = throttle(&mut reader);
    let bodies = bodies(&mut reader, root);
    let shutdown_grace = reader.read("shutdown.grace", |kind| reader::duration(kind, Duration::ZERO..=LONGEST));
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
    Some(ListenSettings {
        address: address?,
        max_connections: max_connections? as usize,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        allow: allow?,
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

fn retry(reader: &mut Reader<'_>) -> Option<RetrySettings> {
    let max_attempts = reader.read("retry.max_attempts", |kind| {
        let tries = reader::whole(kind, 1..=u32::MAX)?;
        NonZeroU32::new(tries).ok_or_else(|| "must not be 0".to_owned())
    });
    let deadline = positive(reader, "retry.deadline");
    let deadline_for = deadline_for(reader);
    let statuses = reader.list("retry.statuses", |kind| {
        let status = reader::whole(kind, STATUSES)?;
        StatusCode::from_u16(status).map_err(|err| err.to_string())
    });
    let backoff = backoff(reader);
    let response_timeout = positive(reader, "upstream.response_timeout");
    let echo = echo(reader);
    let state = lane(reader, ["retry.state.attempts", "retry.state.wait"]);
    let quota = lane(reader, ["retry.quota.attempts", "retry.quota.wait"]);
    if let (Some(quota), Some(deadline), Some(patient)) = (quota, deadline, &deadline_for) {
        let longest = patient.iter().map(|client| client.deadline).fold(deadline, Duration::max);
        if quota.attempts > 0 && quota.wait >= longest {
            let reason = "must be shorter than retry.deadline or a deadline of retry.deadline_for, or no replay fits";
            reader.wrong("retry.quota.wait", reader.value("retry.quota.wait"), reason.to_owned());
        }
    }
    let read_after_create = from_zero(reader, "retry.read_after_create");
    let repeat_memory = from_zero(reader, "retry.repeat_memory");
    Some(RetrySettings {
        max_attempts: max_attempts?,
        deadline: deadline?,
        deadline_for: deadline_for?,
        statuses: statuses?,
        backoff: backoff?,
        response_timeout: response_timeout?,
        echo: echo?,
        state: state?,
        quota: quota?,
        read_after_create: read_after_create?,
        repeat_memory: repeat_memory?,
    })
}

fn throttle(reader: &mut Reader<'_>) -> Option<ThrottleSettings> {
    let (gate, budget) = (gate(reader), budget(reader));
    Some(ThrottleSettings { gate: gate?, budget: budget? })
}

fn gate(reader: &mut Reader<'_>) -> Option<GateSettings> {
    let hint_max = reader.read("retry.throttle.hint_max", |kind| reader::duration(kind, Duration::ZERO..=LONGEST));
    let initial_share = reader.read("retry.throttle.initial_share", reader::number);
    let growth = reader.read("retry.throttle.growth_per_second", reader::number);
    let cut = reader.read("retry.throttle.cut", reader::number);
    let max_waiting = reader.read("retry.throttle.max_waiting", |kind| reader::whole(kind, 0..=u32::MAX));
    match GateSettings::new(hint_max?, initial_share?, growth?, cut?, max_waiting? as usize) {
        Ok(gate) => Some(gate),
        Err(err) => {
            let key = match err {
                InvalidGate::Cut => "retry.throttle.cut",
                InvalidGate::Growth => "retry.throttle.growth_per_second",
                InvalidGate::HintMax => "retry.throttle.hint_max",
                InvalidGate::InitialShare => "retry.throttle.initial_share",
                InvalidGate::MaxWaiting => "retry.throttle.max_waiting",
            };
            reader.wrong(key, reader.value(key), err.to_string());
            None
        }
    }
}

fn budget(reader: &mut Reader<'_>) -> Option<BudgetSettings> {
    let ratio = reader.read("retry.budget.ratio", reader::number);
    let min_per_second = reader.read("retry.budget.min_per_second", |kind| reader::whole(kind, 0..=u32::MAX));
    let window = positive(reader, "retry.budget.window");
    match BudgetSettings::new(ratio?, min_per_second?, window?) {
        Ok(budget) => Some(budget),
        Err(err) => {
            let key = match err {
                InvalidBudget::MinPerSecond => "retry.budget.min_per_second",
                InvalidBudget::Ratio => "retry.budget.ratio",
                InvalidBudget::Window => "retry.budget.window",
            };
            reader.wrong(key, reader.value(key), err.to_string());
            None
        }
    }
}

fn echo(reader: &mut Reader<'_>) -> Option<EchoSettings> {
    let creates = reader.read("retry.echo.creates", |kind| reader::word(kind, &CREATES));
    let others = reader.read("retry.echo.others", |kind| reader::word(kind, &OTHERS));
    Some(EchoSettings { creates: creates?, others: others? })
}

fn lane(reader: &mut Reader<'_>, [attempts, wait]: [&str; 2]) -> Option<Lane> {
    let attempts = reader.read(attempts, |kind| reader::whole(kind, 0..=u32::MAX));
    let wait = positive(reader, wait);
    Some(Lane { attempts: attempts?, wait: wait? })
}

fn deadline_for(reader: &mut Reader<'_>) -> Option<Vec<PatientClient>> {
    let items = reader.items("retry.deadline_for")?;
    let clients: Vec<_> = items.iter().enumerate().map(|(n, item)| patient_client(reader, n, item)).collect();
    clients.into_iter().collect()
}

fn patient_client(reader: &mut Reader<'_>, n: usize, item: &Value) -> Option<PatientClient> {
    const FIELDS: [&str; 2] = ["deadline", "user_agent"];
    let key = format!("retry.deadline_for[{n}]");
    let form = "must be { user_agent = \"text\", deadline = \"90s\" }";
    let ValueKind::Table(fields) = &item.kind else {
        reader.wrong(&key, item, form.to_owned());
        return None;
    };
    let mut names: Vec<_> = fields.iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())).collect();
    names.sort_by_key(|(name, _)| *name);
    for (name, value) in names {
        reader.note(Problem::UnknownKey {
            key: format!("{key}.{name}"),
            place: reader::place_of(value),
            nearest: keys::nearest_of(name, &FIELDS),
        });
    }
    let [Some(deadline), Some(user_agent)] = FIELDS.map(|field| fields.get(field)) else {
        reader.wrong(&key, item, form.to_owned());
        return None;
    };
    let user_agent =
        reader.judge(&format!("{key}.user_agent"), user_agent, |kind| reader::full_text(kind).map(str::to_owned));
    let deadline = reader.judge(&format!("{key}.deadline"), deadline, |kind| reader::duration(kind, SHORTEST..=LONGEST));
    Some(PatientClient { user_agent: user_agent?, deadline: deadline? })
}

fn backoff(reader: &mut Reader<'_>) -> Option<ExponentialBackoff> {
    let any = |kind: &ValueKind| reader::duration(kind, Duration::ZERO..=LONGEST);
    let initial = reader.read("retry.backoff.initial", any);
    let factor = reader.read("retry.backoff.factor", reader::number);
    let max = reader.read("retry.backoff.max", any);
    let jitter = reader.read("retry.backoff.jitter", reader::number);
    match ExponentialBackoff::new(initial?, factor?, max?, jitter?) {
        Ok(backoff) => Some(backoff),
        Err(err) => {
            let key = match err {
                InvalidBackoff::Factor => "retry.backoff.factor",
                InvalidBackoff::Initial => "retry.backoff.initial",
                InvalidBackoff::Jitter => "retry.backoff.jitter",
                InvalidBackoff::Max => "retry.backoff.max",
            };
            reader.wrong(key, reader.value(key), err.to_string());
            None
        }
    }
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

/// A duration that may be zero, for not at all.
fn from_zero(reader: &mut Reader<'_>, key: &str) -> Option<Duration> {
    reader.read(key, |kind| reader::duration(kind, Duration::ZERO..=LONGEST))
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

/// Only refusals and failures can be worth a replay.
const STATUSES: RangeInclusive<u16> = 400..=599;

/// `retry.memory_limit = "auto"` where nothing smaller is imposed, in bytes.
const MEMORY_LIMIT: u64 = 256 << 20;

const CREATES: [(&str, Creates); 3] = [("verify", Creates::Verify), ("trust", Creates::Trust), ("pass", Creates::Pass)];

const OTHERS: [(&str, Others); 2] = [("resolve", Others::Resolve), ("pass", Others::Pass)];

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
