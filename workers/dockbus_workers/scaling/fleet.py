"""The workers of one service at one moment, whoever keeps them: a Compose project or a Swarm."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Replica:
    """One worker."""

    id: str
    """Of its container."""
    host: str
    """The host name that its processes see, with which its workers' names on the bus begin."""


class Fleet(Protocol):
    """All workers of a service that are to stay."""

    @property
    def size(self) -> int:
        """How many there are, those that are only starting included."""
        ...

    @property
    def replicas(self) -> Sequence[Replica]:
        """Those that have a container."""
        ...

    def keep(self, number: int, *, busy: Collection[Replica], silent: Collection[Replica]) -> None:
        """Make those that are missing, or have some leave that do nothing; nothing happens where there are `number`.

        Args:
            number: how many there are to be.
            busy: those that have a job.
            silent: those of which the bus knows nothing, yet or any more.

        Raises:
            EngineError: it cannot be done; what can be done is done by the next call.
        """
        ...
