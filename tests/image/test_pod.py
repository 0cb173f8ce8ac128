"""A pod with the sidecar of the kustomize component, as kubelet would run it."""

import json

import pytest
from sidecar import NATIVE, ORDINARY, PROXY, started

BOTH = pytest.mark.parametrize("component", [NATIVE, ORDINARY])


@BOTH
def test_the_batch_sdk_does_its_work_on_a_bad_day(kubelet, simulate, component):
    account = simulate("mixed")
    running = started(kubelet, account, ["/scripts/workload_15.py"], component)
    assert running.wait("main") == 0, running.logs("main")
    # Scraped from outside, where Prometheus is.
    assert running.metric("batch_retry_proxy_retries_total") > 0
    assert running.metric("batch_retry_proxy_requests_total", fate="replayed") > 0
    code, took = running.stop(PROXY)
    assert (code, took < 5) == (0, True), took
    summary = account.end()
    assert "tasks made        300, of these more than once 0" in summary, summary


@BOTH
def test_the_other_containers_read_the_trust_files_and_not_the_key(kubelet, simulate, component):
    running = started(kubelet, simulate("calm"), ["/scripts/look_around.py"], component)
    assert running.wait("main") == 0, running.logs("main")
    found = json.loads(running.logs("main"))
    assert found == {"trust": ["bundle.pem", "ca.pem", "proxy.env", "truststore.p12"], "writable": False, "ca": False}


def test_the_proxy_itself_is_reached_from_within_the_pod_only(kubelet, simulate):
    running = started(kubelet, simulate("calm"), ["/scripts/ask.py", "1"])
    assert running.get("/livez")[0] == 200
    assert running.get("/", port=3128)[0] == 0, "its port is open to other pods"
