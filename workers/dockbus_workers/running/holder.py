"""An image of one program of some hundred bytes that does nothing: what holds a volume until a job's container has it.

Made here rather than pulled, so that secrets need no registry, and the job's own image no shell.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile

from dockbus.engine import Engine
from dockbus.errors import DockbusError

IMAGE = "dockbus/holder:1"
COMMAND = ["/holder"]
"""What a container of it has to run, whatever the image says."""
_PROGRAM = "holder"
_BASE = 0x400000
_CODE: dict[str, tuple[int, bytes]] = {
    # for (;;) pause();
    "amd64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # for (;;) ppoll(NULL, 0, NULL, NULL, 0);
    "arm64": (
        183,
        struct.pack(
            "<8I",
            *(0xD2800000 | register for register in range(5)),
            0xD2800928,
            0xD4000001,
            0x17FFFFF9,
        ),
    ),
}
"""For each machine the number that ELF knows it by, and the code."""


class HolderUnavailable(DockbusError):
    """Secrets cannot be put into files on an Engine of this architecture.

    Run the job on an amd64 or arm64 machine, or take the secret as a variable: `env_from`.
    """


def ensure_holder(engine: Engine) -> str:
    """The ID of the image, which is made where the Engine does not have it.

    It is known by what is in it: anybody may give its name to another, which then would be given secrets.

    Raises:
        HolderUnavailable: there is none for this Engine's architecture.
    """
    found = engine.images.find(IMAGE)
    if found is None or found.diff_ids not in {_layers(_rootfs(program(one))) for one in _CODE}:
        architecture = engine.info().platform.rpartition("/")[2]
        changes = [
            "LABEL dockbus.managed=true",
            "LABEL dockbus.keep=true",
            f'CMD ["/{_PROGRAM}"]',
        ]
        return engine.images.import_rootfs(_rootfs(program(architecture)), IMAGE, changes)
    return found.id


def program(architecture: str) -> bytes:
    """An executable that waits for ever.

    Raises:
        HolderUnavailable: nobody has written one for this architecture.
    """
    if architecture not in _CODE:
        raise HolderUnavailable(architecture)
    machine, code = _CODE[architecture]
    size = 64 + 56 + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        *(2, machine, 1, _BASE + 64 + 56, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code


def _layers(rootfs: bytes) -> tuple[str, ...]:
    return (f"sha256:{hashlib.sha256(rootfs).hexdigest()}",)


def _rootfs(executable: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(_PROGRAM)
        entry.size, entry.mode = len(executable), 0o755
        tar.addfile(entry, io.BytesIO(executable))
    return buffer.getvalue()
