"""The images that the Dockerfile and the examples begin with, made from Debian's packages and the machine's own toolchain.

No registry of images has to be reachable, and none is asked: each image has the name by which it is built upon. They are made once, as long as
what they are made from stays the same.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from podman import ROOT, STATE, Unavailable

SUITE = "bookworm"
SLIM = f"docker.io/library/debian:{SUITE}-slim"
RUST = f"docker.io/library/rust:1-{SUITE}"
PYTHON = "docker.io/library/python:3.12-slim"
# Of Debian's own Python, which stands in for 3.12.
PYTHON_VERSION = "3.11"
FILES = Path(__file__).parent / "bases"
LABEL = "batch-retry-proxy.made-from"


def make(podman):
    """Makes what is missing, or made from something else."""
    slim = key(SUITE)
    if not made(podman, SLIM, slim):
        bootstrap(podman, slim)
    # In a pod, which takes its own helpers as well.
    run = podman("run", "--rm", "--pull=never", "--pod=new:probe", SLIM, "true", check=False)
    podman("pod", "rm", "--force", "--ignore", "probe")
    if run.returncode != 0:
        raise Unavailable(f"podman cannot run a container in a pod here: {run.stderr.strip()}")
    rust(podman, slim)
    python(podman, slim)


def bootstrap(podman, made_from):
    root = STATE / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    command(["debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, root])
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
        podman("import", "--change", path, "--change", f"LABEL {LABEL}={made_from}", "-", SLIM, stdin=archive.stdout)
    shutil.rmtree(root)


def rust(podman, slim):
    """The machine's rustup and toolchain on a C compiler."""
    rustup = shutil.which("rustup")
    if not rustup:
        raise Unavailable("there is no rustup, whose toolchain stands in for the Rust image")
    sysroot = Path(output("rustc", "--print", "sysroot"))
    recipe = FILES / "rust.Dockerfile"
    # Whatever authorities the machine has been given, downloads in a build are verified by.
    certificates = STATE / "certificates"
    shutil.rmtree(certificates, ignore_errors=True)
    certificates.mkdir()
    for file in sorted(Path("/usr/local/share/ca-certificates").glob("*.crt")):
        shutil.copy(file, certificates)
    own = [file.read_text() for file in sorted(certificates.iterdir())]
    made_from = key(slim, recipe.read_text(), output("rustc", "-vV"), output("rustup", "--version"), sysroot.name, *own)
    if not made(podman, RUST, made_from):
        contexts = {"rustup": Path(rustup).parent, "sysroot": sysroot, "certificates": certificates}
        build(podman, recipe, RUST, made_from, contexts, TOOLCHAIN=sysroot.name)


def python(podman, slim):
    """Debian's Python with the Batch client. This machine's pip fetches it, as that one knows where packages come from here."""
    recipe = FILES / "python.Dockerfile"
    requirements = ROOT / "tests" / "sdk" / "requirements.txt"
    made_from = key(slim, recipe.read_text(), requirements.read_text())
    if made(podman, PYTHON, made_from):
        return
    wheels = STATE / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", wheels]
    command([*fetch, "--python-version", PYTHON_VERSION, "--only-binary=:all:", "--requirement", requirements])
    shutil.copy(requirements, wheels)
    build(podman, recipe, PYTHON, made_from, {"wheels": wheels})


def build(podman, recipe, name, made_from, contexts, **arguments):
    empty = STATE / "empty"
    empty.mkdir(exist_ok=True)
    extra = [f"--build-context={context}={folder}" for context, folder in contexts.items()]
    extra += [f"--build-arg={argument}={value}" for argument, value in arguments.items()]
    podman(
        *("build", "--pull=never", "--network=host", "--layers=false", "--file", recipe, "--tag", name, "--label", f"{LABEL}={made_from}"),
        *(*extra, empty),
        timeout=600,
    )


def made(podman, name, made_from):
    run = podman("image", "inspect", "--format", f'{{{{index .Labels "{LABEL}"}}}}', name, check=False)
    return run.returncode == 0 and run.stdout.strip() == made_from


def key(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def output(*arguments):
    return subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def command(arguments):
    run = subprocess.run(arguments, env={**os.environ, "LC_ALL": "C"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode != 0:
        raise Unavailable(f"{arguments[0]} failed: {run.stdout[-2000:]}")
