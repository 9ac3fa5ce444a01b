"""The Engine's containers: make, start, follow, stop, look at, remove."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from dockbus.engine.bodies import create_body
from dockbus.engine.copies import copy_body, copy_endpoints, further_networks
from dockbus.engine.errors import (
    ContainerNotFound,
    EngineError,
    EngineFault,
    EngineRejected,
    SignalNotChosen,
    translated,
)
from dockbus.engine.streams import Stream, read_bytes, read_log, read_objects
from dockbus.engine.views import Container, LogChunk, Raw
from dockbus.jobs.running import OWN_NETWORK, ContainerSpec

if TYPE_CHECKING:
    from dockbus.engine.client import Engine

SIGNAL_SINCE = (1, 42)
"""The API version that lets whoever stops a container choose the signal."""


class Containers:
    """The containers of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, spec: ContainerSpec) -> str:
        """Make a container, not started; returns its ID. It is on the first of its networks only.

        Where that is dockbus' own and is not there yet, it is made.

        Raises:
            EngineConflict: the name is taken.
            ImageNotFound: the Engine does not have the image.
            EngineRejected: it cannot make such a container, for want of a folder, a runtime, a CPU…
        """
        own = spec.networks[0].name == OWN_NETWORK
        body = create_body(spec, network=self._engine.networks.own() if own else "")
        return self._create(body, spec.name)

    def copy(self, original: Raw, *, name: str, image: str, labels: Mapping[str, str]) -> str:
        """Make a container like another one, not started, on the same networks; returns its ID.

        Args:
            original: `inspect` of the other one.
            name: what the copy is called.
            image: what it is made from.
            labels: what it has in place of the other one's.

        Raises:
            EngineConflict: the name is taken.
            EngineError: it cannot be made, for want of an image, a network, a folder…; nothing is left of it.
        """
        body = copy_body(original, name=name, image=image, labels=labels)
        made = self._create(body, name)
        try:
            for network in further_networks(original):
                self._join(made, network, copy_endpoints(original, name=name)[network])
        except EngineError:
            self.remove(made, force=True)
            raise
        return made

    def _create(self, body: Raw, name: str | None) -> str:
        named = {"name": name} if name else {}
        return str(self._engine.call("POST", "/containers/create", params=named, body=body)["Id"])

    def _join(self, container: str, network: str, endpoint: dict[str, Any]) -> None:
        with translated():
            self._engine.api.connect_container_to_network(
                container,
                network,
                aliases=endpoint["Aliases"] or None,
                links=[link.split(":", 1) for link in endpoint.get("Links", ())] or None,
                driver_opt=endpoint.get("DriverOpts"),
            )

    def start(self, container: str) -> None:
        """Start it; nothing happens if it runs already.

        Raises:
            CommandNotFound: the image has no such program; the container stays, never started.
        """
        self._engine.call("POST", f"/containers/{container}/start")

    def stop(self, container: str, *, timeout: float) -> None:
        """Send the stop signal, then kill it after `timeout` seconds; nothing happens if it has stopped or is gone."""
        try:
            with translated():
                self._engine.api.stop(container, timeout=round(timeout))
        except ContainerNotFound:
            pass

    def change(
        self,
        container: str,
        verb: Literal["start", "stop", "restart"],
        *,
        grace: float = 0.0,
        signal: str | None = None,
    ) -> Stream[bytes]:
        """Have it started, stopped or restarted; for those who wait no longer than they have to. The Engine sees it through.

        Args:
            container: which.
            verb: what; where that is so already, nothing happens.
            grace: seconds between the stop signal and the kill, rounded up.
            signal: the stop signal, where it is not to be the container's own.

        Returns:
            A stream without items, which ends when it is done.

        Raises:
            ContainerNotFound: it is not there.
            SignalNotChosen: the Engine cannot take a signal.
            EngineError: it cannot be started.
        """
        api = self._engine.api
        params: dict[str, Any] = {} if verb == "start" else {"t": math.ceil(grace)}
        if signal:
            if tuple(map(int, api.api_version.split("."))) < SIGNAL_SINCE:
                raise SignalNotChosen(f"this one speaks API {api.api_version}")
            params["signal"] = signal
        path, idle = f"/containers/{container}/{verb}", grace + api.timeout
        return self._engine.open("POST", path, read_bytes, params=params, idle=idle)

    def remove(self, container: str, *, force: bool = False, volumes: bool = True) -> None:
        """Remove it, with its anonymous volumes unless told not to; nothing happens if it is gone. `force` kills it first."""
        params = {"v": str(volumes).lower(), "force": str(force).lower()}
        with suppress(ContainerNotFound):
            self._engine.call("DELETE", f"/containers/{container}", params=params)

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
        return self._engine.call("GET", f"/containers/{container}/json")

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

        All but the first label are compared here: Engines disagree on what several label filters mean together.
        """
        label = next(
            (f"{key}={value}" if value else key for key, value in (labels or {}).items()), ""
        )
        with translated():
            raws = self._engine.api.containers(
                all=not running, size=size, filters={"label": label} if label else None
            )
        return [
            found
            for raw in raws
            if has_labels((found := Container.parse_listed(raw)).labels, labels or {})
        ]

    def logs(
        self, container: str, *, since: str = "", tail: int = 0, idle: float = 60.0
    ) -> Stream[LogChunk]:
        """Follow its output from the beginning, or from the second of the timestamp `since`, to its end.

        With `tail`, only the last so many lines that it has written until now.

        Raises:
            EngineTimeout: while iterating, when nothing came for `idle` seconds.
        """
        params: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1}
        params |= {"tail": tail} if tail else {"follow": 1}
        if since:
            params["since"] = since
        return self._engine.open(
            "GET", f"/containers/{container}/logs", read_log, params=params, idle=idle
        )

    def put(self, container: str, tar: bytes, folder: str = "/") -> None:
        """Unpack a tar in a folder of its file system.

        Raises:
            EngineRejected: it may not be written there, as on a read-only root.
        """
        with translated():
            self._engine.api.put_archive(container, folder, tar)

    def take(self, container: str, path: str) -> tuple[Raw, Iterator[bytes]]:
        """What is at a path of it: the Engine's word on it (`name`, `size`, `mode`), and a tar of it in pieces.

        Raises:
            ContainerNotFound: neither the container nor the path is there.
        """
        with translated():
            pieces, about = self._engine.api.get_archive(container, path)
        return about, _translated(pieces)

    def stats(
        self, containers: Iterable[str], *, width: int, timeout: float
    ) -> Iterator[tuple[str, Raw | EngineError]]:
        """One raw sample of each container's resource use, or why there is none, as they come.

        Args:
            containers: their IDs.
            width: how many are asked for at the same time.
            timeout: seconds for all; those that come later are an `EngineTimeout`.
        """
        try:
            version = self._engine.api.api_version
        except EngineError as error:
            yield from ((one, error) for one in containers)
            return
        # One-shot: without it, the Engine would wait for a second sample.
        start, end = f"/v{version}/containers/", "/stats?stream=0&one-shot=1"
        paths = {one: f"{start}{one}{end}" for one in containers}
        for one, said in self._engine.asker.ask(paths, width=width, timeout=timeout):
            yield one, said if isinstance(said, EngineError) else _parsed(said)

    def use(self, container: str, *, idle: float = 10.0) -> Stream[Raw]:
        """Raw samples of its resource use, about one a second, until it is gone.

        Raises:
            EngineTimeout: while iterating, when nothing came for `idle` seconds.
        """
        return self._engine.open(
            "GET", f"/containers/{container}/stats", read_objects, params={"stream": 1}, idle=idle
        )


def _parsed(said: bytes) -> Raw | EngineError:
    try:
        raw: Raw = json.loads(said)
    except ValueError:
        return EngineFault("its answer is no JSON")
    return raw


def _translated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    with translated():
        yield from pieces


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether `labels` holds all of `wanted`; an empty wanted value matches any value."""
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())
