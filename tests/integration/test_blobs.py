"""Blobs on a real Redis: whole or not at all, under their own digest, for as long as they are wanted."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from redis import Redis

from dockbus.blobs import PIECE, BlobNotFound, Blobs, BlobTooLarge, Digest
from dockbus.bus import Bus


@pytest.fixture
def blobs(redis: Redis) -> Blobs:
    return Blobs(redis, limit=4 * PIECE)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 2 * PIECE + 7])
def test_what_was_put_comes_back_under_its_sha256(blobs: Blobs, size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    blob = blobs.put([data[:3], data[3:]], ttl=60)

    assert blob.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert TypeAdapter(Digest).validate_python(blob.digest) == blob.digest
    assert blob.size == blobs.size(blob.digest) == size
    assert b"".join(blobs.read(blob.digest)) == data


def test_a_blob_goes_when_its_time_is_over_and_the_longest_time_holds(
    blobs: Blobs, redis: Redis
) -> None:
    blob = blobs.put([b"once"], ttl=500)
    blobs.put([b"once"], ttl=100)

    assert 490 <= redis.ttl(f"dockbus:blob:{blob.digest}") <= 500

    blobs.put([b"once"], ttl=900)

    assert 890 <= redis.ttl(f"dockbus:blob:{blob.digest}") <= 900


def test_too_much_is_refused_and_leaves_nothing(blobs: Blobs, redis: Redis) -> None:
    with pytest.raises(BlobTooLarge, match="4 MB"):
        blobs.put([b"x" * PIECE] * 5, ttl=60)

    assert redis.keys("*blob*") == []


def test_a_source_that_breaks_off_leaves_nothing(blobs: Blobs, redis: Redis) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * PIECE
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        blobs.put(broken(), ttl=60)

    assert redis.keys("*blob*") == []


def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(BlobNotFound, match="sha256:00"):
        blobs.size(f"sha256:{'0' * 64}")


def test_what_was_changed_in_redis_is_not_taken_for_the_blob(blobs: Blobs, redis: Redis) -> None:
    blob = blobs.put([b"good"], ttl=60)
    redis.set(f"dockbus:blob:{blob.digest}", b"evil")

    with pytest.raises(BlobNotFound, match="damaged"):
        list(blobs.read(blob.digest))


def test_a_file_is_uploaded_for_as_long_as_an_order_holds(
    engineless_bus: Bus, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "context.tar").write_bytes(b"tar" * PIECE)

    blob = engineless_bus.upload(tmp_path / "context.tar")
    assert blob == engineless_bus.upload(str(tmp_path / "context.tar"))

    assert blob == engineless_bus.upload(b"tar" * PIECE)
    assert redis.ttl(f"dockbus:blob:{blob.digest}") > engineless_bus.settings.bus.job_ttl - 60
