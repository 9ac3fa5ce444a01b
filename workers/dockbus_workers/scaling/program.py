"""`dockbus scale` as a process: one of those of an Engine leads, the others stand by."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from functools import partial
from pathlib import Path

from dockbus.bus import Bus
from dockbus.engine import Engine
from dockbus.errors import SettingsError
from dockbus.exposition import own_metrics
from dockbus.settings import Settings
from dockbus_workers.metrics.leadership import Leases
from dockbus_workers.scaling.controller import Controller
from dockbus_workers.scaling.metrics import ScalerMetrics
from dockbus_workers.scaling.services import load_services

log = logging.getLogger(__name__)


def run(settings: Settings, *, dry_run: bool) -> None:
    """Scale until SIGTERM or SIGINT. A dry run asks for no lease, and takes it from nobody.

    Raises:
        SettingsError: there is no scaling file, the bus' key is missing, or metrics cannot be served.
        ScaleError: the scaling file is wrong.
    """
    if not settings.scale.path:
        raise SettingsError("DOCKBUS_SCALE_PATH names no scaling file")
    services = load_services(Path(settings.scale.path))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    name = settings.engine.name
    lease = f"scaler:{name}"
    metrics = ScalerMetrics(name)
    with contextlib.ExitStack() as held:
        bus = held.enter_context(Bus(settings))
        engine = Engine(settings.engine)
        held.callback(engine.close)
        controller = Controller(services, bus, engine, metrics, dry_run=dry_run)
        held.enter_context(
            own_metrics(settings.metrics, "autoscaler", metrics, trouble=controller.trouble)
        )
        leases = held.enter_context(Leases(bus.redis, () if dry_run else (lease,)))
        for service in services:
            log.info("%s: %d to %d workers", service.name, service.min, service.max)
        controller.run(stopping, partial(leases.leads, lease), settings.scale.interval)
    log.info("scaling has stopped")
