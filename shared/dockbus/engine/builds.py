"""Builds as the Engine itself does them (its classic builder), and images as the archives they can be had as."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import docker.auth

from dockbus.engine.errors import translated
from dockbus.engine.logins import Login
from dockbus.engine.streams import Stream, read_bytes, read_objects
from dockbus.engine.views import Raw
from dockbus.references import HUB

if TYPE_CHECKING:
    from dockbus.engine.client import Engine

BUILD_IDLE = 1800.0
"""Seconds one build step may stay silent."""
_SAVE_IDLE = 300.0
_IMAGE_STORE = "io.containerd.snapshotter"


class Builds:
    """The builds of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(
        self,
        context: IO[bytes],
        *,
        dockerfile: str,
        args: Mapping[str, str],
        labels: Mapping[str, str],
        target: str | None,
        platform: str | None,
        network: str,
        pull: bool,
        no_cache: bool,
        cache_from: Sequence[str],
        logins: Mapping[str, Login],
    ) -> Stream[Raw]:
        """Start a build of a context (an open tar archive) by the classic builder; iterate for its output.

        Items are the Engine's own: `{"stream": text}` and at the end `{"aux": {"ID": "sha256:…"}}`. Closing the
        stream ends the build and its container. `logins` are for the registries of base images, by host.

        Raises:
            EngineError: at once if the request is refused, while iterating if an instruction fails.
        """
        params = {
            "dockerfile": dockerfile,
            "buildargs": json.dumps(dict(args)),
            "labels": json.dumps(dict(labels)),
            "target": target or "",
            "platform": platform or "",
            "networkmode": network,
            "cachefrom": json.dumps(list(cache_from)) if cache_from else "",
            "pull": "1" if pull else "",
            "nocache": "1" if no_cache else "",
            "rm": "1",
            "forcerm": "1",
        }
        known = base64.urlsafe_b64encode(json.dumps(auths(logins)).encode()).decode()
        return self._engine.open(
            "POST",
            "/build",
            read_objects,
            params=params,
            headers={"Content-Type": "application/x-tar", "X-Registry-Config": known},
            body=context,
            idle=BUILD_IDLE,
        )

    def save(self, image: str) -> Stream[bytes]:
        """An image as the tar archive that `docker save` gives, in pieces.

        Raises:
            ImageNotFound: the Engine has none.
        """
        return self._engine.open(
            "GET", f"/images/{image}/get", read_bytes, params={}, idle=_SAVE_IDLE
        )

    def has_image_store(self) -> bool:
        """Whether containerd keeps the Engine's images, so that one may have several platforms and attestations."""
        with translated():
            facts: Any = self._engine.api.info().get("DriverStatus") or ()
        return any(_IMAGE_STORE in str(fact) for fact in facts)


def auths(logins: Mapping[str, Login]) -> dict[str, dict[str, str]]:
    """Logins by host, as Docker's configuration and its API call the registries."""
    return {
        docker.auth.INDEX_URL if host == HUB else host: (
            {"identitytoken": login.token}
            if login.token
            else {"username": login.username, "password": login.password}
        )
        for host, login in logins.items()
    }
