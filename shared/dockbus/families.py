"""Families of metrics as catalogues list them: name, type, labels, and a sentence of meaning.

A process has one catalogue of what it exports; its page for Prometheus and the reference documentation are both made
from it. A name is written as it is scraped, `_total` included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Metric
from prometheus_client.samples import Exemplar

Type = Literal["counter", "gauge", "histogram", "summary"]


@dataclass(frozen=True)
class Family:
    """One family of metrics."""

    name: str
    type: Type
    meaning: str
    """One sentence."""
    labels: tuple[str, ...] = ()

    def metric(self) -> Metric:
        """It as Prometheus' client has it, without samples."""
        return Metric(self.name.removesuffix("_total"), self.meaning, self.type)

    def add(
        self,
        metric: Metric,
        value: float,
        labels: Mapping[str, str] | None = None,
        *,
        suffix: str = "",
        exemplar: Exemplar | None = None,
    ) -> None:
        """Add a sample to a metric of this family; `suffix` is what a histogram's or summary's have, such as `_sum`."""
        metric.add_sample(self.name + suffix, dict(labels or {}), value, exemplar=exemplar)

    def of(self, *values: tuple[float, Mapping[str, str]] | float) -> Metric:
        """The metric with these samples, each with its labels if it has any."""
        metric = self.metric()
        for each in values:
            if isinstance(each, tuple):
                self.add(metric, *each)
            else:
                self.add(metric, each)
        return metric
