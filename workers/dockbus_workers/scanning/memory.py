"""What the bus remembers of scans, so that an image is not scanned again by the same scanner and database.

Kept by image ID, which is the image's content: another tag finds it, another Engine, too. The report is remembered,
not the verdict, so each gate judges for itself. An entry is signed with the bus's key: whoever can write to Redis
but has no key cannot make an image pass.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from dockbus.blobs import BlobNotFound, BlobTooLarge, Digest
from dockbus.jobs.gate import ScannerName
from dockbus_workers.context import JobContext
from dockbus_workers.scanning.scanner import Scanned
from dockbus_workers.sealed import seal, unseal


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    scanner: str
    database: datetime | None
    at: datetime
    report: Digest


def remember(
    ctx: JobContext, image_id: str, scanners: AbstractSet[ScannerName], scan: Scanned
) -> None:
    """Keep a scan for as long as its report is kept; not where the report is larger than the bus keeps."""
    keep = max(ctx.settings.bus.result_ttl, ctx.settings.bus.failure_ttl)
    key = _key(image_id, scanners)
    with ctx.attached(), suppress(BlobTooLarge):
        digest = ctx.blobs.put([scan.report], ttl=keep).digest
        entry = _Entry(scanner=scan.scanner, database=scan.database, at=scan.at, report=digest)
        text = entry.model_dump_json().encode()
        ctx.redis.set(key, seal(ctx, key, text), ex=keep)


def recall(
    ctx: JobContext,
    image_id: str,
    scanners: AbstractSet[ScannerName],
    edition: tuple[str, datetime | None] | None,
) -> Scanned | None:
    """The newest scan of this image for just that, or None.

    Args:
        ctx: the job that asks.
        image_id: the image's ID.
        scanners: what was to be looked for.
        edition: scanner and database that it must have been made with; no database for any, None for any at all.
    """
    key = _key(image_id, scanners)
    with ctx.attached():
        entry = _parse(unseal(ctx, key, ctx.redis.get(key)))
        if entry is None or _is_stale(entry, edition, ctx.settings.scan.max_db_age):
            return None
        try:
            report = b"".join(ctx.blobs.read(entry.report))
        except BlobNotFound:
            return None
    return Scanned(scanner=entry.scanner, database=entry.database, at=entry.at, report=report)


def _is_stale(entry: _Entry, edition: tuple[str, datetime | None] | None, max_age: float) -> bool:
    scanner, database = edition or (entry.scanner, entry.database)
    if scanner != entry.scanner or (database and database != entry.database):
        return True
    made = entry.database
    return bool(made and 0 < max_age < (datetime.now(UTC) - made).total_seconds())


def _parse(text: bytes | None) -> _Entry | None:
    with suppress(ValidationError):  # of another version of dockbus
        return _Entry.model_validate_json(text) if text is not None else None
    return None


def _key(image_id: str, scanners: AbstractSet[ScannerName]) -> str:
    return f"dockbus:scan:{image_id}:{'+'.join(sorted(scanners))}"
