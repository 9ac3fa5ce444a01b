"""What the Engine says, as frozen values of our own: parsed once, here, and nowhere else.

Each `parse` takes a decoded answer of the Engine API and reads only fields that 20.10 and 26 share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

Raw = Mapping[str, Any]
"""A decoded JSON object of the Engine API."""


def parse_time(text: str | None) -> datetime | None:
    """An Engine timestamp (RFC 3339, nanoseconds) as a datetime; None for the Engine's zero time."""
    if not text or text.startswith("0001-"):
        return None
    head, _, tail = text.rstrip("Z").partition(".")
    offset = ""
    for sign in "+-":
        if sign in tail:
            tail, _, zone = tail.partition(sign)
            offset = sign + zone
    if not tail and len(head) > 19:
        head, offset = head[:19], head[19:]
    moment = datetime.fromisoformat(f"{head}.{(tail or '0')[:6]:0<6}{offset or '+00:00'}")
    return moment.astimezone(UTC)


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """Which Engine answers, and what it can do."""

    id: str
    name: str
    version: str
    api_version: str
    platform: str
    storage_driver: str
    cgroup_version: str
    containers_running: int
    images: int
    memory: int | None
    """Bytes that its machine has."""
    cgroup_driver: str = ""
    """Who makes its control groups, `cgroupfs` or `systemd`."""

    @classmethod
    def parse(cls, info: Raw, version: Raw) -> Self:
        """From `GET /info` and `GET /version`."""
        return cls(
            id=info["ID"],
            name=info.get("Name", ""),
            version=version["Version"],
            api_version=version["ApiVersion"],
            platform=f"{version.get('Os', '')}/{version.get('Arch', '')}",
            storage_driver=info.get("Driver", ""),
            cgroup_version=str(info.get("CgroupVersion", "1")),
            containers_running=info.get("ContainersRunning", 0),
            images=info.get("Images", 0),
            memory=info.get("MemTotal") or None,
            cgroup_driver=info.get("CgroupDriver", ""),
        )


def parse_guards(info: Raw) -> frozenset[str]:
    """What an Engine can enforce, from `GET /info`: security modules and limits by their names."""
    modules = {option.partition("=")[2].partition(",")[0] for option in info["SecurityOptions"]}
    limits = {
        "memory": "MemoryLimit",
        "swap": "SwapLimit",
        "cpus": "CpuCfsQuota",
        "cpu_shares": "CPUShares",
        "cpuset": "CPUSet",
        "pids": "PidsLimit",
    }
    return frozenset(modules | {name for name, key in limits.items() if info.get(key, True)})


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that the Engine has."""

    id: str
    """`sha256:…`."""
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    """Names with the registry's digest, `name@sha256:…`."""
    size: int
    """Bytes on disk, layers shared with other images included."""
    created: datetime | None
    labels: Mapping[str, str]
    platform: str = ""
    layers: int = 0
    diff_ids: tuple[str, ...] = ()
    """The digests of its layers, lowest first; not in a list of images."""

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From `GET /images/json` (one entry) or `GET /images/NAME/json`."""
        config: Raw = raw.get("Config") or {}
        root: Raw = raw.get("RootFS") or {}
        created = raw.get("Created")
        return cls(
            id=raw["Id"],
            tags=tuple(tag for tag in raw.get("RepoTags") or () if tag != "<none>:<none>"),
            digests=tuple(
                name for name in raw.get("RepoDigests") or () if not name.startswith("<none>")
            ),
            size=raw.get("Size", 0),
            created=datetime.fromtimestamp(created, UTC)
            if isinstance(created, int)
            else parse_time(created),
            labels=raw.get("Labels") or config.get("Labels") or {},
            platform="/".join(
                part for key in ("Os", "Architecture", "Variant") if (part := raw.get(key))
            ),
            layers=len(root.get("Layers") or ()),
            diff_ids=tuple(root.get("Layers") or ()),
        )


@dataclass(frozen=True)
class Published:
    """A port of a container that the Engine's machine answers for."""

    container: int
    protocol: str
    address: str
    host: int


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container, running or not."""

    id: str
    name: str
    image: str
    image_id: str
    state: str
    """`created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`."""
    labels: Mapping[str, str]
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    pid: int = 0
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    size_rw: int = 0
    """Bytes its own layer holds; only where asked for."""
    health: str = ""
    """`healthy`, `unhealthy` or `starting`; empty where nothing probes it."""
    probe: str = ""
    """What the last probe said."""
    restart_count: int = 0
    """How often the Engine itself has started it anew."""
    addresses: Mapping[str, str] = field(default_factory=dict[str, str])
    """Its address on each of its networks, while it runs."""
    ports: tuple[Published, ...] = ()
    """Only while it runs."""
    networks: frozenset[str] = frozenset()
    """Names of those it is on."""
    volumes: frozenset[str] = frozenset()
    """Names of those it has."""
    stop_timeout: int = 10
    """Seconds it has between the stop signal and the kill; -1 is for ever."""

    @property
    def is_stopped(self) -> bool:
        """Whether nothing of it runs, nor is about to."""
        return self.state in ("created", "exited", "dead")

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From `GET /containers/ID/json`."""
        state: Raw = raw["State"]
        health: Raw = state.get("Health") or {}
        probes: list[Raw] = health.get("Log") or []
        return cls(
            id=raw["Id"],
            name=raw["Name"].lstrip("/"),
            image=raw["Config"]["Image"],
            image_id=raw["Image"],
            state=state["Status"],
            labels=raw["Config"].get("Labels") or {},
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            error=state.get("Error", ""),
            pid=state.get("Pid", 0),
            created=parse_time(raw.get("Created")),
            started=parse_time(state.get("StartedAt")),
            finished=parse_time(state.get("FinishedAt")),
            size_rw=raw.get("SizeRw") or 0,
            health=health.get("Status", "").replace("none", ""),
            probe=str(probes[-1].get("Output", "")) if probes else "",
            restart_count=raw.get("RestartCount", 0),
            addresses=_addresses(raw.get("NetworkSettings") or {}),
            ports=_ports(raw.get("NetworkSettings") or {}),
            networks=_networks(raw),
            volumes=_volumes(raw),
            stop_timeout=_stop_timeout(raw["Config"]),
        )

    @classmethod
    def parse_listed(cls, raw: Raw) -> Self:
        """From one entry of `GET /containers/json`, which says less: no exit code, no times but its making."""
        return cls(
            id=raw["Id"],
            name=next(iter(raw.get("Names") or ("",))).lstrip("/"),
            image=raw["Image"],
            image_id=raw["ImageID"],
            state=raw["State"],
            labels=raw.get("Labels") or {},
            health=_listed_health(raw.get("Status", "")),
            created=datetime.fromtimestamp(raw["Created"], UTC),
            size_rw=raw.get("SizeRw") or 0,
            networks=_networks(raw),
            volumes=_volumes(raw),
        )


def _stop_timeout(config: Raw) -> int:
    given: int | None = config.get("StopTimeout")
    return 10 if given is None else given


def _networks(raw: Raw) -> frozenset[str]:
    settings: Raw = raw.get("NetworkSettings") or {}
    return frozenset(settings.get("Networks") or ())


def _volumes(raw: Raw) -> frozenset[str]:
    return frozenset(mount["Name"] for mount in raw.get("Mounts") or () if mount.get("Name"))


def _addresses(settings: Raw) -> Mapping[str, str]:
    networks: Mapping[str, Raw] = settings.get("Networks") or {}
    pairs = {name: str(raw.get("IPAddress") or "") for name, raw in networks.items()}
    return {name: address for name, address in pairs.items() if address}


def _listed_health(status: str) -> str:
    """The health in a text such as `Up 5 minutes (health: starting)`, the only place where a list has it."""
    return next(
        (word for word in ("unhealthy", "healthy", "starting") if status.endswith(f"{word})")), ""
    )


def _ports(settings: Raw) -> tuple[Published, ...]:
    ports: Mapping[str, list[Raw] | None] = settings.get("Ports") or {}
    return tuple(
        Published(int(port), protocol, binding["HostIp"], int(binding["HostPort"]))
        for name, bindings in ports.items()
        for port, _, protocol in [name.partition("/")]
        for binding in bindings or ()
    )


@dataclass(frozen=True, kw_only=True)
class NetworkView:
    """A network of the Engine."""

    id: str
    name: str
    created: datetime | None
    labels: Mapping[str, str]
    predefined: bool
    """It is the Engine's own, or a swarm's."""

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From one entry of `GET /networks`, or `GET /networks/ID`."""
        return cls(
            id=raw["Id"],
            name=raw["Name"],
            created=parse_time(raw.get("Created")),
            labels=raw.get("Labels") or {},
            predefined=raw["Name"] in ("bridge", "host", "none", "docker_gwbridge")
            or raw.get("Scope") == "swarm",
        )


@dataclass(frozen=True, kw_only=True)
class VolumeView:
    """A volume of the Engine."""

    name: str
    created: datetime | None
    labels: Mapping[str, str]
    size: int
    """Bytes on disk; 0 where that was not asked for, or its driver does not say."""

    @property
    def anonymous(self) -> bool:
        """Whether nobody gave it its name."""
        return len(self.name) == 64 and set(self.name) <= set("0123456789abcdef")

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From one volume of `GET /system/df`, or `GET /volumes/NAME`."""
        usage: Raw = raw.get("UsageData") or {}
        return cls(
            name=raw["Name"],
            created=parse_time(raw.get("CreatedAt")),
            labels=raw.get("Labels") or {},
            size=max(0, usage.get("Size", 0)),
        )


@dataclass(frozen=True, kw_only=True)
class LogChunk:
    """One line that a container wrote."""

    stream: Literal["stdout", "stderr"]
    stamp: str
    """The Engine's timestamp with nanoseconds; orders the lines of a container."""
    text: str


@dataclass(frozen=True, kw_only=True)
class RemoteImage:
    """What a registry has under a name."""

    digest: str
    """`sha256:…`, of the manifest, or of the list of manifests where there are several platforms."""
    platforms: tuple[str, ...]

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From `GET /distribution/NAME/json`."""
        return cls(
            digest=raw["Descriptor"]["digest"],
            platforms=tuple(
                "/".join(
                    part for key in ("os", "architecture", "variant") if (part := each.get(key))
                )
                for each in raw.get("Platforms") or ()
            ),
        )


@dataclass(frozen=True, kw_only=True)
class PullProgress:
    """One step of a pull or a push: what one layer is doing."""

    layer: str
    """The layer's short ID; empty for words about the whole image."""
    status: str
    current: int = 0
    total: int = 0
    digest: str = ""
    """The image's digest in the registry, `sha256:…`; said once, at the end."""

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From one object of the stream of `POST /images/create` or `POST /images/NAME/push`."""
        detail: Raw = raw.get("progressDetail") or {}
        aux: Raw = raw.get("aux") or {}
        status = raw.get("status", "")
        layer = raw.get("id", "") if not status.startswith("Pulling from") else ""
        return cls(
            layer=layer,
            status=status,
            current=detail.get("current", 0),
            total=detail.get("total", 0),
            digest=aux.get("Digest", "")
            or (status.removeprefix("Digest: ") if status.startswith("Digest: ") else ""),
        )


@dataclass(frozen=True, kw_only=True)
class EngineEvent:
    """One object of `GET /events`."""

    type: str
    """`container`, `image`, `network`, `volume`, …"""
    action: str
    """`start`, `die`, `health_status: unhealthy`, …"""
    actor: str
    """The ID of what it happened to."""
    attributes: Mapping[str, str]
    time_nano: int

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """From one decoded object; reads no field that API 1.52 dropped."""
        actor: Raw = raw.get("Actor") or {}
        return cls(
            type=raw["Type"],
            action=raw["Action"],
            actor=actor.get("ID", ""),
            attributes=actor.get("Attributes") or {},
            time_nano=raw["timeNano"],
        )
