"""A metric with thousands of series that writes itself: what all series of one thing share is written once.

Prometheus' own client sorts, escapes and joins the labels of every sample anew, which for 1,000 containers takes longer
than to measure them. To whom `text` says nothing, a table is a metric like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from prometheus_client import Metric
from prometheus_client.samples import Sample

from dockbus.families import Family


class Thing:
    """What a row tells of: labels that many tables share."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.text = _text(tuple(labels), tuple(labels.values()))


class Table(Metric):
    """One family, as rows.

    Args:
        family: what it is.
        labels: the names of the labels that its rows have beyond those of their things.
    """

    def __init__(self, family: Family, labels: Sequence[str] = ()) -> None:
        self._rows: list[tuple[Thing, tuple[str, ...], float]] = []
        self._names = tuple(labels)
        self._sample = family.name
        super().__init__(family.name.removesuffix("_total"), family.meaning, family.type)

    def add(self, thing: Thing, values: tuple[str, ...], value: float) -> None:
        """Add a row, with the values of its own labels."""
        self._rows.append((thing, values, value))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def samples(self) -> list[Sample]:
        """The rows, each with all of its labels."""
        return [
            Sample(
                self._sample, {**thing.labels, **dict(zip(self._names, values, strict=True))}, value
            )
            for thing, values, value in self._rows
        ]

    @samples.setter
    def samples(self, value: list[Sample]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The base begins with none, and so does this."""

    def text(self, *, openmetrics: bool) -> bytes:
        """It as it is scraped, in either format."""
        name = self.name if openmetrics or self.type != "counter" else self._sample
        lines = [f"# HELP {name} {_escaped(self.documentation)}\n# TYPE {name} {self.type}\n"]
        if self._names:
            lines += [
                f"{self._sample}{{{thing.text},{_text(self._names, values)}}} {value!r}\n"
                for thing, values, value in self._rows
            ]
        else:
            lines += [
                f"{self._sample}{{{thing.text}}} {value!r}\n" for thing, _, value in self._rows
            ]
        return "".join(lines).encode()


@lru_cache(maxsize=4096)
def _text(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(
        f'{name}="{_escaped(value, quote=True)}"' for name, value in zip(names, values, strict=True)
    )


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text
