"""A sidecar that crashes comes back at once, and the programs of the pod go on trusting it."""

import json
import os
import time
from datetime import datetime
from pathlib import Path

from sidecar import PROXY, answers, started, until


def test_a_killed_sidecar_is_back_within_a_second_with_the_same_authority(kubelet, simulate):
    running = started(kubelet, simulate("calm"), ["/scripts/ask.py", "1000", "0.05"])
    trust = running.volumes["batch-retry-proxy-trust"]
    before = (trust / "ca.pem").read_text()
    until(lambda: good(running) >= 1)

    running.podman("kill", "--signal", "KILL", running.id(PROXY))
    assert running.wait(PROXY) == 137
    asked = good(running)
    # A new container on the old volumes, as kubelet makes it.
    running.podman("rm", running.id(PROXY))
    [sidecar] = [container for container in running.spec["initContainers"] if container["name"] == PROXY]
    began = time.monotonic()
    running.run(sidecar)
    running.probe(sidecar)
    with_podman = time.monotonic() - began

    # From the start of the process to the line with which it says that it is ready; what podman takes to start a container is not the proxy's.
    [listening] = [line for line in map(json.loads, running.logs(PROXY).splitlines()) if line["message"] == "listening"]
    ready = datetime.fromisoformat(listening["timestamp"].replace("Z", "+00:00")).timestamp()
    took = ready - start_of(int(running.podman.inspect(running.id(PROXY), "{{.State.Pid}}")))
    print(f"ready {took * 1000:.0f} ms after the start of the process, {with_podman:.2f} s after the order to podman")
    assert took < 1

    assert (trust / "ca.pem").read_text() == before
    # The client has read the bundle once, before the crash.
    until(lambda: good(running) >= asked + 3)
    assert not [answer["error"] for answer in answers(running) if "CERTIFICATE" in str(answer["error"])]


def start_of(process):
    """When a process was started, by the wall clock. The kernel counts ticks of 10 ms since the machine was."""
    ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def good(running):
    """How many good answers the client has had."""
    return sum(answer["status"] == 200 for answer in answers(running))
