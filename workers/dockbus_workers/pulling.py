"""Getting an image from registries: pull it, or ask what they have.

A registry's mirrors are asked first, each by its own name for the image; what comes from one is given the name that
was asked for, and the mirror's name goes again. Who else wants the same image is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from dockbus.engine import (
    EngineError,
    Image,
    ImageNotFound,
    Login,
    RegistryDenied,
    RegistryError,
    RegistryUnavailable,
)
from dockbus.errors import DockbusError
from dockbus.references import Reference
from dockbus.tracing import span
from dockbus_workers.context import JobContext
from dockbus_workers.registries import credentials_for, sources
from dockbus_workers.transfers import denied, follow

T = TypeVar("T")


class PlatformMismatch(DockbusError):
    """The registry gave the image of another platform.

    The image is not published for the platform asked for; leave `platform` out or choose one that it has.
    """


@dataclass(frozen=True)
class Pulled:
    """What a pull has brought."""

    image: Image
    digest: str
    fetched: int
    """Bytes of layers that had to be downloaded."""


def fits(platform: str, asked: str | None) -> bool:
    """Whether a platform is the one asked for; a variant counts only where both name one."""
    return not asked or all(
        mine == theirs for mine, theirs in zip(platform.split("/"), asked.split("/"), strict=False)
    )


@span("pull")
def pull(ref: Reference, platform: str | None, secret: str | None, ctx: JobContext) -> Pulled:
    """Pull an image, from a mirror of its registry or from the registry itself.

    Raises:
        ImageNotFound: the registry does not have it.
        PlatformMismatch: the registry has it for other platforms only.
        RegistryError: the registry does not give it.
        SecretNotFound, CredentialsUnusable, RegistriesError: there are no usable credentials.
    """
    return _first(ref, ctx, lambda source: _pull_from(source, ref, platform, secret, ctx))


def published(ref: Reference, secret: str | None, ctx: JobContext) -> str:
    """The digest that the registry, or the first mirror that has the image, has now. Nothing is pulled.

    Raises:
        ImageNotFound, RegistryError, SecretNotFound, CredentialsUnusable, RegistriesError: as for `pull`.
    """
    return _first(ref, ctx, lambda source: _ask(source, _login(source, ref, secret, ctx), ctx))


def _first(ref: Reference, ctx: JobContext, ask: Callable[[Reference], T]) -> T:
    """What the first mirror that can help says, or else the registry."""
    *mirrors, registry = sources(ctx, ref)
    for mirror in mirrors:
        try:
            return ask(mirror)
        except (RegistryError, ImageNotFound, PlatformMismatch) as error:
            ctx.log(f"{mirror.host} did not help ({error.code}): {error.detail}")
    return ask(registry)


def _pull_from(
    source: Reference, ref: Reference, platform: str | None, secret: str | None, ctx: JobContext
) -> Pulled:
    images, stall = ctx.engine.images, ctx.settings.registry.stall
    login = _login(source, ref, secret, ctx)
    before = images.find(source.name)
    ctx.log(f"pulling {source.name}")
    try:
        digest, fetched = follow(
            lambda: images.pull(source.name, platform=platform, login=login, stall=stall),
            login,
            ctx,
        )
    except RegistryUnavailable as error:
        # Where an Engine may do without TLS, a refusal makes it pull again by plain HTTP, and it tells how that
        # failed; asked for a digest, it tells of the refusal.
        with suppress(RegistryUnavailable):
            _ask(source, login, ctx)
        raise error from None
    except ImageNotFound as error:
        if not re.search("platform|no matching manifest", error.detail):
            raise
        _put_back(source, before, ctx)  # newer Engines take it first and complain then
        raise PlatformMismatch(f"{source.name}: {error.detail}") from None
    image = images.get(source.name)
    if not fits(image.platform, platform):  # older ones take it without a word
        _put_back(source, before, ctx)
        raise PlatformMismatch(f"{source.name} is {image.platform}, not {platform}")
    if source != ref and source.tag:  # a digest cannot be given as a name, so the mirror's stays
        images.tag(image.id, ref.name)
        _put_back(source, before, ctx)
    return Pulled(image, digest, fetched)


def _ask(source: Reference, login: Login | None, ctx: JobContext) -> str:
    stall = ctx.settings.registry.stall
    try:
        (found,) = ctx.pump(lambda: ctx.engine.images.remote(source.name, login=login, stall=stall))
    except RegistryDenied as error:
        raise denied(error, login) from None
    return found.digest


def _login(source: Reference, ref: Reference, secret: str | None, ctx: JobContext) -> Login | None:
    """The login for a source: the job's own credentials are for the registry, not for its mirrors."""
    return credentials_for(ctx, source.name, secret if source == ref else None)


def _put_back(ref: Reference, before: Image | None, ctx: JobContext) -> None:
    """Let a name stand again for what it stood for before."""
    with suppress(EngineError):  # somebody else has been there
        if before is None:
            ctx.engine.images.remove(ref.name)
        elif ref.tag:
            ctx.engine.images.tag(before.id, ref.name)
