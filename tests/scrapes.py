"""What a metrics worker says of an Engine's containers, without HTTP; and what any process says at its port, over it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from dockbus.engine import Engine, Raw
from dockbus.exposition import encode
from dockbus.settings import MetricsSettings, Settings
from dockbus_workers.metrics.collector import ContainerCollector
from dockbus_workers.metrics.sweep import Sweeper
from waiting import wait_for

UNSEEN = Path("/nonexistent")
"""Where no control groups are."""


class Scrape(list[Sample]):
    """What one scrape said."""

    def of(self, container: str) -> dict[str, float]:
        """The values of one container's series, by name; those of one name are summed."""
        values: dict[str, float] = {}
        for sample in self:
            if sample.labels.get("name") == container:
                values[sample.name] = values.get(sample.name, 0) + sample.value
        return values

    def value(self, name: str, /, **labels: str) -> float:
        """The value of the only series with this name and these labels."""
        found = [s.value for s in self if s.name == name and labels.items() <= s.labels.items()]
        assert len(found) == 1, (name, labels, found)
        return found[0]


def scrape(sweeper: Sweeper, timeout: float = 30.0, *, leads: bool = True) -> Scrape:
    """One scrape, as text and back."""
    found = ContainerCollector(sweeper, timeout=timeout, leads=leads).collect()
    text = encode(found, "")[0].decode()
    return Scrape(sample for family in parse_text(text) for sample in family.samples)


def scraped(port: int) -> Scrape:
    """The page that a process of this machine serves at a port, once it does."""
    return wait_for(lambda: _page(port), 60, "a page")


def _page(port: int) -> Scrape | None:
    with suppress(httpx.TransportError):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30, trust_env=False)
        assert answer.status_code == 200
        return Scrape(s for family in parse_text(answer.text) for s in family.samples)
    return None


def awaited(
    take: Callable[[], Scrape], is_so: Callable[[Scrape], object], what: str = ""
) -> Scrape:
    """The first scrape of which this holds."""

    def take_one() -> Scrape | None:
        page = take()
        return page if is_so(page) else None

    return wait_for(take_one, what=what)


def inspected(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The containers that are inspected from now on; others on the same Engine have theirs, too."""
    asked: list[str] = []
    inspect = engine.containers.inspect

    def noted(container: str) -> Raw:
        asked.append(container)
        return inspect(container)

    monkeypatch.setattr(engine.containers, "inspect", noted)
    return asked


@contextmanager
def sweeping(settings: Settings, *, cgroups: bool = True, **metrics: object) -> Generator[Sweeper]:
    """A sweeper that reads control groups or, without, asks the Engine."""
    chosen = MetricsSettings.model_validate(
        {**({} if cgroups else {"cgroup_root": UNSEEN}), **metrics}
    )
    sweeper = Sweeper(settings.model_copy(update={"metrics": chosen}))
    try:
        yield sweeper
    finally:
        sweeper.close()
