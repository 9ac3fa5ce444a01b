"""Inventories and needs made by hand, and what a cleanup plans for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dockbus import Cleanup
from dockbus.engine import Container, Image
from dockbus.ids import JobId
from dockbus.jobs import Spec
from dockbus.jobs.cleanup import Reason
from dockbus.orders import Order
from dockbus_workers.cleaning.inventory import Inventory
from dockbus_workers.cleaning.needs import Needs
from dockbus_workers.cleaning.plan import Choice, plan

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = 3600.0
DAY = 24 * HOUR
MINE = "this-bus"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def container(name: str, state: str = "exited", age: float = HOUR, **fields: object) -> Container:
    made = Container(
        id=f"id-{name}",
        name=name,
        image="x",
        image_id="sha256:other",
        state=state,
        labels={},
        created=ago(10 * DAY if state == "exited" else age),
        finished=ago(age) if state == "exited" else None,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def image(
    name: str, *tags: str, layers: str = "", age: float = DAY, labels: dict[str, str] | None = None
) -> Image:
    """An image with a layer for each letter of `layers`, by default one of its own."""
    return Image(
        id=f"sha256:{name}",
        tags=tags,
        digests=(),
        size=100,
        created=ago(age),
        labels=labels or {},
        diff_ids=tuple(layers or [f"own-{name}"]),
    )


def images(*found: Image, idle: dict[str, float] | None = None, **more: object) -> Inventory:
    """An inventory of images; `idle` has the seconds since the last use of some."""
    stamps = {each.id: NOW.timestamp() for each in found}
    stamps |= {f"sha256:{name}": ago(span).timestamp() for name, span in (idle or {}).items()}
    made = Inventory(images=found, used=stamps, unique={each.id: 10 for each in found})
    return replace(made, **more)  # type: ignore[arg-type]


def needs(*specs: Spec, started: bool = False) -> Needs:
    orders = {JobId(f"j{n}"): Order(spec=spec) for n, spec in enumerate(specs)}
    return Needs.of(orders, dict.fromkeys(orders, started), bus=MINE)


def planned(
    spec: Cleanup, inventory: Inventory, needed: Needs | None = None
) -> tuple[list[str], dict[str, tuple[Reason, str]]]:
    """The names of what goes, in order, and why the rest of what is meant stays."""
    choices = plan(spec, inventory, needed or needs(), NOW)
    return [each.name for each in choices if not each.kept], stays(choices)


def stays(choices: list[Choice]) -> dict[str, tuple[Reason, str]]:
    return {each.name: (each.kept.reason, each.kept.detail) for each in choices if each.kept}
