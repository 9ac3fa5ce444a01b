"""What a rule is asked about: an event, and the container that it is about, as it was seen right after.

An event that tells of no container may still be an occasion with one: a rule on states looks at every container of
an Engine when the Engine's snapshot has been compared with it anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from dockbus.events import CONTAINER, ENGINES, RESYNCED, Event
from dockbus.jobs import LABEL_JOB
from dockbus.limits import EVENTS as LIMITS
from dockbus.snapshot import ContainerState

DUE = "io.dockbus.label.due"
"""A container's label says that it is time for a rule."""
ABOUT_CONTAINERS = (CONTAINER, LIMITS)
"""What the types of events begin with that are about one container."""


def engine_of(event: Event) -> str | None:
    """The name of the Engine that an event comes from; None where it comes from none."""
    return event.source.removeprefix(ENGINES) if event.source.startswith(ENGINES) else None


@dataclass(frozen=True)
class Occasion:
    """An event, and the container."""

    event: Event
    container: ContainerState | None = None
    """The container; None where there is none, or nobody has seen it."""

    @classmethod
    def of(cls, event: Event) -> Occasion:
        """The occasion that an event is by itself, with the container that it carries."""
        with contextlib.suppress(ValidationError):
            return cls(event, ContainerState.model_validate(event.data.get("container")))
        return cls(event)

    @property
    def needs_look(self) -> bool:
        """Whether it is about a container that the event does not carry."""
        return self.event.type.startswith(ABOUT_CONTAINERS) and self.container is None

    @property
    def level(self) -> bool:
        """Whether it is a look at a container that no event told of."""
        return self.event.type == RESYNCED and self.container is not None

    @property
    def about_container(self) -> bool:
        """Whether it is about one container."""
        return self.level or self.event.type == DUE or self.event.type.startswith(ABOUT_CONTAINERS)

    @property
    def cause(self) -> str:
        """What tells it from all others, for ever."""
        looked_at = f":{self.container.id}" if self.level and self.container else ""
        return f"{self.event.source}:{self.event.id}{looked_at}"

    @property
    def subject(self) -> str:
        """The ID of what it is about."""
        return self.container.id if self.level and self.container else self.event.subject

    @property
    def engine(self) -> str | None:
        """The Engine it is about."""
        return engine_of(self.event)

    @property
    def time(self) -> datetime:
        """When the event happened; one that names no time zone means UTC."""
        return self.event.time if self.event.time.tzinfo else self.event.time.replace(tzinfo=UTC)

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """What the Engine has sent with the event."""
        sent = self.event.data.get("attributes")
        return {key: str(value) for key, value in sent.items()} if isinstance(sent, dict) else {}

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the container, else those that the Engine has sent among the attributes."""
        return self.container.labels if self.container else self.attributes

    @property
    def exit_code(self) -> int | None:
        """What it ended with."""
        said = self.event.data.get("exitCode")
        if said is None and self.container:
            return self.container.exit_code
        return said if isinstance(said, int) else None

    @property
    def own(self) -> bool:
        """Whether this is dockbus' own doing."""
        # Only containers: an image that a job built hands its labels on, and is rightly scanned.
        of_job = LABEL_JOB in self.labels or LABEL_JOB in self.attributes
        return self.engine is None or (self.about_container and of_job)

    @cached_property
    def variables(self) -> dict[str, Any]:
        """What expressions may ask for, but for `now`."""
        found: dict[str, Any] = {"event": self.event.model_dump(mode="json")}
        if self.container:
            found["container"] = self.container.model_dump()
        return found

    @cached_property
    def values(self) -> Mapping[str, str]:
        """What templates may name; of what is not known, an empty text, but no label or attribute that is not there."""
        data, box = self.event.data, self.container
        return {
            "id": self.subject,
            "engine": self.engine or "",
            "action": str(data.get("action", "")),
            "name": str(data.get("name") or (box.name if box else "")),
            "image": str(data.get("image") or (box.image if box else "")),
            "image_id": box.image_id if box else "",
            "exit_code": "" if self.exit_code is None else str(self.exit_code),
            "health": box.health if box else "",
            "restart_count": str(box.restart_count) if box else "",
            "started": _moment(box.started) if box else "",
            **{f"labels.{key}": value for key, value in self.labels.items()},
            **{f"attributes.{key}": value for key, value in self.attributes.items()},
        }


def _moment(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
