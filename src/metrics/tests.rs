//! The families as a scraper sees them.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const BUILD: BuildInfo = BuildInfo { version: "1.2.3", revision: "abc" };
const CLASS: Class = Class::Throttled;
const FAILURE: Failure = Failure::ConnectRefused;
const STOP: StopReason = StopReason::Attempts;
const HOST: &str = "acct.westeurope.batch.azure.com";

/// A sample line: name, labels, value.
type Line = (String, BTreeMap<String, String>, f64);

/// What a text says: the type of each family, and its sample lines.
struct Scrape {
    types: BTreeMap<String, String>,
    helped: BTreeSet<String>,
    lines: Vec<Line>,
}

impl Scrape {
    /// Reads the text format 0.0.4 as far as the encoder uses it, and panics on anything else.
    fn of(metrics: &Metrics) -> Self {
        let text = String::from_utf8(metrics.encode()).unwrap();
        let mut scrape = Self { types: BTreeMap::new(), helped: BTreeSet::new(), lines: Vec::new() };
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.'), "{name}: help is a sentence");
                scrape.helped.insert(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(scrape.types.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
            } else {
                scrape.lines.push(sample_line(line));
            }
        }
        scrape
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let want: BTreeMap<_, _> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let name = format!("batch_retry_proxy_{name}");
        self.lines.iter().find(|(n, l, _)| *n == name && *l == want).map(|(_, _, value)| *value)
    }

    /// The label names of a family, `le` aside.
    fn label_names(&self, family: &str) -> BTreeSet<String> {
        let of_family = |name: &str| {
            let rest = name.strip_prefix(family);
            rest.is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count"))
        };
        let lines = self.lines.iter().filter(|(name, _, _)| of_family(name));
        lines.flat_map(|(_, labels, _)| labels.keys().filter(|name| *name != "le").cloned()).collect()
    }
}

fn sample_line(line: &str) -> Line {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap();
    let Some((name, rest)) = series.split_once('{') else { return (series.to_owned(), BTreeMap::new(), value) };
    let pairs = rest.strip_suffix('}').unwrap().split(',');
    let labels = pairs.map(|pair| {
        let (name, text) = pair.split_once('=').unwrap();
        (name.to_owned(), text.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned())
    });
    (name.to_owned(), labels.collect(), value)
}

/// Metrics in which each family has a series.
fn touched() -> Metrics {
    let metrics = Metrics::new(BUILD);
    let account = metrics.account(HOST);
    metrics.request(&account, "Jobs_CreateJob", Fate::Replayed, Duration::from_millis(1500));
    metrics.attempt("Jobs_CreateJob", CLASS);
    metrics.retry(&account, "Jobs_CreateJob", RetryReason::Throttled);
    metrics.stop("Jobs_CreateJob", STOP);
    let throttle = ThrottleState {
        account: account.clone(),
        closed_for: Some(Duration::from_secs(4)),
        waiting: 3,
        pace_per_second: Some(2.5),
        next_opening: Some(Duration::from_secs(5)),
        budget_balance: 99.5,
    };
    metrics.show_throttles(Box::new(move || vec![throttle.clone()]));
    metrics.echo("Jobs_CreateJob", EchoResolution::Verified);
    metrics.repair(RepairResult::Changed);
    metrics.throttled(&account, "ServerBusy");
    metrics.wait(WaitCause::RetryAfter, Duration::from_secs(5));
    metrics.state_refused("Pools_ResizePool", "PoolBeingResized");
    metrics.unheld_body(UnheldReason::Size);
    metrics.panicked();
    metrics.reloaded(ReloadResult::Applied);
    metrics.reloaded(ReloadResult::Failed);
    metrics.upstream_response(&account, StatusCode::SERVICE_UNAVAILABLE);
    metrics.upstream_error(FAILURE);
    metrics.tunnelled(Direction::Sent, 1000);
    metrics.handshake_failed(Side::Client, "unknown_ca");
    metrics.leaf(LeafResult::Issued);
    metrics.hold_memory(300);
    metrics.release_memory(100);
    metrics
}

#[test]
fn each_event_counts_in_its_family_under_its_labels() {
    let metrics = touched();
    let open = metrics.connection(ConnectionKind::Intercept);
    let scrape = Scrape::of(&metrics);
    let account = ("account", "acct.westeurope");
    let operation = ("operation", "Jobs_CreateJob");
    for (name, labels, want) in [
        ("requests_total", &[account, operation, ("fate", "replayed")][..], 1.0),
        ("request_duration_seconds_sum", &[operation], 1.5),
        ("request_duration_seconds_bucket", &[operation, ("le", "1")], 0.0),
        ("request_duration_seconds_bucket", &[operation, ("le", "2.5")], 1.0),
        ("attempts_total", &[operation, ("class", CLASS.as_str())], 1.0),
        ("retries_total", &[account, operation, ("reason", "throttled")], 1.0),
        ("throttle_gate_closed", &[account], 1.0),
        ("throttle_gate_waiting", &[account], 3.0),
        ("throttle_pace_per_second", &[account], 2.5),
        ("budget_balance", &[account], 99.5),
        ("echoes_total", &[operation, ("resolution", "verified")], 1.0),
        ("stops_total", &[operation, ("reason", STOP.as_str())], 1.0),
        ("repaired_downloads_total", &[("result", "changed")], 1.0),
        ("repaired_downloads_total", &[("result", "repaired")], 0.0),
        ("throttled_responses_total", &[account, ("code", "ServerBusy")], 1.0),
        ("wait_seconds_sum", &[("cause", "retry_after")], 5.0),
        ("wait_seconds_count", &[("cause", "backoff")], 0.0),
        ("state_refusals_total", &[("operation", "Pools_ResizePool"), ("code", "PoolBeingResized")], 1.0),
        ("unheld_bodies_total", &[("reason", "size")], 1.0),
        ("panics_total", &[], 1.0),
        ("config_reloads_total", &[("result", "applied")], 1.0),
        ("config_reloads_total", &[("result", "failed")], 1.0),
        ("config_reloads_total", &[("result", "unchanged")], 0.0),
        ("config_last_reload_successful", &[], 0.0),
        ("upstream_responses_total", &[account, ("status", "503")], 1.0),
        ("upstream_errors_total", &[("failure", FAILURE.as_str())], 1.0),
        ("connections", &[("kind", "intercept")], 1.0),
        ("connections", &[("kind", "tunnel")], 0.0),
        ("tunnel_bytes_total", &[("direction", "sent")], 1000.0),
        ("tls_handshake_failures_total", &[("side", "client"), ("reason", "unknown_ca")], 1.0),
        ("leaf_certificates_total", &[("result", "issued")], 1.0),
        ("replay_memory_bytes", &[], 200.0),
        ("build_info", &[("version", "1.2.3"), ("revision", "abc")], 1.0),
    ] {
        assert_eq!(scrape.value(name, labels), Some(want), "{name} {labels:?}");
    }
    drop(open);
}

#[test]
fn a_connection_is_open_until_its_guard_ends_and_then_counted_once() {
    let metrics = Metrics::new(BUILD);
    let kind = ("kind", "tunnel");
    let total = |result| Scrape::of(&metrics).value("connections_total", &[kind, ("result", result)]);
    let guard = metrics.connection(ConnectionKind::Tunnel);
    assert_eq!(Scrape::of(&metrics).value("connections", &[kind]), Some(1.0));
    assert_eq!(total("completed"), Some(0.0));

    guard.end(ConnectionResult::Completed);
    assert_eq!(Scrape::of(&metrics).value("connections", &[kind]), Some(0.0));
    assert_eq!(total("completed"), Some(1.0));

    drop(metrics.connection(ConnectionKind::Tunnel));
    assert_eq!(Scrape::of(&metrics).value("connections", &[kind]), Some(0.0));
    assert_eq!((total("completed"), total("failed")), (Some(1.0), Some(1.0)));
}

#[test]
fn the_list_for_users_and_the_registry_name_the_same_families() {
    let scrape = Scrape::of(&touched());
    let listed = listed_families();
    let registered: BTreeMap<String, (String, BTreeSet<String>)> =
        scrape.types.iter().map(|(name, kind)| (name.clone(), (kind.clone(), scrape.label_names(name)))).collect();
    assert!(listed.len() > 18, "{listed:?}");
    let listed: BTreeMap<_, _> =
        listed.into_iter().map(|(name, (kind, labels))| (name, (kind, labels.into_keys().collect()))).collect();
    #[cfg(not(target_os = "linux"))]
    let listed: BTreeMap<_, _> = listed.into_iter().filter(|(name, _)| !name.starts_with("process_")).collect();
    assert_eq!(listed, registered);
    assert_eq!(scrape.helped, scrape.types.into_keys().collect());
}

#[test]
fn the_list_for_users_names_every_value_of_the_closed_labels() {
    fn texts<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> BTreeSet<String> {
        all.iter().map(|value| text(*value).to_owned()).collect()
    }
    let listed = listed_families();
    for (family, label, want) in [
        ("connections", "kind", texts(ConnectionKind::ALL, ConnectionKind::as_str)),
        ("connections_total", "kind", texts(ConnectionKind::ALL, ConnectionKind::as_str)),
        ("connections_total", "result", texts(ConnectionResult::ALL, ConnectionResult::as_str)),
        ("echoes_total", "resolution", texts(EchoResolution::ALL, EchoResolution::as_str)),
        ("leaf_certificates_total", "result", texts(LeafResult::ALL, LeafResult::as_str)),
        ("config_reloads_total", "result", texts(ReloadResult::ALL, ReloadResult::as_str)),
        ("requests_total", "fate", texts(Fate::ALL, Fate::as_str)),
        ("retries_total", "reason", texts(RetryReason::ALL, RetryReason::as_str)),
        ("tls_handshake_failures_total", "side", texts(Side::ALL, Side::as_str)),
        ("tunnel_bytes_total", "direction", texts(Direction::ALL, Direction::as_str)),
        ("unheld_bodies_total", "reason", texts(UnheldReason::ALL, UnheldReason::as_str)),
        ("wait_seconds", "cause", texts(WaitCause::ALL, WaitCause::as_str)),
    ] {
        let (_, labels) = &listed[&format!("batch_retry_proxy_{family}")];
        assert_eq!(labels[label], want, "{family} {label}");
    }
}

#[test]
fn the_summary_adds_up_what_an_account_met() {
    let metrics = touched();
    let account = metrics.account(HOST);
    metrics.request(&account, "Jobs_GetJob", Fate::Replayed, Duration::ZERO);
    metrics.request(&metrics.account("b.x.batch.azure.com"), "Jobs_GetJob", Fate::FirstTry, Duration::ZERO);
    metrics.throttled(&account, "other");
    let tunnel = metrics.connection(ConnectionKind::Tunnel);
    let json = serde_json::to_value(metrics.summary()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "accounts": {
                "acct.westeurope": {
                    "requests": {"replayed": 2},
                    "retries": {"throttled": 1},
                    "throttled": 2,
                    "upstream_responses": {"503": 1},
                    "throttle": {
                        "gate": "closed",
                        "closed_for_seconds": 4.0,
                        "pace_per_second": 2.5,
                        "waiting": 3,
                        "next_opening_seconds": 5.0,
                        "budget_balance": 99.5,
                    },
                },
                "b.x": {"requests": {"first_try": 1}, "retries": {}, "throttled": 0, "upstream_responses": {}},
            },
            "connections": {"forward": 0, "intercept": 0, "tunnel": 1},
        })
    );
    drop(tunnel);
}

#[test]
fn the_totals_add_up_accounts_operations_and_causes() {
    let metrics = Metrics::new(BuildInfo::current());
    for host in ["a.westeurope.batch.azure.com", "b.eastus.batch.azure.com"] {
        let account = metrics.account(host);
        metrics.request(&account, "GetJob", Fate::Replayed, Duration::from_secs(9));
        metrics.retry(&account, "GetJob", RetryReason::Throttled);
        metrics.retry(&account, "GetJob", RetryReason::Transient);
    }
    metrics.stop("GetJob", StopReason::Deadline);
    metrics.wait(WaitCause::Backoff, Duration::from_millis(1500));
    metrics.wait(WaitCause::RetryAfter, Duration::from_secs(3));
    let want = Totals { requests: 2, replays: 4, given_up: 1, waited: Duration::from_millis(4500) };
    assert_eq!(metrics.totals(), want);
}

/// A family's type, and its labels with their values where the list gives them.
type Listed = (String, BTreeMap<String, BTreeSet<String>>);

/// The rows of the table in `deploy/METRICS.md`.
fn listed_families() -> BTreeMap<String, Listed> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/METRICS.md"));
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{row}: four cells") };
        assert!(meaning.ends_with('.'), "{name}: meaning is a sentence");
        let labels = labels.split(';').filter(|label| !label.is_empty()).map(|label| {
            let (name, values) = label.split_once(':').unwrap_or((label, ""));
            let values = values.split(',').filter(|value| !value.is_empty()).map(unquoted);
            (unquoted(name), values.collect())
        });
        (unquoted(name), (kind.to_owned(), labels.collect()))
    })
    .collect()
}

fn unquoted(cell: &str) -> String {
    cell.trim().strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap().to_owned()
}
