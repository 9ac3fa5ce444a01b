"""The Engine's images: find, pull, build, tag, import, remove."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.api.build
import docker.auth
import docker.utils

from dockbus.engine.errors import ImageNotFound, translated
from dockbus.engine.streams import Stream, read_objects
from dockbus.engine.views import Image, PullProgress, Raw
from dockbus.references import split

if TYPE_CHECKING:
    import requests

    from dockbus.engine.client import Engine

PULL_IDLE = 120.0
"""Seconds without a word of progress after which a pull counts as stuck."""
BUILD_IDLE = 1800.0
"""Seconds one build step may stay silent."""


class Images:
    """The images of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, image: str) -> Image:
        """The image of this exact name or ID.

        Raises:
            ImageNotFound: the Engine has none.
        """
        with translated():
            return Image.parse(self._engine.api.inspect_image(image))

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

    def pull(self, name: str, *, platform: str | None = None) -> Stream[PullProgress]:
        """Start to pull; iterate to follow it, to the end for the image to be there.

        Raises:
            RegistryDenied, ImageNotFound, RegistryUnavailable: while iterating, as the registry answers.
        """
        repository, tag = split(name)
        params = {"fromImage": repository, "tag": tag} | (
            {"platform": platform} if platform else {}
        )
        with translated():
            registry, _ = docker.auth.resolve_repository_name(repository)
            header: Any = docker.auth.get_config_header(  # pyright: ignore[reportUnknownMemberType]
                self._engine.api, registry
            )
        return self._engine.open(
            "POST",
            "/images/create",
            _read_pull,
            params=params,
            headers={"X-Registry-Auth": header.decode() if isinstance(header, bytes) else header}
            if header
            else None,
            idle=PULL_IDLE,
        )

    def build(
        self,
        context: Path,
        *,
        dockerfile: str,
        tags: list[str],
        args: Mapping[str, str],
        labels: Mapping[str, str],
        target: str | None,
        pull: bool,
        no_cache: bool,
    ) -> Stream[Raw]:
        """Start a build of `context` (`.dockerignore` honoured); iterate for its output.

        Items are the Engine's own: `{"stream": text}` and at the end `{"aux": {"ID": "sha256:…"}}`.

        Raises:
            EngineError: at once if the request is refused, while iterating if an instruction fails.
        """
        ignore = context / ".dockerignore"
        patterns = ignore.read_text().splitlines() if ignore.exists() else []
        excluded = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
        body: Any = docker.utils.build.tar(
            context,
            exclude=excluded,
            dockerfile=docker.api.build.process_dockerfile(dockerfile, str(context)),
        )
        params = {
            "t": tags,
            "dockerfile": dockerfile,
            "buildargs": json.dumps(dict(args)),
            "labels": json.dumps(dict(labels)),
            "target": target,
            "pull": "1" if pull else None,
            "nocache": "1" if no_cache else None,
            "rm": "1",
            "forcerm": "1",
        }
        return self._engine.open(
            "POST",
            "/build",
            read_objects,
            params=params,
            headers={"Content-Type": "application/x-tar"},
            body=body,
            idle=BUILD_IDLE,
        )

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
            idle=PULL_IDLE,
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


def _read_pull(response: requests.Response) -> Iterator[PullProgress]:
    return (PullProgress.parse(raw) for raw in read_objects(response))
