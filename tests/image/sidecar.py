"""Pods with the project's sidecar, as a user's kustomization renders them."""

import json
import tempfile
import time
from pathlib import Path

import bases
from podman import STATE
from simulator import CA
from tools import job_pod, kustomization, kustomize

WORKLOADS = Path(__file__).parent / "workloads"
SDK = Path(__file__).resolve().parents[1] / "sdk"
PROXY = "batch-retry-proxy"
NATIVE, ORDINARY = "sidecar", "sidecar-before-1.29"
HARDENED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def job(command, variables):
    """A Job whose one container runs Python; the scripts of the tests lie in /scripts."""
    main = {
        "name": "main",
        "image": bases.PYTHON,
        "command": ["python", "-u", *command],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "scripts", "mountPath": "/scripts", "readOnly": True}],
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000},
        "containers": [main],
        "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}}],
    }
    labels = {PROXY: "enabled"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "demo", "labels": labels}, "spec": {"template": {"spec": spec}}}


def scripts():
    files = [*WORKLOADS.glob("*.py"), *SDK.glob("workload_15.py")]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}, "data": {file.name: file.read_text() for file in files}}


def rendered(workload, component=NATIVE):
    """The objects that `kubectl apply -k` would send for this workload with the component."""
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        return kustomize(kustomization(Path(folder), [workload, scripts()], component))


def configured(objects, simulator):
    """The same with the way to the simulated account in the proxy's ConfigMap, and its certificate beside it."""
    [config] = [found for found in objects if found["kind"] == "ConfigMap" and found["metadata"]["name"].startswith(PROXY)]
    # The pod shall be the component's; only what a user writes into the ConfigMap differs.
    config["data"][f"{PROXY}.toml"] += simulator.settings
    config["data"][Path(CA).name] = simulator.ca
    return objects


def pod(kubelet, objects):
    return kubelet.pod(job_pod(objects), objects)


def started(kubelet, account, command, component=NATIVE):
    """A pod of a Job that runs this command, which knows the account, behind a proxy that has the way to it."""
    running = pod(kubelet, configured(rendered(job(command, account.variables), component), account))
    running.start()
    return running


def answers(running):
    """What ask.py has printed so far."""
    return [json.loads(line) for line in running.logs("main").splitlines() if line.startswith("{")]


def until(happened, timeout=30):
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
