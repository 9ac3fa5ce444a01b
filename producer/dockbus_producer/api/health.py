"""`/healthz` and `/readyz`: whether the process lives, and whether it can be of use. No token is asked for."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from dockbus import RedisUnavailable
from dockbus.connection import ping
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.openapi import problems

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """All is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """The API runs."""
    return Health()


@router.get("/readyz", responses=problems(RedisUnavailable))
def readyz(bus: TheBus) -> Health:
    """The API runs and Redis answers."""
    try:
        ping(bus.redis)
    except RedisUnavailable:  # without its detail: nobody asked for a token here
        raise RedisUnavailable from None
    return Health()
