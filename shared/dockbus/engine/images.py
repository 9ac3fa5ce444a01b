"""The Engine's images: find, pull, push, build, tag, import, remove."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from dockbus.engine.errors import EngineTimeout, ImageNotFound, RegistryStalled, translated
from dockbus.engine.logins import Login, auth_header
from dockbus.engine.streams import Stream, read_objects
from dockbus.engine.views import Image, PullProgress, RemoteImage
from dockbus.references import Reference, split
from dockbus.units import show_span

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from dockbus.engine.client import Engine

STALL = 120.0
"""Seconds without progress after which a pull, push or import counts as stuck."""


class Images:
    """The images of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, image: str) -> Image:
        """The image of this exact name or ID.

        Raises:
            ImageNotFound: the Engine has none.
        """
        return Image.parse(self._engine.call("GET", f"/images/{image}/json"))

    def find(self, image: str) -> Image | None:
        """The image of this exact name or ID, or None."""
        try:
            return self.get(image)
        except ImageNotFound:
            return None

    def all(self, *, dangling: bool = False) -> list[Image]:
        """All images, or only those without a name that no other image is built on."""
        with translated():
            raws = self._engine.api.images(filters={"dangling": True} if dangling else None)
        return [Image.parse(raw) for raw in raws]

    def parents(self) -> dict[str, str]:
        """The image that each image was built on, by ID, as far as this Engine's classic builder made it."""
        with translated():
            raws = self._engine.api.images(all=True)
        return {raw["Id"]: raw["ParentId"] for raw in raws if raw.get("ParentId")}

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        login: Login | None = None,
        stall: float = STALL,
    ) -> Stream[PullProgress]:
        """Start to pull; iterate to follow it, to the end for the image to be there.

        Raises:
            RegistryError, ImageNotFound: at once or while iterating, as the registry answers.
            RegistryStalled: there was no progress for `stall` seconds; where the Engine repeats itself before it
                falls silent, for twice as long at most.
        """
        repository, version = split(name)
        params = {"fromImage": repository, "tag": version} | (
            {"platform": platform} if platform else {}
        )
        return self._transfer("/images/create", params, name, login, stall)

    def push(
        self, name: str, *, login: Login | None = None, stall: float = STALL
    ) -> Stream[PullProgress]:
        """Start to push; iterate to follow it, to the end for the registry to have it. One item holds its digest.

        Raises:
            RegistryError, ImageNotFound: at once or while iterating, as for `pull`.
        """
        repository, version = split(name)
        return self._transfer(f"/images/{repository}/push", {"tag": version}, name, login, stall)

    def _transfer(
        self, path: str, params: dict[str, str], name: str, login: Login | None, stall: float
    ) -> Stream[PullProgress]:
        header = auth_header(login, Reference.parse(name).host)
        reader = partial(_read_progress, stall=stall)
        try:
            return self._engine.open(
                "POST", path, reader, params=params, headers=header, idle=stall
            )
        except EngineTimeout:  # it does not even begin to answer before the registry does
            raise RegistryStalled(f"nothing for {show_span(stall)}") from None

    def remote(
        self, name: str, *, login: Login | None = None, stall: float = STALL
    ) -> Stream[RemoteImage]:
        """Ask the registry what it has under this name, without pulling; iterate for the one answer.

        Raises:
            RegistryError, ImageNotFound: as for `pull`.
        """
        header = auth_header(login, Reference.parse(name).host)
        try:
            return self._engine.open(
                "GET",
                f"/distribution/{name}/json",
                _read_remote,
                params={},
                headers=header,
                idle=stall,
            )
        except EngineTimeout:
            raise RegistryStalled(f"nothing for {show_span(stall)}") from None

    def tag(self, image: str, name: str) -> None:
        """Give an image one more name."""
        repository, tag = split(name)
        with translated():
            self._engine.api.tag(image, repository, tag)

    def import_rootfs(self, tar: bytes, name: str, changes: list[str]) -> str:
        """Make an image of one layer from a root file system; `changes` are Dockerfile instructions. Returns its ID."""
        repository, tag = split(name)
        stream = self._engine.open(
            "POST",
            "/images/create",
            read_objects,
            params={"fromSrc": "-", "repo": repository, "tag": tag, "changes": changes},
            headers={"Content-Type": "application/x-tar"},
            body=tar,
            idle=STALL,
        )
        for _ in stream:
            pass
        return self.get(name).id

    def remove(self, image: str) -> None:
        """Remove an image or one name of it; never by force, so that what is in use stays.

        Raises:
            EngineConflict: a container uses it, or it has several names.
            ImageNotFound: it is not there.
        """
        with translated():
            self._engine.api.remove_image(image, force=False)


def _read_remote(response: HTTPResponse) -> Iterator[RemoteImage]:
    return (RemoteImage.parse(raw) for raw in read_objects(response))


def _read_progress(response: HTTPResponse, *, stall: float) -> Iterator[PullProgress]:
    """The steps of a transfer, as long as there is progress: some Engines go on to repeat what they have said."""
    seen: dict[str, tuple[str, int]] = {}
    moved = time.monotonic()
    try:
        for raw in read_objects(response):
            step = PullProgress.parse(raw)
            said, now = (step.status, step.current), time.monotonic()
            if seen.get(step.layer) != said and not step.status.startswith("Retrying"):
                seen[step.layer], moved = said, now
            elif now - moved > stall:
                raise RegistryStalled(f"no progress for {show_span(stall)}")
            yield step
    except TimeoutError:
        raise RegistryStalled(f"no progress for {show_span(stall)}") from None
