"""The families that deploy/METRICS.md lists, and what an expression takes from them."""

import re

import promql_parser

from tools import DEPLOY, ROOT

# Families that others bring, or that the scrape itself makes.
FOREIGN = {"up"}

# Labels of the target, not of the program.
TARGET_LABELS = {"container", "endpoint", "instance", "job", "namespace", "pod"}


def listed():
    """Name to type and labels, and each label's values where the list gives them."""
    families = {}
    for line in (DEPLOY / "METRICS.md").read_text().splitlines():
        row = re.fullmatch(r"\| `([a-z_]+)` \| (\w+) \|(.*?)\|.*\|", line)
        if row:
            name, kind, labels = row.groups()
            assert name not in families, f"{name} is listed twice"
            families[name] = (kind, {})
            for label in filter(None, (part.strip() for part in labels.split(";"))):
                label_name, *values = re.findall(r"`([\w]+)`", label)
                families[name][1][label_name] = set(values)
    assert len(families) > 25, families
    return families


def family(series, families):
    """The family that a series belongs to; histograms have three kinds of series."""
    base = re.sub(r"_(bucket|count|sum)$", "", series)
    return base if families.get(base, ("",))[0] == "histogram" else series


def selectors(expression):
    """Every selector in an expression, as its series name and its matchers."""
    found = []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, node.matchers.matchers))

    promql_parser.walk(promql_parser.parse(expression), visit)
    assert found, expression
    return found


def check_selectors(expression, where, records=frozenset()):
    """Each series is one of the program's and each matcher names a label and values that it has."""
    families = listed()
    for series, matchers in selectors(expression):
        if series in records or series in FOREIGN:
            continue
        name = family(series, families)
        assert name in families, f"{where}: {series} is not in deploy/METRICS.md"
        labels = families[name][1]
        for matcher in matchers:
            assert matcher.name in labels.keys() | TARGET_LABELS | {"le"}, f"{where}: {series} has no label {matcher.name}"
            known = labels.get(matcher.name)
            # Values are not listed for all labels, and a variable stands for any.
            if known and matcher.value not in ("", ".*"):
                assert set(matcher.value.split("|")) <= known, f"{where}: {series}: {matcher.name} is never {matcher.value}"


def documented():
    """The queries that the pages for users show, as one would paste them."""
    found = re.findall(r"^    (\S.*(?:\n      .*)*)", (DEPLOY / "METRICS.md").read_text(), re.MULTILINE)
    found += re.findall(r"`([^`\n]+)`", (ROOT / "docs/runbook.md").read_text())
    queries = [query.replace("ACCOUNT", "demo.simulated") for query in found if re.search(r"\bbatch_retry_proxy_\w+[\s{[]", query)]
    assert len(queries) > 10, queries
    return queries
