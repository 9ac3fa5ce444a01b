"""What the images are built from and run beside, where no registry of images can be reached: made of Debian's packages.

`python tests/composed/standins.py` fetches everything once into the user's cache; delete the folder `compose` there to
have it anew. They have the names that Dockerfile and docker-compose.yml give, and what these ask of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import engine26  # noqa: E402  of the tests, which may also be started as a program
import trixie  # noqa: E402
from dockbus import local, programs  # noqa: E402
from dockbus.engine import Engine  # noqa: E402
from dockbus.errors import DockbusError, MissingTool  # noqa: E402
from dockbus.local import apt  # noqa: E402
from dockbus.settings import EngineSettings  # noqa: E402

CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dockbus-tests" / "compose"
)
LOCKS = sorted((ROOT / "deploy").glob("*.lock"))
WHEELS = CACHE / f"wheels-{hashlib.sha256(b''.join(map(Path.read_bytes, LOCKS))).hexdigest()[:12]}"
ROOTS = {
    "python": "python3-venv,python3-pip,ca-certificates",
    "services": "redis-server,prometheus",
}
"""Roots of Debian trixie, by the packages that they have beyond the least."""
PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEBRIS = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)


@contextmanager
def engine(scratch: Path, say: Callable[[str], None]) -> Generator[Engine]:
    """An Engine 26.1 that has all of them, and the base image; to the end of the block this thread is on its network.

    Raises:
        MissingTool: as `fetch`.
        StartFailed: the Engine did not start.
    """
    fetch(say)
    scratch.mkdir()
    with (
        engine26.engine(scratch, say) as address,
        closing(Engine(EngineSettings(host=address))) as engine,
    ):
        load(engine)
        local.base_image(engine, scratch, say)
        yield engine


def fetch(say: Callable[[str], None] = print) -> None:
    """Fetch what is not there yet; who comes second waits for who came first.

    Raises:
        MissingTool: this is no Debian, this is not root, or its mirror or the index does not answer.
    """
    if os.geteuid() != 0:
        raise MissingTool("stand-ins for images are made by `debootstrap`, which takes root")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, ThreadPoolExecutor() as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, package in (engine26.INSTALLED | {"debootstrap": "debootstrap"}).items():
            if not shutil.which(name):
                apt.install(package, CACHE, say)
        made = [pool.submit(_debootstrap, name) for name in ROOTS if not root(name).exists()]
        if not WHEELS.exists():
            made.append(pool.submit(_download))
        if made:
            say(f"making stand-ins for the images of registries in {CACHE} (two minutes, once)")
        trixie.programs(say)
        trixie.compose(say)
        for one in made:
            one.result()


def root(name: str) -> Path:
    """The file of one of `ROOTS`."""
    return CACHE / f"{name}.tar"


def load(engine: Engine) -> None:
    """Give the Engine all of them, under the names that the project's own files use."""
    arguments = dict(
        re.findall(r"^ARG (\w+)=(\S+:\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    )
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    redis, prometheus = (services[name]["image"] for name in ("redis", "prometheus"))
    trivy = programs.find("trivy")
    assert trivy, "it is among the dependencies of development"
    for image, rootfs in (
        (arguments["PYTHON"], root("python").read_bytes()),
        (arguments["BUILDX"], _program(trixie.program("docker-buildx", print), "buildx")),
        (arguments["TRIVY"], _program(Path(trivy), "usr/local/bin/trivy")),
        (redis, root("services").read_bytes()),
    ):
        engine.images.import_rootfs(rootfs, image, ["LABEL dockbus.test=1", PATH])
    dockerfile = f'FROM {redis}\nENTRYPOINT ["/usr/bin/prometheus"]\n'
    list(engine.api.build(fileobj=io.BytesIO(dockerfile.encode()), tag=prometheus, rm=True))


def _program(file: Path, name: str) -> bytes:
    """A root file system that is one program."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(file.resolve(), name)
    return buffer.getvalue()


def _debootstrap(name: str) -> None:
    folder, log = CACHE / f"{name}.part", CACHE / f"{name}.log"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--variant=minbase", f"--include={ROOTS[name]}"]
    _run(["debootstrap", *options, "trixie", str(folder), trixie.mirror()], log)
    for debris in DEBRIS:
        shutil.rmtree(folder / debris, ignore_errors=True)
    if name == "python":
        (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    else:
        for owner, home in (("redis", "/data"), ("nobody", "/prometheus")):
            _run(["chroot", str(folder), "install", "-d", "-o", owner, home], log)
    _run(["tar", "-C", str(folder), "-cf", f"{root(name)}.part", "."], log)
    Path(f"{root(name)}.part").rename(root(name))
    shutil.rmtree(folder)


def _download() -> None:
    """Wheels for the Python of trixie, whichever runs here."""
    part = WHEELS.with_suffix(".part")
    machine = platform.machine()
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", f"--dest={part}"),
            *("--python-version=3.13", "--implementation=cp", "--only-binary=:all:"),
            *(f"--platform=manylinux{libc}_{machine}" for libc in ("2014", "_2_28")),
            *("--require-hashes", *(f"--requirement={lock}" for lock in LOCKS)),
        ],
        CACHE / "wheels.log",
    )
    part.rename(WHEELS)


def _run(command: list[str], log: Path) -> None:
    environment = os.environ | {"DPKG_FORCE": "unsafe-io"}  # nothing there is worth a sync
    with log.open("ab") as output:
        done = subprocess.run(
            command, env=environment, check=False, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise MissingTool(f"`{command[0]}` failed; {log} says why")


if __name__ == "__main__":
    try:
        fetch()
    except DockbusError as error:
        sys.exit(str(error))
