"""Rules: "when this event, do that job", read from YAML into frozen models. Pure: no Redis, no Engine, no clock.

    rules:
      - name: clean-after-exit
        on: io.dockbus.docker.container.die
        where: {labels: {dockbus.demo: "true"}}
        do: {kind: cleanup, labels: {dockbus.demo: "true"}}

A file is checked whole when it is loaded, its jobs too, with sample values in place of `${name}` and the like.

A rule must not feed itself. So, unless it says `own: true`, a rule is deaf to what dockbus itself does: to events
of jobs and rules, and of containers that jobs run. And none pulls or tags the very image whose pull or tag it heard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from string import Template
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from dockbus.errors import InvalidSpec, RuleError, near_miss
from dockbus.events import Event
from dockbus.jobs import LABEL_JOB, Build, Pull, Spec, parse_spec
from dockbus.references import split
from dockbus.strict_yaml import Model
from dockbus.units import Seconds
from dockbus_producer.yaml_files import Form

ENGINES = "/engines/"
"""Events of Engines come from here, followed by the Engine's name; all others are dockbus' own."""


def _several(value: object) -> object:
    return cast("object", value) if isinstance(value, list) else [value]


class Where(Model):
    """What the event must be about; everything that is given must hold. `*` and `?` stand for anything."""

    image: str | None = None
    """Name of the image, with its tag."""
    name: str | None = None
    """Name of the container, image, network or volume."""
    labels: dict[str, str] = {}
    """Labels it must carry; an empty value matches any value."""
    exit_code: Annotated[list[int], BeforeValidator(_several)] = []
    """Exit codes, one of which it must have ended with."""

    def match(self, data: Mapping[str, Any]) -> bool:
        """Whether an event with this data is meant."""
        attributes: Mapping[str, str] = data.get("attributes") or {}
        return (
            all(
                pattern is None or fnmatchcase(str(data.get(field, "")), pattern)
                for field, pattern in (("image", self.image), ("name", self.name))
            )
            and all(
                label in attributes and fnmatchcase(attributes[label], pattern or "*")
                for label, pattern in self.labels.items()
            )
            and (not self.exit_code or data.get("exitCode") in self.exit_code)
        )


class Rule(Model):
    """When this event, do that job."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Unique among all rules."""
    on: Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]
    """Types of event, such as `io.dockbus.docker.container.die`; `*` stands for anything."""
    where: Where = Where()
    max_age: Seconds = Field(default=3600.0, gt=0)
    """Older events are let pass: what was right an hour ago may not be now."""
    own: bool = False
    """Hear also what dockbus itself does. Take care that the job does not cause the event it answers."""
    do: dict[str, JsonValue]
    """The job. Texts may hold `${id}`, `${name}`, `${image}`, `${engine}`, `${exit_code}` and `${action}`; `$$` is a `$`."""

    def match(self, event: Event, now: datetime) -> bool:
        """Whether the rule answers this event."""
        return (
            any(fnmatchcase(event.type, pattern) for pattern in self.on)
            and (self.own or not _is_own(event))
            and (now - event.time).total_seconds() <= self.max_age
            and self.where.match(event.data)
        )

    def spec(self, event: Event) -> Spec:
        """The job that the rule wants done about this event.

        Raises:
            RuleError: with this event's values the job is not valid, or would cause this very event again.
        """
        values = {
            "id": event.subject,
            "engine": engine_of(event) or "",
            "exit_code": str(event.data.get("exitCode", "")),
            **{key: str(event.data.get(key, "")) for key in ("name", "image", "action")},
        }
        try:
            spec = parse_spec(json.dumps(_fill(self.do, values)))
        except InvalidSpec as error:
            raise RuleError(f"rule {self.name!r}: do: {error.detail}") from None
        except (KeyError, ValueError) as error:
            what = (
                f"${{{error.args[0]}}} is not known{near_miss(error.args[0], list(values))}"
                if isinstance(error, KeyError)
                else f"{error}; write $$ for a $"
            )
            raise RuleError(f"rule {self.name!r}: do: {what}") from None
        if (values["action"], values["image"]) in _effects(spec):
            raise RuleError(f"rule {self.name!r}: do: this would cause the very event it answers")
        return spec

    @model_validator(mode="after")
    def _try_out(self) -> Rule:
        for pattern in self.on:
            try:
                self.spec(_sample(pattern))
            except RuleError as error:
                raise ValueError(error.detail.removeprefix(f"rule {self.name!r}: ")) from None
        return self


class _File(Model):
    rules: list[Rule]


_FORM: Form[Rule] = Form(_File, RuleError)


def load(path: Path) -> list[Rule]:
    """The rules of a file, or of all `*.yaml` files of a folder.

    Raises:
        RuleError: a file is wrong; every mistake is named with its line.
    """
    return _FORM.load(path)


def engine_of(event: Event) -> str | None:
    """The name of the Engine that an event comes from; None where it comes from none."""
    return event.source.removeprefix(ENGINES) if event.source.startswith(ENGINES) else None


def _is_own(event: Event) -> bool:
    attributes = cast("Mapping[str, str]", event.data.get("attributes") or {})
    # Only containers: an image that a job built hands its labels on, and is rightly scanned.
    from_job = event.type.startswith("io.dockbus.docker.container.") and LABEL_JOB in attributes
    return from_job or engine_of(event) is None


def _effects(spec: Spec) -> list[tuple[str, str]]:
    """Action and image of the events that a job is sure to cause."""
    if isinstance(spec, Pull):
        return [("pull", spec.image), ("pull", ":".join(split(spec.image)))]
    return [("tag", ":".join(split(tag))) for tag in spec.tags] if isinstance(spec, Build) else []


def _sample(pattern: str) -> Event:
    facts = {"name": "sample", "image": "sample:1", "action": pattern.rpartition(".")[2]}
    return Event(
        source=f"{ENGINES}local", type=pattern, subject="5a" * 32, data={**facts, "exitCode": 0}
    )


def _fill(value: JsonValue, values: Mapping[str, str]) -> JsonValue:
    if isinstance(value, str):
        return Template(value).substitute(values)
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    if isinstance(value, dict):
        return {key: _fill(item, values) for key, item in value.items()}
    return value
