"""The Engine's networks: dockbus' own, and joining more than one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dockbus.engine.errors import EngineConflict, EngineError, EngineRejected, translated
from dockbus.engine.views import NetworkView
from dockbus.jobs.base import LABEL_MANAGED
from dockbus.jobs.running import OWN_NETWORK, Network

if TYPE_CHECKING:
    from dockbus.engine.client import Engine


class Networks:
    """The networks of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._own = ""

    def own(self) -> str:
        """What to call dockbus' own network, which is made where it is not there: its name, or its ID where that is no one's alone.

        Containers on it reach the world, but not each other. Networks may share a name: of several that were made at
        the same moment all take the oldest, and whoever made another removes it.
        """
        with self._lock:
            if not self._own:
                self._own = self._find_or_make()
            return self._own

    def forget(self) -> None:
        """Look for dockbus' own network anew the next time: somebody has removed it."""
        with self._lock:
            self._own = ""

    def _find_or_make(self) -> str:
        found = self._named(OWN_NETWORK)
        if not found:
            made = self._make()
            found = self._named(OWN_NETWORK)
            if made and found[0] != made:
                self._remove_unused(made)
                found = self._named(OWN_NETWORK)
        return OWN_NETWORK if len(found) == 1 else found[0]

    def connect(self, network: Network, container: str) -> None:
        """Let a container join one more network; nothing happens where it is on it.

        Raises:
            EngineRejected: there is no such network, or it has no such address.
        """
        try:
            with translated():
                self._engine.api.connect_container_to_network(
                    container,
                    network.name,
                    ipv4_address=network.ipv4,
                    aliases=network.aliases or None,
                )
        except EngineError as error:
            if "already exists in network" not in error.detail:
                raise

    def all(self) -> list[NetworkView]:
        """All networks, the Engine's own too."""
        with translated():
            return [NetworkView.parse(raw) for raw in self._engine.api.networks()]

    def find(self, network: str) -> NetworkView | None:
        """The network with this ID, or None if it is not there."""
        try:
            with translated():
                return NetworkView.parse(self._engine.api.inspect_network(network))
        except EngineRejected:
            return None

    def remove(self, network: str) -> None:
        """Remove it.

        Raises:
            EngineError: a container that runs is on it, or it is gone.
        """
        with translated():
            self._engine.api.remove_network(network)

    def remove_managed(self) -> None:
        """Remove the networks that dockbus has made, as far as nothing is on them."""
        with translated():
            found = self._engine.api.networks(filters={"label": f"{LABEL_MANAGED}=true"})
        for network in found:
            self._remove_unused(network["Id"])

    def _named(self, name: str) -> list[str]:
        """The IDs of the networks of that name, oldest first."""
        with translated():
            found = self._engine.api.networks(names=[name])
        exact: list[Any] = [network for network in found if network["Name"] == name]
        return [
            each["Id"] for each in sorted(exact, key=lambda each: (each["Created"], each["Id"]))
        ]

    def _make(self) -> str | None:
        try:
            with translated():
                made = self._engine.api.create_network(
                    OWN_NETWORK,
                    driver="bridge",
                    options={"com.docker.network.bridge.enable_icc": "false"},
                    labels={LABEL_MANAGED: "true"},
                    check_duplicate=True,
                )
        except EngineConflict:
            return None
        return str(made["Id"])

    def _remove_unused(self, network: str) -> None:
        try:
            with translated():
                self._engine.api.remove_network(network)
        except EngineError:  # in use already, or gone
            pass
