"""A container made after another one."""

from __future__ import annotations

from typing import Any

import pytest

from dockbus.engine.copies import copy_body, copy_endpoints, further_networks

ORIGINAL: dict[str, Any] = {
    "Id": "0123456789abcdef",
    "Name": "/shop-worker-1",
    "Image": "sha256:1",
    "Config": {
        "Hostname": "0123456789ab",
        "Image": "shop:1",
        "Env": ["A=1"],
        "Labels": {"number": "1", "kept": "yes"},
        "MacAddress": "02:00:00:00:00:01",
        "StopTimeout": 45,
    },
    "HostConfig": {"NetworkMode": "shop_bus", "Memory": 1 << 29},
    "NetworkSettings": {
        "Networks": {
            "shop_monitoring": {
                "Aliases": ["shop-worker-1", "worker"],
                "IPAMConfig": {"IPv4Address": "10.1.1.7"},
                "IPAddress": "10.1.1.7",
            },
            "shop_bus": {"Aliases": ["worker", "0123456789ab"], "DriverOpts": {"a": "b"}},
        }
    },
}


def test_a_copy_has_what_the_original_has_but_for_what_is_its_own() -> None:
    body = copy_body(ORIGINAL, name="shop-worker-2", image="shop:1", labels={"number": "2"})

    assert body["Labels"] == {"number": "2"}
    assert (body["Env"], body["StopTimeout"]) == (["A=1"], 45)
    assert body["HostConfig"] == ORIGINAL["HostConfig"]
    assert not {"Hostname", "MacAddress"} & set(body)
    assert body["NetworkingConfig"]["EndpointsConfig"] == {
        "shop_bus": {"Aliases": ["worker"], "DriverOpts": {"a": "b"}}
    }
    assert further_networks(ORIGINAL) == ["shop_monitoring"]
    assert copy_endpoints(ORIGINAL, name="shop-worker-2")["shop_monitoring"] == {
        "Aliases": ["shop-worker-2", "worker"]
    }


def test_an_anonymous_volume_is_not_shared_and_one_with_a_name_is() -> None:
    handed_on = {"Type": "volume", "Source": "ab" * 32, "Target": "/scratch"}
    named = {"Type": "volume", "Source": "trivy", "Target": "/cache"}
    host = {**ORIGINAL["HostConfig"], "Mounts": [handed_on, named]}

    body = copy_body({**ORIGINAL, "HostConfig": host}, name="n", image="i", labels={})

    assert body["HostConfig"]["Mounts"] == [{"Type": "volume", "Target": "/scratch"}, named]


def test_a_host_name_that_somebody_chose_is_kept() -> None:
    config = {**ORIGINAL["Config"], "Hostname": "chosen"}

    body = copy_body({**ORIGINAL, "Config": config}, name="n", image="i", labels={})

    assert body["Hostname"] == "chosen"


@pytest.mark.parametrize("mode", ["none", "host", "container:abc"])
def test_a_container_without_networks_of_its_own_gets_none(mode: str) -> None:
    alone: dict[str, Any] = {
        **ORIGINAL,
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Networks": {}},
    }

    assert copy_body(alone, name="n", image="i", labels={})["NetworkingConfig"] is None
    assert further_networks(alone) == []
