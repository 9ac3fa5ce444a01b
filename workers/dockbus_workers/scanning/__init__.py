"""Scanning: look into an image, remember what was found, judge it by a gate.

`scan_image` is the scan job. A run job that has to be sure of its image calls `require_scan`, which takes a
verdict that the bus remembers, or scans then and there.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from itertools import combinations
from typing import get_args

from dockbus.artefacts import Artefact
from dockbus.engine import Image
from dockbus.errors import MissingTool
from dockbus.jobs.gate import Gate, ScannerName
from dockbus.jobs.scan import Scan, ScanResult
from dockbus.units import show_size
from dockbus_workers.context import JobContext
from dockbus_workers.scanning import memory, result, vex
from dockbus_workers.scanning.errors import ScanRequired, VexInvalid
from dockbus_workers.scanning.scanner import Form, Scanned, Scanner
from dockbus_workers.scanning.trivy import Trivy

_LARGEST_VEX = 8 * 1024**2
"""Bytes; as objects they take many times as many."""
_FILES: dict[Form, tuple[str, str]] = {
    "sarif": ("report.sarif", "application/sarif+json"),
    "cyclonedx": ("sbom.cdx.json", "application/vnd.cyclonedx+json"),
    "spdx": ("sbom.spdx.json", "application/spdx+json"),
}


def scan_image(ctx: JobContext, spec: Scan) -> ScanResult:
    """Carry out a scan job.

    Raises:
        ImageNotFound: the Engine does not have the image.
        MissingTool: the scanner is not installed.
        DatabaseUnavailable, DatabaseTooOld: there is no database to scan with.
        VexInvalid, BlobNotFound: the VEX document is none, or is not there.
        BlobTooLarge: a report is larger than the bus keeps.
        ScanFailed, ScannerCrashed: the scanner could not do it.
    """
    ctx.check()
    scanner = Trivy(ctx)
    made = scanner.update(ctx) if spec.database == "update" else None
    if spec.image is None:
        return result.of_update(scanner.name, made or _now(), _now())
    image = ctx.engine.images.get(spec.image)
    statements = _vex(ctx, spec)
    wanted = spec.scanners_needed | set(spec.scanners)
    known = (
        None if spec.fresh else memory.recall(ctx, image.id, wanted, scanner.edition(wanted, ctx))
    )
    scanned = known or _scan(ctx, scanner, image, wanted)
    judged = result.make(
        image,
        scanned,
        spec,
        named=spec.image,
        wanted=wanted,
        vex=statements,
        now=_now(),
        cached=known is not None,
    )
    _tell(ctx, judged)
    return judged.model_copy(update={"artefacts": _left(ctx, scanner, spec, scanned)})


def verdict_for(ctx: JobContext, image_id: str, gate: Gate) -> ScanResult | None:
    """The verdict on an image by a scan that the bus remembers; None where it has to be scanned.

    Where Trivy is installed, the scan must have been by the same Trivy and database; else the last one holds.

    Raises:
        ImageNotFound: the Engine does not have the image.
        DatabaseUnavailable, DatabaseTooOld: there is no database to compare with.
        VexInvalid, BlobNotFound: the gate's VEX document is none, or is not there.
    """
    wanted = _wanted(gate)
    try:
        edition = Trivy(ctx).edition(wanted, ctx)
    except MissingTool:
        edition = None
    known = (memory.recall(ctx, image_id, more, edition) for more in _supersets(wanted))
    scanned = next((one for one in known if one is not None), None)
    if scanned is None:
        return None
    return result.make(
        ctx.engine.images.get(image_id),
        scanned,
        gate,
        named=image_id,
        wanted=wanted,
        vex=_vex(ctx, gate),
        now=_now(),
        cached=True,
    )


def require_scan(ctx: JobContext, image_id: str, gate: Gate) -> ScanResult:
    """The verdict on an image, remembered or by a scan then and there, where it is not `failed`.

    Raises:
        ScanRequired: it is `failed`.
        MissingTool: the image has to be scanned, and the scanner is not installed.
        DockbusError: whatever else `scan_image` raises.
    """
    verdict = verdict_for(ctx, image_id, gate)
    if verdict is None:
        rules = {name: getattr(gate, name) for name in Gate.model_fields}
        spec = Scan(image=image_id, scanners=sorted(_wanted(gate)), reports=[], **rules)
        verdict = scan_image(ctx, spec)
    if verdict.verdict == "failed":
        raise ScanRequired(f"{image_id[:19]}: {'; '.join(verdict.reasons)}")
    return verdict


def _scan(
    ctx: JobContext, scanner: Scanner, image: Image, wanted: AbstractSet[ScannerName]
) -> Scanned:
    ctx.log(f"scanning {image.id[7:19]} for: {', '.join(sorted(wanted))}")
    scanned = scanner.scan(image.id, wanted, ctx)
    memory.remember(ctx, image.id, wanted, scanned)
    return scanned


def _left(ctx: JobContext, scanner: Scanner, spec: Scan, scanned: Scanned) -> list[Artefact]:
    left: list[Artefact] = []
    if "json" in spec.reports:
        left.append(ctx.keep("report.json", scanned.report, "application/json"))
    forms: list[Form] = ["sarif"] if "sarif" in spec.reports else []
    if spec.sbom:
        forms.append(spec.sbom)
    for form in forms:
        name, media_type = _FILES[form]
        left.append(ctx.keep(name, scanner.convert(scanned.report, form, ctx), media_type))
    return left


def _vex(ctx: JobContext, gate: Gate) -> vex.Vex | None:
    if gate.vex is None or isinstance(gate.vex, dict):
        return vex.parse(gate.vex) if gate.vex is not None else None
    with ctx.attached():
        if ctx.blobs.size(gate.vex) > _LARGEST_VEX:
            raise VexInvalid(f"{gate.vex} has more than {show_size(_LARGEST_VEX)}")
        text = b"".join(ctx.blobs.read(gate.vex))
    try:
        return vex.parse(json.loads(text))
    except (ValueError, RecursionError):
        raise VexInvalid(f"{gate.vex} is no JSON") from None


def _wanted(gate: Gate) -> set[ScannerName]:
    return gate.scanners_needed or {"vuln"}


def _supersets(wanted: AbstractSet[ScannerName]) -> list[AbstractSet[ScannerName]]:
    """What a scan may have looked for to be good for this; the least first."""
    others = [name for name in get_args(ScannerName) if name not in wanted]
    numbers = range(len(others) + 1)
    return [wanted | set(more) for number in numbers for more in combinations(others, number)]


def _tell(ctx: JobContext, judged: ScanResult) -> None:
    if judged.cached and judged.scanned:
        ctx.log(f"remembered: a scan of {judged.scanned:%Y-%m-%d %H:%M:%S} UTC")
    ctx.log(result.summary(judged))
    if judged.expired:
        ctx.log(f"no longer ignored, since its time is over: {', '.join(judged.expired)}")
    for reason in judged.reasons:
        ctx.log(f"failed: {reason}")


def _now() -> datetime:
    return datetime.now(UTC)
