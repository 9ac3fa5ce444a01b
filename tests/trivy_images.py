"""Images of a few KB that the scanner finds things in, with the small vulnerability database of the examples."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress

from dockbus.engine import Engine, EngineError
from dockbus.engine.streams import read_objects

CVES = {
    "debian": ["CVE-2023-38545", "CVE-2023-45853", "CVE-2023-4911", "CVE-2023-5363"],
    "debian-fixed": ["CVE-2023-45853"],
    "alpine": ["CVE-2022-48174", "CVE-2023-5363"],
    "python": [
        "CVE-2020-14343", "CVE-2023-43804", "CVE-2024-22195", "CVE-2023-32681", "CVE-2024-35195",
    ],
    "npm": ["CVE-2021-44906", "CVE-2021-23337"],
    "clean": [],
}  # fmt: skip
"""What is to be found in each, worst first, then by package."""

_DEBIAN = {  # binary package: source package, version with and without what is known
    "libssl3": ("openssl", "3.0.9-1", "3.0.11-1~deb12u2"),
    "libc6": ("glibc", "2.36-9+deb12u1", "2.36-9+deb12u3"),
    "libcurl4": ("curl", "7.88.1-10", "7.88.1-10+deb12u4"),
    "zlib1g": ("zlib", "1:1.2.13.dfsg-1", "1:1.2.13.dfsg-1"),  # nobody will fix it
}
_PYTHON = {"requests": "2.28.0", "urllib3": "1.26.16", "PyYAML": "5.3.1", "Jinja2": "3.1.2"}
_NPM = {"lodash": "4.17.20", "minimist": "1.2.5"}


@contextmanager
def image(engine: Engine, kind: str, name: str) -> Generator[str]:
    """An image of that kind and name, gone after the block; yields its ID."""
    yield engine.images.import_rootfs(tar(_files(kind)), name, ["LABEL dockbus.test=1"])
    remove(engine, name)


@contextmanager
def built(engine: Engine, dockerfile: str, name: str) -> Generator[str]:
    """An image built by the Engine's classic builder, gone after the block; yields its ID."""
    stream = engine.open(
        "POST",
        "/build",
        read_objects,
        params={"t": name, "rm": "1", "forcerm": "1"},
        headers={"Content-Type": "application/x-tar"},
        body=tar({"Dockerfile": f"{dockerfile}\nLABEL dockbus.test=1\n"}),
        idle=60.0,
    )
    said = list(stream)
    assert not any("error" in one for one in said), said
    yield engine.images.get(name).id
    remove(engine, name)


def remove(engine: Engine, name: str) -> None:
    with suppress(EngineError):
        engine.images.remove(name)


def tar(files: Mapping[str, str | bytes]) -> bytes:
    """A tar of these texts or bytes by path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            about = tarfile.TarInfo(path)
            about.size, about.mode = len(data), 0o644
            archive.addfile(about, io.BytesIO(data))
    return buffer.getvalue()


def _files(kind: str) -> dict[str, str]:
    match kind:
        case "alpine":
            return {
                "etc/os-release": _os_release("alpine", "3.18.2"),
                "etc/alpine-release": "3.18.2\n",
                "lib/apk/db/installed": _apk("busybox", "1.36.1-r0", "busybox")
                + _apk("libssl3", "3.1.1-r1", "openssl"),
            }
        case "python":
            return {
                f"usr/lib/python3/dist-packages/{name}-{version}.dist-info/METADATA": (
                    f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                )
                for name, version in _PYTHON.items()
            }
        case "npm":
            return {
                f"app/node_modules/{name}/package.json": json.dumps(
                    {"name": name, "version": version}
                )
                for name, version in _NPM.items()
            }
        case "clean":
            return {"hello.txt": "hello\n"}
        case _:
            return {
                "etc/os-release": _os_release("debian", "12"),
                "etc/debian_version": "12.1\n",
                "var/lib/dpkg/status": _dpkg(fixed=kind == "debian-fixed"),
            }


def _os_release(name: str, version: str) -> str:
    return f'ID={name}\nVERSION_ID="{version}"\nNAME="{name}"\n'


def _apk(name: str, version: str, origin: str) -> str:
    return f"P:{name}\nV:{version}\nA:x86_64\no:{origin}\n\n"


def _dpkg(*, fixed: bool) -> str:
    return "\n".join(
        f"Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: libs\n"
        f"Architecture: amd64\nMaintainer: X <x@example.org>\nSource: {source}\n"
        f"Version: {good if fixed else bad}\nDescription: {name}\n"
        for name, (source, bad, good) in _DEBIAN.items()
    )
