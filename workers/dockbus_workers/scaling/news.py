"""What a scaler tells: its decisions and what keeps it from carrying them out, in the log, as events and in the tally."""

from __future__ import annotations

import logging

from pydantic import JsonValue

from dockbus.bus import Bus
from dockbus.errors import DockbusError
from dockbus.events import Event
from dockbus.tally import sample
from dockbus_workers.scaling.decide import Decision, Observed
from dockbus_workers.scaling.services import Service

log = logging.getLogger(__name__)

SOURCE = "/dockbus/scaler"
TYPE = "io.dockbus.scaler."
DECISIONS = "dockbus_scaler_decisions_total"
FAILURES = "dockbus_scaler_failures_total"


class News:
    """The news of one scaler. A dry run's are not counted."""

    def __init__(self, bus: Bus, engine: str, *, dry_run: bool) -> None:
        self._bus = bus
        self._engine = engine
        self._dry_run = dry_run

    def decided(
        self, service: Service, before: int, observed: Observed, decision: Decision
    ) -> None:
        """There are to be another number of workers than there were `before`.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        direction = "out" if decision.replicas > before else "in"
        log.info(
            "%s: %d workers instead of %d%s: %s",
            service.name,
            decision.replicas,
            before,
            " (dry run)" if self._dry_run else "",
            decision.reason,
        )
        self._publish(
            service,
            direction,
            {
                "from": before,
                "to": decision.replicas,
                "replicas": observed.replicas,
                "queued": observed.queued,
                "started": observed.started,
                "oldest": observed.oldest,
                "slots": observed.slots,
                "reason": decision.reason,
                "dryRun": self._dry_run,
            },
            counted=""
            if self._dry_run
            else sample(DECISIONS, fleet=service.name, direction=direction),
        )

    def failed(self, service: Service, error: DockbusError) -> None:
        """A decision cannot be carried out.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        log.warning("%s: %s", service.name, error)
        told: dict[str, JsonValue] = {"error": {"code": error.code, "message": str(error)}}
        self._publish(service, "failed", told, counted=sample(FAILURES, fleet=service.name))

    def _publish(
        self, service: Service, what: str, data: dict[str, JsonValue], *, counted: str
    ) -> None:
        about: dict[str, JsonValue] = {
            "engine": self._engine,
            "project": service.project,
            "service": service.service,
            "queue": service.queue.value,
        }
        event = Event(source=SOURCE, type=TYPE + what, subject=service.name, data=about | data)
        self._bus.event_stream.publish(event, counted=counted)
