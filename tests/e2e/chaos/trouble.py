"""What breaks one part of the world again and again, in a thread of its own, so that parts break at the same time, too."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self


class Trouble:
    """`with Trouble(...)`: it goes on, until the block or `end`; what was broken is whole again then.

    Args:
        acts: by name, what breaks the part and mends it. Told that it is over, an act makes haste.
        every: seconds between two, on average.
        dice: for which, and when.
    """

    def __init__(
        self,
        acts: Sequence[tuple[str, Callable[[threading.Event], object]]],
        every: float,
        dice: random.Random,
    ) -> None:
        self.done: Counter[str] = Counter()
        self.failed: BaseException | None = None
        self._acts = acts
        self._every = every
        self._dice = dice
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"trouble-{acts[0][0]}")

    def end(self) -> None:
        """No more."""
        self._over.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _run(self) -> None:
        try:
            while True:
                # Each of them in a random order, then again: a short run has them all.
                for name, act in self._dice.sample(self._acts, len(self._acts)):
                    if self._over.wait(self._dice.uniform(0.5, 1.5) * self._every):
                        return
                    self.done[name] += 1
                    act(self._over)
        except BaseException as error:  # noqa: BLE001  it is raised in the test's thread
            self.failed = error
