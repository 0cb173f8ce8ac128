"""A simulated Batch account in a container of its own, outside of the pods."""

import re

from podman import STATE


class Simulator:
    """Runs `simulate` from the image under test."""

    def __init__(self, podman, image, name, scenario):
        self.podman, self.name, self.summary = podman, f"simulator-{name}", None
        self.folder = STATE / "simulators" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o777)
        if "\n" in scenario:
            (self.folder / "scenario.toml").write_text(scenario)
            scenario = "/work/scenario.toml"
        podman("rm", "--force", "--ignore", self.name)
        command = ["simulate", "--listen", "0.0.0.0:8443", "--scenario", scenario, "--ca-out", "/work/ca.pem"]
        podman("run", "--detach", "--pull=never", "--name", self.name, "--volume", f"{self.folder}:/work", image, *command)
        self.address = f"{podman.address(self.name)}:8443"
        while "Control-C ends it." not in (text := podman.logs(self.name)):
            assert podman.inspect(self.name, "{{.State.Running}}") == "true", text
        self.host, self.account, self.key = (re.search(pattern, text)[1] for pattern in PATTERNS)
        self.ca = (self.folder / "ca.pem").read_text()

    @property
    def settings(self):
        """The proxy's settings with which it reaches the account."""
        return f'[upstream]\nca_files = ["{CA}"]\nresolve = {{ "{self.host}:443" = "{self.address}" }}\n'

    @property
    def variables(self):
        """What the workloads of tests/sdk want to know."""
        return {"BATCH_ENDPOINT": f"https://{self.host}", "BATCH_ACCOUNT": self.account, "BATCH_KEY": self.key}

    def end(self):
        """Stops it and returns its summary."""
        if self.summary is None:
            self.podman("stop", "--time", "10", self.name)
            self.summary = self.podman.logs(self.name)
            self.podman("rm", "--force", self.name)
        return self.summary


# Beside the proxy's own settings in the ConfigMap.
CA = "/etc/batch-retry-proxy/simulated-ca.pem"
PATTERNS = [rf"(?m)^\s+{word}\s+(?:https://)?(\S+)$" for word in ("endpoint", "account", "key")]
