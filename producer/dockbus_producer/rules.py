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
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from string import Template
from typing import Annotated, Any, cast

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from dockbus.errors import InvalidSpec, RuleError, near_miss
from dockbus.events import Event
from dockbus.jobs import LABEL_JOB, Build, Pull, Spec, parse_spec
from dockbus.references import split
from dockbus.units import Seconds

ENGINES = "/engines/"
"""Events of Engines come from here, followed by the Engine's name; all others are dockbus' own."""


def _several(value: object) -> object:
    return cast("object", value) if isinstance(value, list) else [value]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class Where(_Model):
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


class Rule(_Model):
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


class _File(_Model):
    rules: list[Rule]


def load(path: Path) -> list[Rule]:
    """The rules of a file, or of all `*.yaml` files of a folder.

    Raises:
        RuleError: a file is wrong; every mistake is named with its line.
    """
    rules: dict[str, tuple[Rule, Path]] = {}
    for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
        for rule in _load_file(file):
            if rule.name in rules:
                other = rules[rule.name][1]
                raise RuleError(
                    f"{file}: rule {rule.name!r}: name: {f'it is in {other} already' if other != file else 'it is there twice'}"
                )
            rules[rule.name] = (rule, file)
    return [rule for rule, _ in rules.values()]


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


def _load_file(file: Path) -> list[Rule]:
    try:
        loader = yaml.SafeLoader(file.read_text())
        node = loader.get_single_node()
        _check_keys(node, file)
        data: Any = (
            loader.construct_document(node)  # pyright: ignore[reportUnknownMemberType]
            if node
            else None
        )
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RuleError(f"{file}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise RuleError(f"{file}: not YAML: {error}") from None
    except OSError as error:
        raise RuleError(f"{file}: {error.strerror}") from None
    if not isinstance(data, dict):
        raise RuleError(f"{file}:1: it must begin with `rules:` and a list of rules below that")
    try:
        return _File.model_validate(data).rules
    except ValidationError as error:
        wrong = [
            f"{file}:{_line(node, item['loc'])}: {_explain(item, cast('dict[str, Any]', data))}"
            for item in error.errors()
        ]
        raise RuleError("; ".join(wrong)) from None


def _check_keys(node: yaml.Node | None, file: Path) -> None:
    """Make all keys words (YAML 1.1 takes a bare `on` for a boolean) and refuse those that are there twice."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, file)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
            if str(key.value) in seen:
                raise RuleError(f"{file}:{key.start_mark.line + 1}: {key.value!r} is there twice")
            seen.add(str(key.value))
            _check_keys(value, file)


def _explain(item: ErrorDetails, data: dict[str, Any]) -> str:
    """One mistake: in which rule, in which field, what is wrong."""
    path = list(item["loc"])
    text = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        model = Where if "where" in path else Rule if len(path) > 2 else _File
        text = f"no such field{near_miss(str(path[-1]), list(model.model_fields))}"
    if len(path) < 2:
        return f"{path[0]}: {text}"
    rule: Any = data["rules"][path[1]]
    name = cast("dict[str, Any]", rule).get("name") if isinstance(rule, dict) else None
    field = ".".join(str(part) for part in path[2:])
    which = repr(name) if name else f"number {int(path[1]) + 1}"
    return f"rule {which}: {f'{field}: ' if field else ''}{text}"


def _line(node: yaml.Node | None, path: Sequence[int | str]) -> int:
    """The line of what is at `path`, or of the innermost thing around it that is there."""
    line = 1
    for part in (*path, "do"):  # what is wrong with a rule as a whole is its job
        children: dict[int | str, tuple[yaml.Node, yaml.Node]] = {}
        if isinstance(node, yaml.MappingNode):
            children = {key.value: (key, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            children = {index: (item, item) for index, item in enumerate(node.value)}
        if part not in children:
            break
        start, node = children[part]
        line = start.start_mark.line + 1
    return line
