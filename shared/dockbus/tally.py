"""The bus's counters: what has happened since this Redis was new, counted where it happens.

One hash, whose fields are samples as Prometheus writes them, `dockbus_jobs_total{kind="run",outcome="succeeded"}`. Scripts
raise them with what they change, so that a counter says exactly what was done, whoever died when. Of a histogram each
field is one bucket that is raised for its own values only; whoever exports it adds them up.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis import Redis

from dockbus.connection import reachable

KEY = "dockbus:tally"
EXEMPLARS = "dockbus:exemplars"
"""For a bucket the last job that was counted in it: its ID, its value, and when, in seconds since 1970."""
MOST = 20_000
"""Samples that are kept; what would be one more is left out, and counted."""
LEFT_OUT = "dockbus_tally_left_out_total"
WAITS = ("0.01", "0.05", "0.1", "0.5", "1", "5", "15", "60", "300", "1800")
"""Upper bounds of the buckets for how long jobs wait, in seconds."""
RUNS = ("0.1", "0.5", "1", "2.5", "5", "15", "60", "300", "900", "3600")
"""The same for how long attempts take."""
DELAYS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "5", "30", "120")
"""The same for how long events take from their Engine to the bus."""
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})?", re.DOTALL)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)', re.DOTALL)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}


@dataclass(frozen=True)
class Reading:
    """One sample of a counter: its labels, and how far it has come."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Exemplar:
    """One of those that were counted in a bucket."""

    job: str
    value: float
    time: float
    """Seconds since 1970."""


class Tally:
    """The counters of one bus."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.register_script(
            script("for i = 1, #ARGV, 2 do count(ARGV[i], tonumber(ARGV[i + 1])) end")
        )

    def add(self, counts: Mapping[str, float]) -> None:
        """Raise samples, all at once.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        if counts:
            with reachable():
                self._script([], flat(counts))

    def read(self) -> dict[str, list[Reading]]:
        """All samples, by their name.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            raw: Any = self._redis.hgetall(KEY)
        return parse(raw)

    def exemplars(self) -> dict[str, Exemplar]:
        """For samples that are buckets, one that was counted there.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            raw: Any = self._redis.hgetall(EXEMPLARS)
        return parse_exemplars(raw)


def sample(name: str, /, **labels: str) -> str:
    """How a sample is called in the tally; labels in the order in which they are given."""
    if not labels:
        return name
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{name}{{{inner}}}"


def observation(
    name: str, value: float, bounds: Sequence[str], /, **labels: str
) -> dict[str, float]:
    """What is to be added for one value of a histogram."""
    le = next((bound for bound in bounds if value <= float(bound)), "+Inf")
    return {
        sample(f"{name}_bucket", **labels, le=le): 1.0,
        sample(f"{name}_sum", **labels): value,
    }


def parse(raw: Mapping[bytes, bytes]) -> dict[str, list[Reading]]:
    """The samples in the hash, by their name; what is none is passed over."""
    found: dict[str, list[Reading]] = defaultdict(list)
    for field, value in raw.items():
        it = _SAMPLE.fullmatch(field.decode("utf-8", "replace"))
        if not it:
            continue
        labels = {key: _plain(text) for key, text in _LABEL.findall(it[2] or "")}
        with suppress(ValueError):
            found[it[1]].append(Reading(labels, float(value)))
    return {name: readings for name, readings in found.items() if readings}


def parse_exemplars(raw: Mapping[bytes, bytes]) -> dict[str, Exemplar]:
    """The exemplars in the hash; what is none is passed over."""
    found: dict[str, Exemplar] = {}
    for field, text in raw.items():
        parts = text.decode("utf-8", "replace").split(" ")
        try:
            job, value, time = parts
            found[field.decode("utf-8", "replace")] = Exemplar(job, float(value), float(time))
        except ValueError:
            continue
    return found


def flat(counts: Mapping[str, float]) -> list[str | float]:
    """As scripts take it: each sample, followed by how far it is raised."""
    return [part for pair in counts.items() for part in pair]


def script(text: str) -> str:
    """A script that may use `count`, `observe` and `label`."""
    ours = files("dockbus").joinpath("tally.lua").read_text()
    names = {"TALLY": KEY, "EXEMPLARS": EXEMPLARS, "MOST": str(MOST), "LEFT_OUT": LEFT_OUT}
    return re.sub(r"%([A-Z_]+)%", lambda it: names[it[1]], ours) + text


def _escaped(text: str) -> str:
    return re.sub(r'[\\\n"]', lambda it: _ESCAPES[it[0]], text)


def _plain(text: str) -> str:
    back = {value: key for key, value in _ESCAPES.items()}
    return re.sub(r'\\[\\n"]', lambda it: back[it[0]], text)
