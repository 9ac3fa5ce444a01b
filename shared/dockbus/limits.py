"""Limits that the metrics worker tells of when a container is over them: what they are called, and how labels set them.

They hold nobody back; what does that is the `memory` and `cpus` that a container is made with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Resource = Literal["cpu", "memory"]

LABELS: Mapping[str, Resource] = {"dockbus.limit.cpu": "cpu", "dockbus.limit.memory": "memory"}
"""Labels by which a container sets a limit of its own."""
EVENTS = "io.dockbus.container.limit."
"""What the types of events about them begin with."""
EXCEEDED = f"{EVENTS}exceeded"
"""A container has been over a limit for some time."""
RECOVERED = f"{EVENTS}recovered"
"""It is not any more."""
_PERCENT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*%?")


def parse_limit(resource: Resource, text: str) -> float:
    """Percent from the value of a label, such as `150` or `90%`; 0 is no limit.

    Raises:
        ValueError: it is none; says why.
    """
    match = _PERCENT.fullmatch(text.strip())
    if not match:
        raise ValueError("it is no number of percent, such as 90")
    if resource == "memory" and float(match[1]) > 100:
        raise ValueError("no container can use more than 100 percent of what it may")
    return float(match[1])


def limits_of(
    labels: Mapping[str, str], otherwise: Mapping[Resource, float]
) -> dict[Resource, float]:
    """The limits of a container with these labels, where there are any; a label that is wrong counts as none."""
    limits = dict(otherwise)
    for label, resource in LABELS.items():
        if label in labels:
            try:
                limits[resource] = parse_limit(resource, labels[label])
            except ValueError:
                continue
    return {resource: limit for resource, limit in limits.items() if limit > 0}
