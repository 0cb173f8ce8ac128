"""One proxy for many pods: the plain manifests against the chart's, and the proxy run as they say."""

import contextlib
import copy
import http.client
import http.server
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import urllib.request

import pytest
import yaml
from helm_python import Chart

from proxy import BINARY
from test_chart import CHART, OTHER, SHARED, VALUES, labels, only, variables
from tools import DEPLOY, RELEASE, ROOT, breaches, containers, helm, kustomize, name, pod_spec, validate

BASE = DEPLOY / "kubernetes/shared"
HOST = "account.region.batch.azure.com"
DOCUMENT = (ROOT / "docs/kubernetes-shared.md").read_text()


# === Manifests ===


def compared(document):
    """Without what only a release has, and the networks, which every user has to name."""
    document = copy.deepcopy(document)
    for metadata in (document["metadata"], document["spec"].get("template", {}).get("metadata", {}) if "spec" in document else {}):
        metadata.pop("labels", None)
        metadata.pop("annotations", None)
    text = re.sub(r'"app.kubernetes.io/instance": "batch-retry-proxy"(, )?', "", json.dumps(document, sort_keys=True))
    document = json.loads(text.replace('["10.0.0.0/8"]', "[]").replace(r"[\"10.0.0.0/8\"]", "[]"))
    return document | {"data": None} if document["kind"] == "ConfigMap" else document


def test_the_plain_manifests_are_what_the_chart_renders(tmp_path):
    rendered = helm(CHART, SHARED, name="batch-retry-proxy")
    chart = {name(document): compared(document) for document in rendered if document["kind"] != "Pod"}
    plain = {}
    for document in kustomize(BASE):
        validate(document)
        text = re.sub(r"batch-retry-proxy-[a-z0-9]{10}\b", "batch-retry-proxy", yaml.safe_dump(document))
        document = yaml.safe_load(text)
        plain[name(document)] = compared(document)
    assert len(plain) == 6
    assert plain == chart


def test_one_proxy_at_a_time_with_no_more_rights_than_it_needs():
    for values in (SHARED, VALUES["shared with all there is"]):
        documents = helm(CHART, values)
        deployment = only(documents, "Deployment")
        assert deployment["spec"]["replicas"] == 1 and deployment["spec"]["strategy"] == {"type": "Recreate"}
        for document in documents:
            if document["kind"] in ("Deployment", "Pod"):
                spec = pod_spec(document)
                assert not breaches(spec)
                assert spec["automountServiceAccountToken"] is False
        assert only(documents, "ServiceAccount")["automountServiceAccountToken"] is False
        spec = pod_spec(deployment)
        assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in containers(spec))


def test_only_labelled_clients_and_monitoring_get_in():
    def sources(values):
        policy = only(helm(CHART, values, namespace="batch"), "NetworkPolicy")
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        return [([port["port"] for port in rule["ports"]], rule["from"]) for rule in policy["spec"]["ingress"]]

    def namespaces(*names):
        return {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(names)}]}

    clients = {"podSelector": {"matchLabels": {"batch-retry-proxy-client": "enabled"}}}
    monitoring = ([9464], [{"namespaceSelector": namespaces("monitoring")}])
    assert sources(SHARED) == [([3128, 9464], [clients]), monitoring]
    for policy, want in (
        ({"clientNamespaces": ["a", "b"]}, [([3128, 9464], [clients | {"namespaceSelector": namespaces("batch", "a", "b")}]), monitoring]),
        ({"clientNamespaces": ["*"]}, [([3128, 9464], [clients | {"namespaceSelector": {}}]), monitoring]),
        ({"monitoringNamespaces": []}, [([3128, 9464], [clients])]),
    ):
        assert sources({"shared": SHARED["shared"] | {"networkPolicy": policy}}) == want, policy
    documents = helm(CHART, SHARED)
    selected = only(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= labels(only(documents, "Deployment")).items()
    assert only(documents, "Service")["spec"]["selector"] == selected
    assert labels(only(documents, "Pod", "-shared"))["batch-retry-proxy-client"] == "enabled"


def test_the_authority_outlives_pod_and_release():
    claim = only(helm(CHART, SHARED), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for ca, volume in (
        ({}, {"persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}),
        ({"claim": {"existing": "mine"}}, {"persistentVolumeClaim": {"claimName": "mine"}}),
        ({"from": "secret", "secret": {"name": "s"}}, {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
        ({"from": "memory"}, {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
    ):
        documents = helm(CHART, {"shared": SHARED["shared"] | {"ca": ca}})
        assert pod_spec(only(documents, "Deployment"))["volumes"][0] == {"name": "batch-retry-proxy-ca", **volume}
        assert any(document["kind"] == "PersistentVolumeClaim" for document in documents) == (not ca)


def test_settings_of_one_s_own_win_over_the_shared_mode_s_defaults():
    def environment(values):
        return variables(pod_spec(only(helm(CHART, values), "Deployment"))["containers"][0])

    fixed = {"BATCH_RETRY_PROXY_CONFIG": "/etc/batch-retry-proxy/batch-retry-proxy.toml", "BATCH_RETRY_PROXY__LISTEN__ALLOW": '["10.0.0.0/8"]'}
    defaults = {"BATCH_RETRY_PROXY__CA__LIFETIME": "3650d", "BATCH_RETRY_PROXY__FORWARD__ALLOW": '["none.invalid"]'}
    assert environment(SHARED) == fixed | defaults
    assert environment(SHARED | {"settings": {"ca": {"lifetime": "30d"}, "forward": {"allow": []}}}) == fixed


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    assert found
    return found


def test_what_the_page_shows_for_clients_is_valid_and_goes_to_the_service():
    pods = [document for block in blocks("yaml") for document in yaml.safe_load_all(block) if document.get("kind") == "Pod"]
    assert len(pods) == 2
    for pod in pods:
        validate(pod)
        assert labels(pod)["batch-retry-proxy-client"] == "enabled"
    client = pods[0]["spec"]["containers"][0]
    [mount] = client["volumeMounts"]
    moved = {
        key: value.replace("/var/run/batch-retry-proxy/trust", mount["mountPath"])
        .replace("http://127.0.0.1:3128", "http://batch-retry-proxy.batch.svc:3128")
        .replace("proxyHost=127.0.0.1", "proxyHost=batch-retry-proxy.batch.svc")
        for key, value in variables(OTHER).items()
    }
    assert variables(client) == moved


def test_what_the_page_s_init_container_fetches_is_the_proxy_s_own(tmp_path):
    [pod] = [document for block in blocks("yaml") for document in yaml.safe_load_all(block) if "initContainers" in document.get("spec", {})]
    arguments = pod["spec"]["initContainers"][0]["args"]
    with Pod(shared(), tmp_path) as proxy:
        for there, here in (("$(BATCH_RETRY_PROXY_SERVICE_HOST):9464", f"{ALLOWED}:{proxy.admin}"), ("/trust/", f"{tmp_path}/")):
            assert there in " ".join(arguments)
            arguments = [argument.replace(there, here) for argument in arguments]
        assert subprocess.run([BINARY, *arguments], env={}).returncode == 0
        assert proxy.greet((tmp_path / "bundle.pem").read_bytes()) == (("DNS", HOST),)


def test_the_project_s_service_monitor_finds_the_shared_proxy():
    monitor = yaml.safe_load((DEPLOY / "kubernetes/monitoring/service-monitor.yaml").read_text())
    for documents in (kustomize(BASE), helm(CHART, SHARED)):
        service = only(documents, "Service")
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_the_notes_say_the_same_as_the_page():
    rendered = Chart.load(str(CHART)).render(values=SHARED, name="batch-retry-proxy", namespace="batch")
    [notes] = [text for file, text in rendered.items() if file.endswith("NOTES.txt")]
    lines = re.findall(r"^ +- (\{name: \S+, value: .*\})$", notes, re.MULTILINE)
    page = [block for block in blocks("yaml") if "kind: Pod" in block][0]
    assert lines == re.findall(r"^ +- (\{name: \S+, value: .*\})$", page, re.MULTILINE)
    assert len(lines) == 8
    configmap = "create configmap batch-retry-proxy-trust --from-file=ca.pem --from-file=bundle.pem --from-file=truststore.p12"
    for command in ("ca export --format", configmap):
        assert command in notes and command in DOCUMENT


def test_the_page_s_kustomization_lets_the_named_networks_in(tmp_path):
    [patch] = [document for block in blocks("yaml") for document in yaml.safe_load_all(block) if document.get("kind") == "Kustomization"]
    assert patch.pop("resources") == ["../batch-retry-proxy/deploy/kubernetes/shared"]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(patch | {"resources": [os.path.relpath(BASE, tmp_path)]}))
    documents = kustomize(tmp_path)
    [container] = pod_spec(only(documents, "Deployment"))["containers"]
    assert {"name": "BATCH_RETRY_PROXY__LISTEN__ALLOW", "value": '["10.244.0.0/16"]'} in container["env"]
    assert container["image"] == f"registry.example/batch-retry-proxy:{RELEASE}"
    assert {document["metadata"]["namespace"] for document in documents} == {"batch"}


# === Run as the Deployment says ===


def own_address():
    """An address of this machine that is not loopback, where there is one; nothing is sent."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.2"


ALLOWED = own_address()


class Pod:
    """The proxy of a Deployment as a process: its folders are in `folder`, its ports free ones."""

    def __init__(self, documents, folder):
        [container] = pod_spec(only(documents, "Deployment"))["containers"]
        places = {"/var/lib/batch-retry-proxy": folder / "volume", "/etc/batch-retry-proxy": folder / "config"}
        (folder / "config").mkdir(exist_ok=True)
        config = [document for document in documents if document["kind"] == "ConfigMap" and "batch-retry-proxy.toml" in document["data"]]
        (folder / "config/batch-retry-proxy.toml").write_text(config[0]["data"]["batch-retry-proxy.toml"])

        def here(text):
            for there, place in places.items():
                text = text.replace(there, str(place))
            return re.sub(r":(3128|9464)$", ":0", text)

        self.environment = {key: here(value) for key, value in variables(container).items()} | {"PATH": os.environ["PATH"]}
        self.environment["BATCH_RETRY_PROXY__LOG__FORMAT"] = "json"
        self.arguments = [here(argument) for argument in container["args"]]

    def __enter__(self):
        self.process = subprocess.Popen([BINARY, *self.arguments], env=self.environment, stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("message") == "listening":
                self.proxy, self.admin = (int(event[port].rsplit(":", 1)[1]) for port in ("proxy", "admin"))
                return self
        raise AssertionError("".join(self.log))

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(10) == 0

    def command(self, *arguments):
        """As `kubectl exec` runs it: with the container's variables, not its arguments. The port is the only thing to tell."""
        line = [BINARY, *arguments, "--set", f"admin.address=127.0.0.1:{self.admin}"]
        run = subprocess.run(line, env=self.environment, capture_output=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def ask(self, request, client=ALLOWED):
        """The connection, and the head of the answer."""
        server = ALLOWED if client == ALLOWED else "127.0.0.1"
        connection = socket.create_connection((server, self.proxy), timeout=20, source_address=(client, 0))
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = connection.recv(4096)
            if not more:
                break
            answer += more
        return connection, answer.decode()

    def tunnel(self, client, authority=f"{HOST}:443"):
        connection, answer = self.ask(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n", client)
        return connection, int(answer.split()[1]), answer

    def fetch(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{ALLOWED}:{self.admin}{path}", timeout=20) as answer:
            return answer.read()

    def greet(self, bundle):
        """A handshake with the account's stand-in, trusting these certificates alone."""
        connection, status, _ = self.tunnel(ALLOWED)
        assert status == 200
        context = ssl.create_default_context(cadata=bundle.decode())
        with connection, context.wrap_socket(connection, server_hostname=HOST) as tls:
            return tls.getpeercert()["subjectAltName"]


def shared(**more):
    return helm(CHART, {"shared": {"enabled": True, "allow": [f"{ALLOWED}/32"]} | more})


@pytest.fixture
def pod(tmp_path):
    with Pod(shared(), tmp_path) as pod:
        yield pod


def test_clients_of_the_named_networks_are_served_and_others_refused(pod):
    connection, status, _ = pod.tunnel(ALLOWED)
    connection.close()
    assert status == 200
    connection, status, _ = pod.tunnel("127.0.0.3")
    connection.close()
    assert status == 403


def test_plain_manifests_do_not_start_until_networks_are_named(tmp_path):
    with pytest.raises(AssertionError, match="`listen.allow` or `listen.credentials` must say"), Pod(kustomize(BASE), tmp_path):
        pass


def test_a_request_goes_through_to_the_account(tmp_path):
    simulator = subprocess.Popen(
        [BINARY, "simulate", "--scenario", "calm", "--listen", "127.0.0.1:0", "--ca-out", tmp_path / "account.pem"], stdout=subprocess.PIPE, text=True
    )
    try:
        account = re.search(r" on (127\.0\.0\.1:\d+),", simulator.stdout.readline())[1]
        host = "demo.simulated.batch.azure.com"
        upstream = {"resolve": {f"{host}:443": account}, "ca_files": [str(tmp_path / "account.pem")]}
        values = {"settings": {"upstream": upstream}, "shared": {"enabled": True, "allow": [f"{ALLOWED}/32"]}}
        with Pod(helm(CHART, values), tmp_path) as pod:
            context = ssl.create_default_context(cadata=pod.fetch("/ca.pem").decode())
            client = http.client.HTTPSConnection(ALLOWED, pod.proxy, context=context, timeout=20)
            client.set_tunnel(host, 443)
            client.request("GET", "/jobs?api-version=2024-07-01.20.0", headers={"Authorization": "Bearer x"})
            answer = client.getresponse()
            assert answer.status == 200 and "fate=first_try" in answer.headers["Proxy-Status"]
            client.close()
    finally:
        simulator.terminate()
        simulator.wait(10)


def test_tunnels_lead_to_port_443_only_and_plain_http_nowhere(pod):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as near:
        threading.Thread(target=near.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{near.server_port}"
        for request in (f"CONNECT {target} HTTP/1.1", f"GET http://{target}/metadata/identity/oauth2/token HTTP/1.1"):
            connection, answer = pod.ask(f"{request}\r\nHost: {target}\r\n\r\n")
            connection.close()
            assert answer.split()[1] == "403", answer
        near.shutdown()


def test_clients_trust_the_proxy_by_what_is_exported_once_and_after_it_is_made_anew(tmp_path):
    with Pod(shared(), tmp_path) as pod:
        exported = {form: pod.command("ca", "export", "--format", form) for form in ("pem", "bundle", "p12")}
        assert exported["pem"] == pod.fetch("/ca.pem") and exported["bundle"] == pod.fetch("/bundle.pem")
        assert exported["p12"][:1] == b"\x30" and sum(map(len, exported.values())) < 1 << 20, "it fits into a ConfigMap"
        assert pod.greet(exported["pem"]) == (("DNS", HOST),)
    assert (tmp_path / "volume/ca/ca-key.pem").stat().st_mode & 0o777 == 0o600
    with Pod(shared(), tmp_path) as pod:
        assert pod.greet(exported["pem"]) == pod.greet(exported["bundle"]) == (("DNS", HOST),)


def test_a_key_from_a_secret_is_copied_as_the_proxy_wants_it(tmp_path):
    documents = shared(ca={"from": "secret", "secret": {"name": "ca"}})
    spec = pod_spec(only(documents, "Deployment"))
    [copying] = spec["initContainers"]
    assert spec["volumes"][1]["secret"]["defaultMode"] == 0o440
    # What the page says about making it.
    secret = tmp_path / "secret"
    made = subprocess.run([BINARY, "--set", f"ca.directory={secret}", "--set", "ca.lifetime=3650d", "ca", "show"], capture_output=True)
    assert made.returncode == 0, made.stderr
    for key in spec["volumes"][1]["secret"]["items"]:
        (secret / key["key"]).chmod(0o440)
    command = [
        word.replace("/var/lib/batch-retry-proxy", str(tmp_path / "volume")).replace("/var/run/batch-retry-proxy/secret", str(secret))
        for word in copying["command"]
    ]
    for _ in range(2):  # Init containers may run again.
        assert subprocess.run(command).returncode == 0
    with Pod(documents, tmp_path) as pod:
        assert pod.fetch("/ca.pem") == (secret / "ca.pem").read_bytes()


def test_helm_test_asks_the_service_and_says_why_not(pod):
    [container] = pod_spec(only(helm(CHART, SHARED), "Pod", "-shared"))["containers"]

    def run(arguments):
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, env={})

    address = "$(DEMO_BATCH_RETRY_PROXY_SERVICE_HOST):9464"
    assert address in container["args"][-1]
    assert run([argument.replace(address, f"{ALLOWED}:{pod.admin}") for argument in container["args"]]).returncode == 0
    nobody = run([argument.replace(address, f"{ALLOWED}:1").replace("60s", "100ms") for argument in container["args"]])
    assert nobody.returncode == 69 and f"{ALLOWED}:1" in nobody.stderr
    nowhere = run(container["args"])
    assert nowhere.returncode == 78 and "SERVICE_HOST" in nowhere.stderr
