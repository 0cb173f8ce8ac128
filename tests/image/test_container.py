"""The image as a container by itself, confined, between a real client and a simulated account."""

import pytest
from sidecar import SDK

import bases

CONFINED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges", "--memory=32m", "--memory-swap=32m"]
SDK_CLIENT = "/sdk/workload_15.py"


@pytest.fixture
def volumes(podman):
    """Fresh named volumes, as docker and podman make them."""
    names = ["test-trust", "test-config"]
    podman("volume", "rm", "--force", *names)
    yield names
    podman("volume", "rm", "--force", *names)


def test_a_confined_proxy_of_32_mib_replays_for_a_client_in_another_container(podman, image, simulate, volumes, tmp_path):
    account = simulate("mixed")
    (tmp_path / "simulated-ca.pem").write_text(account.ca)
    (tmp_path / "proxy.toml").write_text(account.settings)
    tmp_path.chmod(0o755)
    trust = "/var/run/batch-retry-proxy/trust"
    listen = ["--listen=0.0.0.0:3128", "--set=listen.allow=['10.0.0.0/8']", f"--publish={trust}", "--config=/etc/batch-retry-proxy/proxy.toml"]
    proxy = "confined"
    podman("rm", "--force", "--ignore", proxy)
    mounts = [f"--volume=test-trust:{trust}", f"--volume={tmp_path}:/etc/batch-retry-proxy:ro"]
    podman("run", "--detach", "--pull=never", "--name", proxy, *CONFINED, *mounts, image, "serve", *listen)
    podman("exec", proxy, "/batch-retry-proxy", "wait")

    address = f"http://{podman.address(proxy)}:3128"
    variables = {**account.variables, "HTTPS_PROXY": address, "REQUESTS_CA_BUNDLE": f"{trust}/bundle.pem", "NO_PROXY": "127.0.0.1"}
    env = [f"--env={name}={value}" for name, value in variables.items()]
    client = ["--rm", "--pull=never", *env, f"--volume=test-trust:{trust}:ro", f"--volume={SDK}:/sdk:ro", bases.PYTHON]
    podman("run", *client, "python", SDK_CLIENT, timeout=300)

    metrics = podman("run", "--rm", "--pull=never", f"--network=container:{proxy}", bases.PYTHON, "python", "-c", METRICS).stdout
    assert sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("batch_retry_proxy_retries_total{")) > 0
    assert podman.inspect(proxy, "{{.State.OOMKilled}} {{.State.Running}}") == "false true"
    podman("rm", "--force", "--time", "10", proxy)
    assert "faults dealt      none" not in account.end()


METRICS = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
