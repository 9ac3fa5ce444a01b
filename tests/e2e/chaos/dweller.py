"""One container of a crowd: how it is to live, and a script that writes down each of its lives."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from dockbus.engine import ContainerSpec
from dockbus.jobs.running import Network

IMAGE = "dockbus/base:1"
LABEL = "chaos.crowd"
LABEL_EACH, LABEL_PAIR, LABEL_STATE = "chaos.each", "chaos.pair", "chaos.state"
"""On a container: which rules are about it."""
SCRIPT = "read up _ </proc/uptime; echo $up >>/lives; sleep $REST; exit $CODE"

Sort = Literal["plain", "again", "on-failure", "killed", "runs", "leaves", "thrown-out"]
SORTS: dict[Sort, float] = {
    "plain": 0.42,
    "again": 0.10,
    "on-failure": 0.13,
    "killed": 0.10,
    "runs": 0.05,
    "leaves": 0.10,
    "thrown-out": 0.10,
}
"""`again`: started a second time. `on-failure`: by the Engine's restart policy. `leaves`: removed when it has ended.
`thrown-out`: removed while it runs."""


@dataclass
class Dweller:
    """One container of the crowd."""

    name: str
    sort: Sort
    code: int
    rest: float
    """Seconds that it lives, or that it is let live where it does not end by itself."""
    retries: int
    each: bool
    id: str = ""
    begun: float = 0.0
    """Before it was made, in seconds since 1970."""
    removed: float = 0.0
    """After it was removed; 0 where it was not."""
    refused: str = ""
    """What the Engine would not do with it: an Engine that was killed meanwhile is forgiven."""

    @property
    def spec(self) -> ContainerSpec:
        """What it is made from."""
        endless = self.sort in ("killed", "runs", "thrown-out")
        labels = {"dockbus.test": "1", LABEL: self.name}
        if self.each:
            labels[LABEL_EACH] = "yes"
        if self.sort == "again" or (self.sort == "on-failure" and self.retries == 1):
            labels[LABEL_PAIR] = "yes"
        if self.sort == "plain":
            labels[LABEL_STATE] = "yes"
        return ContainerSpec(
            name=self.name,
            image=IMAGE,
            command=["sh", "-c", SCRIPT],
            env={"REST": "100000" if endless else f"{self.rest:g}", "CODE": str(self.code)},
            labels=labels,
            networks=[Network(name="none")],
            restart=f"on-failure:{self.retries}" if self.sort == "on-failure" else "no",
        )


def plan(seed: int, count: int) -> list[Dweller]:
    """The containers of a run; the first ones are one of each sort."""
    dice = random.Random(f"{seed} crowd")  # noqa: S311  no secret
    sorts = list(SORTS)
    sorts += dice.choices(sorts, list(SORTS.values()), k=max(0, count - len(sorts)))
    return [
        Dweller(
            name=f"chaos-crowd-{number}",
            sort=sort,
            code=dice.choice((1, 3, 42) if sort == "on-failure" else (0, 0, 1, 3, 3, 7, 42)),
            rest=dice.choice((0.0, 0.0, 0.3, 1.0, 3.0)),
            retries=dice.choice((1, 1, 2, 3)),
            each=dice.random() < 0.5,
        )
        for number, sort in enumerate(sorts)
    ]
