"""A real Prometheus scrapes a proxy at work and is asked everything that the rules and the dashboard ask."""

import subprocess
from types import SimpleNamespace

import pytest

from families import check_selectors, documented, listed
from live import SCENARIO, SERVICE, SIDECAR, Programs, Prometheus, Proxy, Scrapes, Simulated, eventually
from test_dashboard import DASHBOARD, TARGETS, substituted
from test_rules import ALERTS, RECORDS

# What stays at zero on such a day: defects of the proxy, whole seconds of CPU, and downloads that cannot be repaired.
ZERO = {"batch_retry_proxy_panics_total", "process_cpu_seconds_total"}
FATES_NOT_MET = {"broken"}

# Alerts that such a day raises at once, and those that wait and see.
FIRING = {"BatchRetryProxyGiveUps", "BatchRetryProxyNotTrusted", "BatchRetryProxyUpstreamNotTrusted"}
OUTAGE = {"BatchRetryProxyMostRequestsFail", "BatchRetryProxyReplaysPutOff"}
PENDING = OUTAGE | {"BatchRetryProxyReloadFailed"}


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    (folder / "scenario.toml").write_text(SCENARIO)
    day, started = SimpleNamespace(), []

    def start(what):
        started.append(what.process)
        return what

    try:
        day.account = start(Simulated(folder, "account", folder / "scenario.toml"))
        day.untrusted = start(Simulated(folder, "untrusted", "calm"))
        day.proxy = start(Proxy(folder, day.account, day.untrusted))
        day.prometheus = start(Prometheus(folder, day.proxy))
        day.scrapes = Scrapes()
        programs = Programs(day.proxy, day.account)
        try:
            missing = {"everything"}

            def complete():
                nonlocal missing
                assert not programs.failed, programs.failed
                day.scrapes.add(day.proxy.metrics())
                missing = without_data(day)
                return not missing

            try:
                eventually(complete, "all that can be asked has data", within=75)
            except AssertionError as error:
                pytest.fail(f"{error}; missing: {sorted(missing)}; {day.proxy.process.log.read_text()[-3000:]}")
        finally:
            programs.stop()
        yield day
    finally:
        for what in reversed(started):
            what.end()


def without_data(day):
    """What still has none: families, records and the dashboard's queries."""
    families = listed()
    missing = {name for name in families if not day.scrapes.most.get(name)} - ZERO
    missing |= families["batch_retry_proxy_requests_total"][1]["fate"] - day.scrapes.fates - FATES_NOT_MET
    missing |= {record for record in RECORDS if not day.prometheus.query(record)}
    for panel, target in TARGETS:
        if not asked(day, target):
            missing.add(panel["title"])
    # Kept, because some end with the work.
    day.alerts = day.prometheus.get("alerts")["alerts"]
    return missing | FIRING - alerts(day, "firing") | PENDING - alerts(day, "pending")


def alerts(day, state):
    return {alert["labels"]["alertname"] for alert in day.alerts if alert["state"] == state}


def asked(day, target, **variables):
    """What Grafana would get. It makes the interval four scrapes long; twelve leave room for a busy machine."""
    expression = substituted(target["expr"], interval="12s", span="2m", **variables)
    return day.prometheus.query(expression) if target["instant"] else day.prometheus.query_range(expression)


def test_promtool_finds_nothing_wrong_with_the_metrics(day):
    run = subprocess.run(["promtool", "check", "metrics"], input=day.scrapes.fullest, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_list_for_users_is_what_the_program_exports(day):
    families = listed()
    assert day.scrapes.types == {name: kind for name, (kind, _) in families.items()}
    assert day.scrapes.labels == {name: set(labels) for name, (_, labels) in families.items()}


def test_prometheus_runs_all_rules_without_an_error(day):
    groups = day.prometheus.get("rules")["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert rules.keys() == RECORDS.keys() | ALERTS.keys()
    assert {name: (rule["health"], rule.get("lastError")) for name, rule in rules.items()} == dict.fromkeys(rules, ("ok", None))


@pytest.mark.parametrize("query", documented())
def test_a_query_that_a_page_shows_has_data(day, query):
    check_selectors(query, "the page")
    assert day.prometheus.query(query)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_has_data_in_a_cluster_and_outside(day, record):
    found = [sample["metric"] for sample in day.prometheus.query(record)]
    assert {(labels.get("namespace"), labels["job"]) for labels in found} == {(None, SERVICE["job"]), (SIDECAR["namespace"], SIDECAR["job"])}
    if "account" in record.split(":")[0]:
        assert "demo.simulated" in {labels["account"] for labels in found}


def test_a_ratio_is_one(day):
    for record in RECORDS:
        if record.endswith(":ratio_rate5m") and "per_request" not in record:
            values = [float(sample["value"][1]) for sample in day.prometheus.query(record)]
            assert values and all(0 <= value <= 1 for value in values), f"{record}: {values}"


def test_replays_help_and_the_records_show_it(day):
    select = '{job="batch-retry-proxy", account="demo.simulated"}'
    name = "namespace_job_account:batch_retry_proxy_requests_%s_success:ratio_rate5m"
    effective, first = (float(day.prometheus.query(name % which + select)[0]["value"][1]) for which in ("effective", "first_send"))
    assert first < effective


def test_the_day_raises_the_alerts_that_it_should(day):
    assert alerts(day, "firing") == FIRING
    assert PENDING <= alerts(day, "pending")
    for alert in (alert for alert in day.alerts if alert["state"] == "firing"):
        whose = alert["labels"].get("account", alert["labels"].get("pod", alert["labels"].get("instance")))
        assert whose in alert["annotations"]["summary"], alert
    # Whose requests cannot get through, and not the account that is well but for a bad day.
    assert {alert["labels"]["account"] for alert in day.alerts if alert["labels"]["alertname"] in OUTAGE} == {"dead.simulated"}


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=lambda value: value.get("refId", value.get("title")))
def test_a_query_of_the_dashboard_has_data(day, panel, target):
    assert asked(day, target), panel["title"]
    # A choice leaves something too, and a wrong one nothing.
    assert asked(day, target, namespace="work", account="demo.simulated")
    assert "or vector(0)" in target["expr"] or not asked(day, target, namespace="elsewhere", account="nobody")


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=lambda value: value.get("refId", value.get("title")))
def test_a_legend_names_labels_that_come_back(day, panel, target):
    for sample in asked(day, target, namespace="work"):
        for label in [part.split("}}")[0] for part in target["legendFormat"].split("{{")[1:]]:
            assert label in sample["metric"], f"{panel['title']}: {sample['metric']}"


def test_the_variables_offer_what_there_is(day):
    queries = {variable["name"]: variable["query"]["query"] for variable in DASHBOARD["templating"]["list"][1:]}
    values = {}
    for name, query in queries.items():
        selector, label = substituted(query).removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        values[name] = set(day.prometheus.get(f"label/{label}/values", **{"match[]": selector}))
    assert values == {"namespace": {"work"}, "account": {"demo.simulated", "dead.simulated", "untrusted.simulated"}}
