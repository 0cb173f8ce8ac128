"""Podman with all of its state under target/image, so that a user's own images and settings are neither read nor changed."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / "target" / "image"

# Where the hard limits of a container's processes may not be raised (no CAP_SYS_RESOURCE), lower ones still can be set. Cgroups by hand and events
# in a file, as there may be no systemd; runc, as crun refuses a machine that mounts both versions of cgroups. Locks and temporary files apart from
# those of the machine's own podman.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
image_copy_tmp_dir = "{state}/tmp"
lock_type = "file"
tmp_dir = "{state}/run/libpod"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{state}/storage"
runroot = "{state}/run"
"""


class Unavailable(Exception):
    """Containers cannot be run here, and why."""


class Podman:
    """Runs podman's commands."""

    def __init__(self):
        if os.geteuid() != 0:
            raise Unavailable("it needs root, to make base images and mount volumes")
        for program, package in [("podman", "podman"), ("runc", "runc"), ("debootstrap", "debootstrap"), ("iptables", "iptables")]:
            if not shutil.which(program):
                raise Unavailable(f"there is no {program}; install the package {package}")
        for folder in ("tmp", "run", "storage"):
            (STATE / folder).mkdir(parents=True, exist_ok=True)
        containers, storage = STATE / "containers.conf", STATE / "storage.conf"
        containers.write_text(CONTAINERS.format(state=STATE))
        storage.write_text(STORAGE.format(state=STATE))
        self.env = {**os.environ, "CONTAINERS_CONF": str(containers), "CONTAINERS_STORAGE_CONF": str(storage), "TMPDIR": str(STATE / "tmp")}

    def __call__(self, *arguments, check=True, timeout=120, **more):
        """Runs one command and returns it with its output, as text."""
        run = subprocess.run(["podman", *map(str, arguments)], env=self.env, capture_output=True, text=True, timeout=timeout, **more)
        assert not check or run.returncode == 0, f"podman {' '.join(map(str, arguments))}: {run.returncode}\n{run.stdout}{run.stderr}"
        return run

    def inspect(self, name, template):
        """What podman knows of a container, an image or a pod."""
        return self("inspect", "--format", template, name).stdout.strip()

    def address(self, name):
        """A container's address on the bridge."""
        return self.inspect(name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")

    def logs(self, name):
        """What a container wrote, on both channels."""
        run = self("logs", name)
        return run.stdout + run.stderr
