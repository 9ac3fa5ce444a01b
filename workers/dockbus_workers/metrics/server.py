"""The metrics worker's page: the containers of its Engine, the bus, and what this costs; each exported by one process only.

It needs its Engine's socket. Redis tells whether another process exports the same, and what the bus does; without it the
containers are measured all the same. How the page is served is `dockbus.exposition`'s business.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from prometheus_client import PROCESS_COLLECTOR
from prometheus_client.registry import Collector

from dockbus.connection import connect
from dockbus.exposition import Server, address, listening
from dockbus.settings import Settings
from dockbus_workers.metrics.bus_collector import BusCollector
from dockbus_workers.metrics.collector import ContainerCollector, Sweeper
from dockbus_workers.metrics.leadership import Leadership, Leases
from dockbus_workers.metrics.publisher import publishing

BUS = "metrics-bus"
"""The lease of whoever exports the bus."""
PATIENCE = 5.0
"""Seconds that the Engine has to answer whoever asks whether this process is of use."""


@contextmanager
def server(settings: Settings) -> Generator[Server]:
    """The server, bound and not yet serving; closed with all it holds after the block.

    Raises:
        SettingsError: it cannot listen on the address given, or a setting is wrong.
    """
    engine = settings.engine.name
    mine = f"metrics:{engine}"
    with ExitStack() as held:
        redis = held.enter_context(connect(settings.redis_url, patience=0.0))
        sweeper = Sweeper(settings)
        held.callback(sweeper.close)
        bus = BusCollector(redis)
        held.callback(bus.close)
        leases = Leases(redis, (mine, BUS))

        def collect(seconds: float) -> Iterator[Collector]:
            leads = leases.leads(mine)
            asked = [bus.ask()] if leases.leads(BUS) else []  # Redis answers while the Engine does
            yield Leadership(engine, leads=leads)
            yield PROCESS_COLLECTOR
            yield ContainerCollector(sweeper, timeout=seconds, leads=leads)
            yield from asked

        def trouble() -> str:
            return "" if sweeper.peek(PATIENCE).up else "the Engine does not answer"

        about = "containers and the bus"
        bound = held.enter_context(
            listening(settings.metrics, settings.metrics.port, about, collect, trouble)
        )
        held.enter_context(leases)
        held.enter_context(publishing(settings, sweeper, partial(leases.leads, mine)))
        yield bound


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: it cannot listen on the address given, or a setting is wrong.
    """
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    with server(settings) as bound:
        say(f"metrics at {address(settings.metrics, bound)}")
        while not stopped:
            bound.handle_request()
