"""The workers of the benchmark: all are started once, and all but the one that is measured stand still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dockbus import Settings
from queue_support import stamps

FOLDER = Path(__file__).parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class Hand:
    """One worker process, serving one queue."""

    def __init__(self, which: str, settings: Settings, queue: str, file: Path) -> None:
        self.queue = queue
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(FOLDER), os.environ.get("PYTHONPATH")])
            ),
            stamps.VARIABLE: str(file),
            "DOCKBUS_REDIS_URL": settings.redis_url,
            "DOCKBUS_BUS_KEY": settings.bus.key.get_secret_value(),
            "DOCKBUS_WORKER_SLOTS": str(settings.worker.slots),
        }
        command = [sys.executable, "-m", "queue_support.serve", which, settings.redis_url, queue]
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)

    def rest(self) -> None:
        """Stand still. It must have no job then: a lease would run out."""
        self._process.send_signal(signal.SIGSTOP)

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Let it work for a while."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the worker of queue {self.queue} has ended")
        self._process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.rest()

    def memory(self, field: str) -> float:
        """Megabytes, shared pages included: `VmRSS` now, `VmHWM` at most since its start."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return round(int(line.split()[1]) / 1024, 1)

    def cpu(self) -> float:
        """Seconds of CPU that it and the children it has waited for have used."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, stat[11:15])) / TICKS

    def end(self) -> None:
        """Stop the process. RQ's do not always heed SIGTERM when they have stood still for long."""
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def crew(settings: Settings, queues: Mapping[str, str], file: Path) -> Generator[dict[str, Hand]]:
    """A worker for each of `queues`, by what it is (`ours`, `fork`, `simple`), from now on to the end of the block."""
    hands: dict[str, Hand] = {}
    try:
        for which, queue in queues.items():
            hands[which] = Hand(which, settings, queue, file)
        yield hands
    finally:
        for hand in hands.values():
            hand.end()


def until(seconds: float) -> Iterator[None]:
    """Short pauses, for as long as that.

    Raises:
        TimeoutError: they were not enough.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
    raise TimeoutError(f"not within {seconds:g} s")
