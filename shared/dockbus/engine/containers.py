"""The Engine's containers: make, start, follow, stop, look at, remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dockbus.engine.errors import ContainerNotFound, EngineRejected, translated
from dockbus.engine.streams import Stream, read_log
from dockbus.engine.views import Container, LogChunk, Raw

if TYPE_CHECKING:
    from dockbus.engine.client import Engine

LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
"""What the Engine keeps of a container's output: three files of 10 MB."""


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """What a container is made from; sizes in bytes."""

    name: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    working_dir: str | None = None
    user: str | None = None
    network: str = "bridge"
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None


class Containers:
    """The containers of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, spec: ContainerSpec) -> str:
        """Make a container, not started; returns its ID.

        It gets an init process, may gain no privileges, and mounts nothing of the host.

        Raises:
            EngineConflict: the name is taken.
            ImageNotFound: the Engine does not have the image.
        """
        with translated():
            api = self._engine.api
            host = api.create_host_config(
                init=True,
                network_mode=spec.network,
                mem_limit=spec.memory,
                memswap_limit=spec.memory,
                nano_cpus=round(spec.cpus * 1e9) if spec.cpus else None,
                pids_limit=spec.pids,
                security_opt=["no-new-privileges:true"],
                log_config={"Type": "json-file", "Config": LOG_OPTIONS},
            )
            made = api.create_container(
                spec.image,
                command=spec.command,
                entrypoint=spec.entrypoint,
                environment=dict(spec.env),
                working_dir=spec.working_dir,
                user=spec.user,
                labels=dict(spec.labels),
                name=spec.name,
                host_config=host,
            )
            return str(made["Id"])

    def start(self, container: str) -> None:
        """Start it; nothing happens if it runs already.

        Raises:
            CommandNotFound: the image has no such program; the container stays, never started.
        """
        with translated():
            self._engine.api.start(container)

    def stop(self, container: str, *, timeout: float) -> None:
        """Send the stop signal, then kill it after `timeout` seconds; nothing happens if it has stopped or is gone."""
        try:
            with translated():
                self._engine.api.stop(container, timeout=round(timeout))
        except ContainerNotFound:
            pass

    def remove(self, container: str, *, force: bool = False) -> None:
        """Remove it with its anonymous volumes; nothing happens if it is gone. `force` kills it first."""
        try:
            with translated():
                self._engine.api.remove_container(container, v=True, force=force)
        except ContainerNotFound:
            pass

    def get(self, container: str) -> Container:
        """What there is to know of it.

        Raises:
            ContainerNotFound: it is not there.
        """
        return Container.parse(self.inspect(container))

    def inspect(self, container: str) -> Raw:
        """The Engine's own whole description of it.

        Raises:
            ContainerNotFound: it is not there.
        """
        with translated():
            raw: Raw = self._engine.api.inspect_container(container)
            return raw

    def find(self, container: str) -> Container | None:
        """What there is to know of it, or None if it is not there."""
        try:
            return self.get(container)
        except (ContainerNotFound, EngineRejected):
            return None

    def all(
        self, *, labels: Mapping[str, str] | None = None, size: bool = False, running: bool = False
    ) -> list[Container]:
        """All containers that carry all of `labels`, stopped ones too; one call, whatever their number.

        Labels are compared here: Engines disagree on what several label filters mean together.
        """
        with translated():
            raws = self._engine.api.containers(all=not running, size=size)
        return [
            found
            for raw in raws
            if has_labels((found := Container.parse_listed(raw)).labels, labels or {})
        ]

    def logs(self, container: str, *, since: str = "", idle: float = 60.0) -> Stream[LogChunk]:
        """Follow its output from the beginning, or from the second of the timestamp `since`, to its end.

        Raises:
            EngineTimeout: while iterating, when nothing came for `idle` seconds.
        """
        params: dict[str, Any] = {"follow": 1, "stdout": 1, "stderr": 1, "timestamps": 1}
        if since:
            params["since"] = since
        return self._engine.open(
            "GET", f"/containers/{container}/logs", read_log, params=params, idle=idle
        )

    def stats(self, container: str) -> Raw:
        """One raw sample of its resource use (one-shot: no waiting for a second frame)."""
        with translated():
            raw: Raw = self._engine.api.stats(container, stream=False, one_shot=True)
            return raw


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether `labels` holds all of `wanted`; an empty wanted value matches any value."""
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())
