"""The examples: each renders as it stands, keeps to the rules, and its commands do their work against the simulated account."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
from proxy import BINARY, TRUST, ended, running, until
from tools import DEPLOY, breaches, containers, job_pod, kustomize, name, validate

EXAMPLES = DEPLOY / "kubernetes/examples"
NAMES = ("cronjob", "nextflow", "python-job")
EACH = pytest.mark.parametrize("example", NAMES)


def test_these_are_the_examples():
    assert sorted(folder.name for folder in EXAMPLES.iterdir()) == sorted(NAMES)


def test_no_example_deletes_what_another_uses():
    made = [name(document) for example in NAMES for document in kustomize(EXAMPLES / example)]
    assert len(made) == len(set(made)), sorted(made)


@EACH
def test_an_example_is_valid_as_it_stands(example):
    for document in kustomize(EXAMPLES / example):
        validate(document)


@EACH
def test_an_example_stays_within_pod_security_restricted(example):
    spec = job_pod(kustomize(EXAMPLES / example))
    assert breaches(spec) == []
    assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in containers(spec))


@EACH
def test_an_example_has_what_it_mounts_and_reads_or_says_how_to_make_it(example):
    documents = kustomize(EXAMPLES / example)
    made = {name(document) for document in documents}
    spec = job_pod(documents)
    mounts = {mount["name"] for container in containers(spec) for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}
    wanted = {f"ConfigMap/{volume['configMap']['name']}" for volume in spec["volumes"] if "configMap" in volume}
    sources = [variable.get("valueFrom", {}) for container in containers(spec) for variable in container.get("env", [])]
    wanted |= {f"ConfigMap/{source['configMapKeyRef']['name']}" for source in sources if "configMapKeyRef" in source}
    assert wanted <= made
    guide = (EXAMPLES / example / "kustomization.yaml").read_text()
    for source in sources:
        if secret := source.get("secretKeyRef"):
            line = next(line for line in guide.splitlines() if f"kubectl create secret generic {secret['name']} " in line)
            assert f"--from-literal={secret['key']}=" in line


@pytest.mark.parametrize("example", ["cronjob", "python-job"])
def test_the_sdk_is_of_the_version_that_the_tests_run(example):
    [wanted] = (EXAMPLES / example / "requirements.txt").read_text().split()
    assert wanted in (DEPLOY.parent / "tests/deploy/requirements.txt").read_text().split()


def test_a_bad_day_of_the_account_does_not_reach_the_python_examples(tmp_path):
    with account(tmp_path) as simulated:
        with pod("python-job", tmp_path, simulated) as run:
            printed = run("submit", BATCH_POOL="pool", BATCH_JOB="job-1", BATCH_TASKS="150")
            assert "150 of 150 done, 0 failed" in printed
        with pod("cronjob", tmp_path, simulated) as run:
            assert run("clean", DRY_RUN="0") == "0 deleted, 0 failed\n", "it is younger than 30 days"
            assert "would be deleted\n0 deleted" in run("clean", KEEP_DAYS="0")
            assert "job-1: deleted\n1 deleted, 0 failed" in run("clean", KEEP_DAYS="0", DRY_RUN="0")
    summary = simulated["summary"]()
    assert "tasks made        150, of these more than once 0" in summary
    assert "faults dealt      none" not in summary, "nothing was tried"


@pytest.mark.skipif(not shutil.which("java"), reason="no Java")
def test_java_learns_of_the_proxy_although_the_launcher_of_nextflow_drops_its_variable(tmp_path):
    # As that launcher does, then what it would start.
    launcher = tmp_path / "nextflow"
    launcher.write_text("#!/bin/bash\nunset JAVA_TOOL_OPTIONS\nexec java -XshowSettings:properties -version\n")
    launcher.chmod(0o755)
    spec = job_pod(kustomize(EXAMPLES / "nextflow"))
    [head] = [container for container in spec["containers"] if container["name"] == "nextflow"]
    environment = {variable["name"]: variable["value"] for variable in head["env"] if "value" in variable}
    environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    printed = subprocess.run(head["command"], env=environment, capture_output=True, text=True, check=True).stderr
    assert "https.proxyHost = 127.0.0.1\n" in printed and "https.proxyPort = 3128\n" in printed
    assert f"javax.net.ssl.trustStore = {TRUST}/truststore.p12\n" in printed


@contextmanager
def account(folder):
    """A simulated account on a bad day: how it is reached, and what happened once it has ended."""
    output, certificate = folder / "account.txt", folder / "account.pem"
    command = [BINARY, "simulate", "--listen=127.0.0.1:0", "--scenario=mixed", f"--ca-out={certificate}"]
    with output.open("w") as file, ended(subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)):
        until(lambda: "Control-C ends it" in output.read_text())
        first, *lines = output.read_text().splitlines()
        said = dict(line.split(maxsplit=1) for line in lines[:3])
        address = re.search(r" on (\S+), ", first)[1]
        host = said["endpoint"].removeprefix("https://")
        reach = [f"--set=upstream.resolve={{{json.dumps(host + ':443')}={json.dumps(address)}}}"]
        reach += [f"--set=upstream.ca_files={json.dumps([str(certificate)])}"]
        variables = {f"BATCH_{key.upper()}": value for key, value in said.items()}
        yield {"reach": reach, "variables": variables, "summary": output.read_text}


@contextmanager
def pod(example, folder, simulated):
    """The example's pod on this machine: its proxy, and a function that runs one of its containers' commands and gives what was printed."""
    documents = kustomize(EXAMPLES / example)
    spec = job_pod(documents)
    maps = {document["metadata"]["name"]: document["data"] for document in documents if document["kind"] == "ConfigMap"}
    volumes = {volume["name"]: maps.get(volume.get("configMap", {}).get("name"), {}) for volume in spec["volumes"]}
    [sidecar] = [container for container in spec["initContainers"] if container["name"] == "batch-retry-proxy"]
    folder = folder / example
    folder.mkdir()
    with running(sidecar, folder, *simulated["reach"], settings=volumes["batch-retry-proxy-config"]["batch-retry-proxy.toml"]) as proxy:

        def run(wanted, **changed):
            [container] = [container for container in spec["containers"] if container["name"] == wanted]
            for mount in container["volumeMounts"]:
                for file, text in volumes[mount["name"]].items():
                    place = folder / mount["mountPath"].strip("/") / file
                    place.parent.mkdir(exist_ok=True)
                    place.write_text(text)
            environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
            environment |= simulated["variables"] | changed
            # The same file in another folder, the same proxy on another port, and the SDK of the tests.
            environment = {key: value.replace(TRUST, str(folder / "trust")) for key, value in environment.items() if key != "PYTHONPATH"}
            environment["HTTPS_PROXY"] = environment["https_proxy"] = proxy["HTTPS_PROXY"]
            python, script = container["command"]
            assert python == "python"
            done = subprocess.run([sys.executable, folder / script.strip("/")], env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        yield run
