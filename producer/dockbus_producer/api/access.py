"""What a route is given: the Bus, once the bearer token has been found right."""

from __future__ import annotations

import secrets
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dockbus import Bus
from dockbus.errors import Unauthorized

_bearer = HTTPBearer(auto_error=False, description="DOCKBUS_API_TOKEN, or the data folder's token.")


async def require_token(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Let only the holder of the token pass.

    Raises:
        Unauthorized: the token is missing or wrong.
    """
    if not given:
        raise Unauthorized("there is none")
    if not secrets.compare_digest(given.credentials.encode(), request.app.state.token.encode()):
        raise Unauthorized("it is another one")


async def _bus(request: Request) -> Bus:
    return cast("Bus", request.app.state.bus)


TheBus = Annotated[Bus, Depends(_bus)]
"""Parameter of a route that needs the bus."""
