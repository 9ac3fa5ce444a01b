"""How many workers a service should have. Pure: no clock, no Redis, no Engine.

What the jobs want at this moment jumps about. So what was wanted is remembered as far back as the windows reach: workers
are added down to the least that was wanted within the one window, and taken away down to the most within the other. A
peak that is shorter than the first adds nothing, a lull that is shorter than the second takes nothing away. Only the
bounds of the service hold at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dockbus_workers.scaling.services import Service

History = tuple[tuple[float, int], ...]
"""What was wanted, and when, in seconds by any one clock; oldest first."""


@dataclass(frozen=True)
class Observed:
    """A service and its queue at one moment."""

    queued: int
    """Jobs that wait, as far as they are this service's share."""
    started: int
    """Jobs that are under way, likewise."""
    oldest: float
    """Seconds that the oldest of those that wait has waited; 0 where none does."""
    slots: float
    """Jobs that one worker carries out at the same time."""
    replicas: int
    """Workers that there are, those that are only starting included."""
    ready: int
    """Those of them that serve the queue by now."""


@dataclass(frozen=True)
class Decision:
    """How many there should be, and why."""

    replicas: int
    wanted: int
    """What the jobs want at this moment, within the service's bounds."""
    reason: str
    history: History
    """To be given to the next decision."""


STALE = 60.0
"""Seconds without a look after which earlier ones count no more: Redis or the Engine was away, or this process stood still."""


def decide(service: Service, now: float, observed: Observed, history: History = ()) -> Decision:
    """How many workers there should be now.

    Args:
        service: its bounds, its aim and its windows.
        now: seconds, by the clock of `history`.
        observed: what is there.
        history: that of the decision before; empty for the first one, which takes what is there for what was wanted.
    """
    wanted, reason = _wanted(service, observed)
    longest = max(service.scale_out_window, service.scale_in_window)
    lately = history and now - history[-1][0] <= STALE
    before = history if lately else ((now, observed.replicas),)
    kept = (*((at, number) for at, number in before if now - at <= longest), (now, wanted))
    least = min(number for at, number in kept if now - at <= service.scale_out_window)
    most = max(number for at, number in kept if now - at <= service.scale_in_window)
    steady = max(least, min(observed.replicas, most))
    bounded = _bounded(service, steady)
    if bounded != steady:
        reason = f"there are to be {service.min} to {service.max}"
    return Decision(bounded, wanted, reason, kept)


def _wanted(service: Service, observed: Observed) -> tuple[int, str]:
    """What the jobs want at this moment, and why."""
    jobs = observed.queued + observed.started
    number = math.ceil(jobs / (observed.slots * service.load))
    reason = (
        f"{observed.queued} queued and {observed.started} started jobs "
        f"for {observed.replicas} workers with {observed.slots:g} slots each"
    )
    late = observed.queued > 0 and observed.oldest > service.oldest
    if late and number <= observed.replicas <= observed.ready:  # else more are on their way
        number = observed.replicas + 1
        reason = f"a job has waited for {observed.oldest:.0f} s; {reason}"
    return _bounded(service, number), reason


def _bounded(service: Service, number: int) -> int:
    return max(service.min, min(number, service.max))
