"""Renders manifests as a user would and checks them without a cluster."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import Chart

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBECTL = Path(sys.executable).with_name("kubectl")

# The version of the program, which image and chart have too.
RELEASE = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]

# Of Kubernetes: the oldest with native sidecars, and the newest that there are schemas for.
VERSIONS = ("1.29", kubernetes_validate.latest_version())


def kustomize(folder):
    """The manifests that `kubectl apply -k` would send."""
    return documents(rendered(folder))


def rendered(folder):
    """What `kubectl kustomize` prints."""
    run = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def kustomization(folder, resources, component=None, **more):
    """Writes a user's kustomization of these manifests, with one of the project's components, and returns its folder."""
    (folder / "app.yaml").write_text(yaml.safe_dump_all(resources))
    content = {"resources": ["app.yaml"], **more}
    if component:
        content["components"] = [os.path.relpath(DEPLOY / "kubernetes" / component, folder)]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


def helm(chart, values=None, name="demo", namespace="default"):
    """The manifests that `helm template` would print."""
    files = Chart.load(str(chart)).render(values=values or {}, name=name, namespace=namespace)
    return [document for file, text in sorted(files.items()) if file.endswith(".yaml") for document in documents(text)]


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


def job_pod(documents):
    """The pod of the one Job or CronJob among them."""
    [spec] = [pod_spec(document) for document in documents if document["kind"] in ("Job", "CronJob")]
    return spec


def containers(spec):
    """All of a pod's, in the order in which they start."""
    return spec.get("initContainers", []) + spec["containers"]


VOLUMES = {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def breaches(spec):
    """What the `restricted` level of PodSecurity would object to in a pod (Linux, no Windows, no SELinux)."""
    pod = spec.get("securityContext", {})
    found = [f"pod: {field}" for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(field)]
    found += [f"pod: volume {volume['name']}" for volume in spec.get("volumes", []) if not VOLUMES.issuperset(volume)]
    found += ["pod: sysctls"] if pod.get("sysctls") else []
    for container in containers(spec):
        own = container.get("securityContext", {})
        both = {**pod, **own}
        probes = [container.get(probe, {}).get("httpGet", {}) for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
        rules = {
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": "ALL" in own.get("capabilities", {}).get("drop", []) and not own["capabilities"].get("add"),
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
            "privileged": not own.get("privileged"),
            "probe to a host": not any("host" in probe for probe in probes),
            "procMount": own.get("procMount", "Default") == "Default",
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        }
        found += [f"{container['name']}: {rule}" for rule, holds in rules.items() if not holds]
    return found
