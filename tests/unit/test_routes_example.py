"""The example that keeps a file of routes: what it makes of labels, and where it says a container is reached."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from dockbus import ContainerState, InvalidLabels
from dockbus.snapshot import PortState
from snapshots import container

FOLDER = Path(__file__).parents[2] / "examples" / "routes"


@pytest.fixture(scope="module")
def routes() -> Generator[ModuleType]:
    spec = importlib.util.spec_from_file_location("example_routes", FOLDER / "routes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["example_routes"] = module  # pydantic looks annotations up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["example_routes"]


def published(address: str, port: int = 80, protocol: str = "tcp") -> PortState:
    return PortState(container=port, protocol=protocol, address=address, host=8090)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "localhost:80"),  # on the host's network
        ({"addresses": {"shop": "172.18.0.2"}}, "172.18.0.2:80"),
        ({"addresses": {"shop": "fd00::2"}}, "[fd00::2]:80"),
        ({"addresses": {"a": "172.18.0.2"}, "ports": [published("")]}, "localhost:8090"),
        ({"ports": [published("0.0.0.0")]}, "localhost:8090"),  # noqa: S104
        ({"ports": [published("::")]}, "localhost:8090"),
        ({"ports": [published("127.0.0.2")]}, "127.0.0.2:8090"),
        ({"ports": [published("::1")]}, "[::1]:8090"),
        ({"ports": [published("", port=81)]}, "localhost:80"),
        ({"ports": [published("", protocol="udp")]}, "localhost:80"),
    ],
    ids=str,
)
def test_a_target_is_where_the_port_is_reached(
    routes: ModuleType, fields: dict[str, Any], expected: str
) -> None:
    assert routes.target(container("shop", **fields), 80) == expected


def read(routes: ModuleType, domain: str) -> str:
    route = routes.Route.from_labels({"web.domain": domain, "web.port": "80"}, "web")
    return str(route.domain)


@pytest.mark.parametrize("domain", ["shop.example", "a", "a-b.c1.example", "xn--nxasmq6b.example"])
def test_a_host_name_is_a_domain(routes: ModuleType, domain: str) -> None:
    assert read(routes, domain) == domain
    assert read(routes, domain.upper()) == domain


@pytest.mark.parametrize(
    "domain",
    [
        *("shop.", ".shop", "a..b", "-a.b", "a-.b", "a_b", "a b", "a/b", "a:80", "http://a", "*.a"),
        *("ä.example", "a\nb", "a" * 64, ".".join(["a" * 60] * 5), "\u212a.example"),
    ],
)
def test_anything_else_is_none(routes: ModuleType, domain: str) -> None:
    with pytest.raises(InvalidLabels, match="not a host name"):
        read(routes, domain)


def found(routes: ModuleType, name: str, domain: str, life: int) -> tuple[ContainerState, Any]:
    route = routes.Route(domain=domain, port=80)
    return container(name, life=life, addresses={"n": f"10.0.0.{life}"}), route


def test_of_two_containers_with_one_domain_the_first_has_it(routes: ModuleType) -> None:
    first = found(routes, "first", "shop.example", 1)
    second = found(routes, "second", "shop.example", 2)
    other = found(routes, "other", "api.example", 3)

    table = routes.table([first, second, other])

    assert {domain: entry["target"] for domain, entry in table.items()} == {
        "api.example": "10.0.0.3:80",
        "shop.example": "10.0.0.1:80",
    }
    assert routes.table([second])["shop.example"]["target"] == "10.0.0.2:80"


def test_the_file_is_replaced_only_when_it_changes(routes: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "routes.json"
    assert routes.write({}, file)
    before = file.stat()
    assert not routes.write({}, file)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert routes.write({"a": {"target": "b"}}, file)
    assert file.stat().st_ino != before.st_ino
    assert json.loads(file.read_text()) == {"a": {"target": "b"}}
    assert list(tmp_path.iterdir()) == [file]


def test_the_compose_file_of_the_example_has_labels_that_are_valid(routes: ModuleType) -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    read = [
        routes.Route.from_labels(service["labels"], "web", besides=["web.enabled"])
        for service in services.values()
    ]

    assert {service["labels"]["web.enabled"] for service in services.values()} == {"true"}
    assert [(route.domain, route.port, route.description) for route in read] == [
        ("shop.example", 80, "the shop"),
        ("api.shop.example", 3000, ""),
    ]
