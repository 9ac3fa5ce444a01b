"""What lies about on an Engine for a cleanup test, all with a label of its own, so that nothing else is ever meant."""

from __future__ import annotations

import contextlib
import io
import secrets
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from dockbus.engine import Container, ContainerSpec, Engine, EngineError, Image
from dockbus.jobs.running import Network
from waiting import wait_for

BASE = "dockbus/base:1"


class Leftovers:
    """Makes things on an Engine, with the labels of one test."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.token = secrets.token_hex(4)
        self.labels = {"dockbus.test": "1", "dockbus.test.cleanup": self.token}

    def name(self, word: str) -> str:
        """A name that no other test uses."""
        return f"dockbus-test-{self.token}-{word}"

    def tag(self, word: str) -> str:
        """A name for an image that no other test uses: `web:1`, whole."""
        return f"dockbus/test-{self.token}-{word}"

    def container(
        self,
        word: str,
        *,
        image: str = BASE,
        script: str = "true",
        start: bool = True,
        labels: dict[str, str] | None = None,
        **fields: Any,
    ) -> str:
        """A container that has run to its end, or was never started, or runs; returns its ID."""
        spec = ContainerSpec.model_validate(
            {
                "name": self.name(word),
                "image": image,
                "command": ["sh", "-c", script],
                "labels": self.labels | (labels or {}),
                "networks": ["none"],
                "stop_timeout": 0,
                **fields,
            }
        )
        made = self.engine.containers.create(spec)
        if start:
            self.engine.containers.start(made)
        if start and not script.startswith("sleep"):
            wait_for(lambda: self.state(made) == "exited", what="it to end")
        return made

    def state(self, container: str) -> str:
        """The state of a container; empty where it is gone."""
        found: Container | None = self.engine.containers.find(container)
        return found.state if found else ""

    def image(self, tag: str, *, size: int = 10, labels: dict[str, str] | None = None) -> str:
        """An image of one layer, of which there is no other; returns its ID."""
        changes = [f"LABEL {key}={value}" for key, value in (self.labels | (labels or {})).items()]
        return self.engine.images.import_rootfs(_tar(size), tag, ['CMD ["x"]', *changes])

    def child(self, base: str, tag: str) -> str:
        """An image with one layer more than `base`; returns its ID."""
        made: str = self.engine.api.create_container(base, command=["x"])["Id"]
        self.engine.api.put_archive(made, "/", _tar(10))
        self.engine.api.commit(made, *tag.split(":"))
        self.engine.containers.remove(made)
        return self.engine.images.get(tag).id

    def has_image(self, name: str) -> Image | None:
        """The image of this name or ID, if it is there."""
        return self.engine.images.find(name)

    def network(self, word: str) -> Network:
        """A network that nobody is on."""
        self.engine.api.create_network(self.name(word), labels=self.labels, internal=True)
        return Network(name=self.name(word))

    def volume(self, name: str | None = None, labels: dict[str, str] | None = None) -> str:
        """A volume; without a name, an anonymous one. Returns its name."""
        return str(self.engine.api.create_volume(name, labels=self.labels | (labels or {}))["Name"])

    def sweep(self) -> None:
        """Remove all of it."""
        for container in self.engine.containers.all(labels=self.labels):
            self.engine.containers.remove(container.id, force=True)
        mine = [
            image
            for image in self.engine.images.all()
            if image.labels.get("dockbus.test.cleanup") == self.token
        ]
        for _ in mine:  # one may be the base of another
            for image in mine:
                for name in (*image.tags, image.id):
                    with contextlib.suppress(EngineError):
                        self.engine.images.remove(name)
        only = {"label": f"dockbus.test.cleanup={self.token}"}
        for network in self.engine.api.networks(filters=only):
            self.engine.api.remove_network(network["Id"])
        for volume in self.engine.api.volumes(filters=only)["Volumes"] or ():
            self.engine.api.remove_volume(volume["Name"])


@contextmanager
def leftovers(engine: Engine) -> Generator[Leftovers]:
    """The means to leave things about on an Engine; they are gone after the block."""
    made = Leftovers(engine)
    try:
        yield made
    finally:
        made.sweep()


def _tar(size: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(secrets.token_hex(8))
        entry.size = size
        tar.addfile(entry, io.BytesIO(secrets.token_bytes(size)))
    return buffer.getvalue()
