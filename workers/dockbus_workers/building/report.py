"""Where an image's bytes are, and which it need not have: pure arithmetic over its layers.

Wasted is what a later layer replaced or deleted, since it is carried along all the same. Efficiency is the bytes
that would do if every path were written once, at its smallest, divided by those that are there.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dockbus.errors import DockbusError
from dockbus.jobs import Build
from dockbus.jobs.building.findings import ImageReport, LayerSize, Removable, Waste
from dockbus.units import show_size
from dockbus_workers.building.layers import Layer

SHOWN = 10
"""Entries of each list that a job's result has; the artefact has all."""


class ImageUnreadable(DockbusError):
    """The image cannot be looked into, so there is no report on it.

    Order without `report` and its limits.
    """


class ImageWasteful(DockbusError):
    """The image is over the limits that the job sets, so it got none of its tags.

    The job's log names the instructions that waste most, and what to do about each.
    """


_CLASSES: dict[str, tuple[re.Pattern[str], str]] = {
    "apt lists": (re.compile(r"^var/lib/apt/lists/"), "end the RUN that installs with `rm -rf /var/lib/apt/lists/*`"),
    "package caches": (re.compile(r"^var/cache/(apt|apk|dnf|yum|debconf)/|^etc/apk/cache/"), "end the RUN that installs with `apt-get clean`, or use `apk add --no-cache`"),
    "pip cache": (re.compile(r"(^|/)\.cache/(pip|uv)/"), "install with `pip install --no-cache-dir`, or mount a cache in RUN"),
    "npm cache": (re.compile(r"(^|/)(\.npm|\.cache/yarn|\.yarn/cache)/"), "end the RUN with `npm cache clean --force`, or mount a cache in it"),
    "documentation": (re.compile(r"^usr/(local/)?share/(doc|man|info|locale|help)/"), "remove it in the RUN that installs, or keep dpkg from unpacking it (`path-exclude`)"),
    "Git data": (re.compile(r"(^|/)\.git/"), "put `.git` into .dockerignore"),
    "node_modules": (re.compile(r"(^|/)node_modules/"), "install with `npm ci --omit=dev` in a stage of its own and copy what is needed"),
    "Python bytecode": (re.compile(r"\.py[co]$"), "set PYTHONDONTWRITEBYTECODE=1, or put `**/__pycache__` into .dockerignore"),
    "temporary files": (re.compile(r"^(var/)?tmp/"), "remove them in the RUN that makes them"),
}  # fmt: skip


@dataclass
class _Loss:
    """What one layer made useless."""

    files: dict[str, int] = field(default_factory=dict[str, int])
    deleted: int = 0


def report(layers: Sequence[Layer]) -> ImageReport:
    """The report on an image with these layers, the lowest first."""
    alive: dict[str, int] = {}
    total: Counter[str] = Counter()
    least: dict[str, int] = {}
    losses: list[_Loss] = []
    for layer in layers:
        loss = _Loss()
        for path in _taken_away(alive, layer):
            loss.files[path] = alive.pop(path)
            loss.deleted += loss.files[path]
            least[path] = 0
        for path, size in layer.files.items():
            if path in alive:
                loss.files[path] = alive[path]
            alive[path] = size
            total[path] += size
            least[path] = min(size, least.get(path, size))
        losses.append(loss)
    written = total.total()
    return ImageReport(
        size=written,
        efficiency=round(sum(least.values()) / written, 4) if written else 1.0,
        wasted=sum(sum(loss.files.values()) for loss in losses),
        layers=[
            LayerSize(
                instruction=layer.instruction,
                size=sum(layer.files.values()),
                files=len(layer.files),
            )
            for layer in layers
        ],
        wastes=_wastes(layers, losses),
        removable=_removable(alive),
    )


def _taken_away(alive: dict[str, int], layer: Layer) -> list[str]:
    """The files of lower layers that are gone with this one, each by itself or with a folder."""
    gone = layer.removed & alive.keys()
    folders = (layer.removed - gone) | layer.emptied
    if not folders:
        return list(gone)
    return [path for path in alive if path in gone or not folders.isdisjoint(_parents(path))]


def _parents(path: str) -> list[str]:
    found = [""]
    end = path.find("/")
    while end >= 0:
        found.append(path[:end])
        end = path.find("/", end + 1)
    return found


def _wastes(layers: Sequence[Layer], losses: Sequence[_Loss]) -> list[Waste]:
    found = [
        Waste(
            instruction=layer.instruction,
            size=size,
            files=len(loss.files),
            path="/" + _common(list(loss.files)),
            hint=_hint(layer.instruction, loss.deleted * 2 > size),
        )
        for layer, loss in zip(layers, losses, strict=True)
        if (size := sum(loss.files.values()))
    ]
    return sorted(found, key=lambda waste: -waste.size)


def _common(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else posixpath.commonpath(paths)


def _hint(instruction: str, deleted: bool) -> str:
    if re.search(r"\b(chown|chmod|chgrp)\b", instruction):
        return "give owner and mode where the files are made: COPY --chown, --chmod, or in the same RUN"
    if deleted:
        return "delete in the RUN that makes the files; a later one only hides them"
    return (
        "write each file once: bring the final version only, or build in a stage and copy from it"
    )


def _removable(alive: dict[str, int]) -> list[Removable]:
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for path, size in alive.items():
        for what, (pattern, _) in _CLASSES.items():
            if pattern.search(path):
                sizes[what] += size
                counts[what] += 1
                break
    return [
        Removable(what=what, size=size, files=counts[what], hint=_CLASSES[what][1])
        for what, size in sizes.most_common()
        if size
    ]


def shortened(full: ImageReport) -> ImageReport:
    """The report with the beginnings of its lists, as a job's result has it."""
    return full.model_copy(
        update={name: getattr(full, name)[:SHOWN] for name in ("wastes", "removable")}
    )


def demand(spec: Build, found: ImageReport) -> None:
    """Make sure that the image keeps to the limits of its order.

    Raises:
        ImageWasteful: it does not.
    """
    wrong: list[str] = []
    if spec.min_efficiency is not None and found.efficiency < spec.min_efficiency:
        wrong.append(f"efficiency {found.efficiency:.3f}, and {spec.min_efficiency:g} is demanded")
    if spec.max_wasted is not None and found.wasted > spec.max_wasted:
        wrong.append(
            f"{show_size(found.wasted)} wasted, and {show_size(spec.max_wasted)} is allowed"
        )
    if wrong:
        worst = found.wastes[0] if found.wastes else None
        most = f"; most by {worst.instruction[:120] or 'a layer'!r}: {worst.hint}" if worst else ""
        raise ImageWasteful("; ".join(wrong) + most)
