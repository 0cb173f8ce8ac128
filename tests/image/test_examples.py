"""The examples as they stand: every container runs its own command with its own variables and mounts, where its image can be had."""

import pytest
from podman import ROOT
from sidecar import PROXY, configured, pod
from tools import containers, job_pod, kustomize

EXAMPLES = ROOT / "deploy" / "kubernetes" / "examples"


def examples():
    found = sorted(file.parent.name for file in EXAMPLES.glob("*/kustomization.yaml"))
    assert found, "there are no examples"
    return found


@pytest.mark.parametrize("example", examples())
def test_an_example_does_its_work(kubelet, simulate, example):
    objects = kustomize(EXAMPLES / example)
    spec = job_pod(objects)
    missing = {container["image"] for container in containers(spec)} - set(kubelet.images)
    if missing:
        pytest.skip(f"nothing stands in for {', '.join(missing)}")
    account = simulate("mixed")
    # What an example leaves to its user: the account's name in its ConfigMap, and a Secret made by hand.
    running = pod(kubelet, [*named(configured(objects, account), account), secret("batch-account", key=account.key)])
    running.start()
    for container in spec["containers"]:
        assert running.wait(container["name"]) == 0, running.logs(container["name"])
        print(running.logs(container["name"]))
    assert running.metric("batch_retry_proxy_requests_total") > 0, "the example went past the proxy"
    assert running.stop(PROXY)[0] == 0


def named(objects, account):
    """The objects with the account that the example asks its user to name."""
    for found in objects:
        if found["kind"] == "ConfigMap" and found["metadata"]["name"].startswith("batch-account"):
            found["data"] |= {"endpoint": f"https://{account.host}", "name": account.account}
    return objects


def secret(name, **data):
    return {"kind": "Secret", "metadata": {"name": name}, "stringData": data}
