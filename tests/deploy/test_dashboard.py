"""The Grafana dashboard, as far as it can be known without a Grafana. test_live.py asks a real Prometheus what it asks."""

import json
import re

import promql_parser
import pytest
import yaml

from families import check_selectors, family, listed, selectors
from tools import DEPLOY, kustomize, name, validate

FILE = DEPLOY / "kubernetes/monitoring/dashboard.json"
DASHBOARD = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ROWS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]

# Families that a process explorer is for.
NOT_SHOWN = {"process_threads", "process_virtual_memory_bytes"}


def substituted(expression, namespace=".*", account=".*", interval="1m", span="1h"):
    """What Grafana makes of an expression; the defaults are those of `All`."""
    for variable, value in {"__rate_interval": interval, "__range": span, "namespace": namespace, "account": account}.items():
        expression = re.sub(rf"\$(?:{variable}\b|\{{{variable}\}})", value, expression)
    assert "$" not in expression, expression
    return expression


def test_there_are_panels_for_each_side_of_the_proxy():
    assert [row["title"] for row in ROWS] == [
        "What programs see",
        "What Batch does",
        "Gate: one clock for each account",
        "Replays and waits",
        "Downloads, echoes and bodies",
        "Connections and trust",
        "Process",
    ]
    assert len(PANELS) > 40


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel):
    assert panel["title"] and panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in {"Bps", "bytes", "cps", "ops", "percentunit", "reqps", "s", "short"}
    assert panel["targets"], "a panel without a query is dead"


def test_panels_and_queries_are_told_apart():
    for values in ([p["id"] for p in DASHBOARD["panels"]], [p["title"] for p in DASHBOARD["panels"]]):
        assert len(set(values)) == len(values)
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]


def test_panels_do_not_lie_over_each_other():
    cells = {}
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        for cell in ((x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])):
            assert cell not in cells, f"{panel['title']} lies over {cells[cell]}"
            cells[cell] = panel["title"]


def test_the_variables_are_the_data_source_the_namespace_and_the_account():
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "account"]
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    for variable in (variables["namespace"], variables["account"]):
        # `.*` takes in series without the label: outside Kubernetes there is no namespace.
        assert variable["includeAll"] and variable["allValue"] == ".*" and variable["current"]["value"] == ["$__all"]
        assert variable["multi"]
        query = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert query and query[2] == variable["name"]
        check_selectors(substituted(query[1]), variable["name"])


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=lambda value: value.get("refId", value.get("title")))
def test_a_query_asks_for_what_the_program_exports(panel, target):
    for source in (panel["datasource"], target["datasource"]):
        assert source == {"type": "prometheus", "uid": "${datasource}"}
    check_selectors(substituted(target["expr"]), panel["title"])


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=lambda value: value.get("refId", value.get("title")))
def test_a_query_follows_the_variables(panel, target):
    families = listed()
    chosen = substituted(target["expr"], namespace="chosen-namespace", account="chosen-account")
    for series, matchers in selectors(chosen):
        values = {matcher.name: matcher.value for matcher in matchers}
        assert values.get("namespace") == "chosen-namespace", f"{panel['title']}: {series}"
        if "account" in families.get(family(series, families), ("", {}))[1]:
            # What is set against a family without accounts must not have some left out.
            assert values.get("account") == "chosen-account" or "all accounts" in panel["description"], f"{panel['title']}: {series}"


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=lambda value: value.get("refId", value.get("title")))
def test_a_range_follows_the_zoom_and_the_scrape_interval(panel, target):
    ranges = re.findall(r"\[([^]]+)\]", target["expr"])
    assert set(ranges) <= {"$__rate_interval", "$__range"}, panel["title"]
    # A figure for the whole time shown is asked once; a curve is asked for each step.
    assert ("$__range" in ranges) <= bool(target["instant"]), panel["title"]


def test_every_family_is_shown():
    families = listed()
    shown = {family(series, families) for _, target in TARGETS for series, _ in selectors(substituted(target["expr"]))}
    assert families.keys() - shown == NOT_SHOWN


def test_the_legend_names_labels_that_the_query_keeps():
    for panel, target in TARGETS:
        wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        expression = promql_parser.parse(substituted(target["expr"])).prettify()
        kept = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
        assert wanted <= kept | {"pod", "instance"}, f"{panel['title']}: {wanted - kept}"


def test_the_kustomization_brings_the_dashboard_to_grafanas_sidecar():
    maps = [document for document in kustomize(DEPLOY / "kubernetes/monitoring") if document["kind"] == "ConfigMap"]
    assert [name(document) for document in maps] == ["ConfigMap/batch-retry-proxy-dashboard"]
    assert maps[0]["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert {key: json.loads(text) for key, text in maps[0]["data"].items()} == {"batch-retry-proxy.json": DASHBOARD}
    validate(maps[0])
    # `kubectl apply` keeps a copy in an annotation, which may have 256 KiB.
    assert len(yaml.safe_dump(maps[0])) < 200_000
