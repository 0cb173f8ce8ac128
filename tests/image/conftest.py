"""The image under test, and podman to run it with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Rendering is shared with the tests of the manifests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deploy"))

import bases
from kubelet import Kubelet
from podman import ROOT, STATE, Podman, Unavailable
from simulator import Simulator
from tools import RELEASE


@pytest.fixture(scope="session")
def podman():
    """Podman, and the images that others are built upon."""
    try:
        podman = Podman()
        bases.make(podman)
    except Unavailable as reason:
        if os.environ.get("BATCH_IMAGE_TESTS") == "optional":
            pytest.skip(f"containers cannot be run here: {reason}")
        # Not skipped: whoever asks for these tests wants to know.
        pytest.exit(f"test-image: {reason}", returncode=3)
    clear(podman)
    return podman


def clear(podman):
    """Removes what an interrupted run has left."""
    podman("pod", "rm", "--all", "--force", "--time", "0")
    podman("rm", "--all", "--force", "--time", "0")
    for folder in STATE.glob("pods/*/*"):
        if folder.is_mount():
            subprocess.run(["umount", folder], check=True)
    shutil.rmtree(STATE / "pods", ignore_errors=True)


@pytest.fixture(scope="session")
def image(podman):
    """The project's image, built as a user would; or one in the store, for work on the tests."""
    if ready := os.environ.get("BATCH_TEST_IMAGE"):
        return ready
    name = f"batch-retry-proxy:{RELEASE}"
    flags = "--pull=never --network=host"
    command = ["make", "image", "IMAGE_BUILDER=podman", f"IMAGE={name}", f"IMAGE_FLAGS={flags}"]
    with open(STATE / "build.log", "w+") as log:
        built = subprocess.run(command, cwd=ROOT, env=podman.env, stdout=log, stderr=subprocess.STDOUT)
        log.seek(0)
        assert built.returncode == 0, f"{' '.join(command)}\n{log.read()[-4000:]}"
    # Each build leaves its stages behind, of which only the last ones are of use.
    podman("image", "prune", "--force", "--filter", "until=48h")
    return f"localhost/{name}"


@pytest.fixture
def kubelet(podman, image):
    """Makes pods of rendered manifests, and removes them."""
    kubelet = Kubelet(podman, {f"batch-retry-proxy:{RELEASE}": image, bases.PYTHON: bases.PYTHON})
    yield kubelet
    kubelet.clean()


@pytest.fixture
def simulate(podman, image):
    """Starts simulated accounts, and stops them."""
    simulators = []

    def start(scenario):
        simulators.append(Simulator(podman, image, str(len(simulators)), scenario))
        return simulators[-1]

    yield start
    for simulator in simulators:
        simulator.end()
