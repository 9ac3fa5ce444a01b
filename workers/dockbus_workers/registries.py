"""What a worker knows of registries: who opens them, and where else to ask first.

    registries:
      registry.example:5000:
        credentials: shop-registry        # the name of a secret
      docker.io:
        mirrors: [mirror.local:5000/hub]

The file is read anew for each job, so that a change holds at once. A registry's credentials never go to its
mirrors: a mirror is a registry with an entry of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationError

from dockbus.engine import Login
from dockbus.errors import DockbusError
from dockbus.jobs.base import SecretName
from dockbus.references import Reference
from dockbus.strict_yaml import Model, explain, line_of, read
from dockbus_workers.context import JobContext
from dockbus_workers.transfers import follow


class RegistriesError(DockbusError):
    """The file of registries is wrong, so nothing is pulled or pushed.

    Correct the named lines of the file DOCKBUS_REGISTRY_PATH; docs/jobs/pull.md says what it may hold.
    """


def _registry(host: str) -> str:
    if Reference.parse(f"{host}/x").host != host:
        raise ValueError(
            f"{host!r} is not a registry; write docker.io, registry.example or host:port"
        )
    return host


def _mirror(place: str) -> str:
    if Reference.parse(f"{place}/x").host != place.partition("/")[0]:
        raise ValueError(f"{place!r} is not a mirror; write host[:port][/path]")
    return place


class Registry(Model):
    """What is known of one registry."""

    credentials: SecretName | None = None
    """The secret that opens it."""
    mirrors: list[Annotated[str, AfterValidator(_mirror)]] = []
    """Where to ask before it, in this order: `HOST[:PORT][/PATH]`."""


class _File(Model):
    registries: dict[Annotated[str, AfterValidator(_registry)], Registry]


def load(path: str) -> dict[str, Registry]:
    """The registries of a file, by host; none where there is no path.

    Raises:
        RegistriesError: the file is wrong, or cannot be read.
    """
    if not path:
        return {}
    node, data = read(Path(path), RegistriesError)
    try:
        return _File.model_validate(data).registries
    except ValidationError as error:
        wrong = [
            f"{path}:{line_of(node, item)}: {'.'.join(map(str, item['loc']))}: {explain(item, _File)}"
            for item in error.errors()
        ]
        raise RegistriesError("; ".join(wrong)) from None


def sources(ctx: JobContext, reference: Reference) -> list[Reference]:
    """What to pull for a reference, in this order: its name at each mirror of its registry, then itself.

    Raises:
        RegistriesError: the file of registries is wrong.
    """
    known = load(ctx.settings.registry.path).get(reference.host, Registry())
    return [*(reference.at(mirror) for mirror in known.mirrors), reference]


def credentials_for(ctx: JobContext, reference: str, secret: str | None = None) -> Login | None:
    """The login for the registry of a reference: of the secret named, else as the file says, else as Docker knows it.

    The job's log hides it from now on.

    Raises:
        SecretNotFound: the worker does not have the secret.
        CredentialsUnusable: the secret or Docker's configuration holds no login.
        RegistriesError: the file of registries is wrong.
    """
    host = Reference.parse(reference).host
    named = secret or load(ctx.settings.registry.path).get(host, Registry()).credentials
    if named:
        login: Login | None = Login.parse(ctx.secret(named), f"the secret {named!r}")
    else:
        login = Login.of_docker(ctx.settings.registry.docker_config, host)
    if login:
        ctx.hide(*login.secrets)
    return login


def push(reference: str, ctx: JobContext, secret: str | None = None) -> str:
    """Push an image of the Engine's to the registry it is named for; the digest there, `sha256:…`.

    Raises:
        ImageNotFound: the Engine does not have it.
        RegistryError: the registry does not take it.
        SecretNotFound, CredentialsUnusable, RegistriesError: there are no usable credentials.
    """
    name, stall = Reference.parse(reference).name, ctx.settings.registry.stall
    login = credentials_for(ctx, reference, secret)
    ctx.log(f"pushing {name}")
    digest, _ = follow(lambda: ctx.engine.images.push(name, login=login, stall=stall), login, ctx)
    return digest
