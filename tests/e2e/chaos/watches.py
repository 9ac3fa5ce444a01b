"""Two `dockbus watch` that are killed, frozen and stopped; whatever ends is replaced at once."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from dockbus.settings import Settings
from processes import Program

LEADS, FOLLOWS = "this process leads for Engine", "another process leads for Engine"


class Watches:
    """`with Watches(...)`: they run.

    Args:
        settings: of both.
        folder: for their logs.
        dice: for who is picked, where it is not the leader.
    """

    def __init__(self, settings: Settings, folder: Path, dice: random.Random) -> None:
        self.started = 0
        self.done: Counter[str] = Counter()
        """What was done to them, and how often."""
        self.wrong: list[str] = []
        """Ends that nobody had ordered, and bugs that they tell of."""
        self._settings = settings
        self._folder = folder
        self._dice = dice
        self._ended: list[Program] = []
        self._running: list[Program] = []

    def kill_leader(self) -> None:
        """SIGKILL to the one that leads."""
        self._replace(self._leader(), signal.SIGKILL)

    def stop_one(self) -> None:
        """SIGTERM to one of them; it has to end by itself."""
        self._replace(self._dice.choice(self._running), signal.SIGTERM)

    def freeze_leader(self, seconds: float, over: threading.Event) -> None:
        """Stop the one that leads where it is, for so long."""
        leader = self._leader()
        leader.process.send_signal(signal.SIGSTOP)
        over.wait(seconds)
        leader.process.send_signal(signal.SIGCONT)
        self.done["SIGSTOP"] += 1

    def end_all(self, number: signal.Signals) -> None:
        """End both; nobody hears the Engine until `start`."""
        for each in self._running:
            self._end(each, number)
        self._running = []

    def start(self) -> None:
        """Have two of them."""
        while len(self._running) < 2:
            log = self._folder / f"watch-{self.started}.log"
            self._running.append(Program(["watch"], self._settings, log))
            self.started += 1

    def stop(self) -> None:
        """Stop both, each has to end by itself, and look at what all have said."""
        self.end_all(signal.SIGTERM)
        for each in self._ended:
            for line in each.log.read_text(errors="replace").splitlines():
                if "Traceback" in line or " CRITICAL " in line or "a bug in dockbus" in line:
                    self.wrong.append(f"{each.log} tells of a bug: {line}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _leader(self) -> Program:
        """Who leads as far as it knows; any, where nobody does."""
        leading = [each for each in self._running if _leads(each)]
        return self._dice.choice(leading or self._running)

    def _replace(self, program: Program, number: signal.Signals) -> None:
        self._end(program, number)
        self._running.remove(program)
        self.start()

    def _end(self, program: Program, number: signal.Signals) -> None:
        self._ended.append(program)
        if program.process.poll() is not None:
            self.wrong.append(f"{program.log} ended with {program.process.returncode} by itself")
            return
        self.done[number.name] += 1
        if number == signal.SIGTERM:
            while "watching Engine" not in program.log.read_text():  # before, it meets no handler
                if program.process.poll() is not None:
                    break
                time.sleep(0.05)
            code = program.stop()
        else:
            program.process.send_signal(number)
            code = program.process.wait()
        if code != (-9 if number == signal.SIGKILL else 0):
            self.wrong.append(f"{program.log} ended with {code} after {number.name}")


def _leads(program: Program) -> bool:
    said = program.log.read_text(errors="replace")
    return said.rfind(LEADS) > said.rfind(FOLLOWS)
