"""Logins to registries: what they are made from, and how the Engine is handed one.

A login goes with each single call, in the header `X-Registry-Auth`. The SDK's own `login` is never used: it
leaves the login with the client, for everybody else who uses it.
"""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import docker.auth
import docker.errors

from dockbus.errors import DockbusError
from dockbus.references import HUB


class CredentialsUnusable(DockbusError):
    """The credentials for a registry cannot be used.

    A secret for a registry holds `user:password`, or JSON: `{"username": …, "password": …}` or `{"identitytoken": …}`.
    Docker's configuration has to be what `docker login` writes, with its credential helpers on the worker's PATH.
    """


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who asks a registry."""

    source: str
    """Where it comes from, for people: `the secret 'shop'`."""
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """An identity token, instead of the other two."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(text for text in (self.password, self.token) if text)

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """The login that a secret holds.

        Raises:
            CredentialsUnusable: it holds none; nothing of it is told.
        """
        if not text.lstrip().startswith("{"):
            username, colon, password = text.strip().partition(":")
            if not (username and colon and password):
                raise CredentialsUnusable(f"{source} is not user:password")
            return cls(source=source, username=username, password=password)
        try:
            given: Any = json.loads(text)
        except ValueError:
            raise CredentialsUnusable(f"{source} is not JSON, though it begins so") from None
        return cls._of(given, source)

    @classmethod
    def of_docker(cls, folder: str, host: str) -> Self | None:
        """The login for a registry in a Docker configuration folder (empty: Docker's own), or of its credential helper.

        Raises:
            CredentialsUnusable: the configuration is broken, or the helper failed.
        """
        file = Path(folder, "config.json") if folder else None
        if file and not file.is_file():
            return None
        place = file or "Docker's own configuration"
        source = f"the login for {host} in {place}"
        try:
            known: Any = docker.auth.load_config(config_path=file)  # pyright: ignore[reportUnknownMemberType]
            helper = known.get_credential_store(host)
            if helper and not shutil.which(f"docker-credential-{helper}"):
                raise CredentialsUnusable(f"{source}: there is no docker-credential-{helper}")
            found: Any = known.resolve_authconfig(host)
        except (docker.errors.DockerException, OSError, ValueError) as error:
            raise CredentialsUnusable(f"{source}: {error}") from None
        return cls._of(found, source) if found else None

    @classmethod
    def _of(cls, given: Any, source: str) -> Self:  # noqa: ANN401  JSON
        """From the fields that Docker knows, in any case: a helper's have capitals."""
        fields = (
            {name.lower(): value for name, value in cast("dict[str, Any]", given).items()}
            if isinstance(given, dict)
            else {}
        )
        token, username, password = (
            value if isinstance(value := fields.get(name), str) else ""
            for name in ("identitytoken", "username", "password")
        )
        if not (token or (username and password)):
            raise CredentialsUnusable(f"{source} has neither username and password nor a token")
        return cls(source=source, username=username, password=password, token=token)


def auth_header(login: Login | None, host: str) -> dict[str, str]:
    """The header that hands the Engine this login for that registry; an empty one says that there is none."""
    fields: dict[str, str] = {}
    if login:
        server = docker.auth.INDEX_URL if host == HUB else host
        who = (
            {"identitytoken": login.token}
            if login.token
            else {"username": login.username, "password": login.password}
        )
        fields = {**who, "serveraddress": server}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()}
