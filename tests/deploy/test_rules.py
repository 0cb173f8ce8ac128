"""The rules, checked and tried out by promtool. A Prometheus runs them in test_live.py."""

import re
import subprocess

import pytest
import yaml

from families import check_selectors, selectors
from tools import DEPLOY, ROOT, kustomize

RULES = DEPLOY / "prometheus/rules.yaml"
SCRAPE = DEPLOY / "prometheus/scrape.yaml"
CASES = sorted((ROOT / "tests/deploy/rules").glob("*.yaml"))
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
RECORDS = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RUNBOOK = (ROOT / "docs/runbook.md").read_text()


def promtool(*arguments):
    run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_promtool_finds_nothing_wrong_with_the_rules():
    assert len(RECORDS) > 15 and len(ALERTS) > 8
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_the_rules_do_what_the_cases_say(cases):
    promtool("test", "rules", cases)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    fires, silent = set(), set()
    for path in CASES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case.get("exp_alerts") else silent).add(case["alertname"])
    assert fires == ALERTS.keys()
    assert silent == ALERTS.keys()


def test_each_record_has_a_case():
    tried = set()
    for path in CASES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("promql_expr_test", []):
                if case.get("exp_samples"):
                    tried |= {series for series, _ in selectors(case["expr"])}
    assert tried == RECORDS.keys()


@pytest.mark.parametrize("rule", [*RECORDS.values(), *ALERTS.values()], ids=lambda rule: rule.get("record", rule.get("alert")))
def test_a_rule_asks_for_what_the_program_exports(rule):
    check_selectors(rule["expr"], rule.get("record", rule.get("alert")), RECORDS)


@pytest.mark.parametrize("record", RECORDS)
def test_a_records_name_tells_its_labels_and_what_it_is(record):
    level, metric, operation = record.split(":")
    assert metric.startswith("batch_retry_proxy_")
    expression = RECORDS[record]["expr"]
    if level.startswith("instance"):
        # Target labels stay, whatever a set-up has.
        assert operation == "sum" and " by (" not in expression and "without (" in expression
    else:
        assert operation in {"rate5m", "ratio_rate5m"}
        assert set(re.findall(r" by \(([^)]*)\)", expression)) == {", ".join(level.split("_"))}
        assert set(re.findall(r"\[(\w+)\]", expression)) == {"5m"}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert):
    rule = ALERTS[alert]
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "info", "warning"}
    assert rule["annotations"].keys() == {"description", "runbook_url", "summary"}
    for text in (rule["annotations"]["summary"], rule["annotations"]["description"]):
        assert text.endswith(".") and "{{" in text, "it names whom it is about"
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.lower()}"


def test_the_runbook_has_a_paragraph_for_each_alert_and_no_other():
    parts = re.split(r"^## (BatchRetryProxy\w+)$", RUNBOOK, flags=re.MULTILINE)[1:]
    paragraphs = dict(zip(parts[::2], parts[1::2]))
    assert list(paragraphs) == list(ALERTS)
    for alert, paragraph in paragraphs.items():
        assert "\n* See: " in paragraph and "\n* Do" in paragraph, alert


def test_the_operator_gets_the_same_rules():
    rules = [document for document in kustomize(DEPLOY / "kubernetes/monitoring") if document["kind"] == "PrometheusRule"]
    assert [rule["spec"] for rule in rules] == [{"groups": GROUPS}], "prometheus-rule.yaml says at its top how to make it anew"


def test_the_operator_scrapes_sidecars_and_services_under_jobs_that_the_rules_tell_apart():
    documents = {document["kind"]: document for document in kustomize(DEPLOY / "kubernetes/monitoring")}
    pods, services = documents["PodMonitor"]["spec"], documents["ServiceMonitor"]["spec"]
    assert pods["selector"] == {"matchLabels": {"batch-retry-proxy": "enabled"}}
    assert services["selector"] == {"matchLabels": {"app.kubernetes.io/name": "batch-retry-proxy"}}
    assert services["jobLabel"] == "app.kubernetes.io/name"
    for endpoint in pods["podMetricsEndpoints"] + services["endpoints"]:
        assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == ("brp-metrics", "/metrics", "30s")
    [job] = [r for r in pods["podMetricsEndpoints"][0]["relabelings"] if r.get("targetLabel") == "job"]
    assert re.fullmatch("(.+/)?batch-retry-proxy", job["replacement"]) and job["replacement"] != "batch-retry-proxy"


def test_promtool_finds_nothing_wrong_with_the_example_of_a_scrape(tmp_path):
    config = yaml.safe_load(SCRAPE.read_text())
    discovered = []
    for job in config["scrape_configs"]:
        # Debian's promtool is built without Kubernetes and refuses to know this key; it has the rest checked.
        for discovery in job.pop("kubernetes_sd_configs", []):
            discovered.append((job["job_name"], discovery))
    assert discovered == [("pods/batch-retry-proxy", {"role": "pod"}), ("batch-retry-proxy", {"role": "endpoints"})]
    (tmp_path / "rules.yaml").write_text(RULES.read_text())
    (tmp_path / "scrape.yaml").write_text(yaml.safe_dump(config))
    promtool("check", "config", tmp_path / "scrape.yaml")
    for key in ("scrape_interval", "evaluation_interval"):
        assert config["global"][key] == "30s"
