"""`/v1/queues`: how much waits where."""

from __future__ import annotations

from fastapi import APIRouter

from dockbus import QueueRecord
from dockbus_producer.api.access import TheBus

router = APIRouter(tags=["queues"])


@router.get("/queues")
def queues(bus: TheBus) -> list[QueueRecord]:
    """All queues as they stand."""
    return bus.queues()
