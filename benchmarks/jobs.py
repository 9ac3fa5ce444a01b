"""What a job through the bus costs beside Docker's own command line doing the same: run, pull and build.

Both sides of each pair work on the same Engine in the same minutes, in turns, and only their ratio counts. A job's
time is from its order to its result in the hands of whoever ordered it, its log included. Prints one `target` line
per claim and keeps its numbers in `benchmarks/results/jobs-VERSION.json`, by the Engine's version.

That is Engine 26.1 with its own command line, or with the argument `here` the one of this machine. One of 20.10 may lock up
half way, as docs/troubleshooting.md tells.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from pydantic import SecretStr

from dockbus import Build, Bus, LogLine, Pull, Run, Settings, local
from dockbus.engine import Engine, ImageNotFound
from dockbus.errors import DockbusError
from dockbus.jobs import LABEL_MANAGED
from dockbus.jobs.running import OWN_NETWORK, Network
from dockbus.settings import BuildSettings, BusSettings, EngineSettings, RedisSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import engine26
import registries
import trixie

ROUNDS = 15
"""In turns: machines change their speed within minutes. Ratios of single rounds differ by 3 to 6 %, however long they are."""
AT_ONCE = {1: 8, 4: 48, 8: 96}
"""How many containers at a time, and how many in a round: twelve times as many, for the last ones of a round have less company."""
PATIENCE = 120.0
"""Seconds for one of them."""
WORDS = "forty-two"
GUARDED = (
    "--init",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=1g",
    "--memory-swap=1g",
    "--pids-limit=1024",
    "--log-opt=max-size=10m",
    "--log-opt=max-file=3",
)
"""What a run job has by default, in the command line's words."""
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Side:
    """One side of a round."""

    rate: float
    """Jobs a second."""
    p50: float
    """Seconds one took, median."""


def main() -> None:
    """Run all pairs."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("engine", nargs="?", choices=["here"])
    engine = here if arguments.parse_args().engine else newer
    with (
        tempfile.TemporaryDirectory(prefix="dkb-") as folder,
        engine(Path(folder)) as (host, docker),
        bench(Path(folder), host, docker) as stand,
    ):
        pairs = {
            "guarded": (stand.run_ours, stand.run_guarded),
            "plain": (stand.run_ours_plain, stand.run_plain),
        }
        results: dict[str, Any] = {
            f"run-{name}-{at_once}": compare(
                f"run {name}, {at_once} at a time",
                lambda n=at_once, count=count, ours=ours: side(n, count, ours),
                lambda n=at_once, count=count, theirs=theirs: side(n, count, theirs),
            )
            for name, (ours, theirs) in pairs.items()
            for at_once, count in AT_ONCE.items()
        }
        results["pull"] = compare(
            "pull",
            lambda: side(1, 3, stand.pull_ours),
            lambda: side(1, 3, stand.pull_theirs),
        )
        results["build"] = compare(
            "build",
            lambda: side(1, 3, stand.build_ours),
            lambda: side(1, 3, stand.build_theirs),
        )
        version = stand.engine.info().version
    report(version, results)


@dataclass
class Stand:
    """What both sides work with."""

    bus: Bus
    engine: Engine
    docker: str
    """Docker's command line."""
    image: str
    published: str
    context: Path

    def run_ours(self) -> None:
        """One container through the bus, with its output."""
        self._order(Run(image=self.image, command=["echo", WORDS]))

    def run_ours_plain(self) -> None:
        """One on the network that all containers share, where `docker run` puts it if nothing else is said."""
        network = Network(name="bridge")
        command = ["echo", WORDS]
        self._order(Run(image=self.image, command=command, networks=[network], init=False))

    def _order(self, spec: Run) -> None:
        job = self.bus.enqueue(spec)
        said = [line for line in job.follow(timeout=PATIENCE) if isinstance(line, LogLine)]
        ended = job.wait(timeout=0)
        lines = [line.text for line in said if line.stream == "stdout"]
        same((lines, getattr(ended, "exit_code", None)), ([WORDS], 0))

    def run_guarded(self) -> None:
        """The container of a run job by the command line: on a network of its own kind, with the same bounds."""
        self._run(*GUARDED, "--network", OWN_NETWORK)

    def run_plain(self) -> None:
        """What people type: as root with fourteen capabilities, on the network that all containers share."""
        self._run()

    def pull_ours(self) -> None:
        """An image that is not there, through the bus."""
        self._forget(self.published)
        self.bus.enqueue(Pull(image=self.published)).wait(timeout=PATIENCE)

    def pull_theirs(self) -> None:
        """The same by the command line."""
        self._forget(self.published)
        self._docker("pull", self.published)

    def build_ours(self) -> None:
        """A build of three steps without cache, through the bus."""
        spec = Build(context=str(self.context), tags=["dockbus/bench:ours"], no_cache=True)
        self.bus.enqueue(spec).wait(timeout=PATIENCE)

    def build_theirs(self) -> None:
        """The same image by the command line, with the label that says who keeps it, which is a step of its own."""
        options = ("--no-cache", f"--label={LABEL_MANAGED}=true", "--tag", "dockbus/bench:theirs")
        self._docker("build", *options, str(self.context))

    def _run(self, *options: str) -> None:
        same(self._docker("run", "--rm", *options, self.image, "echo", WORDS), f"{WORDS}\n")

    def _docker(self, *arguments: str) -> str:
        command = [self.docker, "--host", self.engine.host, *arguments]
        env = os.environ | {"DOCKER_BUILDKIT": "0"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE, env=env
        )
        return done.stdout

    def _forget(self, image: str) -> None:
        with suppress(ImageNotFound):
            self.engine.images.remove(image)


@contextmanager
def newer(scratch: Path) -> Generator[tuple[str, str]]:
    """The address of an Engine 26.1, and the command line that comes with it."""
    docker = trixie.command(note)
    with engine26.engine(scratch, note) as host:
        yield host, str(docker)


@contextmanager
def here(scratch: Path) -> Generator[tuple[str, str]]:
    """The address of this machine's Engine, and its command line."""
    with local.local_engine(scratch / "engine", note) as host:
        yield host, "docker"


@contextmanager
def bench(scratch: Path, host: str, docker: str) -> Generator[Stand]:
    """Redis, registry, one worker of each kind, and what they work on."""
    with (
        local.local_redis(scratch / "redis", note) as url,
        registries.serve(scratch / "registry", note) as registry,
    ):
        settings = Settings(
            redis=RedisSettings(url=url),
            engine=EngineSettings(host=host),
            bus=BusSettings(key=SecretStr("benchmark"), data_dir=scratch),
            build=BuildSettings(root=scratch),
        )
        engine = Engine(settings.engine)
        image = local.base_image(engine, scratch, note)
        published = f"{registry}/bench/{token_hex(4)}:1"
        context = scratch / "context"
        make_context(context)
        with (
            Bus(settings) as bus,
            worker(settings, "run"),
            worker(settings, "pull"),
            worker(settings, "build"),
        ):
            stand = Stand(bus, engine, docker, image, published, context)
            subprocess.run(
                [docker, "--host", host, "build", "-q", "-t", published, str(context)],
                check=True,
                capture_output=True,
                env=os.environ | {"DOCKER_BUILDKIT": "0"},
            )
            registries.push(host, published)
            try:
                yield stand
            finally:
                for name in (published, "dockbus/bench:ours", "dockbus/bench:theirs"):
                    with suppress(ImageNotFound):
                        engine.images.remove(name)
                engine.close()


def make_context(folder: Path) -> None:
    """A Dockerfile of three steps and 8 MB to copy, which do not compress."""
    folder.mkdir()
    (folder / "data").write_bytes(os.urandom(8 * 1024**2))
    (folder / "Dockerfile").write_text(
        "FROM dockbus/base:1\nCOPY data /data\nRUN sha256sum /data > /sum\nCMD cat /sum\n"
    )


@contextmanager
def worker(settings: Settings, kind: str) -> Generator[None]:
    """A worker of eight slots."""
    env = os.environ | {
        "DOCKBUS_REDIS_URL": settings.redis.url,
        "DOCKBUS_BUS_KEY": settings.bus.key.get_secret_value(),
        "DOCKBUS_ENGINE_HOST": settings.engine.host,
        "DOCKBUS_BUILD_ROOT": str(settings.build.root),
        "DOCKBUS_BUILD_BUILDER": "classic",
    }
    command = [sys.executable, "-m", "dockbus", "worker", kind, "--slots", str(max(AT_ONCE))]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def side(at_once: int, count: int, one: Callable[[], None]) -> Side:
    """`count` of them, so many at a time."""

    def timed(_: int) -> float:
        begun = time.perf_counter()
        one()
        return time.perf_counter() - begun

    begun = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        taken = list(pool.map(timed, range(count)))
    return Side(count / (time.perf_counter() - begun), statistics.median(taken))


def compare(what: str, ours: Callable[[], Side], theirs: Callable[[], Side]) -> dict[str, Any]:
    """Both sides in turns, after one round each to warm up; who goes first changes with each round."""
    ours(), theirs()
    rounds: list[tuple[Side, Side]] = []
    for number in range(ROUNDS):
        if number % 2:
            second, first = theirs(), ours()
            rounds.append((first, second))
        else:
            rounds.append((ours(), theirs()))
    found = {
        "throughput_ratio": median(a.rate / b.rate for a, b in rounds),
        "p50_ratio": median(a.p50 / b.p50 for a, b in rounds),
        "ours_p50_ms": [round(1000 * a.p50, 1) for a, _ in rounds],
        "theirs_p50_ms": [round(1000 * b.p50, 1) for _, b in rounds],
        "ours_per_s": [round(a.rate, 2) for a, _ in rounds],
        "theirs_per_s": [round(b.rate, 2) for _, b in rounds],
    }
    note(f"{what}: throughput {found['throughput_ratio']}, p50 {found['p50_ratio']}")
    return found


def same(got: object, wanted: object) -> None:
    """Stop where a side did not do its work."""
    if got != wanted:
        raise SystemExit(f"got {got!r}, not {wanted!r}")


def median(values: Any) -> float:  # noqa: ANN401  any iterable of floats
    """Rounded to what can be told."""
    return round(statistics.median(values), 3)


def report(version: str, results: dict[str, Any]) -> None:
    """Print the targets and keep the numbers."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    kept = {"machine": where, "engine": version, **results}
    major_minor = ".".join(version.split(".")[:2])
    (RESULTS / f"jobs-{major_minor}.json").write_text(json.dumps(kept, indent=2) + "\n")
    for name, found in results.items():
        if name.startswith("run-"):
            target(f"{name}-throughput-ratio", found["throughput_ratio"], ">=", 1.0)
            target(f"{name}-p50-ratio", found["p50_ratio"], "<=", 1.05)
    for name in ("pull", "build"):
        target(f"{name}-p50-ratio", results[name]["p50_ratio"], "<=", 1.1)


def target(name: str, measured: float, sign: str, wanted: float) -> None:
    """One line for one claim."""
    kept = measured >= wanted if sign == ">=" else measured <= wanted
    verdict = "ok" if kept else "missed"
    print(f"target {name} measured {measured:.2f} wanted {sign}{wanted:g} {verdict}")


def note(text: str) -> None:
    """What goes on, beside the result."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (DockbusError, subprocess.SubprocessError) as error:
        raise SystemExit(f"given up: {error}") from None
