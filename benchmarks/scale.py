"""What more workers and more Engines bring, and what stops it: more worker processes on one Engine, then a second Engine.

Wait-bound jobs, whose container sleeps for two seconds, are carried out by 1, 2, 4 and 8 processes of one slot each: so
many times as many jobs a second are wanted, until the cores are busy. Engine-bound jobs, whose container ends at once, are
carried out on one Engine and on two; each has a network namespace of its own, and both share this machine's cores.
Prints one `target` line per claim and keeps its numbers in `benchmarks/results/scale.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from event_support.stand import TICKS, cpu
from pydantic import SecretStr

from dockbus import Bus, JobRecord, Run, Settings, local
from dockbus.engine import Engine
from dockbus.settings import BusSettings, EngineSettings, RedisSettings, WorkerSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from e2e.chaos.services import engine_server
from processes import Program
from waiting import wait_for

PROCESSES = (1, 2, 4, 8)
SLEEP = 2
TURNS = 6
"""How many jobs each process has to carry out in a round, one after the other."""
ROUNDS = 3
BURST = 60
"""How many Engine-bound jobs there are in a round."""
SLOTS = 8
"""How many of them at a time, on each Engine."""
FULL = 0.95
"""Share of the cores' time from which on they are the bound."""
RESULTS = Path(__file__).parent / "results" / "scale.json"


@dataclass(frozen=True)
class Round:
    """What so many jobs took."""

    rate: float
    """Jobs a second while all workers had one."""
    busy: float
    """Share of the cores' time in which they worked."""
    milliseconds: dict[str, float]
    """CPU a job: of the workers, of Redis, and of all else, which is the Engines and what they start."""


@dataclass
class Stand:
    """A bus and two Engines."""

    bus: Bus
    settings: dict[str, Settings]
    """By the Engine's name."""
    image: str
    scratch: Path

    @contextmanager
    def workers(self, *engines: str, processes: int, slots: int) -> Generator[list[int]]:
        """So many on each of these Engines; once all are idle, their process IDs."""
        with ExitStack() as started:
            programs: list[Program] = []
            for engine in engines * processes:
                settings = self.settings[engine]
                own = settings.model_copy(update={"worker": WorkerSettings(slots=slots)})
                log = self.scratch / f"worker-{len(programs)}.log"
                program = Program(["worker", "run"], own, log)
                started.callback(program.stop)
                programs.append(program)
            wait_for(lambda: self._serving() == len(programs), what="all workers")
            yield [program.process.pid for program in programs]

    def _serving(self) -> int:
        return sum(queue.workers for queue in self.bus.queues() if queue.name == "run")

    def round(self, workers: list[int], seconds: float, count: int, at_once: int) -> Round:
        """Have `count` containers live for so long each, `at_once` at a time.

        The first ones live shorter, each for another time, so that the workers do not march in step.
        """
        lives = [seconds * min(1, (number + 1) / at_once) for number in range(count)]
        pids = {"workers": workers, "redis": [self.redis_pid]}
        before = clock(), {name: sum(map(cpu, of)) for name, of in pids.items()}
        orders = [Run(image=self.image, command=["sleep", f"{life:g}"]) for life in lives]
        handles = self.bus.enqueue_many(orders)
        for handle in handles:
            handle.wait(timeout=600)
        ended = clock()
        used = {name: sum(map(cpu, of)) - before[1][name] for name, of in pids.items()}
        worked = ended.busy - before[0].busy
        used["engines"] = worked - sum(used.values())
        return Round(
            rate((handle.refresh() for handle in handles), at_once),
            worked / (worked + ended.idle - before[0].idle),
            {name: round(1000 * each / count, 1) for name, each in used.items()},
        )

    @property
    def redis_pid(self) -> int:
        """The Redis server's."""
        info: Any = self.bus.redis.info("server")
        return int(info["process_id"])


@dataclass(frozen=True)
class Clock:
    """Seconds of all cores since the machine was started."""

    busy: float
    idle: float


def clock() -> Clock:
    """Now, by the kernel's own count."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, idle, waiting, *interrupts = (int(word) / TICKS for word in words)
    return Clock(user + nice + system + sum(interrupts), idle + waiting)


def rate(jobs: Iterator[JobRecord], at_once: int) -> float:
    """Jobs a second, after each worker has had its first and before one has nothing more to do."""
    ends = sorted(job.ended for job in jobs if job.ended)[at_once - 1 : 1 - at_once or None]
    return (len(ends) - 1) / (ends[-1] - ends[0]).total_seconds()


def main() -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder, bench(Path(folder)) as stand:
        found = {"processes": processes(stand), "engines": engines(stand)}
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    RESULTS.write_text(json.dumps({"machine": where, **found}, indent=2) + "\n")
    report(found)


def processes(stand: Stand) -> dict[str, Any]:
    """Wait-bound jobs, with more and more processes."""
    rounds: dict[int, list[Round]] = {number: [] for number in PROCESSES}
    for _ in range(ROUNDS):
        for number in PROCESSES:
            with stand.workers("first", processes=number, slots=1) as workers:
                rounds[number].append(stand.round(workers, SLEEP, number * TURNS, number))
            note(f"{number} processes: {rounds[number][-1]}")
    single = rounds[1]
    return {
        str(number): summary(many)
        | {"of_linear": median(a.rate / b.rate / number for a, b in zip(many, single, strict=True))}
        for number, many in rounds.items()
    }


def engines(stand: Stand) -> dict[str, Any]:
    """Engine-bound jobs, on one Engine and on two."""
    rounds: dict[int, list[Round]] = {1: [], 2: []}
    for number in ROUNDS * [1, 2]:
        with stand.workers(*("first", "second")[:number], processes=1, slots=SLOTS) as workers:
            rounds[number].append(stand.round(workers, 0, BURST, number * SLOTS))
        note(f"{number} Engines: {rounds[number][-1]}")
    return {str(number): summary(many) for number, many in rounds.items()}


def summary(rounds: list[Round]) -> dict[str, Any]:
    """The medians, and all rates."""
    return {
        "rate": median(one.rate for one in rounds),
        "busy": median(one.busy for one in rounds),
        "cpu_ms_per_job": {
            name: median(one.milliseconds[name] for one in rounds)
            for name in rounds[0].milliseconds
        },
        "rates": [round(one.rate, 2) for one in rounds],
    }


@contextmanager
def bench(scratch: Path) -> Generator[Stand]:
    """Redis and two Engines, each in a network of its own."""
    with (
        local.local_redis(scratch / "redis", note) as url,
        engine_server(scratch / "1") as first,
        engine_server(scratch / "2") as second,
    ):
        bus = BusSettings(key=SecretStr("benchmark"), data_dir=scratch)
        settings = {
            name: Settings(
                redis=RedisSettings(url=url),
                engine=EngineSettings(name=name, host=server.host),
                bus=bus,
            )
            for name, server in (("first", first), ("second", second))
        }
        for one in settings.values():
            with closing(Engine(one.engine)) as engine:
                image = local.base_image(engine, scratch, note)
                engine.networks.own()
        with Bus(settings["first"]) as opened:
            yield Stand(opened, settings, image, scratch)


def report(found: dict[str, Any]) -> None:
    """Print the targets, and what the bound is."""
    for number, many in found["processes"].items():
        if number == "1":
            continue
        if many["busy"] >= FULL:
            note(f"{number} processes: the cores are the bound, busy {many['busy']:.0%}")
        else:
            target(f"scale-{number}-processes-of-linear", many["of_linear"], 0.9)
    one, two = found["engines"]["1"], found["engines"]["2"]
    for number, many in (("one Engine", one), ("two Engines", two)):
        each = ", ".join(f"{name} {ms:.0f} ms" for name, ms in many["cpu_ms_per_job"].items())
        print(f"{number}: {many['rate']:.2f} jobs a second, cores busy {many['busy']:.0%}; {each}")
    print(f"a second Engine on the same cores: {two['rate'] / one['rate']:.2f} times the rate")


def target(name: str, measured: float, wanted: float) -> None:
    """One line for one claim."""
    verdict = "ok" if measured >= wanted else "missed"
    print(f"target {name} measured {measured:.2f} wanted >={wanted:g} {verdict}")


def median(values: Any) -> float:  # noqa: ANN401  any iterable of floats
    """Rounded to what can be told."""
    return round(statistics.median(values), 3)


def note(text: str) -> None:
    """What goes on, beside the result."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
