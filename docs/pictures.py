"""Draws pictures of dashboards: what a real Prometheus answers to the queries of their panels.

`python docs/pictures.py FOLDER` starts an Engine, a Redis, dockbus' programs and a Prometheus, has some containers and
jobs keep them busy for five minutes, and writes the pictures, and what `dockbus top` said meanwhile, into the folder.
They are plots, not screenshots: no Grafana is needed, and none of its looks is shown. Panels are found by their titles, so a
picture follows its dashboard. An Engine that answers already is used as it is, and keeps the images.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import random
import re
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from dockbus import Build, Bus, Pull, Run, Settings, local
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.settings import (
    BuildSettings,
    BusSettings,
    EngineSettings,
    MetricsSettings,
    RedisSettings,
    WorkerSettings,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import registries
from dashboards import GRAFANA, substituted
from processes import Program
from prometheus_server import Prometheus, free_port, prometheus
from waiting import wait_for


@dataclass(frozen=True)
class Phase:
    """How many jobs are ordered, and how many of them fail."""

    seconds: float
    rate: float = 1.0
    """Jobs in a second."""
    failing: float = 0.04
    """Share of those that cannot be carried out."""


PHASES = (Phase(120), Phase(40, failing=0.35), Phase(40), Phase(15, rate=4.0), Phase(85))
"""All is well; something is broken; more comes than there are slots for, which takes a while to be done."""
LEAD = 25.0
"""Seconds of that before what is drawn: rates have to have something to look back on."""
STEP = 3.0
RATE_INTERVAL = "20s"
"""What Grafana would choose by itself is four scrapes; here is one each second."""
PICTURES: Mapping[str, tuple[str, ...]] = {
    "containers": ("CPU", "Held back", "Working set", "Against its limit", "Receives", "Sends"),
    "jobs": (
        *("Ordered and ended", "Fail, by kind", "Run time by kind"),
        *("Waiting time by queue", "Jobs on the queues", "Slots busy"),
    ),
}
"""Dashboards, and which of their panels are drawn, row by row."""
UNITS: Mapping[str, tuple[float, str]] = {
    "short": (1.0, ""),
    "percent": (1.0, "%"),
    "percentunit": (0.01, "%"),
    "s": (1.0, "s"),
    "ops": (1.0, "per second"),
    "bytes": (2.0**20, "MiB"),
    "Bps": (1000.0, "kB/s"),
}
"""Of panels: what one on the axis stands for, and what the axis is called."""

PROGRAMS = (("metrics",), ("watch",), ("worker", "run"), ("worker", "build"), ("worker", "pull"))
PROJECT = "shop"
"""The compose project that is chosen above the dashboard, so that containers of jobs are left out."""
SERVICES: Mapping[str, dict[str, Any]] = {
    # A page of 200 kB, and who asks for it more and less often.
    "web": {
        "memory": "24m",
        "command": "mkdir /tmp/www; head -c 200000 /dev/zero > /tmp/www/page; "
        "exec httpd -f -p 8080 -h /tmp/www",
        "healthcheck": {"test": "wget -q -O /dev/null http://127.0.0.1:8080/page", "interval": 5},
    },
    "client": {
        "memory": "16m",
        "command": "while true; do for pause in 400 200 100 50 25 50 100 200 400; do "
        "for n in $(seq $((5000 / pause))); do wget -q -O /dev/null http://shop-web:8080/page; "
        "usleep ${pause}000; done; done; done",
    },
    # More and less to reckon, of which it may do less than it has.
    "sums": {
        "memory": "16m",
        "cpus": 0.3,
        "command": "while true; do for work in 2 10 20 40 80 40 20 10; do for n in $(seq 30); do "
        "i=0; while [ $i -lt ${work}000 ]; do i=$((i + 1)); done; usleep 100000; done; done; done",
    },
    # Fills until it is emptied. What lies in /dev/shm is its memory.
    "cache": {
        "memory": "64m",
        "command": "while true; do for n in $(seq 18); do "
        "head -c 3000000 /dev/zero >> /dev/shm/all; sleep 3; done; rm /dev/shm/all; done",
    },
    # Keeps a table, and a journal that is emptied more often.
    "database": {
        "memory": "48m",
        "command": "head -c 20000000 /dev/zero > /dev/shm/table; "
        "while true; do for n in $(seq 7); do "
        "head -c 1500000 /dev/zero >> /dev/shm/journal; sleep 4; done; rm /dev/shm/journal; done",
    },
}
"""What is there all the time, by the name of the compose service."""
DOCKERFILE = "FROM dockbus/base:1\nARG CODE\nRUN sleep 1; exit $CODE\n"


def main(folder: Path) -> None:
    """Have something happen, and draw it."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as scratch, bench(Path(scratch)) as stand:
        begun, chance = time.time() + LEAD, random.Random(7)  # noqa: S311  no secret
        for phase in PHASES:
            note(f"at work for {phase.seconds:g} seconds")
            work(stand, chance, phase)
        Program(["top"], stand.settings, folder / "top.txt").process.wait()
        for name, titles in PICTURES.items():
            panels = [Panel.find(name, title) for title in titles]
            lines = [panel.ask(stand.prometheus, begun, time.time()) for panel in panels]
            draw(folder / f"{name}.svg", panels, lines)


# -- a bus at work -------------------------------------------------------------------------


@dataclass(frozen=True)
class Stand:
    """Where it takes place."""

    settings: Settings
    bus: Bus
    prometheus: Prometheus
    image: str
    registry: str


@contextlib.contextmanager
def bench(scratch: Path) -> Generator[Stand]:
    """Everything that runs, services included."""
    with contextlib.ExitStack() as held:
        url = held.enter_context(local.local_redis(scratch / "redis", note))
        host = held.enter_context(local.local_engine(scratch / "engine", note))
        registry = held.enter_context(registries.serve(scratch / "registry", note))
        settings = Settings(
            redis=RedisSettings(url=url),
            bus=BusSettings(key=SecretStr("pictures"), data_dir=scratch),
            engine=EngineSettings(host=host),
            worker=WorkerSettings(drain=0.0),
            build=BuildSettings(root=scratch, builder="classic"),
            metrics=MetricsSettings(port=free_port()),
        )
        engine = held.enter_context(contextlib.closing(Engine(settings.engine)))
        image = local.base_image(engine, scratch, note)
        registries.publish(engine, f"{registry}/shop/web:1", size=2_000_000)
        (scratch / "context").mkdir()
        (scratch / "context" / "Dockerfile").write_text(DOCKERFILE)
        scraped = {
            "dockbus-metrics": [f"127.0.0.1:{settings.metrics.port}"],
            "dockbus-process": [],
        }
        server = held.enter_context(prometheus(scratch, scraped, scratch, note))
        for words in PROGRAMS:
            program = Program([*words], settings, scratch / f"{words[-1]}.log")
            held.callback(program.stop)
        bus = held.enter_context(Bus(settings))
        held.enter_context(services(engine, bus, image))
        wait_for(lambda: server.query("dockbus_redis_up == 1"), 60, "the bus to be scraped")
        yield Stand(settings, bus, server, image, registry)


@contextlib.contextmanager
def services(engine: Engine, bus: Bus, image: str) -> Generator[None]:
    """The shop, on a network of its own."""
    network: str = engine.api.create_network(PROJECT)["Id"]
    jobs = [bus.enqueue(service(name, image)) for name in SERVICES]
    try:
        for job in jobs:
            job.wait(timeout=60)
        yield
    finally:
        for job in jobs:
            for one in engine.containers.all(labels={LABEL_JOB: job.id}):
                engine.containers.remove(one.id, force=True)
        engine.api.remove_network(network)


def service(name: str, image: str) -> Run:
    """One of `SERVICES`, labelled as compose does it."""
    facts = SERVICES[name]
    labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": name}
    return Run.model_validate(
        {
            **facts,
            "mode": "service",
            "name": f"{PROJECT}-{name}",
            "image": image,
            "command": ["sh", "-c", facts["command"]],
            "networks": PROJECT,
            "labels": labels,
        }
    )


def work(stand: Stand, chance: random.Random, phase: Phase) -> None:
    """Order jobs for some time."""
    end = time.monotonic() + phase.seconds
    while time.monotonic() < end:
        order(stand, chance, fails=chance.random() < phase.failing)
        time.sleep(chance.expovariate(phase.rate))


def order(stand: Stand, chance: random.Random, *, fails: bool) -> None:
    """One job of some kind."""
    kind = chance.choices(("run", "build", "pull"), (7, 1, 2))[0]
    if kind == "run":
        seconds = min(chance.lognormvariate(0.3, 0.8), 8.0)
        command = ["no-such-program"] if fails else ["usleep", str(int(seconds * 1e6))]
        facts = {"image": stand.image, "memory": "32m", "networks": "none"}
        stand.bus.enqueue(Run.model_validate({**facts, "command": command}))
    elif kind == "build":
        tag, code = f"{PROJECT}/built:1", {"CODE": str(int(fails))}
        stand.bus.enqueue(Build(context="context", tags=[tag], args=code, no_cache=True))
    else:
        tag = "none" if fails else "1"
        stand.bus.enqueue(Pull(image=f"{stand.registry}/shop/web:{tag}", policy="always"))


# -- what is seen of it --------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One series, as a panel shows it."""

    name: str
    values: Mapping[float, float]
    """By the time, in seconds since the epoch."""


@dataclass(frozen=True)
class Panel:
    """A graph of a dashboard."""

    title: str
    unit: str
    bounds: tuple[float | None, float | None]
    """Least and most of its axis, where the panel says so."""
    targets: Sequence[Mapping[str, Any]]

    @classmethod
    def find(cls, dashboard: str, title: str) -> Panel:
        """The only one with this title.

        Raises:
            ValueError: there is none, or more than one.
        """
        panels: list[dict[str, Any]] = json.loads(
            (GRAFANA / "dashboards" / f"{dashboard}.json").read_text()
        )["panels"]
        (found,) = (one for one in panels if (one["title"], one["type"]) == (title, "timeseries"))
        facts = found["fieldConfig"]["defaults"]
        return cls(title, facts["unit"], (facts.get("min"), facts.get("max")), found["targets"])

    def ask(self, server: Prometheus, begin: float, end: float) -> list[Line]:
        """What its queries give for that time."""
        return [
            Line(
                _named(target["legendFormat"], series["metric"]),
                {float(when): float(value) for when, value in series["values"]},
            )
            for target in self.targets
            for series in server.range(
                substituted(target["expr"].replace("$project", PROJECT), RATE_INTERVAL),
                begin,
                end,
                STEP,
            )
        ]


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda it: labels.get(it[1], ""), legend)


def draw(file: Path, panels: Sequence[Panel], lines: Sequence[Sequence[Line]]) -> None:
    """Write a picture with a graph for each panel, two in a row; its ground is white wherever it is shown."""
    # Letters rather than curves: half the size, in whatever font there is.
    importlib.import_module("matplotlib").rcParams.update(
        {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}
    )
    make: Any = importlib.import_module("matplotlib.figure").Figure
    figure: Any = make(figsize=(11, 8.5), layout="constrained")
    all_times = sorted({when for each in lines for line in each for when in line.values})
    for axes, panel, found in zip(figure.subplots(3, 2).flat, panels, lines, strict=True):
        scale, unit = UNITS[panel.unit]
        for line in sorted(found, key=lambda line: line.name):
            values = [line.values.get(when, math.nan) / scale for when in all_times]
            minutes = [(when - all_times[0]) / 60 for when in all_times]
            axes.plot(minutes, values, label=line.name, linewidth=1.2)
        axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold")
        axes.set_xlabel("minutes", fontsize=8)
        axes.set_ylabel(unit, fontsize=8)
        least, most = panel.bounds
        axes.set_ylim(least or 0, most / scale if most else None)
        axes.margins(x=0)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, ncols=3, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.2))
    figure.savefig(file, metadata={"Date": None})
    note(f"{file}: {file.stat().st_size // 1000} kB")


def note(text: str) -> None:
    """What goes on."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("say where the pictures go: python docs/pictures.py FOLDER")
    try:
        importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        sys.exit(
            "matplotlib is missing, which the project does not depend on: "
            "pip install --target /tmp/matplotlib matplotlib; "
            "then PYTHONPATH=/tmp/matplotlib python docs/pictures.py FOLDER"
        )
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    main(Path(sys.argv[1]))
