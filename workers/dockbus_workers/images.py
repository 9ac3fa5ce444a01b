"""Having an image on the Engine, for all who need one: jobs that want the same share one pull.

Whoever pulls holds the permit `image:NAME`. It leaves a note of what it brought and when it began; those that
had been queued before that take its word instead of asking the registry again. Times are those of the machines that
queued and pulled: where their clocks differ, so much older may an image be that is shared.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ValidationError

from dockbus.engine import Image, ImageNotFound
from dockbus.queue.keys import job_key
from dockbus.references import Reference, is_id
from dockbus_workers.context import JobContext
from dockbus_workers.pulling import fits, published, pull
from dockbus_workers.registries import sources
from dockbus_workers.sealed import seal, unseal

Policy = Literal["always", "if-not-present", "newer", "never"]
MOMENT = 2.0
"""Seconds for which an image that was found is taken to be there still. The Engine tells whoever uses it if it is not."""
NOTED = 24 * 3600
"""Seconds for which it is known what was brought. It spares requests, no more."""


_FOUND: dict[tuple[str, str, str | None], float] = {}
"""When this process last found an image, by Engine, name and platform."""


@dataclass(frozen=True)
class Obtained:
    """An image that the Engine has, and how that came."""

    image: Image
    digest: str | None
    """The registry's; None where the Engine has the image from no registry."""
    pulled: bool = False
    """By this job."""
    shared: bool = False
    """Another job brought it while this one waited."""
    fetched: int = 0
    """Bytes that this job has downloaded."""


class _Note(BaseModel):
    """What somebody brought."""

    began: float
    image_id: str
    digest: str | None


def ensure_image(
    name: str, policy: Policy, platform: str | None, credentials: str | None, ctx: JobContext
) -> Image:
    """The image of this name or ID, pulled where the policy says so. Any number of jobs may ask for it at once.

    Args:
        name: a reference, or the ID of an image that the Engine must have.
        policy: when to pull.
        platform: such as `linux/arm64`; None for the Engine's own.
        credentials: the secret for the registry; None for what the worker has.
        ctx: the job that needs it.

    Raises:
        ImageNotFound: neither the Engine nor the registry has it, or it may not be pulled.
        PlatformMismatch: the registry has it for other platforms only.
        RegistryError: the registry does not give it.
        SecretNotFound, CredentialsUnusable, RegistriesError: there are no usable credentials.
    """
    return obtain(name, policy, platform, credentials, ctx).image


def was_there(name: str, policy: Policy, platform: str | None, ctx: JobContext) -> bool:
    """Whether a job of this process has found the image a moment ago, and whatever has its name will do."""
    found = _FOUND.get((ctx.engine.host, name, platform))
    will_do = policy in ("never", "if-not-present")
    return will_do and found is not None and time.monotonic() - found < MOMENT


def obtain(
    name: str, policy: Policy, platform: str | None, credentials: str | None, ctx: JobContext
) -> Obtained:
    """The same, with how it came."""
    if is_id(name):
        had = Obtained(ctx.engine.images.get(name), None)
    else:
        had = _Wish(Reference.parse(name), platform, credentials, ctx).obtain(policy)
    ctx.image_used(had.image.id)
    if len(_FOUND) > 1000:
        _FOUND.clear()
    _FOUND[ctx.engine.host, name, platform] = time.monotonic()
    return had


class _Wish:
    """One job's wish for one image."""

    def __init__(
        self, ref: Reference, platform: str | None, credentials: str | None, ctx: JobContext
    ) -> None:
        self._ref = ref
        self._platform = platform
        self._credentials = credentials
        self._ctx = ctx
        # With other credentials it might be refused, so others' word does not count.
        wish = f"{ref.name}|{platform or ''}|{credentials or ''}"
        self._key = f"dockbus:pulled:{ctx.engine.name}:{wish}"

    def obtain(self, policy: Policy) -> Obtained:
        here, name = self._here(), self._ref.name
        if policy == "never" and not here:
            raise ImageNotFound(f"{name} is not on this Engine and the job says never to pull")
        if here and policy in ("never", "if-not-present"):
            return Obtained(here, self._digest(here))
        with self._ctx.permit(f"image:{name}", waiting=f"waiting for whoever brings {name}"):
            return self._obtain_alone(policy)

    def _obtain_alone(self, policy: Policy) -> Obtained:
        here, note = self._here(), self._note()
        is_noted = here and note and note.image_id == here.id
        if here and (policy == "if-not-present" or (is_noted and self._is_new_enough(note))):
            self._ctx.log(f"{self._ref.name} was brought by another job meanwhile")
            return Obtained(here, self._digest(here), shared=True)
        began = time.time()
        had = self._compare(here) if here and policy == "newer" else None
        if not had:
            got = pull(self._ref, self._platform, self._credentials, self._ctx)
            had = Obtained(got.image, got.digest, pulled=True, fetched=got.fetched)
        self._write(_Note(began=began, image_id=had.image.id, digest=had.digest))
        return had

    def _compare(self, here: Image) -> Obtained | None:
        """What the Engine has, if the registry has nothing else."""
        digest = published(self._ref, self._credentials, self._ctx)
        if digest not in self._digests(here):
            return None
        self._ctx.log(f"{self._ref.name} is what the registry has")
        return Obtained(here, digest)

    def _here(self) -> Image | None:
        """The image as the Engine has it, for the platform asked for."""
        find = self._ctx.engine.images.find
        image = find(self._ref.name)
        if not image and self._ref.digest:  # what a mirror has brought goes by the mirror's name
            image = next(
                filter(None, (find(ref.name) for ref in sources(self._ctx, self._ref))), None
            )
        return image if image and fits(image.platform, self._platform) else None

    def _digest(self, image: Image) -> str | None:
        return next(iter(self._digests(image)), None)

    def _digests(self, image: Image) -> list[str]:
        """What is known of an image's digests: what the note says (the Engine forgets a mirror's), what the Engine says."""
        note = self._note()
        noted = [note.digest] if note and note.digest and note.image_id == image.id else []
        known = (name.partition("@") for name in image.digests)
        engines = [digest for repository, _, digest in known if repository == self._ref.repository]
        return [self._ref.digest] if self._ref.digest else noted + engines

    # -- what others have left word of -----------------------------------------------------

    def _note(self) -> _Note | None:
        with self._ctx.attached():
            text = unseal(self._ctx, self._key, self._ctx.redis.get(self._key))
        with suppress(ValidationError):
            note = _Note.model_validate_json(text) if text is not None else None
            return note if note and note.began > time.time() - NOTED else None
        return None

    def _write(self, note: _Note) -> None:
        with self._ctx.attached():
            text = seal(self._ctx, self._key, note.model_dump_json().encode())
            self._ctx.redis.set(self._key, text, ex=NOTED)

    def _is_new_enough(self, note: _Note | None) -> bool:
        """Whether that began after this job was queued."""
        with self._ctx.attached():
            stamp = self._ctx.redis.hget(job_key(self._ctx.job), "enqueued_at")
        with suppress(ValueError):
            if note and isinstance(stamp, bytes):
                return note.began >= datetime.fromisoformat(stamp.decode()).timestamp()
        return False
