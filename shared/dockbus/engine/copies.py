"""A container like another one: what the Engine says of the one becomes the body that makes the other.

Pure. Left out is what belongs to that one alone: its host name and addresses where the Engine chose them or they can be
nobody else's, the aliases that are its own name and ID. Anonymous volumes are not shared, named ones and folders are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dockbus.engine.views import Raw, VolumeView

_ENDPOINT = ("Links", "DriverOpts")
"""What an endpoint has that another may have as well, beside its aliases."""


def copy_body(raw: Raw, *, name: str, image: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The body of `POST /containers/create` for a copy, on the network that its mode names.

    Args:
        raw: what the Engine says of the original, from `GET /containers/ID/json`.
        name: what the copy is called.
        image: what it is made from.
        labels: what it has in place of the original's.
    """
    config = dict(raw["Config"])
    if config.get("Hostname") == _short(raw) or _mode(raw).startswith("container:"):
        config.pop("Hostname", None)
    config.pop("MacAddress", None)
    config |= {"Image": image, "Labels": dict(labels)}
    host = dict(raw["HostConfig"])
    if host.get("Mounts"):
        host["Mounts"] = [_own(mount) for mount in host["Mounts"]]
    first = _first_network(raw)
    networks = copy_endpoints(raw, name=name)
    return config | {
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {first: networks[first]}} if first else None,
    }


def further_networks(raw: Raw) -> list[str]:
    """The names of the networks that the copy has to join once it is made."""
    first = _first_network(raw)
    return [network for network in _networks(raw) if network != first and first]


def copy_endpoints(raw: Raw, *, name: str) -> dict[str, dict[str, Any]]:
    """How the copy is to be known in each network of the original."""
    own = {raw["Name"].lstrip("/"): name, _short(raw): None}
    found: dict[str, dict[str, Any]] = {}
    for network, endpoint in _networks(raw).items():
        aliases = [own.get(alias, alias) for alias in endpoint.get("Aliases") or ()]
        kept = {key: endpoint[key] for key in _ENDPOINT if endpoint.get(key)}
        found[network] = {**kept, "Aliases": [alias for alias in aliases if alias]}
    return found


def _own(mount: Raw) -> Raw:
    """The mount as another container has it: an anonymous volume, which Compose hands on by its name, is a new one."""
    name = mount.get("Source", "")
    if VolumeView(name=name, created=None, labels={}, size=0).anonymous:
        return {key: value for key, value in mount.items() if key != "Source"}
    return mount


def _first_network(raw: Raw) -> str:
    """The network that the container was made on; empty where it has none of its own."""
    mode = _mode(raw)
    if mode in ("none", "host") or mode.startswith("container:"):
        return ""
    networks = _networks(raw)
    by_id = (name for name, it in networks.items() if it.get("NetworkID") == mode)
    named = "bridge" if mode == "default" else mode
    return named if named in networks else next(by_id, next(iter(networks), ""))


def _mode(raw: Raw) -> str:
    return str(raw["HostConfig"].get("NetworkMode", ""))


def _networks(raw: Raw) -> Mapping[str, Raw]:
    settings: Raw = raw.get("NetworkSettings") or {}
    networks: Mapping[str, Raw] = settings.get("Networks") or {}
    return networks


def _short(raw: Raw) -> str:
    return str(raw["Id"])[:12]
