"""Bytes that jobs need or leave, kept in Redis under their own digest: uploaded build contexts, reports, files.

Redis is what all workers of a bus share, so a blob is wherever a job is. That is for megabytes, not for
gigabytes: there is a limit for each, and each expires. What is under a digest can only be what was put there.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from secrets import token_hex
from typing import Annotated, cast

from pydantic import Field
from redis import Redis

from dockbus.connection import reachable
from dockbus.errors import DockbusError
from dockbus.units import show_size

PIECE = 1024 * 1024
"""Bytes sent or fetched in one round trip."""
_DRAFT_TTL = 600

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", examples=[f"sha256:{'0' * 64}"])]
"""What a blob is known by: `sha256:` and 64 hex digits."""


class BlobNotFound(DockbusError):
    """The bus does not have these bytes, or has them no more.

    Uploaded files and what jobs leave are kept for as long as jobs are; upload the file again, or run the job again.
    """


class BlobTooLarge(DockbusError):
    """That is more than the bus keeps in one piece.

    Make it smaller, or raise DOCKBUS_BUS_BLOB_SIZE and see that Redis has the memory for it.
    """


@dataclass(frozen=True)
class Blob:
    """What has been put there."""

    digest: str
    size: int
    """Bytes."""


class Blobs:
    """The blobs of one bus, of `limit` bytes at most each."""

    def __init__(self, redis: Redis, *, limit: int) -> None:
        self._redis = redis
        self._limit = limit

    def put(self, chunks: Iterable[bytes], *, ttl: int) -> Blob:
        """Keep these bytes for `ttl` seconds at least. Nobody sees them before they are all there.

        Raises:
            BlobTooLarge: they are too many.
            RedisUnavailable: Redis does not answer, or is full.
        """
        draft, size, sha = f"dockbus:blob-draft:{token_hex(16)}", 0, hashlib.sha256()
        with reachable():
            try:
                for piece in _pieces(chunks):
                    size += len(piece)
                    if size > self._limit:
                        raise BlobTooLarge(
                            f"it has more than {show_size(self._limit)} (DOCKBUS_BUS_BLOB_SIZE)"
                        )
                    sha.update(piece)
                    with self._redis.pipeline(transaction=False) as pipe:
                        pipe.append(draft, piece)
                        pipe.expire(draft, _DRAFT_TTL)
                        pipe.execute()
                digest = f"sha256:{sha.hexdigest()}"
                left = int(self._redis.ttl(_key(digest)))
                with self._redis.pipeline() as pipe:
                    pipe.set(draft, b"", nx=True)  # an empty blob has no pieces
                    pipe.rename(draft, _key(digest))
                    pipe.expire(_key(digest), max(ttl, left))
                    pipe.execute()
            finally:
                self._redis.delete(draft)
        return Blob(digest, size)

    def size(self, digest: str) -> int:
        """How many bytes are under that digest.

        Raises:
            BlobNotFound: there are none.
        """
        with reachable(), self._redis.pipeline() as pipe:  # at once: it might expire in between
            pipe.exists(_key(digest))
            pipe.strlen(_key(digest))
            found, size = cast("tuple[int, int]", pipe.execute())
        if not found:
            raise BlobNotFound(digest)
        return size

    def read(self, digest: str) -> Iterator[bytes]:
        """The bytes under that digest, piece by piece.

        Raises:
            BlobNotFound: there are none, or not all of them any more, or they are not what the digest says.
        """
        size, sha = self.size(digest), hashlib.sha256()
        for begin in range(0, size, PIECE):
            with reachable():
                piece = cast("bytes", self._redis.getrange(_key(digest), begin, begin + PIECE - 1))
            sha.update(piece)
            yield piece
        if digest != f"sha256:{sha.hexdigest()}":
            raise BlobNotFound(f"{digest}: what is there is damaged")


def _key(digest: str) -> str:
    return f"dockbus:blob:{digest}"


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of one round trip each."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= PIECE:
            yield bytes(buffer[:PIECE])
            del buffer[:PIECE]
    if buffer:
        yield bytes(buffer)
