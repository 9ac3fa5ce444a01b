"""Files that go into a container before its start, and what is taken out of it after its end."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from dockbus.artefacts import Artefact
from dockbus.blobs import PIECE
from dockbus.engine import Container, ContainerNotFound, EngineFault, EngineRejected
from dockbus.jobs import Run
from dockbus.units import show_size
from dockbus_workers.context import JobContext
from dockbus_workers.running.errors import FilesRefused, TooMuchToCollect

_NOT_A_FILE = 0x8F280000
"""Bits of the Engine's mode word that speak of a folder, a link, a device, a pipe or a socket."""


def put_files(container: str, spec: Run, ctx: JobContext) -> None:
    """Put the files of a spec into a container that has not started; to do so again changes nothing.

    Raises:
        BlobNotFound: one was to come from the bus, which does not have it.
        FilesRefused: they cannot be written there.
    """
    if not spec.files:
        return
    sizes = [ctx.blobs.size(file.blob) for file in spec.files.values() if file.blob]
    if sum(sizes) > ctx.settings.bus.blob_size:  # all of them are in memory at once
        raise FilesRefused(
            f"uploads of {show_size(sum(sizes))}; there is room for"
            f" {show_size(ctx.settings.bus.blob_size)} (DOCKBUS_BUS_BLOB_SIZE)"
        )
    contents = {
        path: (
            (file.content or "").encode()
            if file.blob is None
            else b"".join(ctx.blobs.read(file.blob)),
            file.mode,
        )
        for path, file in spec.files.items()
    }
    try:
        ctx.engine.containers.put(container, pack(contents.items()))
    except (EngineFault, EngineRejected) as error:
        raise FilesRefused(error.detail) from error


def pack(files: Iterable[tuple[str, tuple[bytes, int]]]) -> bytes:
    """A tar of files: absolute path, content and permissions of each."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (content, mode) in files:
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def collect(ended: Container, spec: Run, ctx: JobContext) -> list[Artefact]:
    """Keep what a spec names of a container that has ended: files as they are, folders as a tar.

    What is not there is left out, which the log tells: the exit code is the result of a task, whatever it has written.

    Raises:
        TooMuchToCollect: all of it together is more than the bus keeps in one piece.
    """
    found: list[Artefact] = []
    left = ctx.settings.bus.blob_size
    for path in spec.collect:
        ctx.check()
        try:
            about, pieces = ctx.engine.containers.take(ended.id, path)
        except (ContainerNotFound, EngineRejected):
            ctx.log(f"nothing to collect at {path}")
            continue
        is_file = not about["mode"] & _NOT_A_FILE
        name = _name(path, is_file=is_file, taken={one.name for one in found})
        media = "application/octet-stream" if is_file else "application/x-tar"
        content = first_file(pieces) if is_file else pieces
        kept = ctx.keep(name, _bounded(content, left, path), media)
        left -= kept.size
        found.append(kept)
        ctx.log(f"collected {path} as {name} ({show_size(kept.size)})")
    return found


def first_file(tar: Iterator[bytes]) -> Iterator[bytes]:
    """The content of the first file in a tar that comes in pieces, in pieces."""
    with tarfile.open(fileobj=io.BufferedReader(_Pieces(tar), PIECE), mode="r|") as archive:
        for entry in archive:
            if file := archive.extractfile(entry):
                while piece := file.read(PIECE):
                    yield piece
                return


class _Pieces(io.RawIOBase):
    """Pieces of bytes, as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  whatever holds bytes
        self._rest = self._rest or next(self._pieces, b"")
        size = min(len(self._rest), len(buffer))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _bounded(pieces: Iterator[bytes], most: int, path: str) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise TooMuchToCollect(
                f"{path}: there is room for {show_size(most)} (DOCKBUS_BUS_BLOB_SIZE)"
            )
        yield piece


def _name(path: str, *, is_file: bool, taken: AbstractSet[str]) -> str:
    """What to call it: the last part of its path, or where that is taken, all of it."""
    suffix = "" if is_file else ".tar"
    last = (posixpath.basename(path) or "root") + suffix
    return last if last not in taken else path.strip("/").replace("/", "-") + suffix
