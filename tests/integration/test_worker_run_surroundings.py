"""The volumes and networks of run jobs, by what the Engine says of them and by what the container itself sees."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

from dockbus import Bus, Settings
from dockbus.engine import Engine
from dockbus.settings import PolicySettings
from processes import Program
from runs import inspecting, printed, refused, result, shell

Start = Callable[..., Program]
Said = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def worker(start: Start, base_image: str, settings: Settings) -> Program:
    """One whose policy lets options through that reach the machine: here it is about what they do."""
    policy = PolicySettings(level="privileged")
    program = start("worker", "run", settings=settings.model_copy(update={"policy": policy}))
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def said(bus: Bus) -> Said:
    """What a container with these options prints."""
    return partial(printed, bus)


@pytest.fixture
def inspected(bus: Bus, engine: Engine) -> Generator[Callable[..., dict[str, Any]]]:
    """What the Engine says of a container with these options."""
    with inspecting(bus, engine) as inspect:
        yield inspect


# -- volumes ----------------------------------------------------------------------------------


@pytest.fixture
def volume(engine: Engine) -> Generator[str]:
    name = f"run-test-{secrets.token_hex(4)}"
    yield name
    engine.volumes.remove(name)


def test_a_volume_keeps_what_one_job_writes_for_the_next(said: Said, volume: str) -> None:
    said("echo kept > /data/a", volumes=[f"{volume}:/data"])

    assert said("cat /in/a; touch /in/b 2>&1 || true", volumes=[f"{volume}:/in:ro"]) == [
        "kept",
        "touch: /in/b: Read-only file system",
    ]


def test_a_volume_without_a_name_goes_with_its_container(said: Said, engine: Engine) -> None:
    before = {volume["Name"] for volume in engine.api.volumes()["Volumes"] or ()}

    assert said("awk '$2 == \"/data\" {print $2}' /proc/mounts", volumes=["/data"]) == ["/data"]

    after = {volume["Name"] for volume in engine.api.volumes()["Volumes"] or ()}
    assert after == before


def test_a_volume_of_a_driver_with_options(said: Said, volume: str) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=2m"}
    mount = {"source": volume, "target": "/m", "driver": "local", "driver_opts": options}

    (line,) = said("grep ' /m ' /proc/mounts", volumes=[mount])

    assert line.startswith("tmpfs /m tmpfs rw")
    assert "size=2048k" in line


def test_a_folder_of_the_machine(said: Said, bus: Bus, tmp_path: Any, engine: Engine) -> None:
    if not engine.host.startswith("unix://"):
        pytest.skip("the Engine is on another machine")
    (tmp_path / "a").write_text("from the machine\n")

    mount = f"{tmp_path}:/in:ro,rprivate"
    assert said("cat /in/a; touch /in/b 2>/dev/null || echo refused", volumes=[mount]) == [
        "from the machine",
        "refused",
    ]
    assert "bind source path does not exist" in refused(bus, volumes=["/no/such/folder:/in"])


# -- networks ---------------------------------------------------------------------------------


@pytest.fixture
def networks(engine: Engine) -> Generator[list[str]]:
    """Two networks with address ranges of their own."""
    names = [f"run-test-{secrets.token_hex(4)}" for _ in range(2)]
    for number, name in enumerate(names):
        pool = {"Config": [{"Subnet": f"10.213.{number}.0/24"}]}
        engine.api.create_network(name, ipam=pool, labels={"dockbus.test": "1"})
    yield names
    for name in names:
        engine.api.remove_network(name)


def test_by_default_containers_reach_the_world_but_not_each_other(
    inspected: Any, said: Said, engine: Engine
) -> None:
    other = inspected(networks=["dockbus"])["NetworkSettings"]["Networks"]["dockbus"]
    network = engine.api.inspect_network("dockbus")

    script = "ping -c 1 -W 1 {} >/dev/null && echo reached || echo apart"
    raw = {"networks": ["dockbus"], "cap_add": ["NET_RAW"]}
    assert said(script.format(other["Gateway"]), **raw) == ["reached"]
    assert said(script.format(other["IPAddress"]), **raw) == ["apart"]
    assert network["Labels"] == {"dockbus.managed": "true"}
    assert network["Options"] == {"com.docker.network.bridge.enable_icc": "false"}


def test_on_networks_of_its_own_it_has_names_and_addresses(
    networks: list[str], inspected: Any, said: Said
) -> None:
    first, second = networks
    it = inspected(
        networks=[
            {"name": first, "aliases": ["db"], "ipv4": "10.213.0.77"},
            {"name": second, "aliases": ["db2"]},
        ]
    )
    on = it["NetworkSettings"]["Networks"]

    assert set(on) == {first, second}
    assert on[first]["IPAddress"] == "10.213.0.77"
    assert "db" in on[first]["Aliases"]
    assert "db2" in on[second]["Aliases"]
    raw = {"cap_add": ["NET_RAW"]}
    assert said("ping -c 1 db | head -1", networks=[first], **raw)[0].startswith(
        "PING db (10.213.0.77)"
    )
    assert said("ping -c 1 db2 | head -1", networks=[second], **raw)[0].startswith(
        "PING db2 (10.213.1."
    )


def test_the_engines_own_words_for_networks(bus: Bus, inspected: Any, said: Said) -> None:
    assert said("ls /sys/class/net") == ["lo"]
    bridged = inspected(networks=["bridge"])
    assert bridged["HostConfig"]["NetworkMode"] == "bridge"
    hosts = {name for _, name in socket.if_nameindex()}
    assert "docker0" in said("ls /sys/class/net", networks=["host"]) or "docker0" not in hosts
    job = bus.enqueue(shell("sleep 0.3", networks=["host"]))
    used = result(job).usage
    assert used is not None
    assert (used.rx_bytes, used.tx_bytes) == (None, None), "the machine's traffic is not its own"
    shared = said("hostname -i", networks=[f"container:{bridged['Id']}"])
    assert shared[-1].split()[0] == bridged["NetworkSettings"]["IPAddress"]


def test_names_and_name_servers(said: Said) -> None:
    lines = said(
        "grep db /etc/hosts; cat /etc/resolv.conf",
        networks=["bridge"],
        extra_hosts={"db": "10.1.2.3"},
        dns=["10.9.9.9"],
        dns_search=["a.example"],
    )

    assert lines[0].split() == ["10.1.2.3", "db"]
    assert "nameserver 10.9.9.9" in lines
    assert "search a.example" in lines


def test_a_network_that_is_not_there_fails_the_job(bus: Bus) -> None:
    assert "network dockbus-no-such not found" in refused(bus, networks=["dockbus-no-such"])
    assert "dockbus-no-such" in refused(bus, networks=["dockbus", "dockbus-no-such"])
    assert "No such container: no-such" in refused(bus, networks=["container:no-such"])
