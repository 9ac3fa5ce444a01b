"""An Engine's event as the bus carries it: a CloudEvent, and what names it for ever."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import JsonValue

from dockbus.engine import EngineEvent
from dockbus.engine.states import bounded
from dockbus.events import ENGINES, Event
from dockbus.snapshot import ContainerState

_CODE = re.compile(r"[0-9]{1,3}")
_FACTS = set(ContainerState.model_fields)


def is_noise(event: EngineEvent) -> bool:
    """Whether it says only that somebody looked: healthchecks alone would drown everything else."""
    return event.action.startswith("exec_") or event.action in ("top", "attach", "resize")


def fingerprint(engine_id: str, event: EngineEvent) -> str:
    """What names this event for ever, whoever reads it and however often."""
    facts = (
        engine_id,
        event.type,
        event.action,
        event.actor,
        str(event.time_nano),
        event.attributes.get("execID", ""),
    )
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:20]


def envelope(
    engine: str,
    engine_id: str,
    mark: str,
    event: EngineEvent,
    container: ContainerState | None = None,
    *,
    synthetic: bool = False,
) -> Event:
    """An Engine's event as the bus carries it.

    Args:
        engine: the Engine's name.
        engine_id: the Engine's own ID.
        mark: the event's ID on the bus.
        event: what was heard, or would have been.
        container: what it happened to, as seen right after, where it is a container and was seen.
        synthetic: whether it was found by comparing, not heard.

    Labels of the container are in `container`; where that is not known, they are among `attributes`, and a label may
    pose as any other attribute there.
    """
    attributes = bounded(event.attributes)
    name = attributes.get("name", "")
    image = attributes.get("image", "")
    if event.type == "image":
        name = image = name if event.actor.startswith("sha256:") else event.actor
    data: dict[str, JsonValue] = {
        "engine": engine,
        "engineId": engine_id,
        "id": event.actor,
        "name": name,
        "image": image,
        "action": event.action,
        "attributes": {**attributes},
        "synthetic": synthetic,
    }
    if container:
        labels = container.labels
        own = {key: value for key, value in attributes.items() if key not in labels}
        data |= {
            "name": container.name,
            "image": container.image,
            "attributes": {**own},
            "container": container.model_dump(mode="json", include=_FACTS),
        }
    if event.action == "die" and (code := exit_code(attributes)) is not None:
        data["exitCode"] = code
    return Event(
        id=mark,
        source=ENGINES + engine,
        type=f"io.dockbus.docker.{event.type}.{event.action.replace(': ', '.')}",
        subject=event.actor,
        time=moment(event.time_nano),
        data=data,
    )


def exit_code(attributes: Mapping[str, str]) -> int | None:
    """The exit code that an event tells, where it is one; a label may pose as it."""
    text = attributes.get("exitCode", "")
    return int(text) if _CODE.fullmatch(text) else None


def moment(nano: int) -> datetime:
    """Nanoseconds since 1970 as a datetime."""
    seconds, rest = divmod(nano, 10**9)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def nanoseconds(time: datetime | None) -> int:
    """A datetime as nanoseconds since 1970; 0 for none."""
    if time is None:
        return 0
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def stamp(nano: int) -> str:
    """Nanoseconds since 1970 as the Engine wants a time."""
    seconds, rest = divmod(nano, 10**9)
    return f"{seconds}.{rest:09d}"
