"""From the bus's tally to what Prometheus reads: the families of the catalogue, buckets added up. Pure.

What the catalogue does not know is left out and counted: it may be a later version's, or anybody's who can write to
this Redis, and takes nothing else from the page.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.samples import Exemplar as Marked
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]

from dockbus.families import Type
from dockbus.tally import LEFT_OUT, Exemplar, Reading, parse, parse_exemplars, sample
from dockbus_workers.metrics.bus_families import COUNTED, Counted

Labels = tuple[str, ...]
"""Values of a family's labels, in its order."""


def tallied(raw: Mapping[bytes, bytes], raw_exemplars: Mapping[bytes, bytes]) -> Iterator[Metric]:
    """The families of the tally, from its two hashes."""
    readings = parse(raw)
    exemplars = parse_exemplars(raw_exemplars)
    counters: dict[str, dict[Labels, float]] = {}
    taken = 0
    for family in _of_type("counter"):
        ours = [one for one in readings.get(family.name, ()) if _fits(one, family.labels)]
        taken += len(ours)
        counters[family.name] = _counter(family, ours)
    for family in _of_type("histogram"):
        histogram = _Histogram(family, readings, exemplars)
        taken += histogram.taken
        yield histogram.metric(_begun(family, counters))
    unknown = len(raw) - taken
    counters[LEFT_OUT] = {(): counters[LEFT_OUT].get((), 0.0) + unknown}
    for family in _of_type("counter"):
        values = dict.fromkeys(_begun(family, counters), 0.0) | counters[family.name]
        yield family.of(*((value, _named(family, key)) for key, value in values.items()))


def _of_type(kind: Type) -> Iterator[Counted]:
    return (family for family in COUNTED if family.type == kind)


def _counter(family: Counted, readings: Iterable[Reading]) -> dict[Labels, float]:
    """The counter's values; two writers may have put its labels in another order."""
    values: dict[Labels, float] = defaultdict(float)
    for reading in readings:
        values[_key(family, reading.labels)] += reading.value
    return dict(values)


def _begun(family: Counted, counters: Mapping[str, Mapping[Labels, float]]) -> set[Labels]:
    """The labels that are known before there is anything to count."""
    others = [label for label in family.labels if label not in family.values]
    if others and not (family.values or family.like):
        return set()
    seen: set[Labels] = set() if others else {()}
    for name in {family.name, family.like} & set(counters):
        place = [_labels(name).index(label) for label in others]
        seen |= {tuple(key[at] for at in place) for key in counters[name]}
    return {
        _key(family, dict(zip([*others, *family.values], [*known, *fixed], strict=True)))
        for known in seen
        for fixed in itertools.product(*family.values.values())
    }


def _labels(name: str) -> Labels:
    return next(family.labels for family in COUNTED if family.name == name)


def _named(family: Counted, key: Labels) -> dict[str, str]:
    return dict(zip(family.labels, key, strict=True))


def _key(family: Counted, labels: Mapping[str, str]) -> Labels:
    return tuple(labels[name] for name in family.labels)


def _fits(reading: Reading, labels: Collection[str]) -> bool:
    """Whether it has these labels, and a value that a counter may have."""
    return (
        set(reading.labels) == set(labels) and math.isfinite(reading.value) and reading.value >= 0
    )


class _Histogram:
    """The buckets and sums of one histogram."""

    def __init__(
        self,
        family: Counted,
        readings: Mapping[str, Sequence[Reading]],
        exemplars: Mapping[str, Exemplar],
    ) -> None:
        self.taken = 0
        """How many samples of the tally it is made of."""
        self._family = family
        self._sums: dict[Labels, float] = {}
        self._buckets: dict[Labels, dict[str, tuple[float, Marked | None]]] = defaultdict(dict)
        for reading in readings.get(f"{family.name}_sum", ()):
            if _fits(reading, family.labels):
                self._sums[_key(family, reading.labels)] = reading.value
                self.taken += 1
        name = f"{family.name}_bucket"
        for reading in readings.get(name, ()):
            le = reading.labels.get("le", "")
            if le in (*family.bounds, "+Inf") and _fits(reading, (*family.labels, "le")):
                marked = _marked(exemplars.get(sample(name, **reading.labels)))
                self._buckets[_key(family, reading.labels)][le] = reading.value, marked
                self.taken += 1

    def metric(self, begun: Iterable[Labels]) -> Metric:
        """As Prometheus wants it: each bucket with all below it."""
        family = self._family
        metric = family.metric()
        for key in dict.fromkeys([*begun, *self._sums, *self._buckets]):
            labels = _named(family, key)
            total = 0.0
            for le in (*family.bounds, "+Inf"):
                value, marked = self._buckets[key].get(le, (0.0, None))
                total += value
                bound: str = floatToGoString(le)  # type: ignore[no-untyped-call]
                family.add(metric, total, labels | {"le": bound}, suffix="_bucket", exemplar=marked)
            family.add(metric, total, labels, suffix="_count")
            family.add(metric, self._sums.get(key, 0.0), labels, suffix="_sum")
        return metric


def _marked(exemplar: Exemplar | None) -> Marked | None:
    """An exemplar as Prometheus has it: no more than 128 characters of labels."""
    if exemplar is None or len(exemplar.job) > 100 or not math.isfinite(exemplar.value):
        return None
    return Marked({"job_id": exemplar.job}, exemplar.value, exemplar.time)
