"""Renders manifests as a user would and checks them without a cluster."""

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import Chart

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBECTL = Path(sys.executable).with_name("kubectl")

# The oldest with native sidecars, and the newest that there are schemas for.
VERSIONS = ("1.29", kubernetes_validate.latest_version())


def kustomize(folder):
    """The manifests that `kubectl apply -k` would send."""
    run = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return documents(run.stdout)


def helm(chart, values=None, name="demo", namespace="default"):
    """The manifests that `helm template` would print."""
    return documents(Chart.load(str(chart)).render(values=values or {}, name=name, namespace=namespace))


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def validate(document, *versions):
    """Holds a manifest against the schemas of these versions of Kubernetes, unknown fields included."""
    for version in versions or VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise AssertionError(f"{name(document)} on {version}: {error.message} at {list(error.path)}") from None


def name(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def pod_spec(document):
    """The pod that a workload makes."""
    spec = document["spec"]
    match document["kind"]:
        case "Pod":
            return spec
        case "CronJob":
            return spec["jobTemplate"]["spec"]["template"]["spec"]
        case _:
            return spec["template"]["spec"]
