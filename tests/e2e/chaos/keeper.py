"""Keeps a number of worker processes alive that are made to die, and counts what they died of."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import prepared
from dockbus.settings import Settings
from processes import environment

WORKER = "e2e.chaos.worker"
POINTS = ("take", "handle", "claim", "create", "start", "log", "conclude", "remove", "settle")
DEATHS = [f"{point}:{side}" for point in POINTS for side in ("before", "after")] + ["exited:after"]
"""Everywhere that a worker can be made to die."""
ELSEWHERE = [at for at in DEATHS if at.split(":")[0] in ("take", "handle", "log", "settle")]
"""Where those can that serve another kind than `run`."""


@dataclass
class _Seat:
    kind: str
    process: prepared.Process
    log: Path
    die: str
    """Where it is to die."""
    told: bool = False
    """It was sent a signal from here."""
    thaw: float = 0.0
    """When it may go on, in `time.monotonic` seconds; 0 where it is not frozen."""


class Keeper:
    """`with Keeper(...)`: the workers run, and each that dies is replaced at once.

    Args:
        settings: of the workers.
        seats: how many processes of each kind.
        folder: for their logs.
        dice: for all that is random.
        dying: whether workers kill themselves at the points.
    """

    def __init__(
        self,
        settings: Settings,
        seats: Mapping[str, int],
        folder: Path,
        dice: random.Random,
        *,
        dying: bool,
    ) -> None:
        self._folder = folder
        self._dice = dice
        self._dying = dying
        self._diary = folder / "diary"
        self._calm = folder / "calm"
        self._env = environment(settings) | {
            "DOCKBUS_WORKER_SLOTS": str(settings.worker.slots),
            "CHAOS_DIARY": str(self._diary),
            "CHAOS_CALM": str(self._calm),
        }
        self._plans: dict[str, list[str]] = {kind: [] for kind in seats}
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._diary.touch()
        self.external: Counter[str] = Counter()
        """Signals sent from here."""
        self.wrong: list[str] = []
        """Ends that nobody had ordered."""
        self.started = 0
        self._seats = [self._start(kind) for kind, count in seats.items() for _ in range(count)]
        self._thread = threading.Thread(target=self._keep, name="keeper")

    @property
    def deaths(self) -> Counter[str]:
        """How many have died where."""
        return Counter(line.rpartition(" ")[0] for line in self._diary.read_text().splitlines())

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to a worker picked at random."""
        with self._lock:
            if seats := [seat for seat in self._seats if not seat.told]:
                seat = self._dice.choice(seats)
                seat.told = True
                seat.process.send_signal(number)
                self.external[number.name] += 1

    def freeze(self, seconds: float) -> None:
        """Stop a worker picked at random where it is, and let it go on after that time."""
        with self._lock:
            if seats := [seat for seat in self._seats if not seat.told and not seat.thaw]:
                seat = self._dice.choice(seats)
                seat.thaw = time.monotonic() + seconds
                seat.process.send_signal(signal.SIGSTOP)
                self.external["SIGSTOP"] += 1

    def calm(self) -> None:
        """Nobody dies of a point any more."""
        self._calm.touch()

    def stop(self) -> None:
        """Ask all to end; each has to do so by itself."""
        self.calm()
        self._over.set()
        self._thread.join()
        for seat in self._seats:
            seat.process.send_signal(signal.SIGCONT)
            if not seat.told:  # a second one might come when Python has put its handler away
                seat.told = True
                seat.process.terminate()
        for seat in self._seats:
            try:
                seat.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"{seat.log} did not end within 60 s of SIGTERM")
                seat.process.kill()
                seat.process.wait()
            self._look(seat)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._over.is_set():
            self.stop()

    def _keep(self) -> None:
        while not self._over.wait(0.02):
            with self._lock:
                for place, seat in enumerate(self._seats):
                    if seat.process.poll() is not None:
                        self._look(seat)
                        self._seats[place] = self._start(seat.kind)
                    elif seat.thaw and time.monotonic() > seat.thaw:
                        seat.thaw = 0.0
                        seat.process.send_signal(signal.SIGCONT)

    def _look(self, seat: _Seat) -> None:
        if seat.die and f" {seat.process.pid}\n" not in self._diary.read_text():
            self._plans[seat.kind].append(seat.die)  # something else was sooner
        code = seat.process.returncode
        text = seat.log.read_text(errors="replace")
        # A SIGTERM that comes while Python starts meets no handler yet.
        meant = (0, -9, -15 if "worker for" not in text else 0) if seat.told else (-9,)
        if code not in meant:
            self.wrong.append(f"{seat.log} ended with {code}:\n{text[-3000:]}")
        for line in text.splitlines():
            if " CRITICAL " in line or " a bug in dockbus" in line or "cannot be taken" in line:
                self.wrong.append(f"{seat.log} tells of a bug: {line}")

    def _start(self, kind: str) -> _Seat:
        number = next(self._numbers)
        log = self._folder / f"{kind}-{number}.log"
        die = self._next_death(kind) if self._dying else ""
        self.started += 1
        with log.open("wb") as output:
            env = self._env | {"CHAOS_DIE": die}
            process = prepared.Process([kind], env, output.fileno(), WORKER)
        return _Seat(kind, process, log, die)

    def _next_death(self, kind: str) -> str:
        """Every point in turn, in a random order, at one of its first passings."""
        plan = self._plans[kind]
        if not plan:
            points = DEATHS if kind == "run" else ELSEWHERE
            plan += [
                f"{at}:{self._dice.randint(1, 6)}" for at in self._dice.sample(points, len(points))
            ]
        return plan.pop()
