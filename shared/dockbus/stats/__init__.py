"""What containers use now, measured while somebody asks.

    model    what one container uses, and one measurement of an Engine
    board    where wishes and measurements meet, in Redis
    asking   one answer, or one after the other: `bus.stats()`, `bus.stats.watch()`

Who asks needs no Engine, and as long as nobody asks nothing is measured. What is kept over time is Prometheus' business.
"""

from dockbus.stats.asking import Feed, Round, Stats, StatsUnavailable, StatsWatch
from dockbus.stats.board import Board
from dockbus.stats.model import ContainerStats, EngineStats, HealthStatus, Wanted, health_status

__all__ = [
    "Board",
    "ContainerStats",
    "EngineStats",
    "Feed",
    "HealthStatus",
    "Round",
    "Stats",
    "StatsUnavailable",
    "StatsWatch",
    "Wanted",
    "health_status",
]
