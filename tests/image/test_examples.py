"""The examples as they stand: every container runs its own command with its own variables and mounts, where its image can be had."""

import pytest
from podman import ROOT
from sidecar import PROXY, configured
from tools import kustomize, pod_spec

EXAMPLES = ROOT / "deploy" / "kubernetes" / "examples"
# What an example leaves to its user: Secrets made by hand, and settings of its ConfigMaps, where the account is named.
WORKLOADS = ("Job", "CronJob")


def examples():
    found = sorted(file.parent.name for file in EXAMPLES.glob("*/kustomization.yaml"))
    assert found, "there are no examples"
    return found


@pytest.mark.parametrize("example", examples())
def test_an_example_does_its_work(kubelet, simulate, example):
    objects = kustomize(EXAMPLES / example)
    [workload] = [found for found in objects if found["kind"] in WORKLOADS]
    spec = pod_spec(workload)
    missing = {container["image"] for container in every(spec)} - set(kubelet.images)
    if missing:
        pytest.skip(f"nothing stands in for {', '.join(missing)}")
    account = simulate("mixed")
    running = kubelet.pod(spec, [*named(configured(objects, account), account), secret("batch-account", key=account.key)])
    running.start()
    for container in spec["containers"]:
        assert running.wait(container["name"]) == 0, running.logs(container["name"])
        print(running.logs(container["name"]))
    assert running.metric("batch_retry_proxy_requests_total") > 0, "the example went past the proxy"
    assert running.stop(PROXY)[0] == 0


def every(spec):
    return spec.get("initContainers", []) + spec["containers"]


def named(objects, account):
    """The objects with the account that the example asks its user to name."""
    for found in objects:
        if found["kind"] == "ConfigMap" and found["metadata"]["name"].startswith("batch-account"):
            found["data"] |= {"endpoint": f"https://{account.host}", "name": account.account}
    return objects


def secret(name, **data):
    return {"kind": "Secret", "metadata": {"name": name}, "stringData": data}
