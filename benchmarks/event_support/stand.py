"""Where the benchmark of events takes place: an Engine, a Redis, and dockbus' own programs beside them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from dockbus import Bus, Settings, local
from dockbus.engine import Engine
from dockbus.settings import BusSettings, EngineSettings, RedisSettings, WatchSettings
from event_support.volumes import Volumes

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from processes import Program
from waiting import wait_for

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Stand:
    """What is measured on."""

    settings: Settings
    engine: Engine
    bus: Bus
    volumes: Volumes
    scratch: Path

    @property
    def redis_pid(self) -> int:
        """The Redis server's."""
        info: Any = self.bus.redis.info("server")
        return int(info["process_id"])

    @contextlib.contextmanager
    def program(self, *arguments: str, rules: str = "") -> Generator[None]:
        """One of dockbus' own."""
        settings = self.settings.model_copy(update={"watch": WatchSettings(rules=rules)})
        program = Program(list(arguments), settings, self.scratch / f"{arguments[0]}.log")
        try:
            yield
        finally:
            program.process.terminate()
            program.process.wait()

    @contextlib.contextmanager
    def watch(self, rules: str = "") -> Generator[None]:
        """`dockbus watch` on an empty bus, once it has looked round."""
        self.bus.redis.flushall()
        with self.program("watch", rules=rules):
            self.wait_for_resync()
            yield

    def wait_for_resync(self) -> None:
        """Wait until a watch has looked round."""
        wait_for(lambda: any(one.resynced for one in self.bus.snapshot.engines()))


@contextlib.contextmanager
def bench(scratch: Path) -> Generator[Stand]:
    """Redis and an Engine."""
    with (
        local.local_redis(scratch / "redis", note) as url,
        local.local_engine(scratch / "engine", note) as host,
    ):
        settings = Settings(
            redis=RedisSettings(url=url),
            engine=EngineSettings(host=host),
            bus=BusSettings(key=SecretStr("benchmark"), data_dir=scratch),
        )
        engine, volumes = Engine(settings.engine), Volumes(host)
        with Bus(settings) as bus, contextlib.closing(engine), contextlib.closing(volumes):
            bus.redis.config_set("appendfsync", "everysec")  # the disk is not what is measured
            try:
                yield Stand(settings, engine, bus, volumes, scratch)
            finally:
                volumes.clear()


@contextlib.contextmanager
def docker_events(stand: Stand) -> Generator[None]:
    """What Docker's own command line costs that does the same."""
    command = ["docker", "--host", stand.settings.engine.host, "events"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def redis_stopped(stand: Stand) -> Generator[None]:
    """A watch that hears, and cannot tell."""
    with stand.watch():
        redis = stand.redis_pid
        os.kill(redis, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(redis, signal.SIGCONT)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 for none."""
    if not pid:
        return 0.0
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def note(text: str) -> None:
    """What goes on, beside the result."""
    print(text, file=sys.stderr, flush=True)
