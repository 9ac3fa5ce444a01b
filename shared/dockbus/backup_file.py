"""The file of a backup: a block of text that says what it is, then key after key as Redis dumps them.

    {"format":1, … "digest":"…"} SEAL, padded with blanks to 1024 bytes
    length of the name, length of the dump, expiry in ms since 1970 or 0 (big-endian, 4, 8 and 8 bytes), name, dump
    …

The digest is over all that follows the block, the seal over what is said there, with the bus' key: a file that was
cut, changed or made up is known before anything of it is used.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from dockbus.errors import DockbusError

FORMAT = 1
BLOCK = 1024
"""Bytes that the text before the keys takes."""
_LENGTHS = struct.Struct(">IQQ")


class BackupFailed(DockbusError):
    """There is no backup, since the bus could not be read or the file not be written.

    What was in the file before is still there; correct the detail and try again.
    """


class BackupRefused(DockbusError):
    """The file is no backup that can be restored here, so nothing was changed.

    Take another copy, with the DOCKBUS_BUS_KEY (or DOCKBUS_BUS_PREVIOUS_KEY) of the bus that it is a backup of.
    """


class Backup(BaseModel):
    """What a backup says of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    format: int = FORMAT
    """Of the file."""
    version: str
    """Of the dockbus that made it."""
    redis: str
    """Version of the Redis that it was made from; one that is older may not understand it."""
    made: datetime
    """The moment that it shows, by the clock of Redis."""
    jobs: int
    unended: int
    """Jobs that had not ended."""
    held: float
    """Seconds for which others had to wait with what they wrote."""
    keys: int = 0
    size: int = 0
    """Bytes of all keys."""
    digest: str = ""
    """SHA-256 of all keys."""


class Entry(NamedTuple):
    """One key."""

    name: bytes
    expires: int
    """Milliseconds since 1970; 0 for never."""
    dump: bytes
    """As Redis' DUMP gives it and RESTORE takes it."""


class Draft:
    """A backup that is being written."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._digest = hashlib.sha256()
        self._keys = self._size = 0
        out.write(b"\0" * BLOCK)

    def add(self, entry: Entry) -> None:
        """Append a key."""
        lengths = _LENGTHS.pack(len(entry.name), len(entry.dump), entry.expires)
        for part in (lengths, entry.name, entry.dump):
            self._out.write(part)
            self._digest.update(part)
            self._size += len(part)
        self._keys += 1

    def seal(self, about: Backup, key: bytes) -> Backup:
        """Say what it is, when all keys are there; returns `about` with what is known of the keys."""
        counted = {"keys": self._keys, "size": self._size, "digest": self._digest.hexdigest()}
        backup = about.model_copy(update=counted)
        text = backup.model_dump_json().encode()
        self._out.seek(0)
        self._out.write((text + b" " + _seal(key, text)).ljust(BLOCK - 1) + b"\n")
        self._out.flush()
        os.fsync(self._out.fileno())
        return backup


@contextmanager
def writing(file: Path) -> Generator[Draft]:
    """A draft, which takes the place of the file at the end of the block; only its owner can read it.

    Raises:
        BackupFailed: it cannot be written.
    """
    try:
        number, draft = mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(number, "wb") as out:
                yield Draft(out)
            Path(draft).replace(file)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise BackupFailed(f"{file}: {error.strerror}") from None


@contextmanager
def reading(file: Path, keys: Sequence[bytes]) -> Generator[tuple[Backup, Iterator[Entry]]]:
    """What a backup is, and its keys; all of it has been checked before the first is given.

    Raises:
        BackupRefused: it is none, it is not whole, or none of `keys` has sealed it.
    """
    try:
        source = file.open("rb")
    except OSError as error:
        raise BackupRefused(f"{file}: {error.strerror}") from None
    with source:
        backup = _opened(source.read(BLOCK), keys)
        digest, size = hashlib.sha256(), 0
        while piece := source.read(BLOCK * BLOCK):
            digest.update(piece)
            size += len(piece)
        if size < backup.size:
            raise BackupRefused(f"it was cut: {backup.size - size} bytes are missing")
        if size > backup.size or digest.hexdigest() != backup.digest:
            raise BackupRefused("it was changed since it was made")
        source.seek(BLOCK)
        yield backup, _entries(source, backup.keys)


def _opened(block: bytes, keys: Sequence[bytes]) -> Backup:
    text, _, seal = block.rstrip().rpartition(b" ")
    try:
        backup = Backup.model_validate_json(text)
    except ValidationError:
        raise BackupRefused("it does not begin as a backup does") from None
    if backup.format > FORMAT:
        raise BackupRefused(
            f"it has format {backup.format}, made by dockbus {backup.version}, and this version knows {FORMAT}"
        )
    if not any(hmac.compare_digest(_seal(key, text), seal) for key in keys):
        raise BackupRefused("it was changed, or is of a bus with another key")
    return backup


def _entries(source: BinaryIO, count: int) -> Iterator[Entry]:
    for _ in range(count):
        name, dump, expires = _LENGTHS.unpack(source.read(_LENGTHS.size))
        yield Entry(source.read(name), expires, source.read(dump))


def _seal(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, b"dockbus backup\0" + text, hashlib.sha256).hexdigest().encode()
