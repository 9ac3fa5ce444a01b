"""What the Engine is asked for when a container is made: the body of `POST /containers/create`, in its own words.

Pure, and written by hand: one place shows what each field of a spec becomes, and nothing depends on what the
SDK's helpers know. What is not in a spec is left to the Engine.
"""

from __future__ import annotations

import json
import math
from typing import Any

from dockbus.jobs.running import ContainerSpec, Healthcheck, Mount, Network

LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
"""What the Engine keeps of a container's output: three files of 10 MB."""


def create_body(spec: ContainerSpec, *, network: str = "") -> dict[str, Any]:
    """The body that makes a container of `spec` on the first of its networks, by this name of it if one is given."""
    first = spec.networks[0]
    network = network or first.name
    body: dict[str, Any] = {
        "Image": spec.image,
        "Cmd": spec.command,
        "Entrypoint": spec.entrypoint,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "WorkingDir": spec.working_dir,
        "User": spec.user,
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "Labels": spec.labels,
        "ExposedPorts": {f"{port.container}/{port.protocol}": {} for port in spec.ports},
        "Healthcheck": _healthcheck(spec.healthcheck) if spec.healthcheck else None,
        "StopSignal": spec.stop_signal,
        "StopTimeout": math.ceil(spec.stop_timeout),
        "HostConfig": _without_none(
            _limits(spec) | _isolation(spec) | _surroundings(spec) | {"NetworkMode": network}
        ),
        "NetworkingConfig": {"EndpointsConfig": {network: _endpoint(first)}}
        if not first.is_mode
        else None,
    }
    return _without_none(body)


def _endpoint(network: Network) -> dict[str, Any]:
    """How a container is to be known in a network."""
    return _without_none(
        {
            "Aliases": network.aliases or None,
            "IPAMConfig": {"IPv4Address": network.ipv4} if network.ipv4 else None,
        }
    )


def _limits(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "Memory": spec.memory,
        "MemorySwap": spec.memory_swap or spec.memory,
        "MemoryReservation": spec.memory_reservation,
        "NanoCpus": round(spec.cpus * 1e9) if spec.cpus else None,
        "CpuQuota": spec.cpu_quota,
        "CpuPeriod": spec.cpu_period,
        "CpuShares": spec.cpu_shares,
        "CpusetCpus": spec.cpuset,
        "PidsLimit": spec.pids,
        "Ulimits": [
            {"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in spec.ulimits
        ],
        "ShmSize": spec.shm_size,
    }


def _isolation(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "CapAdd": spec.cap_add,
        "CapDrop": spec.cap_drop,
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": _security(spec),
        "Init": spec.init,
        "Devices": [
            {
                "PathOnHost": device.host,
                "PathInContainer": device.container,
                "CgroupPermissions": device.permissions,
            }
            for device in spec.devices
        ],
        "Sysctls": spec.sysctls,
        "PidMode": spec.pid_mode,
        "IpcMode": spec.ipc_mode,
        "UTSMode": spec.uts_mode,
        "UsernsMode": spec.userns_mode,
        "CgroupnsMode": spec.cgroupns,
        "CgroupParent": spec.cgroup_parent,
        "Runtime": spec.runtime,
    }


def _security(spec: ContainerSpec) -> list[str]:
    options = ["no-new-privileges:true"] if spec.no_new_privileges else []
    if isinstance(spec.seccomp, dict):
        options.append(f"seccomp={json.dumps(spec.seccomp)}")
    elif spec.seccomp == "unconfined":
        options.append("seccomp=unconfined")
    if spec.apparmor:
        options.append(f"apparmor={spec.apparmor}")
    return options + [f"label={label}" for label in spec.selinux]


def _surroundings(spec: ContainerSpec) -> dict[str, Any]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in spec.ports:
        bindings.setdefault(f"{port.container}/{port.protocol}", []).append(
            {"HostIp": port.address, "HostPort": str(port.host or "")}
        )
    policy, _, retries = spec.restart.partition(":")
    defaults = LOG_OPTIONS if spec.log_driver in ("json-file", "local") else {}
    return {
        "PortBindings": bindings,
        "Mounts": [_mount(mount) for mount in spec.volumes],
        "GroupAdd": spec.group_add,
        "Dns": spec.dns,
        "DnsSearch": spec.dns_search,
        "ExtraHosts": [f"{name}:{address}" for name, address in spec.extra_hosts.items()],
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(retries or 0)},
        "LogConfig": {"Type": spec.log_driver, "Config": defaults | spec.log_options},
    }


def _mount(mount: Mount) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Type": mount.type,
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }
    match mount.type:
        case "bind":
            body["BindOptions"] = {"Propagation": mount.propagation or "rprivate"}
        case "tmpfs":
            body["TmpfsOptions"] = _without_none({"SizeBytes": mount.size, "Mode": mount.mode})
        case "volume" if mount.driver or mount.driver_opts:
            body["VolumeOptions"] = {
                "DriverConfig": {"Name": mount.driver or "local", "Options": mount.driver_opts}
            }
        case _:
            pass
    return _without_none(body)


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    spans = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
    }
    nanoseconds = {name: round(span * 1e9) for name, span in spans.items() if span}
    return _without_none({"Test": check.test, "Retries": check.retries}) | nanoseconds


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
