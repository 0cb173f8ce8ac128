"""Runs the proxy as its container in a rendered pod would, on this machine."""

import os
import shlex
import signal
import subprocess
import time
from contextlib import contextmanager

BINARY = os.environ["BATCH_RELEASE_BINARY"]
RUN = "/var/run/batch-retry-proxy"
TRUST = f"{RUN}/trust"


@contextmanager
def running(container, folder, *more, settings=""):
    """The proxy with the container's arguments, its directories in `folder`, on free ports; gives what `proxy.env` sets."""
    (folder / "settings.toml").write_text(settings)
    for volume in ("ca", "trust"):
        # As an emptyDir comes: open to all.
        (folder / volume).mkdir(exist_ok=True)
        (folder / volume).chmod(0o777)
    printed = folder / "trust/proxy.env"
    printed.unlink(missing_ok=True)
    arguments = [argument.replace(RUN, str(folder)).replace(":9464", ":0").replace(":3128", ":0") for argument in container["args"]]
    command = [BINARY, *arguments, "--log-level=error", *more]
    environment = {**os.environ, "BATCH_RETRY_PROXY_CONFIG": str(folder / "settings.toml")}
    with ended(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)) as process:
        until(lambda: printed.exists() or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        yield exports(printed.read_text())


@contextmanager
def ended(process):
    """Ends the process as Kubernetes does."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        # Longer than shutdown.delay of the ordinary sidecar.
        process.wait(20)


def exports(text):
    """The variables that these lines for a shell set."""
    return dict(word.split("=", 1) for line in text.splitlines() for word in shlex.split(line, comments=True) if "=" in word)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
