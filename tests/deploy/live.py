"""A bad day on this machine: a simulated account, the proxy before it, programs that use it in every way, and a Prometheus that watches."""

import contextlib
import http.client
import http.server
import json
import re
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import yaml
from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError

from proxy import BINARY
from tools import DEPLOY

# What goes wrong: something of each kind, and some requests always. `every` leaves nothing to chance.
SCENARIO = """
name = "live"
description = "Something of everything."
[[fault]]
kind = "refuse"
on = ["JobSchedules_ListJobSchedules", "Nodes_RebootNode"]
status = 500
every = 1
[[fault]]
kind = "stall"
on = ["Jobs_GetJobTaskCounts"]
every = 1
hold = "1s"
[[fault]]
kind = "throttle"
on = ["all"]
every = 60
for = "1s"
[[fault]]
kind = "reset-after-work"
on = ["creates", "deletes"]
every = 3
[[fault]]
kind = "truncate"
on = ["Tasks_ListTasks"]
every = 3
[[fault]]
kind = "refuse"
on = ["reads"]
status = 503
every = 9
"""

# Small enough for a minute: requests give up after three seconds, a small budget is used up, most answers stream, large bodies are not held.
SETTINGS = {
    "retry.deadline": "3s",
    "retry.deadline_for": "[]",
    "retry.max_attempts": "4",
    "retry.backoff.initial": "50ms",
    "retry.backoff.max": "200ms",
    "retry.budget.min_per_second": "10",
    "retry.budget.window": "1s",
    "retry.response_buffer": "1KiB",
    "retry.body_limit": "16KiB",
}

# The same proxy as a machine's service and as a pod's sidecar, as the labels of both must do.
SIDECAR = {"namespace": "work", "pod": "pod-1", "job": "work/batch-retry-proxy"}
SERVICE = {"job": "batch-retry-proxy"}

VERSION = "api-version=2024-07-01.20.0"


class Process:
    """A program of ours, ended with the test. What it says goes into a file."""

    def __init__(self, folder, name, command, **options):
        self.log = folder / f"{name}.log"
        self.name = name
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)

    def says(self, pattern):
        """The match of the first line like this."""

        def look():
            assert self.process.poll() is None, f"{self.name} ended: {self.log.read_text()}"
            return re.search(pattern, self.log.read_text(), re.MULTILINE)

        return eventually(look, f"{self.name} says {pattern}", within=60)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def eventually(look, what, within):
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.05)
    return found


class Simulated:
    """An account of the simulator, and what it tells about itself."""

    def __init__(self, folder, name, scenario):
        self.ca = folder / f"{name}-ca.pem"
        self.process = Process(
            folder, name, [BINARY, "simulate", "--listen", "127.0.0.1:0", "--scenario", scenario, "--ca-out", self.ca]
        )
        self.process.says("Control-C ends it")
        self.address = self.process.says(r"account on (\S+), scenario")[1]
        self.endpoint = self.process.says(r"endpoint +(\S+)")[1]
        self.account = self.process.says(r"account +(\S+)$")[1]
        self.key = self.process.says(r"key +(\S+)")[1]
        self.host = self.endpoint.removeprefix("https://")


class Proxy:
    """The proxy, with a way to two accounts that cannot be used besides the one that can."""

    UNTRUSTED = "untrusted.simulated.batch.azure.com"
    DEAD = "dead.simulated.batch.azure.com"

    def __init__(self, folder, account, untrusted):
        self.trust, self.config = folder / "trust", folder / "proxy.toml"
        self.config.write_text("")
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            dead = "%s:%s" % closed.getsockname()
        resolve = {f"{account.host}:443": account.address, f"{self.UNTRUSTED}:443": untrusted.address, f"{self.DEAD}:443": dead}
        settings = SETTINGS | {
            "upstream.resolve": "{" + ", ".join(f'"{name}" = "{address}"' for name, address in resolve.items()) + "}",
            "upstream.ca_files": f'["{account.ca}"]',
        }
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--publish", self.trust]
        command += ["--log-format", "json", "--log-level", "info", "--config", self.config]
        self.process = Process(folder, "proxy", command + [f"--set={key}={value}" for key, value in settings.items()])
        listening = json.loads(self.process.says(r'^\{.*"message":"listening".*\}$')[0])
        self.address, self.admin = listening["proxy"], listening["admin"]
        self.host, self.port = self.address.split(":")
        eventually((self.trust / "bundle.pem").exists, "the trust files", within=10)

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.admin}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return answer.read().decode()

    def reload(self, text, result):
        """Changes the file of the settings and waits for what comes of it."""
        series = rf'config_reloads_total\{{result="{result}"\}} (\d+)'
        before = re.search(series, self.metrics())[1]
        self.config.write_text(text)
        self.process.process.send_signal(signal.SIGHUP)
        eventually(lambda: re.search(series, self.metrics())[1] != before, f"settings are {result}", within=30)

    def ask(self, host, method, path, body=None, timeout=30, context=None):
        """One request on a connection of its own, with a bearer token; the status."""
        context = context or ssl.create_default_context(cafile=self.trust / "bundle.pem")
        connection = http.client.HTTPSConnection(self.host, int(self.port), context=context, timeout=timeout)
        connection.set_tunnel(host, 443)
        headers = {"Authorization": "Bearer x", "client-request-id": f"{host}{path}"}
        if body is not None:
            body = json.dumps(body)
            headers["Content-Type"] = "application/json; odata=minimalmetadata"
        with contextlib.closing(connection):
            connection.request(method, path + ("&" if "?" in path else "?") + VERSION, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status


class Programs:
    """Programs that do what programs do, again and again until they are told to stop."""

    def __init__(self, proxy, account):
        self.proxy, self.account = proxy, account
        self.stopping = threading.Event()
        self.failed = []
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain)
        self.server.daemon_threads = True
        actors = [self.sdk, self.raw, self.settings, self.elsewhere, self.server.serve_forever, *[self.failing] * 20]
        self.threads = [threading.Thread(target=self.repeat, args=(actor,), daemon=True) for actor in actors]
        for thread in self.threads:
            thread.start()

    def repeat(self, actor):
        turn = 0
        while not self.stopping.is_set():
            try:
                actor(*([] if actor == self.server.serve_forever else [turn]))
            except Exception as error:  # A defect of the test; the thread has nobody else to tell it to.
                self.failed.append(f"{actor.__name__}: {error!r}")
                return
            turn += 1
            self.stopping.wait(0.1)

    def stop(self):
        self.stopping.set()
        self.server.shutdown()
        for thread in self.threads:
            thread.join(30)
        self.server.server_close()

    def sdk(self, turn):
        """azure-batch, with Shared Key. That some calls fail on such a day is expected."""
        client = BatchClient(
            self.account.endpoint,
            AzureNamedKeyCredential(self.account.account, self.account.key),
            proxies={"https": f"http://{self.proxy.address}"},
            connection_verify=str(self.proxy.trust / "bundle.pem"),
            retry_total=0,
        )
        pool, job = f"pool-{turn}", f"job-{turn}"
        task = models.BatchTaskCreateOptions
        for call in [
            lambda: client.create_pool(models.BatchPoolCreateOptions(id=pool, vm_size="standard_d2s_v3", target_dedicated_nodes=2)),
            lambda: client.create_job(models.BatchJobCreateOptions(id=job, pool_info=models.BatchPoolInfo(pool_id=pool))),
            lambda: client.create_tasks(job, [task(id=f"task-{n:03}", command_line="true") for n in range(150)]),
            lambda: list(client.list_tasks(job)),
            lambda: list(client.list_tasks(job)),
            lambda: list(client.list_jobs()),
            lambda: b"".join(client.download_task_file(job, "task-000", "stdout.txt")),
            lambda: client.get_job("there-is-none"),
        ]:
            with contextlib.suppress(AzureError):
                call()

    def raw(self, turn):
        """Single requests with a bearer token, each for something that it brings about."""
        ask, host = self.proxy.ask, self.account.host
        pool, jobs = f"raw-pool-{turn}", [f"raw-{turn}-{n}" for n in range(4)]
        ask(host, "POST", "/pools", {"id": pool, "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1})
        for job in jobs:
            ask(host, "POST", "/jobs", {"id": job, "poolInfo": {"poolId": pool}})
        # The second meets the first under way.
        for nodes in (2, 3):
            ask(host, "POST", f"/pools/{pool}/resize", {"targetDedicatedNodes": nodes})
        # Too large to be held.
        tasks = [{"id": f"task-{n}", "commandLine": "x" * 400} for n in range(80)]
        ask(host, "POST", f"/jobs/{jobs[0]}/addtaskcollection", {"value": tasks})
        ask(host, "POST", f"/pools/{pool}/nodes/tvm-0/reboot", {})
        for job in jobs:
            ask(host, "DELETE", f"/jobs/{job}")
        # Never succeeds; the second is the program's own repeat.
        for _ in range(2):
            ask(host, "GET", f"/jobschedules?maxresults={turn + 1}")
        with contextlib.suppress(TimeoutError):
            ask(host, "GET", f"/jobs/{jobs[0]}/taskcounts", timeout=0.2)

    def failing(self, turn):
        """One of a crowd that meets a closed port, all of them together with more replays than the budget has; bodies are held meanwhile."""
        job = {"id": f"{threading.get_ident()}-{turn}", "displayName": "x" * 12_000}
        status = self.proxy.ask(self.proxy.DEAD, "POST", f"/jobs?n={job['id']}", job)
        assert status >= 500, status

    def settings(self, turn):
        """Someone who changes the settings, at first well."""
        good, bad = f"[retry.throttle]\ncut = 0.{6 + turn % 2}\n", f"nonsense = {turn}\n"
        self.proxy.reload(good, "applied")
        self.proxy.reload(good, "unchanged")
        self.proxy.reload(bad, "failed")
        # Long enough for the rules to see it.
        self.stopping.wait(5)

    def elsewhere(self, turn):
        """Tunnels, plain http, a host that nobody vouches for, and a program that does not trust the proxy."""
        host, port = self.server.server_address
        tunnel = http.client.HTTPConnection(self.proxy.host, int(self.proxy.port), timeout=30)
        with contextlib.closing(tunnel):
            tunnel.set_tunnel(host, port)
            tunnel.request("GET", "/")
            assert tunnel.getresponse().read() == Plain.BODY
        plain = http.client.HTTPConnection(self.proxy.host, int(self.proxy.port), timeout=30)
        with contextlib.closing(plain):
            plain.request("GET", f"http://{host}:{port}/")
            assert plain.getresponse().read() == Plain.BODY
        status = self.proxy.ask(self.proxy.UNTRUSTED, "GET", f"/jobs/{turn}")
        assert status >= 500, status
        try:
            self.proxy.ask(self.account.host, "GET", "/jobs", context=ssl.create_default_context())
            raise AssertionError("trusted without being told to")
        except ssl.SSLCertVerificationError:
            pass


class Plain(http.server.BaseHTTPRequestHandler):
    """A host that is not Batch."""

    BODY = b"hello"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.BODY)))
        self.end_headers()
        self.wfile.write(self.BODY)

    def log_message(self, *_):
        pass


class Prometheus:
    """A real one, with the rules as they are, that looks every second."""

    def __init__(self, folder, proxy):
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(DEPLOY / "prometheus/rules.yaml")],
                    "scrape_configs": [
                        {"job_name": "machine", "static_configs": [{"targets": [proxy.admin], "labels": SERVICE}]},
                        {"job_name": "pods", "static_configs": [{"targets": [proxy.admin], "labels": SIDECAR}]},
                    ],
                }
            )
        )
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        self.begun = time.time()
        self.process = Process(folder, "prometheus", [*command, "--web.listen-address=127.0.0.1:0"])
        self.address = self.process.says(r'"Listening on" address=(\S+)')[1]
        self.process.says("Server is ready to receive web requests")

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}") as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert document["status"] == "success", document
        assert not document.get("warnings"), document
        return document["data"]

    def query(self, expression):
        """As a stat or a table asks."""
        return self.get("query", query=expression)["result"]

    def query_range(self, expression):
        """As a graph asks, since the beginning."""
        return self.get("query_range", query=expression, start=self.begun, end=time.time(), step="1s")["result"]


class Scrapes:
    """What the proxy exported at some time since the start: a series such as the pace is there only while the gate is in force."""

    def __init__(self):
        self.types, self.labels, self.most, self.fates, self.fullest = {}, {}, {}, set(), ""

    def add(self, text):
        self.fullest = max(self.fullest, text, key=len)
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                assert self.types.setdefault(name, kind) == kind
            elif not line.startswith("#"):
                series, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
                base = re.sub(r"_(bucket|count|sum)$", "", series)
                name = base if self.types.get(base) == "histogram" else series
                found = set(re.findall(r'(\w+)="', labels or "")) - {"le"}
                assert self.labels.setdefault(name, found) == found, f"{name} has series with different labels"
                self.most[name] = max(self.most.get(name, 0), float(value))
                if name == "batch_retry_proxy_requests_total":
                    self.fates |= set(re.findall(r'fate="(\w+)"', labels))
