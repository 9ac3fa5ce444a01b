"""Paths of the Engine's machine: what they are when all ways of writing them are undone, and which are dangerous.

Pure: it knows the links that every machine has (`/var/run` is `/run`), not those of this one. Whoever can see the
machine's files follows those first.
"""

from __future__ import annotations

import posixpath
import re

_SOCKETS = (
    "/run/docker.sock",
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/buildkit",
    "/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/run/k3s",
    "/var/run/docker.sock",  # for those that have /var, where that is no link
)
_SOCKET_NAME = re.compile(
    r"(docker|containerd|podman|crio|buildkitd|cri-dockerd|dockershim)\.sock(\.\w+)?"
)
_SENSITIVE = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/dpkg",
    "/var/lib/kubelet",
    "/var/lib/rpm",
    "/var/lib/systemd",
    "/var/log",
    "/var/spool/cron",
)
_ROOT_OF_A_PROCESS = re.compile(r"^/proc/[^/]+/(?:task/[^/]+/)?root(?=/|$)")
_LINKS = (("/var/run", "/run"), ("/var/lock", "/run/lock"))


def canonical(path: str) -> str:
    """The shortest way of writing an absolute path, without the links that every machine has."""
    while True:
        shorter = "/" + posixpath.normpath(path).lstrip("/")
        shorter = _ROOT_OF_A_PROCESS.sub("", shorter) or "/"
        for link, place in _LINKS:
            if is_within(shorter, link):
                shorter = place + shorter[len(link) :]
        if shorter == path:
            return path
        path = shorter


def is_within(path: str, folder: str) -> bool:
    """Whether a canonical path is a folder, or somewhere below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def sockets(path: str) -> list[str]:
    """The sockets of Engines that whoever has this canonical path reaches."""
    named = [path] if _SOCKET_NAME.fullmatch(posixpath.basename(path)) else []
    return named + _reached(path, _SOCKETS)


def sensitive(path: str) -> list[str]:
    """The places which the machine runs on that whoever has this canonical path reaches."""
    return _reached(path, _SENSITIVE)


def _reached(path: str, places: tuple[str, ...]) -> list[str]:
    return [place for place in places if is_within(place, path) or is_within(path, place)]
