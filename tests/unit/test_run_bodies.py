"""What the Engine is asked for, in its own words, for every field of a container's description."""

from __future__ import annotations

from typing import Any

import pytest

from dockbus.engine.bodies import create_body
from dockbus.jobs.running import ContainerSpec


def body(**fields: Any) -> dict[str, Any]:
    return create_body(ContainerSpec.model_validate({"image": "x", **fields}))


def test_an_image_alone_becomes_a_bounded_container_without_powers() -> None:
    assert body() == {
        "Image": "x",
        "Env": [],
        "Labels": {},
        "ExposedPorts": {},
        "StopTimeout": 10,
        "NetworkingConfig": {"EndpointsConfig": {"dockbus": {}}},
        "HostConfig": {
            "NetworkMode": "dockbus",
            "Memory": 2**30,
            "MemorySwap": 2**30,
            "PidsLimit": 1024,
            "Ulimits": [],
            "CapAdd": [],
            "CapDrop": ["ALL"],
            "Privileged": False,
            "ReadonlyRootfs": False,
            "SecurityOpt": ["no-new-privileges:true"],
            "Init": True,
            "Devices": [],
            "Sysctls": {},
            "PortBindings": {},
            "Mounts": [],
            "GroupAdd": [],
            "Dns": [],
            "DnsSearch": [],
            "ExtraHosts": [],
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ({"image": "registry.example:5000/a/b:1"}, "Image", "registry.example:5000/a/b:1"),
        ({"command": ["echo", "a b", ""]}, "Cmd", ["echo", "a b", ""]),
        ({"entrypoint": []}, "Entrypoint", []),
        ({"env": {"A": "b=c\nd", "B": ""}}, "Env", ["A=b=c\nd", "B="]),
        ({"working_dir": "/app"}, "WorkingDir", "/app"),
        ({"user": "1000:1000"}, "User", "1000:1000"),
        ({"hostname": "h"}, "Hostname", "h"),
        ({"domainname": "d.example"}, "Domainname", "d.example"),
        ({"labels": {"a": "b"}}, "Labels", {"a": "b"}),
        ({"ports": ["8080:3000"]}, "ExposedPorts", {"3000/tcp": {}}),
        ({"stop_signal": "SIGINT"}, "StopSignal", "SIGINT"),
        ({"stop_timeout": 1.5}, "StopTimeout", 2),
        ({"healthcheck": {"test": ["CMD", "a"]}}, "Healthcheck", {"Test": ["CMD", "a"]}),
        (
            {
                "healthcheck": {
                    "test": "a",
                    "interval": "5s",
                    "timeout": "3s",
                    "retries": 5,
                    "start_period": "100ms",
                }
            },
            "Healthcheck",
            {
                "Test": ["CMD-SHELL", "a"],
                "Interval": 5_000_000_000,
                "Timeout": 3_000_000_000,
                "Retries": 5,
                "StartPeriod": 100_000_000,
            },
        ),
        (
            {"networks": [{"name": "n", "aliases": ["a"], "ipv4": "10.0.0.2"}, "later"]},
            "NetworkingConfig",
            {
                "EndpointsConfig": {
                    "n": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}}
                }
            },
        ),
    ],
)
def test_a_field_of_the_container_becomes(fields: dict[str, Any], key: str, value: object) -> None:
    assert body(**fields)[key] == value


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ({"memory": "512m"}, "Memory", 536_870_912),
        ({"memory": "512m"}, "MemorySwap", 536_870_912),
        ({"memory": "512m", "memory_swap": "1g"}, "MemorySwap", 1_073_741_824),
        ({"memory_reservation": "64m"}, "MemoryReservation", 2**26),
        ({"cpus": 0.5}, "NanoCpus", 500_000_000),
        ({"cpu_quota": 50_000}, "CpuQuota", 50_000),
        ({"cpu_quota": 50_000, "cpu_period": 100_000}, "CpuPeriod", 100_000),
        ({"cpu_shares": 1024}, "CpuShares", 1024),
        ({"cpuset": "0-1"}, "CpusetCpus", "0-1"),
        ({"pids": 5}, "PidsLimit", 5),
        ({"ulimits": ["core=0"]}, "Ulimits", [{"Name": "core", "Soft": 0, "Hard": 0}]),
        ({"shm_size": "1m"}, "ShmSize", 2**20),
        ({"cap_add": ["NET_BIND_SERVICE"]}, "CapAdd", ["NET_BIND_SERVICE"]),
        ({"cap_drop": []}, "CapDrop", []),
        ({"privileged": True}, "Privileged", True),
        ({"read_only": True}, "ReadonlyRootfs", True),
        ({"no_new_privileges": False}, "SecurityOpt", []),
        (
            {
                "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
                "apparmor": "a",
                "selinux": ["disable"],
            },
            "SecurityOpt",
            [
                "no-new-privileges:true",
                'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}',
                "apparmor=a",
                "label=disable",
            ],
        ),
        (
            {"seccomp": "unconfined"},
            "SecurityOpt",
            ["no-new-privileges:true", "seccomp=unconfined"],
        ),
        ({"init": False}, "Init", False),
        (
            {"devices": ["/dev/a:/dev/b:r"]},
            "Devices",
            [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}],
        ),
        (
            {"sysctls": {"net.core.somaxconn": "9"}},
            "Sysctls",
            {"net.core.somaxconn": "9"},
        ),
        ({"pid_mode": "host"}, "PidMode", "host"),
        ({"ipc_mode": "host"}, "IpcMode", "host"),
        ({"uts_mode": "host"}, "UTSMode", "host"),
        ({"userns_mode": "host"}, "UsernsMode", "host"),
        ({"cgroupns": "host"}, "CgroupnsMode", "host"),
        ({"cgroup_parent": "/p"}, "CgroupParent", "/p"),
        ({"runtime": "runc"}, "Runtime", "runc"),
        (
            {"ports": ["8080:3000", "0.0.0.0:53:53/udp", "3000"]},
            "PortBindings",
            {
                "3000/tcp": [
                    {"HostIp": "127.0.0.1", "HostPort": "8080"},
                    {"HostIp": "127.0.0.1", "HostPort": ""},
                ],
                "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],  # noqa: S104
            },
        ),
        (
            {
                "volumes": [
                    "/anonymous",
                    "data:/data:ro",
                    "/host:/c:rslave",
                    {"type": "tmpfs", "target": "/t", "size": "1m", "mode": "1777"},
                    {
                        "source": "odd",
                        "target": "/odd",
                        "driver_opts": {"type": "none", "o": "bind", "device": "/etc"},
                    },
                ]
            },
            "Mounts",
            [
                {"Type": "volume", "Target": "/anonymous", "ReadOnly": False},
                {"Type": "volume", "Source": "data", "Target": "/data", "ReadOnly": True},
                {
                    "Type": "bind",
                    "Source": "/host",
                    "Target": "/c",
                    "ReadOnly": False,
                    "BindOptions": {"Propagation": "rslave"},
                },
                {
                    "Type": "tmpfs",
                    "Target": "/t",
                    "ReadOnly": False,
                    "TmpfsOptions": {"SizeBytes": 2**20, "Mode": 0o1777},
                },
                {
                    "Type": "volume",
                    "Source": "odd",
                    "Target": "/odd",
                    "ReadOnly": False,
                    "VolumeOptions": {
                        "DriverConfig": {
                            "Name": "local",
                            "Options": {"type": "none", "o": "bind", "device": "/etc"},
                        }
                    },
                },
            ],
        ),
        ({"group_add": ["27"]}, "GroupAdd", ["27"]),
        ({"dns": ["10.0.0.1"]}, "Dns", ["10.0.0.1"]),
        ({"dns_search": ["a.example"]}, "DnsSearch", ["a.example"]),
        ({"extra_hosts": {"db": "10.0.0.1"}}, "ExtraHosts", ["db:10.0.0.1"]),
        ({"restart": "always"}, "RestartPolicy", {"Name": "always", "MaximumRetryCount": 0}),
        (
            {"restart": "unless-stopped"},
            "RestartPolicy",
            {"Name": "unless-stopped", "MaximumRetryCount": 0},
        ),
        (
            {"restart": "on-failure:3"},
            "RestartPolicy",
            {"Name": "on-failure", "MaximumRetryCount": 3},
        ),
        ({"log_driver": "journald"}, "LogConfig", {"Type": "journald", "Config": {}}),
        (
            {"log_driver": "local", "log_options": {"max-size": "1m"}},
            "LogConfig",
            {"Type": "local", "Config": {"max-size": "1m", "max-file": "3"}},
        ),
    ],
)
def test_a_field_of_its_host_becomes(fields: dict[str, Any], key: str, value: object) -> None:
    assert body(**fields)["HostConfig"][key] == value


@pytest.mark.parametrize("mode", ["none", "bridge", "host", "container:abc"])
def test_a_word_of_the_engines_is_no_network_to_be_known_in(mode: str) -> None:
    made = body(networks=[mode])

    assert made["HostConfig"]["NetworkMode"] == mode
    assert "NetworkingConfig" not in made


def test_cpus_and_quota_are_never_asked_for_together() -> None:
    assert "NanoCpus" not in body(cpu_quota=50_000)["HostConfig"]
    assert "CpuQuota" not in body(cpus=1)["HostConfig"]
