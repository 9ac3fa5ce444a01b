"""Unpacking an uploaded context, which may come from anybody.

No name in it may lead out of the folder, nothing is ever written through a link of its own, and it is refused as
soon as it holds too much: compressed or not, in bytes, files or the length of names.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

from dockbus.errors import DockbusError
from dockbus.units import show_size
from dockbus_workers.building.folders import ContextUnusable, real

LONGEST_PATH = 4096
LONGEST_NAME = 255
_LARGEST_HEADER = 128 * 1024
"""Bytes of one header that tells of long names and the like; tarfile reads it in one piece."""
_ALL_NAMES = 64 * 1024**2
"""Characters of all names together; they are kept in memory."""
_MOST_GLOBAL = 100
_HEADERS = (b"x", b"g", b"X", b"L", b"K")
_PIECE = 1024**2


class WorkerDiskFull(DockbusError):
    """The worker's disk is full.

    Make room where it keeps temporary files (TMPDIR).
    """

    retryable = True


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold."""

    size: int
    """Bytes, unpacked."""
    files: int
    """Files, folders and links."""


def unpack(pieces: Iterator[bytes], into: Path, limits: Limits, check: Callable[[], None]) -> None:
    """Unpack a tar archive, compressed with gzip or not, into an empty folder; `check` is called now and then.

    Raises:
        ContextUnusable: it is none, or holds what it may not hold.
        WorkerDiskFull: there is no room for it.
    """
    try:
        with tarfile.open(fileobj=_unzipped(pieces, limits), mode="r|", tarinfo=Entry) as tar:
            _Unpacking(into, limits, check).run(tar)
        for _ in pieces:  # whoever gives them may check them at their end
            check()
    except RecursionError:  # headers of headers of headers
        raise ContextUnusable("not-a-tar", "too many headers for one entry") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise ContextUnusable("not-a-tar", f"it cannot be read: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkerDiskFull(f"no room to unpack the context in {into}") from error
        if error.errno == errno.ENAMETOOLONG:
            raise ContextUnusable(
                "long-name", "a name is too long for the worker's disk"
            ) from error
        raise


def entries(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The entries of an archive as they come; by itself it would keep all of them in memory."""
    while (entry := tar.next()) is not None:
        vars(tar)["members"].clear()
        if len(tar.pax_headers) > _MOST_GLOBAL:  # those for all entries to come pile up as well
            raise ContextUnusable("not-a-tar", "too many headers for all entries")
        yield entry


class Entry(tarfile.TarInfo):
    """An entry whose headers are of a size that somebody needs, and not of holes."""

    def _proc_member(self, tar: tarfile.TarFile) -> Self | None:
        if self.size < 0:
            raise ContextUnusable("not-a-tar", "an entry of a negative size")
        if self.type in _HEADERS and self.size > _LARGEST_HEADER:
            raise ContextUnusable("long-name", f"a header of {show_size(self.size)}")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse(self.name)
        return cast("Self | None", super()._proc_member(tar))  # type: ignore[misc]  # pyright: ignore

    def _proc_gnusparse_10(self, next: tarfile.TarInfo, *_: object) -> None:  # noqa: A002  pyright: ignore
        raise _sparse(next.name)  # before its list of holes is read, which may have no end


class _Unpacking:
    def __init__(self, into: Path, limits: Limits, check: Callable[[], None]) -> None:
        self._into = real(into)
        self._limits = limits
        self._check = check
        self._count = self._names = 0
        self._folders: dict[str, int] = {}
        self._files: set[str] = set()
        self._links: set[str] = set()

    def run(self, tar: tarfile.TarFile) -> None:
        size = 0
        for entry in entries(tar):
            self._check()
            if entry.size < 0:
                raise ContextUnusable("not-a-tar", f"{entry.name[:80]} has a negative size")
            name = _checked_name(entry.name)
            size += entry.size
            self._count_one(name)
            if size > self._limits.size:
                raise _too_large(self._limits)
            if name:
                self._place(name, entry, tar)
        for name, mode in reversed(self._folders.items()):
            (self._into / name).chmod(mode)
        self._check_links()

    def _count_one(self, name: str) -> None:
        """Count an entry, and the folders on the way to it that are not there yet."""
        self._count += 1
        self._names += len(name)
        folder = (self._into / name).parent
        while not folder.exists() and folder.is_relative_to(self._into):
            self._count += 1
            folder = folder.parent
        if self._count > self._limits.files:
            raise ContextUnusable(
                "too-many-files", f"more than {self._limits.files} (DOCKBUS_BUILD_CONTEXT_FILES)"
            )
        if self._names > _ALL_NAMES:
            raise ContextUnusable("long-name", f"names of more than {show_size(_ALL_NAMES)}")

    def _place(self, name: str, entry: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
        path = self._into / name
        if any(str(parent) in self._links for parent in Path(name).parents):
            raise ContextUnusable("through-link", f"{name} lies behind a link of the archive")
        if (
            name in self._files
            or name in self._links
            or (name in self._folders and not entry.isdir())
        ):
            raise ContextUnusable("duplicate-name", f"{name} is there twice")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.isdir():
                path.mkdir(exist_ok=True)
                self._folders[name] = entry.mode & 0o777 | 0o700
            elif entry.issym():
                path.symlink_to(entry.linkname)
                self._links.add(name)
            elif entry.islnk():
                self._link(name, entry.linkname)
            elif entry.issparse():
                raise _sparse(name)
            elif entry.isreg():
                self._write(path, entry, cast("IO[bytes]", tar.extractfile(entry)))
                self._files.add(name)
            else:
                raise ContextUnusable(
                    "special-file", f"{name} is neither a plain file nor a folder nor a link"
                )
        except (FileExistsError, NotADirectoryError):
            raise ContextUnusable("duplicate-name", f"{name} is both a file and a folder") from None

    def _link(self, name: str, target: str) -> None:
        """Make a hard link to a file that the archive has brought."""
        known = _checked_name(target, "link-outside", f"{name} is a link to ")
        if known not in self._files:
            raise ContextUnusable(
                "link-outside", f"{name} is a link to {target}, no file of the archive"
            )
        (self._into / name).hardlink_to(self._into / known)
        self._files.add(name)

    def _write(self, path: Path, entry: tarfile.TarInfo, data: IO[bytes]) -> None:
        if entry.mode & 0o6000:
            raise ContextUnusable(
                "set-user-id", f"{entry.name} runs as its owner; make it so in the Dockerfile"
            )
        with path.open("xb") as file:
            while piece := data.read(_PIECE):
                self._check()
                file.write(piece)
        path.chmod(entry.mode & 0o777 | 0o400)
        seconds = min(max(0, entry.mtime), 2**33)
        os.utime(path, (seconds, seconds))

    def _check_links(self) -> None:
        """See where links lead now that all is there, one through the other."""
        for name in self._links:
            self._check()
            if not self._is_endless(name) and not real(self._into / name).is_relative_to(
                self._into
            ):
                raise ContextUnusable("link-outside", f"{name} leads out of the context")

    def _is_endless(self, name: str) -> bool:
        """Whether a link leads through more others than anybody follows; each of those is looked at by itself."""
        try:
            (self._into / name).stat()
        except OSError as error:
            return error.errno == errno.ELOOP
        return False


def _checked_name(name: str, rule: str = "", told: str = "") -> str:
    """The name relative to the folder; empty for the folder itself."""
    if name.startswith("/"):
        raise ContextUnusable(rule or "absolute-name", f"{told}{name[:200]}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ContextUnusable(rule or "parent-name", f"{told}{name[:200]}")
    if len(name) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
        raise ContextUnusable("long-name", f"{told}{name[:80]}… has {len(name)} characters")
    return "/".join(parts)


def _sparse(name: str) -> ContextUnusable:
    return ContextUnusable("sparse-file", f"{name[:80]} is packed as a file with holes")


def _too_large(limits: Limits) -> ContextUnusable:
    return ContextUnusable(
        "too-large", f"more than {show_size(limits.size)} unpacked (DOCKBUS_BUILD_CONTEXT_SIZE)"
    )


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # pyright: ignore
        if not self._rest:
            self._rest = next(self._pieces, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class _Counted(io.RawIOBase):
    """What a compressed archive gives, as long as that is not too much."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file = file
        self._limits = limits
        # Headers and padding come on top of what the files hold.
        self._left = limits.size + 4096 * limits.files

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size if size >= 0 else _PIECE)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._limits)
        return data


def _unzipped(pieces: Iterator[bytes], limits: Limits) -> IO[bytes]:
    file = io.BufferedReader(_Pieces(pieces), buffer_size=_PIECE)
    zipped = file.peek(2)[:2] == b"\x1f\x8b"
    plain = cast("IO[bytes]", gzip.GzipFile(fileobj=file) if zipped else file)
    return cast("IO[bytes]", _Counted(plain, limits))
