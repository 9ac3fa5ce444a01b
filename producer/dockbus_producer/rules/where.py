"""What an occasion must be about, in globs: the part of a rule that needs no expression."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, cast

from pydantic import BeforeValidator

from dockbus.strict_yaml import Model
from dockbus_producer.rules.occasion import Occasion


def several(value: object) -> object:
    """One value as a list of one."""
    return cast("object", value) if isinstance(value, list) else [value]


class Where(Model):
    """What it must be about; everything that is given must hold. `*` and `?` stand for anything."""

    source: str | None = None
    """Where the event comes from, such as `/engines/edge`."""
    action: Annotated[list[str], BeforeValidator(several)] = []
    """What the Engine says has happened, one of these."""
    image: str | None = None
    """Name of the image, with its tag."""
    name: str | None = None
    """Name of the container, image, network or volume."""
    labels: dict[str, str] = {}
    """Labels it must carry; an empty value matches any value."""
    attributes: dict[str, str] = {}
    """Attributes that the Engine must have sent; an empty value matches any value."""
    exit_code: Annotated[list[int], BeforeValidator(several)] = []
    """Exit codes, one of which it must have ended with."""

    def miss(self, occasion: Occasion) -> str:
        """The first condition that does not hold, in words; empty where all do."""
        values = occasion.values
        for field, pattern, value in (
            ("source", self.source, occasion.event.source),
            ("image", self.image, values["image"]),
            ("name", self.name, values["name"]),
        ):
            if pattern is not None and not fnmatchcase(value, pattern):
                return f"where.{field}: {value!r} is not {pattern!r}"
        if self.action and not any(fnmatchcase(values["action"], one) for one in self.action):
            return f"where.action: {values['action']!r} is none of {', '.join(self.action)}"
        if self.exit_code and occasion.exit_code not in self.exit_code:
            return f"where.exit_code: {occasion.exit_code} is none of {', '.join(map(str, self.exit_code))}"
        return _lacks("labels", self.labels, occasion.labels) or _lacks(
            "attributes", self.attributes, occasion.attributes
        )


def _lacks(field: str, wanted: Mapping[str, str], there: Mapping[str, str]) -> str:
    for key, pattern in wanted.items():
        if key not in there:
            return f"where.{field}: there is no {key!r}"
        if not fnmatchcase(there[key], pattern or "*"):
            return f"where.{field}: {key}={there[key]!r} is not {pattern!r}"
    return ""
