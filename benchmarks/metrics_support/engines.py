"""The Engines on which the benchmark of metrics takes place, one after the other: this machine's own kind, and 26.1."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from dockbus import local
from dockbus.engine import ContainerSpec, Engine
from dockbus.jobs.running import Network
from dockbus.settings import EngineSettings

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import trixie

LABEL = "dockbus.bench"
_PROGRAMS = ("dockerd", "containerd")


@dataclass
class Stand:
    """An Engine, and containers of which there can only be more."""

    engine: Engine
    version: str
    folder: Path
    image: str
    made: list[str]

    def grow(self, number: int) -> None:
        """Have so many containers that do nothing, each with a network of its own."""
        with ThreadPoolExecutor(2) as pool:
            self.made += pool.map(lambda _: self._start(), range(number - len(self.made)))

    def _start(self) -> str:
        made = self.engine.containers.create(
            ContainerSpec(
                name=f"bench-{token_hex(6)}",
                image=self.image,
                command=["sleep", "86400"],
                labels={LABEL: "1", "com.docker.compose.project": "bench"},
                networks=[Network(name="bridge")],
                init=False,
            )
        )
        self.engine.containers.start(made)
        return made

    def clear(self) -> None:
        """Have none."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: self.engine.containers.remove(one, force=True), self.made))
        self.made.clear()

    def cpu(self) -> float:
        """Seconds of CPU that the Engine has used: its daemon, containerd and all their helpers."""
        return sum(map(_cpu, self._processes()))

    def _processes(self) -> Generator[Path]:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_text().split("\0")
                ours = f"{self.folder}/" in " ".join(words)
                if ours and Path(words[0]).name.startswith(_PROGRAMS):
                    yield process


def _cpu(process: Path) -> float:
    nanoseconds = 0
    for task in process.glob("task/*/schedstat"):
        with contextlib.suppress(OSError):
            nanoseconds += int(task.read_text().split()[0])
    return nanoseconds / 1e9


@contextlib.contextmanager
def stand(scratch: Path, say: Callable[[str], None], *, newer: bool) -> Generator[Stand]:
    """A private Engine of the machine's own programs or, `newer`, of 26.1."""
    path = os.environ["PATH"]
    if newer:
        os.environ["PATH"] = os.pathsep.join([str(trixie.programs(say)), path])
    folder = (scratch / ("newer" if newer else "own")).resolve()
    try:
        with local.private_engine(folder, say) as host:
            engine = Engine(EngineSettings(host=host))
            image = local.base_image(engine, scratch, say)
            one = Stand(engine, engine.info().version, folder, image, [])
            try:
                yield one
            finally:
                one.clear()
                engine.close()
    finally:
        os.environ["PATH"] = path
