"""What this machine, and the deployment it belongs to, has for dockbus and lacks, as plain values; printing is for others.

A probe never raises and waits a few seconds at most. It may need what is not installed: the docker SDK
is imported only inside its probe, and its absence is a finding like any other.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import redis

from dockbus import deployment, programs
from dockbus.bus import Bus
from dockbus.checks import Check, Level, judged
from dockbus.connection import connect, reachable
from dockbus.deployment import MOST_SKEW
from dockbus.errors import DockbusError, SettingsError
from dockbus.extras import lacking
from dockbus.settings import Settings, variables
from dockbus.units import show_size

PATIENCE = 3.0
"""Seconds a probe waits for an answer."""
OLDEST_REDIS = (6, 2)
MOST_MEMORY = 0.8
"""Share of its `maxmemory` above which Redis is nearly full."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, as it stands in this environment."""

    name: str
    value: str
    """Passwords and secrets are masked."""
    origin: str
    """The variable that gives it, or `default`."""
    default: str
    meaning: str


def examine(settings: Settings) -> list[Check]:
    """Look at everything, in a fixed order. A machine needs no Engine where a bus has workers for all jobs elsewhere."""
    checks = [
        check
        for probe in (_engine, _redis, _key, _deployment, _trivy, _buildx, _extras)
        for check in _safely(probe.__name__, partial(probe, settings))
    ]
    served = any(check.name == "workers" and check.level is Level.OK for check in checks)
    return [
        replace(check, level=Level.WARNING)
        if served and check.name == "engine" and check.level is Level.MISSING
        else check
        for check in checks
    ]


def settings(env: Mapping[str, str]) -> list[Setting]:
    """Every setting with the value that this environment gives it, also where that value is wrong."""
    defaults = Settings.from_env({k: v for k, v in env.items() if not k.startswith("DOCKBUS_")})
    listed: list[Setting] = []
    for name, known in variables().items():
        origin = next((given for given in (name, f"{name}_FILE") if given in env), "default")
        fallback = getattr(getattr(defaults, known.group), known.field)
        value = env[origin] if origin in env else "" if known.secret else _shown(fallback)
        if known.secret and origin == name:
            value = "***"
        if origin == "default" and value != known.default and known.group == "engine":
            origin = "DOCKER_HOST" if known.field == "host" else "DOCKER_CERT_PATH"
        listed.append(
            Setting(
                name=name,
                value=_masked(value),
                origin=origin,
                default=known.default,
                meaning=known.meaning,
            )
        )
    return listed


def _safely(name: str, probe: Callable[[], Iterator[Check]]) -> list[Check]:
    name = name.removeprefix("_").replace("_", " ")
    try:
        with reachable():
            return list(probe())
    except DockbusError as error:
        return [Check(name, Level.MISSING, f"{error.title} {error.detail}".strip(), error.advice)]
    except Exception as error:  # noqa: BLE001  a doctor that dies helps nobody
        return [Check(name, Level.WARNING, f"the check failed: {error!r}", "Please report it.")]


# -- probes --------------------------------------------------------------------------------


def _engine(settings: Settings) -> Iterator[Check]:
    try:
        from dockbus.engine import Engine  # noqa: PLC0415  the docker SDK may not be installed
    except ModuleNotFoundError:
        yield Check(
            "engine",
            Level.WARNING,
            "not looked for: the docker package is not installed",
            "To run workers here: pip install 'dockbus[workers]'",
        )
        return
    engine = Engine(settings.engine.model_copy(update={"timeout": PATIENCE}))
    try:
        info = engine.info()
    finally:
        engine.close()
    found = (
        f"Docker {info.version} (API {info.api_version}, {info.platform}, {info.storage_driver}, "
        f"cgroup v{info.cgroup_version}) at {engine.host}"
    )
    if info.storage_driver == "vfs":
        yield Check("engine", Level.WARNING, found, "vfs copies every layer; use overlay2.")
    else:
        yield Check("engine", Level.OK, found)


def _redis(settings: Settings) -> Iterator[Check]:
    with _client(settings.redis_url) as client:
        try:
            info = client.info()
            ahead = time.time() - deployment.now_of(client).timestamp()
        except redis.RedisError as error:
            advice = (
                "Start it (`dockbus up` brings its own) or set DOCKBUS_REDIS_URL to one that runs."
            )
            found = f"{_masked(settings.redis_url)} does not answer: {error}"
            yield Check("redis", Level.MISSING, found, advice)
            return
    version = str(info["redis_version"])
    found = f"{info.get('server_name', 'redis')} {version} at {_masked(settings.redis_url)}"
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        yield Check("redis", Level.MISSING, found, "Upgrade it to 6.2 or newer.")
    else:
        yield Check("redis", Level.OK, found)
    yield from redis_state(info)
    yield (
        Check("clock", Level.OK, f"{abs(ahead):.1f} s off that of Redis")
        if abs(ahead) <= MOST_SKEW
        else Check(
            "clock",
            Level.WARNING,
            f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of Redis",
            "Delays and heartbeats need clocks that agree; run NTP on both machines.",
        )
    )


def redis_state(info: Mapping[str, Any]) -> Iterator[Check]:
    """How a Redis is set up and how it is, of what it tells of itself (INFO)."""
    if info.get("role") == "slave":
        advice = "DOCKBUS_REDIS_URL must name the primary; a replica takes no changes."
        yield Check("redis role", Level.MISSING, "a replica", advice)
    yield _persistence(info)
    yield _memory(info)
    if replicas := int(info.get("connected_slaves", 0)):
        # It tells of good ones only where it minds how many there are.
        alone = replicas > 1 and "min_slaves_good_slaves" not in info
        advice = (
            "Set `min-replicas-to-write 1`: cut off, it would go on taking jobs, and forget them."
        )
        yield judged("redis replicas", f"{replicas} connected", advice if alone else "")


def _persistence(info: Mapping[str, Any]) -> Check:
    name = "redis persistence"
    for field in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if info.get(field, "ok") != "ok":
            return judged(name, f"{field} is {info[field]}", "See to its disk: its log says more.")
    if info.get("aof_enabled"):
        return judged(name, "append-only file on")
    advice = "A crash loses jobs that were accepted; set `appendonly yes` and `appendfsync always`."
    return judged(name, "append-only file off", advice)


def _memory(info: Mapping[str, Any]) -> Check:
    name, policy = "redis memory", str(info.get("maxmemory_policy"))
    if policy != "noeviction":
        advice = "A full Redis drops jobs; set `maxmemory-policy noeviction`."
        return judged(name, f"maxmemory-policy {policy}", advice)
    used, most = info["used_memory"], info["maxmemory"]
    found = f"{policy}, {show_size(used)}{f' of {show_size(most)}' if most else ''} used"
    if not most or used <= MOST_MEMORY * most:
        return judged(name, found)
    advice = "Full, it takes no more jobs: raise `maxmemory`, or lower DOCKBUS_BUS_RESULT_TTL or DOCKBUS_BUS_EVENTS."
    return judged(name, found, advice)


def _key(settings: Settings) -> Iterator[Check]:
    file = settings.bus.data_dir / "key"
    if not (settings.redis.url or settings.bus.key.get_secret_value() or file.exists()):
        yield Check("key", Level.OK, f"none yet; `dockbus up` makes {file}")
        return
    settings.bus_key()
    given = settings.bus.key.get_secret_value()
    where = "DOCKBUS_BUS_KEY" if given else str(file)
    yield Check("key", Level.OK, f"from {where}")


def _deployment(settings: Settings) -> Iterator[Check]:
    with _client(settings.redis_url) as client:
        try:
            client.ping()
        except redis.RedisError:
            return  # said already
    try:
        bus = Bus(settings)
    except SettingsError:
        return  # likewise
    with bus:
        now = deployment.now_of(bus.redis)
        for probe in deployment.PROBES:
            yield from _safely(probe.__name__, partial(probe, bus, now))


def _trivy(settings: Settings) -> Iterator[Check]:
    name = settings.scan.trivy
    program = programs.find(name)
    try:
        said = subprocess.run(
            [program or name, "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        found = f"{name}: {error}" if program else f"{name} is not installed"
        advice = "For scan jobs: install Trivy, or set DOCKBUS_SCAN_TRIVY to where it is."
        yield Check("trivy", Level.WARNING, found, advice)
        return
    yield Check("trivy", Level.OK, f"{said.partition('Version: ')[2].split()[0]} at {program}")


def _buildx(settings: Settings) -> Iterator[Check]:
    program = programs.find_plugin(settings.build.buildx)
    try:
        said = subprocess.run(
            [program or settings.build.buildx, "version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        # Not a warning: most build jobs do without it.
        without = (
            "not installed; build jobs use the Engine's classic builder, without secrets and caches"
        )
        yield Check("buildx", Level.OK, without)
        return
    yield Check("buildx", Level.OK, f"{' '.join(said.split()[1:2])} at {program}")


def _extras(_: Settings) -> Iterator[Check]:
    found = lacking()
    absent = {extra: packages for extra, packages in found.items() if packages}
    present = ", ".join(sorted(found.keys() - absent.keys())) or "none"
    if absent:
        without = ", ".join(f"{extra} (no {', '.join(names)})" for extra, names in absent.items())
        advice = f"Where this machine needs them: pip install 'dockbus[{','.join(absent)}]'"
        yield Check("extras", Level.WARNING, f"{present}; without {without}", advice)
    else:
        yield Check("extras", Level.OK, present)


# -- helpers -------------------------------------------------------------------------------


def _client(url: str) -> Any:  # noqa: ANN401  redis-py's own annotations are partial
    """A client that gives up at once, unlike that of the bus."""
    return connect(url, patience=0.0)


def _shown(value: Any) -> str:  # noqa: ANN401  a setting may be of any type
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _masked(text: str) -> str:
    """The text without the passwords of a URL in it."""
    return re.sub(r"(?<=password=)[^&\s]*", "***", re.sub(r"(?<=://)[^/@\s]*@", "***@", text))
