"""Programs of Debian trixie beside an older Debian: Docker Engine 26.1 and buildx, which bookworm lacks.

They are unpacked once into the user's cache, not installed; delete that folder to fetch them anew. There
is no `runc` among them, for trixie's needs a newer libc: this Engine runs with the machine's own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from dockbus.errors import MissingTool

_Wanted = Mapping[str, tuple[str, ...]]
"""Paths of programs, by the package that has them."""
_PROGRAMS: _Wanted = {
    "docker.io": ("usr/sbin/dockerd", "usr/sbin/docker-proxy"),
    "containerd": ("usr/bin/containerd", "usr/bin/containerd-shim-runc-v2"),
    "docker-buildx": ("usr/libexec/docker/cli-plugins/docker-buildx",),
}
_COMPOSE: _Wanted = {"docker-compose": ("usr/libexec/docker/cli-plugins/docker-compose",)}
_COMMAND: _Wanted = {"docker-cli": ("usr/bin/docker",)}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def program(name: str, say: Callable[[str], None]) -> Path:
    """The program of this name, such as `docker-buildx`.

    Raises:
        MissingTool: this is no Debian, or its mirror gives no trixie.
    """
    return programs(say) / name


def programs(say: Callable[[str], None]) -> Path:
    """The folder of them all, to be put first on PATH for an Engine 26.1.

    Raises:
        MissingTool: this is no Debian, or its mirror gives no trixie.
    """
    return _had("trixie", _PROGRAMS, say)


def compose(say: Callable[[str], None]) -> Path:
    """The program docker-compose, which needs no `docker` beside it.

    Raises:
        MissingTool: this is no Debian, or its mirror gives no trixie.
    """
    return _had("trixie-compose", _COMPOSE, say) / "docker-compose"


def command(say: Callable[[str], None]) -> Path:
    """The program docker, Docker's command line.

    Raises:
        MissingTool: this is no Debian, or its mirror gives no trixie.
    """
    return _had("trixie-command", _COMMAND, say) / "docker"


def _had(name: str, wanted: _Wanted, say: Callable[[str], None]) -> Path:
    """The folder of this name in the cache, with these programs in it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dockbus-tests"
    cache.mkdir(parents=True, exist_ok=True)
    done, part = cache / name, cache / f"{name}.part"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            say(f"fetching {', '.join(wanted)} of Debian trixie")
            shutil.rmtree(part, ignore_errors=True)
            _unpack(part, wanted)
            (part / "bin").rename(done)
            shutil.rmtree(part)
    return done


def _unpack(folder: Path, wanted: _Wanted) -> None:
    """Put the programs into `folder/bin`."""
    for name in ("lists/partial", "cache/archives/partial", "root", "bin"):
        (folder / name).mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {mirror()} trixie main\n")
    apt = [
        *("apt-get", "--quiet", "-o", f"Dir::Etc::sourcelist={sources}"),
        *("-o", "Dir::Etc::sourceparts=-", "-o", f"Dir::State::Lists={folder / 'lists'}"),
        *("-o", f"Dir::Cache={folder / 'cache'}", "-o", "APT::Sandbox::User=root"),
    ]
    _run([*apt, "update"], folder)
    _run([*apt, "download", *wanted], folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(folder / "root")], folder)
    for paths in wanted.values():
        for path in paths:
            found = folder / "root" / path
            if not found.exists():
                raise MissingTool(f"Debian trixie's packages did not give {path}")
            found.rename(folder / "bin" / found.name)


def mirror() -> str:
    """The Debian mirror that this machine's own apt uses.

    Raises:
        MissingTool: this is no Debian.
    """
    if not shutil.which("apt-get") or not _KEYRING.exists():
        raise MissingTool("Debian trixie's packages can be had on Debian alone")
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    for uri in _run(asked, Path("/")).split():
        if "security" not in uri:
            return uri
    raise MissingTool("apt of this machine has no source of packages")


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["no word why"]
        raise MissingTool(f"`{command[0]}` could not fetch Debian trixie's packages: {words[0]}")
    return done.stdout
