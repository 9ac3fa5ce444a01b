"""The main job of dockbus on real input, start to finish, told while it happens.

Starts a whole bus in a scratch folder (with a private Docker Engine where none answers), builds an
image, scans it, runs it with live logs, shows its metrics, lets a rule clean up after it, and leaves
nothing behind. `make demo` runs it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from dockbus import (
    Build,
    BuildResult,
    Bus,
    CleanupResult,
    DockbusError,
    JobHandle,
    JobRecord,
    LogLine,
    Result,
    Run,
    RunResult,
    Scan,
    ScanResult,
    Settings,
    Severity,
    local,
)
from dockbus.cli.up import running
from dockbus.engine import ContainerSpec, Engine, EngineError
from dockbus.units import show_size, show_span

EXAMPLES = Path(__file__).parent
IMAGE = "dockbus/hello:demo"
LABELS = {"dockbus.demo": "true"}
R = TypeVar("R", bound=Result)
STORY = ("io.dockbus.docker.container.die", "io.dockbus.rule.fired", "io.dockbus.job.succeeded")
console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Run the demo."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dockbus-demo-") as folder:
        settings = prepare(Path(folder))
        chapter(
            "A bus of its own",
            "Redis, HTTP API, event producer, a worker per queue and a metrics worker",
        )
        with running(
            settings, say=whisper, rules=EXAMPLES / "rules" / "clean-after-exit.yaml"
        ) as settings:
            engine = Engine(settings.engine)
            with Bus(settings) as bus, tidied(engine, Path(folder)):
                tell(bus, engine, settings)
            engine.close()
        chapter(
            "Over",
            f"everything it started is stopped and removed; it took {show_span(time.monotonic() - begun)}",
        )


def tell(bus: Bus, engine: Engine, settings: Settings) -> None:
    """The story."""
    info = engine.info()
    say(f"Docker Engine {info.version}, {info.storage_driver}, at {engine.host}")

    chapter("Build", "an image from examples/hello/Dockerfile")
    built = bus.enqueue(Build(context="hello", tags=[IMAGE], labels=LABELS))
    follow(built)
    image = expect(BuildResult, built)
    say(
        f"{image.steps} steps, {image.layers} layers, {show_size(image.size)}: {image.image_id[7:19]}"
    )

    chapter(
        "Scan",
        "with the small vulnerability database of examples/trivy-db, so that every run finds the same",
    )
    scanned = expect(ScanResult, bus.enqueue(Scan(image=IMAGE, fail_on=Severity.CRITICAL)))
    table = Table(
        "severity", "vulnerability", "package", "installed", "fixed in", box=None, pad_edge=False
    )
    for item in scanned.vulnerabilities:
        table.add_row(
            item.severity.lower(), item.id, item.package, item.installed, item.fixed or "-"
        )
    console.print(table)
    say(f"verdict: {scanned.verdict} (limit: critical), by {scanned.scanner}")

    chapter("Run", "it with 64 MB and half a CPU; these lines come live from the container")
    ran = bus.enqueue(Run(image=IMAGE, memory=64 * 2**20, cpus=0.5, labels=LABELS))
    shown = False
    for entry in ran.follow():
        if isinstance(entry, LogLine) and entry.stream != "system":
            console.print(
                Text(f"  {entry.stream}  ", style="dim").append(entry.text, style="default")
            )
            if "hello 3" in entry.text and not shown:
                show_metrics(settings, f"dockbus-{ran.id}")
                shown = True
    ended = expect(RunResult, ran)
    say(f"exit code {ended.exit_code} after {show_span(ended.duration)}")

    chapter(
        "Clean up",
        "a container started by hand dies; that is an event, and a rule makes a job of it",
    )
    cleaned = let_die(bus, engine)
    for gone in (item for item in cleaned.items if item.outcome == "removed"):
        say(f"removed {gone.type} {gone.name}")

    chapter(
        "The jobs",
        f"as `dockbus jobs`, or {settings.api.host}:{settings.api.port}/v1/jobs, would list them",
    )
    show_jobs(list(bus.jobs()))


def let_die(bus: Bus, engine: Engine) -> CleanupResult:
    """Run a container past dockbus, as `docker run --label dockbus.demo=true` would, and await its cleanup job."""
    position = bus.event_stream.end()
    stray = ContainerSpec(name="dockbus-demo-stray", image=IMAGE, labels=LABELS, command=["true"])
    engine.containers.start(engine.containers.create(stray))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for stored in bus.event_stream.read(position, block=1.0):
            position, event = stored.position, stored.event
            if event.type in STORY:
                say(f"event {event.type}  {event.subject[:16]}")
            if event.type == "io.dockbus.job.succeeded":
                result = bus.job(event.subject).refresh().result
                if isinstance(result, CleanupResult):
                    return result
    raise DockbusError("the cleanup job did not come; the lines above may say why")


def prepare(folder: Path) -> Settings:
    """Settings for a bus of its own in `folder`; the programs that are started read the same environment."""
    shutil.copytree(EXAMPLES / "trivy-db" / "db", folder / "trivy" / "db")
    mine = {
        "DOCKBUS_BUS_DATA_DIR": str(folder),
        "DOCKBUS_BUILD_ROOT": str(EXAMPLES),
        "DOCKBUS_SCAN_CACHE_DIR": str(folder / "trivy"),
        "DOCKBUS_SCAN_OFFLINE": "true",
        "DOCKBUS_API_PORT": str(free_port()),
        "DOCKBUS_METRICS_PORT": str(free_port()),
    }
    for name in list(os.environ):
        if name.startswith("DOCKBUS_") and not name.startswith("DOCKBUS_ENGINE_"):
            del os.environ[name]
    os.environ.update(mine)
    return Settings.from_env()


@contextlib.contextmanager
def tidied(engine: Engine, scratch: Path) -> Generator[None]:
    """The base image while the block runs; at its end all that the demo made on the Engine is removed."""
    had_base = engine.images.find("dockbus/base:1") is not None
    local.base_image(engine, scratch, lambda text: whisper("image", text))
    try:
        yield
    finally:
        for container in engine.containers.all(labels=LABELS):
            engine.containers.remove(container.id, force=True)
        for image in (IMAGE, *(() if had_base else ("dockbus/base:1",))):
            with contextlib.suppress(EngineError):
                engine.images.remove(image)


def expect(kind: type[R], job: JobHandle) -> R:
    """The result of a job, of the kind that it has to be."""
    result = job.wait(timeout=120)
    if not isinstance(result, kind):
        raise DockbusError(f"job {job.id} gave {result!r}")
    return result


def follow(job: JobHandle) -> None:
    """Print a job's log as it comes."""
    for line in job.logs(follow=True):
        console.print(Text(f"  {line.text}", style="dim"))


def show_metrics(settings: Settings, container: str) -> None:
    """What Prometheus would scrape of one container now."""
    url = f"http://{settings.metrics.host}:{settings.metrics.port}/metrics"
    with urllib.request.urlopen(url, timeout=15) as answer:
        lines = answer.read().decode().splitlines()
    wanted = {
        "container_cpu_usage_seconds_total": "CPU",
        "container_memory_working_set_bytes": "memory",
        "container_network_receive_bytes_total": "network in",
        "container_network_transmit_bytes_total": "network out",
    }
    say(f"{url} says of {container}:")
    for line in lines:
        name, _, rest = line.partition("{")
        if name in wanted and f'name="{container}"' in rest:
            value = float(rest.rpartition(" ")[2])
            shown = f"{value:.2f} s" if "seconds" in name else show_size(int(value))
            say(f"    {wanted[name]:<12}{shown:>10}   {name}")


def show_jobs(records: list[JobRecord]) -> None:
    """The table at the end."""
    table = Table(
        Column("id", no_wrap=True),
        "kind",
        "state",
        "tries",
        "duration",
        "result",
        box=None,
        pad_edge=False,
    )
    for record in reversed(records):
        duration = show_span(record.duration) if record.duration is not None else "-"
        row = (
            record.id,
            str(record.kind),
            record.state,
            str(record.attempts),
            duration,
            outcome(record),
        )
        table.add_row(*row)
    console.print(table)


def outcome(record: JobRecord) -> str:
    """A job's result in a few words."""
    match record.result:
        case BuildResult() as result:
            return f"{result.layers} layers, {show_size(result.size)}"
        case ScanResult() as result:
            return f"{len(result.vulnerabilities)} findings: {result.verdict}"
        case RunResult() as result:
            return f"exit code {result.exit_code}"
        case CleanupResult() as result:
            return f"{sum(item.outcome == 'removed' for item in result.items)} removed"
        case _:
            return ""


def chapter(title: str, what: str) -> None:
    """A heading."""
    console.print(Text(f"\n{title}", style="bold").append(f"  {what}", style="default"))


def say(text: str) -> None:
    """A line of the story."""
    console.print(Text(f"  {text}"))


def whisper(name: str, line: str) -> None:
    """What the bus's own programs say: shown only where it may need attention."""
    if (
        name in ("engine", "redis", "image")
        or " WARNING " in line
        or " ERROR " in line
        or "ended with code" in line
    ):
        console.print(Text(f"  {name}: {line}", style="dim"))


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    try:
        main()
    except DockbusError as error:
        console.print(f"\ndemo: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\ndemo: interrupted; what it had started is stopped and removed")
        sys.exit(130)
