"""The kustomize components `sidecar` and `sidecar-before-1.29`: what they put into a user's workloads, and what they leave alone."""

import copy
import os
import re
import socket
import subprocess
import tomllib
import urllib.request

import pytest
import yaml
from proxy import BINARY, RUN, TRUST, exports, running, until
from tools import RELEASE, ROOT, breaches, containers, kustomization, kustomize, name, pod_spec, rendered, validate

NATIVE, ORDINARY = "sidecar", "sidecar-before-1.29"
BOTH = pytest.mark.parametrize("component", [NATIVE, ORDINARY])
PROXY = "batch-retry-proxy"
MOUNT = {"name": "batch-retry-proxy-trust", "mountPath": TRUST, "readOnly": True}

HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "main", "image": "main:1", "securityContext": HARDENED},
        {
            "name": "other",
            "image": "other:1",
            "securityContext": HARDENED,
            "env": [
                {"name": "HTTPS_PROXY", "valueFrom": {"configMapKeyRef": {"name": "corporate", "key": "proxy"}}},
                {"name": "no_proxy", "value": "theirs"},
                {"name": "OWN", "value": "kept"},
            ],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
    ],
    "volumes": [{"name": "data", "emptyDir": {}}],
}
PREPARE = {"name": "prepare", "image": "prepare:1", "securityContext": HARDENED, "env": [{"name": "OWN", "value": "kept"}]}


def workload(kind, pod=None, labelled=True):
    """A workload of this kind, as short as it may be."""
    pod = copy.deepcopy(pod or POD)
    template = {"metadata": {"labels": {"app": "demo"}}, "spec": pod}
    if kind in ("Job", "CronJob"):
        # Jobs need no labels on their pods, so that the component has to make the place for its own.
        template = {"spec": {**pod, "restartPolicy": "Never"}}
    spec = {"template": template}
    if kind in ("Deployment", "StatefulSet", "DaemonSet"):
        spec["selector"] = {"matchLabels": {"app": "demo"}}
    if kind == "StatefulSet":
        spec["serviceName"] = "demo"
    if kind == "CronJob":
        spec = {"schedule": "@daily", "jobTemplate": {"spec": spec}}
    group = {"Job": "batch/v1", "CronJob": "batch/v1", "Pod": "v1"}.get(kind, "apps/v1")
    labels = {PROXY: "enabled"} if labelled else {}
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "demo", "labels": labels}, "spec": pod if kind == "Pod" else spec}


KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod")


def with_proxy(folder, component, *resources, **more):
    """The workloads of a user's kustomization with the component, and the settings that came with them."""
    found = kustomize(kustomization(folder, resources, component, **more))
    [settings] = [document for document in found if document["kind"] == "ConfigMap" and PROXY in document["metadata"]["name"]]
    return [document for document in found if document is not settings], settings


def proxy_of(spec):
    [proxy] = [container for container in containers(spec) if container["name"] == PROXY]
    return proxy


def others_of(spec):
    return [container for container in containers(spec) if container["name"] != PROXY]


def values(container):
    return {variable["name"]: variable.get("value") for variable in container["env"]}


@pytest.fixture(scope="module", params=[NATIVE, ORDINARY])
def every_kind(request, tmp_path_factory):
    """One workload of every kind, with and without init containers, behind either component."""
    folder = tmp_path_factory.mktemp("every")
    with_init = {**POD, "initContainers": [PREPARE]}
    pairs = [workload(kind) for kind in KINDS] + [workload(kind, with_init) for kind in KINDS]
    for resource in pairs[len(KINDS) :]:
        resource["metadata"]["name"] = "with-init"
    found, _ = with_proxy(folder, request.param, *pairs)
    assert len(found) == len(pairs)
    return request.param, found


def test_every_kind_of_workload_gets_the_proxy_first(every_kind):
    component, found = every_kind
    for document in found:
        spec = pod_spec(document)
        place = spec["initContainers" if component == NATIVE else "containers"]
        assert [container["name"] for container in place].index(PROXY) == 0, name(document)
        assert place[0].get("restartPolicy") == ("Always" if component == NATIVE else None)
        assert ("lifecycle" in place[0]) == (component == ORDINARY)


def test_every_workload_is_valid_where_it_is_said_to_run(every_kind):
    component, found = every_kind
    for document in found:
        validate(document, *([] if component == NATIVE else ["1.25", "1.28"]))


def test_a_native_sidecar_is_unknown_to_older_clusters(tmp_path):
    [job], _ = with_proxy(tmp_path, NATIVE, workload("Job"))
    with pytest.raises(AssertionError, match="restartPolicy"):
        validate(job, "1.27")


def test_every_pod_stays_within_pod_security_restricted(every_kind):
    _, found = every_kind
    for document in found:
        assert breaches(pod_spec(document)) == [], name(document)


def test_every_other_container_is_led_to_the_proxy_and_trusts_it(every_kind):
    component, found = every_kind
    wanted = variables()
    for document in found:
        for container in others_of(pod_spec(document)):
            if component == ORDINARY and container["name"] == "prepare":
                assert container == PREPARE, "it runs before the proxy, which it could not reach"
                continue
            assert {name: value for name, value in values(container).items() if name != "OWN"} == wanted
            assert MOUNT in container["volumeMounts"]


def test_what_a_user_has_is_kept(every_kind):
    _, found = every_kind
    for document in found:
        spec = pod_spec(document)
        other = next(container for container in spec["containers"] if container["name"] == "other")
        assert values(other)["OWN"] == "kept"
        assert {"name": "data", "mountPath": "/data"} in other["volumeMounts"]
        assert {"name": "data", "emptyDir": {}} in spec["volumes"]
        assert not [variable for variable in other["env"] if "valueFrom" in variable], "both would be refused by the cluster"
        names = [container["name"] for container in others_of(spec)]
        assert names == (["prepare"] if document["metadata"]["name"] == "with-init" else []) + ["main", "other"]


def test_the_proxy_is_not_led_to_itself(every_kind):
    _, found = every_kind
    for document in found:
        assert proxy_of(pod_spec(document))["env"] == [
            {"name": "BATCH_RETRY_PROXY_CONFIG", "value": "/etc/batch-retry-proxy/batch-retry-proxy.toml"}
        ]


def test_only_the_proxy_sees_the_key_of_the_authority(every_kind):
    _, found = every_kind
    for document in found:
        spec = pod_spec(document)
        [volume] = [volume for volume in spec["volumes"] if volume["name"] == "batch-retry-proxy-ca"]
        assert volume["emptyDir"]["medium"] == "Memory"
        mounting = [c["name"] for c in [proxy_of(spec), *others_of(spec)] if any(m["name"] == volume["name"] for m in c.get("volumeMounts", []))]
        assert mounting == [PROXY]


def test_pods_carry_the_label_too(every_kind):
    _, found = every_kind
    for document in found:
        template = document["spec"].get("jobTemplate", document)["spec"].get("template", document)
        assert template["metadata"]["labels"][PROXY] == "enabled", name(document)


@BOTH
def test_what_is_not_labelled_or_no_workload_is_left_alone(tmp_path, component):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {PROXY: "enabled"}}, "spec": {"ports": [{"port": 1}]}}
    resources = [workload("Job", {**POD, "initContainers": [PREPARE]}, labelled=False), workload("Pod", labelled=False), service]
    without = rendered(kustomization(tmp_path, resources)).split("---\n")
    behind = rendered(kustomization(tmp_path, resources, component)).split("---\n")
    [settings] = set(behind) - set(without)
    assert len(without) == 3 and set(without) < set(behind) and "kind: ConfigMap" in settings


def test_a_kustomization_may_rename_and_move_what_it_gets(tmp_path):
    images = [{"name": PROXY, "newName": "registry.example/proxies/brp", "newTag": "9.9"}]
    [job], settings = with_proxy(tmp_path, NATIVE, workload("Job"), namePrefix="team-", namespace="research", images=images)
    volumes = {volume["name"]: volume for volume in pod_spec(job)["volumes"]}
    assert settings["metadata"]["name"].startswith("team-batch-retry-proxy-")
    assert settings["metadata"]["namespace"] == "research"
    assert volumes["batch-retry-proxy-config"]["configMap"]["name"] == settings["metadata"]["name"]
    assert proxy_of(pod_spec(job))["image"] == "registry.example/proxies/brp:9.9"


def test_a_manifest_s_own_namespace_is_to_be_named_in_the_kustomization_too(tmp_path):
    job = workload("Job")
    job["metadata"]["namespace"] = "research"
    for namespace, follows in (({}, False), ({"namespace": "research"}, True)):
        [made], settings = with_proxy(tmp_path, NATIVE, job, **namespace)
        [volume] = [volume for volume in pod_spec(made)["volumes"] if "configMap" in volume]
        assert made["metadata"]["namespace"] == "research"
        assert (volume["configMap"]["name"] == settings["metadata"]["name"]) == follows, "the guide tells of this"
        assert (settings["metadata"].get("namespace") == "research") == follows


def test_new_settings_roll_the_pods(tmp_path):
    _, before = with_proxy(tmp_path, NATIVE, workload("Deployment"))
    text = '[retry]\ndeadline = "2m"\n'
    patch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PROXY}, "data": {"batch-retry-proxy.toml": text}}
    [deployment], settings = with_proxy(tmp_path, NATIVE, workload("Deployment"), patches=[{"patch": yaml.safe_dump(patch)}])
    assert settings["data"] == {"batch-retry-proxy.toml": text}
    assert settings["metadata"]["name"] != before["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod_spec(deployment)["volumes"]}
    assert volumes["batch-retry-proxy-config"]["configMap"]["name"] == settings["metadata"]["name"]


@BOTH
def test_the_image_is_of_this_version(tmp_path, component):
    [job], _ = with_proxy(tmp_path, component, workload("Job"))
    assert proxy_of(pod_spec(job))["image"] == f"batch-retry-proxy:{RELEASE}"


def test_the_pages_name_the_image_of_this_version():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    found = {str(page.relative_to(ROOT)): set(re.findall(r"batch-retry-proxy:(\d+\.[\w.-]*\w)", page.read_text())) for page in pages}
    named = {page: tags for page, tags in found.items() if tags}
    assert named.keys() >= {"docs/kubernetes.md", "docs/kubernetes-shared.md", "CONTRIBUTING.md"}
    assert named == dict.fromkeys(named, {RELEASE})


def test_the_variants_differ_in_nothing_but_the_kind_of_sidecar(tmp_path):
    [native], _ = with_proxy(tmp_path, NATIVE, workload("Job"))
    [ordinary], _ = with_proxy(tmp_path, ORDINARY, workload("Job"))
    native, ordinary = proxy_of(pod_spec(native)), proxy_of(pod_spec(ordinary))
    assert native.pop("restartPolicy") == "Always"
    assert list(ordinary.pop("lifecycle")) == ["postStart"]
    own = ["--set=admin.allow_shutdown=true", "--set=shutdown.delay=10s", "--set=shutdown.grace=15s"]
    assert ordinary.pop("args") == native.pop("args") + own
    assert native == ordinary


@BOTH
def test_the_proxy_starts_with_these_arguments_and_keeps_its_authority(tmp_path, component):
    [job], settings = with_proxy(tmp_path, component, workload("Job"))
    published = []
    for _ in range(2):
        with running(proxy_of(pod_spec(job)), tmp_path, settings=settings["data"]["batch-retry-proxy.toml"]):
            for path in {value for value in variables().values() if value.startswith(TRUST)} | {f"{TRUST}/truststore.p12"}:
                file = tmp_path / "trust" / path.removeprefix(f"{TRUST}/")
                assert file.stat().st_mode & 0o004, "containers run as other users"
            published.append((tmp_path / "trust/ca.pem").read_text())
    assert published[0] == published[1]


def test_containers_are_held_back_by_a_command_that_the_proxy_has(tmp_path):
    [job], _ = with_proxy(tmp_path, ORDINARY, workload("Job"))
    command = proxy_of(pod_spec(job))["lifecycle"]["postStart"]["exec"]["command"]
    assert command[0] == "/batch-retry-proxy"
    nobody = {**os.environ, "BATCH_RETRY_PROXY__ADMIN__ADDRESS": "127.0.0.1:1"}
    run = subprocess.run([BINARY, *(word.replace("60s", "100ms") for word in command[1:])], env=nobody, capture_output=True, text=True)
    assert run.returncode == 69, run.stderr


def test_the_program_of_a_job_stops_an_ordinary_sidecar(tmp_path):
    [job], _ = with_proxy(tmp_path, ORDINARY, workload("Job"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    container = proxy_of(pod_spec(job))
    container["args"] = [argument.replace(":9464", f":{port}") for argument in container["args"]]
    with running(container, tmp_path) as proxy:
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/shutdown", method="POST"))
        until(lambda: not listens(int(proxy["HTTPS_PROXY"].rsplit(":", 1)[1])))


@pytest.mark.parametrize("number", range(7))
def test_a_kustomization_of_the_guide_does_what_it_says(tmp_path, number):
    examples = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/kubernetes.md").read_text(), re.M | re.S)
    assert len(examples) == 7, "a new one needs its case here"
    example = examples[number]
    (tmp_path / "app.yaml").write_text(yaml.safe_dump(workload("Deployment")))
    (tmp_path / "kustomization.yaml").write_text(example.replace("path/to/batch-retry-proxy", os.path.relpath(ROOT, tmp_path)))
    found = {document["kind"]: document for document in kustomize(tmp_path)}
    for document in found.values():
        validate(document, "1.36", "1.37")
    settings = found["ConfigMap"]["data"]
    spec = pod_spec(found["Deployment"]) if "Deployment" in found else None
    match number:
        case 0:
            assert spec["initContainers"][0]["image"] == f"registry.example/batch-retry-proxy:{RELEASE}"
        case 1:
            assert tomllib.loads(settings["batch-retry-proxy.toml"]) == {"retry": {"deadline": "2m"}}
        case 2:
            neighbour = tmp_path / "neighbour"
            neighbour.mkdir()
            _, others = with_proxy(neighbour, NATIVE, workload("Deployment"))
            assert settings.items() > others["data"].items()
            assert found["ConfigMap"]["metadata"]["name"] != others["metadata"]["name"]
        case 3:
            [path] = tomllib.loads(settings["batch-retry-proxy.toml"])["upstream"]["ca_files"]
            folder, file = path.rsplit("/", 1)
            assert file in settings
            assert folder in [mount["mountPath"] for mount in spec["initContainers"][0]["volumeMounts"]]
        case 4:
            assert spec["initContainers"][0]["resources"] == {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "256Mi"}}
            assert ".corp.example" in values(others_of(spec)[0])["NO_PROXY"]
        case 5:
            source = yaml.safe_load((ROOT / "deploy/kubernetes/sidecar/pod/pod.yaml").read_text())
            usual = source["template"]["spec"]["containers"][0]["args"]
            assert spec["initContainers"][0]["args"] == [argument.replace("=0.0.0.0:", "=[::]:") for argument in usual] != usual
        case 6:
            assert settings == {"image": f"registry.example/batch-retry-proxy:{RELEASE}"}


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def variables():
    """What `ca export --format env` prints for these settings, with the cluster's hosts added as `run` adds what it finds in NO_PROXY."""
    direct = "169.254.169.254,168.63.129.16,localhost,127.0.0.1,.svc,.cluster.local,10.0.0.1"
    settings = ["--set", f"ca.publish={TRUST}", "--set", f"ca.directory={RUN}/ca"]
    printed = subprocess.run([BINARY, *settings, "ca", "export", "--format", "env"], capture_output=True, text=True, check=True).stdout
    found = exports(printed)
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_TOOL_OPTIONS"} | {"NO_PROXY": direct, "no_proxy": direct}
    run = subprocess.run([BINARY, "run", "--", "env"], env=environment, capture_output=True, text=True, check=True).stdout
    merged = dict(line.split("=", 1) for line in run.splitlines() if "=" in line)
    assert merged["NO_PROXY"] == direct, "these are all that `run` would add"
    hosts = re.search(r"-Dhttp.nonProxyHosts=\S+", merged["JAVA_TOOL_OPTIONS"])[0]
    found["NO_PROXY"] = found["no_proxy"] = direct
    found["JAVA_TOOL_OPTIONS"] = re.sub(r"-Dhttp.nonProxyHosts=\S+", lambda _: hosts, found["JAVA_TOOL_OPTIONS"])
    return {key: value.replace("10.0.0.1", "$(KUBERNETES_SERVICE_HOST)") for key, value in found.items()}

