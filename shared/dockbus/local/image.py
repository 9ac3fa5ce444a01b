"""A small image to run things in, also where no registry can be reached: `dockbus/base:1`.

It is the registry's busybox where there is one, else the static busybox of Debian with its applets.
Demo, tests and benchmarks use it, so none of them needs the network.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from dockbus.engine import Engine, EngineError
from dockbus.engine.streams import read_objects
from dockbus.local import apt

BASE_IMAGE = "dockbus/base:1"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"  # noqa: S105
_SILENCE = 10.0
"""Seconds without a word after which the registry counts as unreachable."""


def base_image(engine: Engine, scratch: Path, say: Callable[[str], None]) -> str:
    """Make sure that the Engine has the base image; returns its name.

    Raises:
        MissingTool: no registry answers, and there is no static busybox either.
        EngineError: the Engine refused the image.
    """
    if engine.images.find(BASE_IMAGE) is None and not _pulled(engine, say):
        rootfs = _rootfs(_busybox(scratch, say))
        changes = ["LABEL dockbus.managed=true", "ENV PATH=/bin", 'CMD ["sh"]']
        engine.images.import_rootfs(rootfs, BASE_IMAGE, changes)
        say(f"made {BASE_IMAGE} from this machine's busybox")
    return BASE_IMAGE


def _pulled(engine: Engine, say: Callable[[str], None]) -> bool:
    params = {"fromImage": "busybox", "tag": "stable"}
    try:  # not `images.pull`, which is patient
        for _ in engine.open("POST", "/images/create", read_objects, params=params, idle=_SILENCE):
            pass
        engine.images.tag("busybox:stable", BASE_IMAGE)
    except EngineError:
        return False
    say(f"pulled busybox:stable as {BASE_IMAGE}")
    return True


def _busybox(scratch: Path, say: Callable[[str], None]) -> Path:
    """A busybox that needs no libraries."""
    path = shutil.which("busybox")
    if path is None or _is_dynamic(path):
        apt.install("busybox-static", scratch, say)
        path = "/bin/busybox"
    return Path(path)


def _is_dynamic(program: str) -> bool:
    listed = subprocess.run(["ldd", program], check=False, capture_output=True, text=True)
    return "=>" in listed.stdout


def _rootfs(busybox: Path) -> bytes:
    """A root file system as a tar: busybox under the name of each of its applets, and two users."""
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, "tmp", mode=0o1777, kind=tarfile.DIRTYPE)
        _add(tar, "root", mode=0o700, kind=tarfile.DIRTYPE)
        _add(tar, "etc/passwd", _PASSWD.encode())
        _add(tar, "bin/busybox", busybox.read_bytes(), mode=0o755)
        for applet in sorted(set(listed.stdout.split()) - {"busybox"}):
            _add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")
    return buffer.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    data: bytes = b"",
    *,
    mode: int = 0o644,
    kind: bytes = tarfile.REGTYPE,
    target: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type, entry.linkname, entry.size = mode, kind, target, len(data)
    tar.addfile(entry, io.BytesIO(data))
