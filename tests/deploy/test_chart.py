"""The Helm chart: what it renders by itself, and what it puts into the pods of a chart that depends on it."""

import json
import shutil
import subprocess
import tarfile
import tomllib

import pytest
import yaml
from helm_python import Chart, HelmError, dependency_update, lint

from proxy import BINARY
from tools import DEPLOY, RELEASE, ROOT, VERSIONS, helm, name, pod_spec, validate

CHART = DEPLOY / "helm/batch-retry-proxy"
PARENT = ROOT / "tests/deploy/charts/parent"
# What every way to get a sidecar takes it from.
SOURCE = yaml.safe_load((DEPLOY / "kubernetes/sidecar/pod/pod.yaml").read_text())["template"]["spec"]
PROXY, OTHER = SOURCE["containers"]

SHARED = {"shared": {"enabled": True, "allow": ["10.0.0.0/8"]}}
MONITORED = {"monitoring": {kind: {"enabled": True} for kind in ("podMonitor", "rules", "dashboard", "annotations")}}
VALUES = {
    "as it is": {},
    "ordinary": {"sidecar": {"native": False}},
    "monitored": MONITORED,
    "shared": SHARED,
    "shared with all there is": {
        "global": {"imageRegistry": "registry.example", "imagePullSecrets": [{"name": "shared"}]},
        "image": {"digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "own"}],
        "settings": {"ca": {"lifetime": "30d"}, "forward": {"allow": ["a.example"]}},
        "monitoring": MONITORED["monitoring"] | {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "shared": SHARED["shared"]
        | {
            "ca": {"from": "secret", "secret": {"name": "ca"}},
            "networkPolicy": {"clientNamespaces": ["a", "b"], "monitoringNamespaces": []},
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "nodeSelector": {"e": "f"},
            "tolerations": [{"key": "g", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "resources": {"limits": {"cpu": 1}},
        },
    },
}


def refused(chart, values):
    with pytest.raises(HelmError) as error:
        helm(chart, values)
    return str(error.value)


def only(documents, kind, ending=""):
    [found] = [document for document in documents if document["kind"] == kind and document["metadata"]["name"].endswith(ending)]
    return found


def program(*arguments):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, env={})


def labels(document):
    """Of the pods."""
    return (document if document["kind"] == "Pod" else document["spec"]["template"])["metadata"]["labels"]


def variables(container):
    return {entry["name"]: entry.get("value") for entry in container["env"]}


# === By itself ===


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_way_to_use_it_is_clean_and_known_to_kubernetes(values):
    report = lint(CHART, values, strict=True, kube_version="v1.29.0")
    assert not report["errors"], report
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]
    documents = helm(CHART, values)
    for document in documents:
        if document["apiVersion"] != "monitoring.coreos.com/v1":
            validate(document)
    names = [name(document) for document in documents]
    assert len(set(names)) == len(names), names


def test_its_version_is_the_program_s():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (RELEASE, RELEASE)
    assert f"version: {RELEASE}\n" in (CHART / "README.md").read_text()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"sidecar": {"nativ": True}}, "additional properties 'nativ' not allowed"),
        ({"sidecar": {"native": "yes"}}, "got string, want boolean"),
        ({"sidecar": {"noProxy": ["a,b"]}}, "does not match pattern"),
        ({"sidecar": {"resources": {"limit": {}}}}, "additional properties 'limit' not allowed"),
        ({"settings": {"retrry": {}}}, "additional properties 'retrry' not allowed"),
        ({"settings": {"ca": {"directory": "/x"}}}, "settings.ca.directory is the chart's own"),
        ({"settings": {"admin": {"address": "127.0.0.1:1"}}}, "settings.admin.address is the chart's own"),
        ({"image": {"digest": "sha256:0"}}, "does not match pattern"),
        ({"monitoring": {"rules": {"enabled": True, "runbookUrl": "docs"}}}, "does not match pattern"),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, "set shared.enabled"),
        ({"shared": {"enabled": True}}, "shared.allow is empty: name the networks"),
        ({"shared": SHARED["shared"] | {"replicas": 2}}, "'/shared/replicas': maximum: got 2, want 1"),
        ({"shared": SHARED["shared"] | {"allow": ["everybody"]}}, "does not match pattern"),
        ({"shared": SHARED["shared"] | {"ca": {"from": "secret"}}}, "shared.ca.secret.name is empty"),
        ({"shared": SHARED["shared"] | {"ca": {"from": "claims"}}}, "must be one of 'claim', 'secret', 'memory'"),
        (SHARED | {"settings": {"listen": {"allow": []}}}, "settings.listen.allow is shared.allow"),
        (SHARED | {"settings": {"listen": {"address": "0.0.0.0:4000"}}}, "settings.listen.address is the chart's own in the shared mode"),
    ],
)
def test_what_it_does_not_know_is_refused_by_name(values, complaint):
    assert complaint in refused(CHART, values)


def test_a_native_sidecar_is_refused_before_1_29(capfd):
    # lint only tells of a `fail`, on standard error, but it can be given a version.
    complaint = "sidecar.native needs Kubernetes 1.29, this is v1.28.9"
    lint(CHART, {}, kube_version="v1.28.9")
    assert complaint in capfd.readouterr().err
    lint(CHART, {}, kube_version="v1.29.0-gke.1")
    lint(CHART, VALUES["ordinary"], kube_version="v1.28.9")
    assert "fail message" not in capfd.readouterr().err


# === Settings ===


def test_all_settings_reach_the_program_as_they_were_written(tmp_path):
    settings = tomllib.loads((ROOT / "config/default.toml").read_text())
    for section, key in (("ca", "directory"), ("ca", "publish"), ("admin", "address")):
        del settings[section][key]
    settings["upstream"]["resolve"] = {"account.region.batch.azure.com:443": "127.0.0.1:1"}
    settings["retry"]["deadline_for"][0]["user_agent"] = 'a "quoted" <b>, \\ {{ .Values }} ü'
    file = tmp_path / "settings.toml"
    file.write_text(only(helm(CHART, {"settings": settings}), "ConfigMap")["data"]["batch-retry-proxy.toml"])
    assert tomllib.loads(file.read_text()) == {key: value for key, value in settings.items() if value}
    check = program("config", "check", "--config", file)
    assert check.returncode == 0, check.stderr
    shown = program("config", "show", "--config", file).stdout
    for key in ("retry.max_attempts = 20 ", "retry.backoff.jitter = 0.5 "):
        [line] = [line for line in shown.splitlines() if line.startswith(key)]
        assert file.name in line, line


def test_a_setting_that_the_program_does_not_know_is_found_by_helm_test(tmp_path):
    documents = helm(CHART, {"settings": {"retry": {"dead_line": "1m"}}})
    [container] = pod_spec(only(documents, "Pod", "-settings"))["containers"]
    file = tmp_path / "batch-retry-proxy.toml"
    file.write_text(only(documents, "ConfigMap")["data"]["batch-retry-proxy.toml"])
    run = program(*[argument.replace("/etc/batch-retry-proxy", str(tmp_path)) for argument in container["args"]])
    assert run.returncode == 78 and "dead_line" in run.stderr


# === In a chart that depends on it ===


@pytest.fixture
def parent(tmp_path):
    """Makes a copy of the parent chart with ours in it, once or by several aliases."""

    def make(*aliases):
        shutil.copytree(PARENT, tmp_path / "parent")
        shutil.copytree(CHART, tmp_path / "parent/charts/batch-retry-proxy")
        file = tmp_path / "parent/Chart.yaml"
        chart = yaml.safe_load(file.read_text())
        [dependency] = chart["dependencies"]
        if aliases:
            chart["dependencies"] = [dependency | {"alias": alias} for alias in aliases]
        file.write_text(yaml.safe_dump(chart))
        return tmp_path / "parent"

    return make


def workloads(documents):
    return {document["metadata"]["name"]: document for document in documents if document["metadata"]["name"] in ("whole", "spec", "twice", "pieces")}


def test_the_sidecar_is_the_one_of_the_kustomize_component(parent):
    documents = helm(parent(), name="batch-retry-proxy")
    found = workloads(documents)
    assert len(found) == 4
    for workload in found.values():
        validate(workload)
        spec = pod_spec(workload)
        assert spec["initContainers"][0] == PROXY | {"restartPolicy": "Always"}
        assert [volume for volume in spec["volumes"] if volume["name"] != "data"] == SOURCE["volumes"]
        assert labels(workload)["batch-retry-proxy"] == "enabled"
    for container in (pod_spec(found["spec"])["containers"][0], pod_spec(found["pieces"])["containers"][0]):
        assert container["env"] == OTHER["env"]
        assert container["volumeMounts"] == OTHER["volumeMounts"]
    assert found["whole"]["metadata"]["labels"]["batch-retry-proxy"] == "enabled"
    config = only(documents, "ConfigMap")
    assert config["metadata"]["name"] == "batch-retry-proxy"
    assert tomllib.loads(config["data"]["batch-retry-proxy.toml"]) == {"retry": {"deadline": "2m"}}


def test_helm_dependency_update_brings_all_of_it(parent):
    chart = parent()
    copied = helm(chart, {"batch-retry-proxy": MONITORED})
    shutil.rmtree(chart / "charts")
    file = chart / "Chart.yaml"
    folder = CHART.relative_to(ROOT)
    assert (PARENT / "../../../.." / folder).resolve() == CHART and f"file://../../../../{folder}" in file.read_text()
    file.write_text(file.read_text().replace("../../../..", str(ROOT)))
    dependency_update(str(chart), skip_refresh=True)
    assert [archive.name for archive in (chart / "charts").iterdir()] == [f"batch-retry-proxy-{RELEASE}.tgz"]
    assert helm(chart, {"batch-retry-proxy": MONITORED}) == copied


def test_its_config_map_carries_the_release_s_name(parent):
    documents = helm(parent(), name="demo")
    volumes = pod_spec(workloads(documents)["whole"])["volumes"]
    assert {"name": "batch-retry-proxy-config", "configMap": {"name": "demo-batch-retry-proxy"}} in volumes
    assert only(documents, "ConfigMap")["metadata"]["name"] == "demo-batch-retry-proxy"


def test_a_container_keeps_what_is_its_own(parent):
    spec = pod_spec(workloads(helm(parent()))["whole"])
    ours = variables(OTHER)
    proxy, prepare = spec["initContainers"]
    first, helper = spec["containers"]
    assert variables(prepare) == ours
    own = variables(first)
    assert own == ours | {"APP": "demo", "LATE": "$(https_proxy)", "JAVA_TOOL_OPTIONS": "-Xmx1g " + ours["JAVA_TOOL_OPTIONS"]}
    # Kubernetes puts in only what stands above.
    assert list(own).index("https_proxy") < list(own).index("LATE")
    assert len(first["env"]) == len(own)
    assert first["ports"] == [{"containerPort": 8080}]
    assert first["securityContext"] == {"runAsUser": 1000660000}
    assert [mount["name"] for mount in first["volumeMounts"]] == ["data", "batch-retry-proxy-trust"]
    java = [entry for entry in helper["env"] if "JAVA" in entry["name"]]
    assert java == [
        {"name": "OWN_JAVA_TOOL_OPTIONS", "valueFrom": {"configMapKeyRef": {"name": "java", "key": "options"}}},
        {"name": "JAVA_TOOL_OPTIONS", "value": "$(OWN_JAVA_TOOL_OPTIONS) " + ours["JAVA_TOOL_OPTIONS"]},
    ]


def test_a_pod_that_has_the_proxy_already_stays_as_it_is(parent):
    found = workloads(helm(parent()))
    once, twice = pod_spec(found["whole"]), pod_spec(found["twice"])
    assert twice.pop("restartPolicy") == "Never"
    assert once == twice


def test_the_ordinary_sidecar_starts_first_and_can_be_stopped(parent):
    chart = parent()
    spec = pod_spec(workloads(helm(chart, {"batch-retry-proxy": {"sidecar": {"native": False}}}))["whole"])
    [prepare] = spec["initContainers"]
    assert "env" not in prepare and "volumeMounts" not in prepare
    proxy, first, _ = spec["containers"]
    assert proxy["name"] == "batch-retry-proxy" and "restartPolicy" not in proxy
    assert proxy["args"] == PROXY["args"] + ["--set=admin.allow_shutdown=true", "--set=shutdown.delay=10s", "--set=shutdown.grace=15s"]
    assert proxy["lifecycle"] == {"postStart": {"exec": {"command": ["/batch-retry-proxy", "wait", "--timeout", "60s"]}}}
    assert variables(first)["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    validate(workloads(helm(chart, {"batch-retry-proxy": {"sidecar": {"native": False}}}))["whole"], "1.27", *VERSIONS)


def test_images_and_their_secrets_follow_the_values_and_global(parent):
    chart = parent()
    digest = "sha256:" + "0" * 64
    common = {"imageRegistry": "registry.example/", "imagePullSecrets": ["everyone", {"name": "own"}]}
    for values, image, secrets in (
        ({}, f"batch-retry-proxy:{RELEASE}", None),
        ({"image": {"repository": "r.example/p", "tag": "1"}, "imagePullSecrets": [{"name": "own"}]}, "r.example/p:1", ["own"]),
        ({"global": common, "imagePullSecrets": [{"name": "own"}]}, f"registry.example/batch-retry-proxy:{RELEASE}", ["own", "everyone"]),
        ({"image": {"tag": "1", "digest": digest}}, f"batch-retry-proxy@{digest}", None),
    ):
        spec = pod_spec(workloads(helm(chart, {"batch-retry-proxy": values, "global": values.get("global", {})}))["whole"])
        assert spec["initContainers"][0]["image"] == image
        assert spec.get("imagePullSecrets") == (secrets and [{"name": secret} for secret in secrets])


def test_a_disabled_sidecar_leaves_the_pod_alone(parent):
    found = workloads(helm(parent(), {"batch-retry-proxy": {"sidecar": {"enabled": False}}}))
    assert pod_spec(found["spec"]) == {"restartPolicy": "Never", "containers": [{"name": "program", "image": "python:3"}]}
    assert found["whole"]["spec"]["template"]["metadata"] == {"labels": {"app": "parent"}, "annotations": {"own": "kept"}}


def test_new_settings_roll_the_pods_and_nothing_else_does(parent):
    chart = parent()

    def annotations(**values):
        return workloads(helm(chart, {"batch-retry-proxy": values}))["whole"]["spec"]["template"]["metadata"]["annotations"]

    before = annotations()
    assert before.keys() == {"own", "checksum/batch-retry-proxy"}
    assert annotations(settings={"retry": {"deadline": "3m"}}) != before
    assert annotations(monitoring={"podMonitor": {"enabled": True}}) == before
    scraped = annotations(monitoring={"annotations": {"enabled": True}})
    assert scraped == before | {"prometheus.io/scrape": "true", "prometheus.io/port": "9464", "prometheus.io/path": "/metrics"}


def test_an_alias_is_found_and_one_of_two_can_be_chosen(parent):
    chart = parent("brp")
    spec = pod_spec(workloads(helm(chart, {"brp": {"image": {"repository": "r.example/proxy"}}}))["whole"])
    assert spec["initContainers"][0]["image"] == f"r.example/proxy:{RELEASE}"
    assert spec["volumes"][-1]["configMap"]["name"] == "demo-brp"


def test_of_two_aliases_one_must_be_chosen(parent):
    chart = parent("east", "west")
    complaint = refused(chart, {})
    assert "2 subcharts of parent are batch-retry-proxy (east, west)" in complaint
    for template in (chart / "templates").iterdir():
        text = template.read_text().replace('"root" $', '"root" $ "alias" "west"')
        for piece in ("podLabels", "podAnnotations", "container", "env", "volumeMounts", "volumes"):
            text = text.replace(f'"batch-retry-proxy.{piece}" $', f'"batch-retry-proxy.{piece}" (dict "root" $ "alias" "west")')
        template.write_text(text)
    for workload in workloads(helm(chart)).values():
        assert pod_spec(workload)["volumes"][-1]["configMap"]["name"] == "demo-west"


def test_values_of_the_parent_are_held_against_the_schema_too(parent):
    assert "additional properties 'nativ' not allowed" in refused(parent(), {"batch-retry-proxy": {"sidecar": {"nativ": True}}})


@pytest.mark.parametrize(
    ("pod", "complaint"),
    [
        ("containers: [", "is not YAML"),
        ("restartPolicy: Never", "the pod spec has no containers"),
        (
            "containers: [{name: c, env: [{name: JAVA_TOOL_OPTIONS, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}]}]",
            "JAVA_TOOL_OPTIONS of container c is optional",
        ),
    ],
)
def test_a_pod_that_cannot_be_changed_is_refused_with_the_reason(parent, pod, complaint):
    chart = parent()
    file = chart / "templates/_pods.tpl"
    start, end = file.read_text().split('{{- define "parent.podSpec" -}}')[0], "{{- end -}}"
    file.write_text(f'{start}{{{{- define "parent.podSpec" -}}}}\n{pod}\n{end}')
    job = chart / "templates/job.yaml"
    job.write_text(job.read_text().replace('include "parent.podSpec" . | fromYaml', 'include "parent.podSpec" .'))
    assert complaint in refused(chart, {})


def test_java_is_told_what_the_program_itself_would_say(tmp_path):
    trust = "/var/run/batch-retry-proxy/trust"
    run = program("--set", f"ca.directory={tmp_path}", "--set", f"ca.publish={trust}", "ca", "export", "--format", "env")
    [line] = [line for line in run.stdout.splitlines() if line.startswith("export JAVA_TOOL_OPTIONS=")]
    said = line.split("=", 1)[1].strip("'")
    added = said.replace('|127.0.0.1"', '|127.0.0.1|*.svc|*.cluster.local|$(KUBERNETES_SERVICE_HOST)"')
    assert added != said
    spec = pod_spec(only(helm(CHART), "Pod", "-sidecar"))
    assert variables(spec["containers"][0])["JAVA_TOOL_OPTIONS"] == added


def test_variables_follow_the_values():
    values = {
        "sidecar": {"noProxy": [".corp.example", "db", "10.0.0.7", "10.0.0.0/8", "fd00::1"]},
        "settings": {"listen": {"address": "127.0.0.2:4000"}},
    }
    spec = pod_spec(only(helm(CHART, values), "Pod", "-sidecar"))
    assert "--listen=127.0.0.2:4000" in spec["initContainers"][0]["args"], "or the variables lead nowhere"
    own = variables(spec["containers"][0])
    assert own["HTTPS_PROXY"] == own["https_proxy"] == "http://127.0.0.2:4000"
    assert own["NO_PROXY"].endswith(",$(KUBERNETES_SERVICE_HOST),.corp.example,db,10.0.0.7,10.0.0.0/8,fd00::1")
    java = own["JAVA_TOOL_OPTIONS"]
    assert "-Dhttps.proxyHost=127.0.0.2 -Dhttps.proxyPort=4000 " in java
    assert '|$(KUBERNETES_SERVICE_HOST)|*.corp.example|db|*.db|10.0.0.7|10.0.0.0/8|*.10.0.0.0/8|fd00::1" ' in java


# === Monitoring ===


def test_rules_and_dashboard_are_the_project_s_own_untouched():
    documents = helm(CHART, MONITORED)
    rules = (DEPLOY / "prometheus/rules.yaml").read_text()
    assert "{{" in rules
    assert only(documents, "PrometheusRule")["spec"] == yaml.safe_load(rules)
    board = only(documents, "ConfigMap", "-dashboard")
    assert json.loads(board["data"]["batch-retry-proxy.json"]) == json.loads((DEPLOY / "kubernetes/monitoring/dashboard.json").read_text())
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_alerts_lead_to_the_runbook_where_it_can_be_read():
    values = {"monitoring": {"rules": {"enabled": True, "runbookUrl": "https://git.example/fork/"}}}
    groups = only(helm(CHART, values), "PrometheusRule")["spec"]["groups"]
    found = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert found and all(url.startswith("https://git.example/fork/docs/runbook.md#") for url in found), found


def test_monitors_find_the_port_by_its_name_and_give_the_jobs_that_the_rules_know():
    documents = helm(CHART, SHARED | {"monitoring": {kind: {"enabled": True, "labels": {"a": "b"}} for kind in ("podMonitor", "serviceMonitor")}})
    pods, services = only(documents, "PodMonitor"), only(documents, "ServiceMonitor")
    assert pods["spec"]["selector"] == {"matchLabels": {"batch-retry-proxy": "enabled"}}
    service = only(documents, "Service")
    assert services["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    # The shared proxy is scraped once.
    assert "batch-retry-proxy" not in labels(only(documents, "Deployment"))
    for monitor, [endpoint], job in (
        (pods, pods["spec"]["podMetricsEndpoints"], "$1/batch-retry-proxy"),
        (services, services["spec"]["endpoints"], "batch-retry-proxy"),
    ):
        assert monitor["metadata"]["labels"]["a"] == "b"
        assert endpoint["port"] == "brp-metrics" in [port["name"] for port in service["spec"]["ports"]]
        assert [relabeling["replacement"] for relabeling in endpoint["relabelings"] if relabeling.get("targetLabel") == "job"] == [job]
    by_hand = yaml.safe_load((DEPLOY / "kubernetes/monitoring/pod-monitor.yaml").read_text())
    assert by_hand["spec"]["podMetricsEndpoints"] == pods["spec"]["podMetricsEndpoints"]


def test_annotations_are_on_one_thing_for_each_proxy():
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "9464", "prometheus.io/path": "/metrics"}
    documents = helm(CHART, SHARED | {"monitoring": {"annotations": {"enabled": True}}})
    assert only(documents, "Service")["metadata"]["annotations"] == annotations
    assert only(documents, "Deployment")["spec"]["template"]["metadata"]["annotations"].keys() == {"checksum/batch-retry-proxy"}
    assert "annotations" not in only(helm(CHART, SHARED), "Service")["metadata"]


def test_nothing_is_monitored_unless_asked_for():
    assert {document["kind"] for document in helm(CHART)} == {"ConfigMap", "Pod"}
    assert not {document["apiVersion"] for document in helm(CHART, SHARED)} & {"monitoring.coreos.com/v1"}


def test_a_packaged_chart_carries_rules_and_dashboard(tmp_path):
    archive = Chart.load(str(CHART)).save(str(tmp_path))
    with tarfile.open(archive) as files:
        for member, source in (("rules.yaml", "prometheus/rules.yaml"), ("dashboard.json", "kubernetes/monitoring/dashboard.json")):
            assert files.extractfile(f"batch-retry-proxy/files/{member}").read() == (DEPLOY / source).read_bytes()
    assert helm(archive, MONITORED) == helm(CHART, MONITORED)


# === helm test ===


@pytest.mark.parametrize(
    ("values", "tests"),
    [
        ({}, {"settings", "sidecar"}),
        (VALUES["ordinary"], {"settings"}),
        ({"sidecar": {"enabled": False}}, {"settings"}),
        (SHARED, {"settings", "shared"}),
    ],
    ids=["native", "ordinary", "disabled", "shared"],
)
def test_the_notes_promise_of_helm_test_what_its_pods_try(values, tests):
    words = {"settings": "knows the settings", "sidecar": "a pod with the proxy starts and ends", "shared": "reaches the proxy's admin port"}
    [notes] = [text for file, text in Chart.load(str(CHART)).render(values=values, name="demo").items() if file.endswith("NOTES.txt")]
    promise = notes[notes.index("`helm test demo") :]
    pods = [name(document) for document in helm(CHART, values) if document["kind"] == "Pod"]
    assert {pod.rsplit("-", 1)[1] for pod in pods} == {test for test, text in words.items() if text in promise} == tests


def test_its_tests_are_hooks_and_get_no_traffic():
    for values in ({}, SHARED):
        documents = helm(CHART, values)
        pods = [document for document in documents if document["kind"] == "Pod"]
        assert len(pods) == 2
        for pod in pods:
            assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
            for service in [document for document in documents if document["kind"] == "Service"]:
                assert not service["spec"]["selector"].items() <= labels(pod).items()
