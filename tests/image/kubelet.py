"""Runs a pod as kubelet would, as far as podman has the means: the containers of a rendered manifest with their arguments, variables, mounts,
users and limits, in one network namespace.

Podman (4.3) cannot play native sidecars, so what Kubernetes documents of their order is done by hand here: init containers one after the other,
those with `restartPolicy: Always` until their startup probe succeeds; then the containers; and when the last of these has ended, SIGTERM for the
sidecars. Probes come from outside of the pod, to its address.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

from podman import STATE

# What kubelet puts into every container.
SERVICES = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


class Kubelet:
    """Makes pods, and takes away what they leave."""

    def __init__(self, podman, images):
        self.podman, self.images, self.pods = podman, images, []

    def pod(self, spec, objects=()):
        """A pod of this spec, whose ConfigMaps and Secrets are among the objects."""
        pod = Pod(self.podman, self.images, f"pod{len(self.pods)}-{os.getpid()}", spec, objects)
        self.pods.append(pod)
        return pod

    def clean(self):
        for pod in self.pods:
            pod.remove()


class Pod:
    def __init__(self, podman, images, name, spec, objects):
        self.podman, self.images, self.name, self.spec = podman, images, name, spec
        self.objects = {(found["kind"], found["metadata"]["name"]): found for found in objects}
        self.folder = STATE / "pods" / name
        self.mounted = []
        podman("pod", "create", "--name", name)
        podman("pod", "start", name)
        self.address = podman.address(podman.inspect(name, "{{.InfraContainerID}}"))
        self.volumes = {volume["name"]: self.volume(volume) for volume in spec.get("volumes", [])}

    def volume(self, volume):
        """The folder on the machine that is mounted into the pod's containers."""
        folder = self.folder / volume["name"]
        folder.mkdir(parents=True)
        if "emptyDir" in volume:
            empty = volume["emptyDir"] or {}
            if "sizeLimit" in empty:
                # Kubelet evicts a pod whose volume outgrows its limit; here the write fails, which is as good a test.
                self.mount(folder, f"size={size(empty['sizeLimit'])},mode=0777")
            folder.chmod(0o777)
        else:
            for key, text in self.content(volume).items():
                (folder / key).write_text(text)
        return folder

    def mount(self, folder, options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        self.mounted.append(folder)

    def content(self, volume):
        match volume:
            case {"configMap": {"name": name}}:
                return self.objects["ConfigMap", name]["data"]
            case {"secret": {"secretName": name}}:
                return self.objects["Secret", name]["stringData"]
        raise AssertionError(f"no such volume can be made here: {volume}")

    # What kubelet does, step by step.

    def start(self):
        """All up to the start of the containers, which it begins but does not wait for."""
        for container in self.spec.get("initContainers", []):
            if container.get("restartPolicy") == "Always":
                self.run(container)
                self.probe(container)
            else:
                self.run(container, wait=True)
        for container in self.spec["containers"]:
            self.run(container)
            hook = container.get("lifecycle", {}).get("postStart")
            if hook:
                self.podman("exec", self.id(container), *hook["exec"]["command"])

    def run(self, container, wait=False):
        self.podman("run", *(() if wait else ("--detach",)), *self.flags(container), *container.get("args", []), timeout=600)

    def probe(self, container):
        """Waits for the startup probe as the manifest has it, but asks more often."""
        probe = container["startupProbe"]
        deadline = time.monotonic() + probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10)
        while self.get(probe["httpGet"]["path"], probe["httpGet"]["port"])[0] != 200:
            assert time.monotonic() < deadline, f"{container['name']} never started: {self.podman.logs(self.id(container))}"
            time.sleep(0.05)

    def wait(self, container, timeout=300):
        """The exit code of a container that ends by itself."""
        return int(self.podman("wait", self.id(container), timeout=timeout).stdout)

    def stop(self, container, grace=30):
        """SIGTERM, and SIGKILL after the grace. Returns the exit code and how long it took."""
        began = time.monotonic()
        self.podman("stop", "--time", grace, self.id(container), timeout=grace + 30)
        took = time.monotonic() - began
        return int(self.podman.inspect(self.id(container), "{{.State.ExitCode}}")), took

    def running(self, container):
        # Not `State.Running`, which is false already while podman waits for the end.
        return self.podman.inspect(self.id(container), "{{.State.Status}}") != "exited"

    def logs(self, container):
        return self.podman.logs(self.id(container))

    # From the outside, as kubelet's probes and Prometheus come.

    def get(self, path, port=9464):
        """Status and text; status 0 where nothing answers."""
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{self.address}:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name, **labels):
        """The sum of a family's samples that have these labels."""
        status, text = self.get("/metrics")
        assert status == 200, status
        total = 0.0
        for line in text.splitlines():
            if re.match(rf"{name}[{{ ]", line) and all(f'{label}="{value}"' in line for label, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    # The translation.

    def id(self, container):
        return f"{self.name}-{container if isinstance(container, str) else container['name']}"

    def flags(self, container):
        """The container as arguments of `podman run`."""
        image = self.images.get(container["image"])
        assert image, f"no image stands in for {container['image']}"
        flags = ["--pod", self.name, "--name", self.id(container), "--pull=never"]
        for name, value in self.variables(container).items():
            flags += ["--env", f"{name}={value}"]
        for mount in container.get("volumeMounts", []):
            flags += ["--volume", f"{self.volumes[mount['name']]}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}"]
        flags += self.confinement({**self.spec.get("securityContext", {}), **container.get("securityContext", {})})
        memory = container.get("resources", {}).get("limits", {}).get("memory")
        if memory:
            flags += ["--memory", str(size(memory)), "--memory-swap", str(size(memory))]
        if "workingDir" in container:
            flags += ["--workdir", container["workingDir"]]
        if "command" in container:
            flags += ["--entrypoint", json.dumps(container["command"])]
        return [*flags, image]

    def confinement(self, context):
        flags = []
        if "runAsUser" in context:
            flags += ["--user", f"{context['runAsUser']}:{context.get('runAsGroup', 0)}"]
        if context.get("readOnlyRootFilesystem"):
            # Podman would add writable /tmp and /run; kubelet does not.
            flags += ["--read-only", "--read-only-tmpfs=false"]
        if context.get("allowPrivilegeEscalation") is False:
            flags += ["--security-opt", "no-new-privileges"]
        return flags + [f"--cap-drop={capability}" for capability in context.get("capabilities", {}).get("drop", [])]

    def variables(self, container):
        values = dict(SERVICES)
        for variable in container.get("env", []):
            value = variable.get("value", "")
            match variable.get("valueFrom"):
                case {"secretKeyRef": {"name": name, "key": key}}:
                    value = self.objects["Secret", name]["stringData"][key]
                case {"configMapKeyRef": {"name": name, "key": key}}:
                    value = self.objects["ConfigMap", name]["data"][key]
                case {"fieldRef": {"fieldPath": path}}:
                    value = {"metadata.name": self.name, "metadata.namespace": "default"}[path]
            # As in Kubernetes, only what stands before can be referred to, and what is unknown stays as it is.
            values[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: values.get(found[1], found[0]), value)
        return values

    def remove(self):
        self.podman("pod", "rm", "--force", "--time", "0", self.name)
        for folder in self.mounted:
            subprocess.run(["umount", folder], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def size(quantity):
    """Bytes of a Kubernetes quantity."""
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", quantity).groups()
    return int(number) * UNITS[unit]
