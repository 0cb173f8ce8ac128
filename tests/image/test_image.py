"""The image itself: what is in it and what it says of itself."""

import io
import json
import re
import subprocess
import tarfile
import time
import urllib.request

import pytest
from podman import ROOT
from tools import RELEASE

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def config(podman, image):
    [found] = json.loads(podman("image", "inspect", image).stdout)
    return found


@pytest.fixture(scope="module")
def files(podman, image):
    """Every entry of the image's file system."""
    container = podman("create", "--pull=never", image).stdout.strip()
    export = subprocess.run(["podman", "export", container], env=podman.env, check=True, capture_output=True).stdout
    podman("rm", container)
    with tarfile.open(fileobj=io.BytesIO(export)) as archive:
        return {member.name.rstrip("/"): member for member in archive}


@pytest.fixture(scope="module")
def revision():
    """The commit of the sources, marked where they differ from it."""
    run = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=ROOT, capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def test_old_builders_understand_the_dockerfile():
    """Docker's classic builder, and buildah of 2022, which is what builds it here."""
    text = (ROOT / "Dockerfile").read_text()
    instructions = "\n".join(line for line in text.splitlines() if not line.startswith("# ") or "syntax=" in line)
    assert not re.findall(r"# *syntax=|<<|--link|--mount", instructions)


def test_the_image_is_at_most_eight_megabytes(config, files):
    print(f"{config['Size']:,} bytes, the program {files['batch-retry-proxy'].size:,}")
    assert config["Size"] <= 8 * MEGABYTE


def test_nothing_but_the_program_and_the_roots_is_in_the_image(files):
    found = {name for name, member in files.items() if member.isfile() and member.size > 0}
    assert found == {"batch-retry-proxy", "etc/ssl/certs/ca-certificates.crt"}, "no shell, no library, which so it needs none of, no leftover of the build"


def test_the_user_is_a_number_that_is_not_root(config, files):
    assert config["Config"]["User"] == "65532:65532"
    # A fresh named volume takes the owner of the folder that it is mounted over.
    for folder in ("ca", "trust"):
        entry = files[f"var/run/batch-retry-proxy/{folder}"]
        assert (entry.uid, entry.gid) == (65532, 65532)


def test_labels_tell_what_the_image_is_and_from_which_sources(config, revision):
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): text for name, text in config["Labels"].items() if name.startswith(prefix)}
    cargo = (ROOT / "Cargo.toml").read_text()
    assert f'description = "{labels.pop("description")}"' in cargo
    assert f'license = "{labels["licenses"]}"' in cargo
    assert labels == {"title": "batch-retry-proxy", "licenses": "MIT", "version": RELEASE, "revision": revision}, "the place of the sources is not known"


def test_the_program_knows_its_version_and_revision(podman, image, revision):
    assert podman("run", "--rm", "--pull=never", image, "--version").stdout == f"batch-retry-proxy {RELEASE} ({revision})\n"


def test_metrics_tell_version_and_revision(podman, image, revision, proxy):
    text = proxy("serve", "--admin-listen", "0.0.0.0:9464").get("/metrics")
    assert f'batch_retry_proxy_build_info{{revision="{revision}",version="{RELEASE}"}} 1\n' in text


def test_the_health_check_is_true_of_a_running_proxy(podman, config, proxy):
    assert config["Healthcheck"]["Test"] == ["CMD", "/batch-retry-proxy", "healthcheck"]
    # As it comes, as in a pod, and on another port, which the check has to be told by the variable.
    for arguments, variables in [
        ([], {}),
        (["serve", "--admin-listen=0.0.0.0:9464"], {}),
        (["serve"], {"BATCH_RETRY_PROXY__ADMIN__ADDRESS": "127.0.0.1:9999"}),
    ]:
        running = proxy(*arguments, **variables)
        assert podman("healthcheck", "run", running.name).stdout.strip() in ("", "healthy"), arguments


def test_the_health_check_is_false_of_a_proxy_that_serves_nothing(podman, proxy):
    # The program runs, but its admin server is where the check does not look.
    running = proxy("serve", "--admin-listen=127.0.0.1:9999")
    check = podman("healthcheck", "run", running.name, check=False)
    assert check.returncode == 1 and check.stdout.strip() == "unhealthy"


@pytest.fixture
def proxy(podman, image):
    """Starts proxies from the image as it comes, and removes them."""
    started = []

    def start(*arguments, **variables):
        started.append(Running(podman, image, f"proxy-{len(started)}", arguments, variables))
        return started[-1]

    yield start
    for running in started:
        podman("rm", "--force", "--time", "0", running.name)


class Running:
    def __init__(self, podman, image, name, arguments, variables):
        self.podman, self.name = podman, name
        env = [f"--env={key}={value}" for key, value in variables.items()]
        podman("run", "--detach", "--pull=never", "--name", name, *env, image, *arguments)
        while '"listening"' not in (text := podman.logs(name)):
            assert podman.inspect(name, "{{.State.Running}}") == "true", text
            time.sleep(0.05)

    def get(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.podman.address(self.name)}:9464{path}", timeout=5) as answer:
            return answer.read().decode()
