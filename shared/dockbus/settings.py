"""Every setting of dockbus: frozen, grouped by concern, read from the environment once.

`Settings.from_env()` is called in a program's `main` and handed on; nothing else in dockbus looks at
the environment. A field `url` in the group `redis` is the variable `DOCKBUS_REDIS_URL`; a secret may
also be given as a file (`DOCKBUS_BUS_KEY_FILE`). A misspelt `DOCKBUS_*` variable is an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from dockbus.errors import SettingsError, near_miss
from dockbus.secret_file import secret_file

PREFIX = "DOCKBUS_"
_FOREIGN = {"DOCKBUS_CI"}  # read by the tests' set-up

PolicyLevel = Literal["privileged", "baseline", "restricted"]
"""How much a policy refuses, the least first."""
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def default_data_dir() -> Path:
    """Where one machine's bus keeps its Redis, key and token: `$XDG_DATA_HOME/dockbus`."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "dockbus"


class _Group(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class RedisSettings(_Group):
    """Where the bus is."""

    url: str = ""
    """Redis to use, such as `redis://:password@host:6379/0`, `unix:///path/redis.sock` or, by Sentinels,
    `redis+sentinel://host:26379,host:26379/name`. Empty: the embedded Redis that `dockbus up` keeps in the data folder."""
    password: SecretStr = SecretStr("")
    """The password of the Redis at `url`, where that has none."""
    outage: float = Field(default=60.0, ge=0)
    """Seconds a worker or the event producer rides out a Redis that does not answer; the command line, the
    HTTP API and `Bus` say so within about a second instead, or seven where it is silent."""


class BusSettings(_Group):
    """What is kept, for how long, and who may put jobs on the bus."""

    data_dir: Path = Field(default_factory=default_data_dir)
    """Folder of the embedded Redis, of the key and of the token: by default `$XDG_DATA_HOME/dockbus`, that is
    `~/.local/share/dockbus`. Made on first use, readable by its owner only."""
    key: SecretStr = SecretStr("")
    """The secret that signs every job; all producers and workers of a bus share it. Empty: the file `key`
    in the data folder, which is made on first use where the embedded Redis is used."""
    previous_key: SecretStr = SecretStr("")
    """The key before this one. Jobs signed with it are still carried out; set it while a new key is brought in."""
    job_ttl: int = Field(default=7 * 24 * 3600, ge=1)
    """Seconds for which an order holds: a job that has not begun by then is refused."""
    result_ttl: int = Field(default=24 * 3600, ge=1)
    """Seconds a job that succeeded or was canceled stays readable."""
    failure_ttl: int = Field(default=7 * 24 * 3600, ge=1)
    """Seconds a job that failed stays readable."""
    log_lines: int = Field(default=10_000, ge=1)
    """Newest log lines kept for each job (about; Redis trims in blocks), as far as they take 64 MiB at most."""
    events: int = Field(default=100_000, ge=1)
    """Newest events kept in the event stream (about; Redis trims in blocks)."""
    events_age: int = Field(default=7 * 24 * 3600, ge=0)
    """Seconds an event is kept in the event stream (about; as far as `events` allows); 0 for no limit. `dockbus watch`
    removes what is older."""
    blob_size: int = Field(default=64 * 1024**2, ge=1024, le=512 * 1024**2)
    """Bytes that one uploaded file, or one file that a job leaves, may have. They are kept in Redis' memory."""


class EngineSettings(_Group):
    """The Docker Engine that this process talks to."""

    name: Name = "local"
    """What this Engine is called on the bus."""
    host: str = ""
    """Address, such as `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2376`. Empty: `DOCKER_HOST`,
    else the default socket."""
    cert_path: str = ""
    """Folder with `ca.pem`, `cert.pem` and `key.pem` for a TLS Engine. Empty: `DOCKER_CERT_PATH` where
    `DOCKER_TLS_VERIFY` is set, else no TLS."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds one call may wait for the Engine's next byte."""


class ApiSettings(_Group):
    """The HTTP API."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback exposes the Engine's power to whoever has the token."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on."""
    token: SecretStr = SecretStr("")
    """Bearer token that every request must carry. Empty: the file `token` in the data folder, made on first use."""


class WorkerSettings(_Group):
    """The worker processes."""

    slots: int = Field(default=4, ge=1, le=256)
    """Jobs that one worker carries out at the same time."""
    drain: float = Field(default=30.0, ge=0)
    """Seconds that running jobs are given to end after SIGTERM, before they go back to their queue."""
    heartbeat: float = Field(default=10.0, ge=3)
    """Seconds without a sign of life after which a running job counts as orphaned."""
    engine_lost: float = Field(default=300.0, ge=5)
    """Seconds without a worker for an Engine's name, which is held for a minute after the last one, before jobs that had
    begun on that Engine begin anew on others. Those whose order names it wait."""


class SecretsSettings(_Group):
    """Secrets that jobs name and workers have, and those with which events are signed."""

    dir: str = ""
    """Folder with one file for each secret, named as the secret, such as `/run/secrets`. Empty: there are none."""


class PolicySettings(_Group):
    """What jobs may ask of the Engine."""

    path: str = ""
    """YAML file with the policy that workers go by, read when they start. Empty: the rules of `level`, no exceptions."""
    level: PolicyLevel = "baseline"
    """`privileged` (nearly everything), `baseline` (what does not reach the machine) or `restricted` (least), where the
    file names none."""


class RegistrySettings(_Group):
    """Registries: credentials, mirrors, patience."""

    path: str = ""
    """YAML file that says which secret opens which registry, and which registry has mirrors. Empty: there is none."""
    docker_config: str = ""
    """Folder of a Docker `config.json`, whose logins and credential helpers are used for what `path` says nothing of.
    Empty: Docker's own, `DOCKER_CONFIG` or `~/.docker`."""
    stall: float = Field(default=120.0, gt=0)
    """Seconds a pull or push may go on without progress before it is given up."""


class BuildSettings(_Group):
    """Builds."""

    root: Path = Path()
    """Folder under which every build context must lie. Default: the folder the worker was started in."""
    builder: Literal["auto", "buildkit", "classic"] = "auto"
    """What builds: `buildkit` (needs the program docker-buildx), the Engine's `classic` builder, or `auto`: BuildKit
    where there is one."""
    buildx: str = "docker-buildx"
    """The program docker-buildx: a path, or a name on PATH or among the plugins of Docker's command line."""
    parallel: int = Field(default=2, ge=1)
    """Builds at the same time on one Engine, whichever workers carry them out."""
    context_size: int = Field(default=1024**3, ge=1024)
    """Bytes that an uploaded context may have when it is unpacked, or that a Git repository may hold."""
    context_files: int = Field(default=100_000, ge=1)
    """Files, folders and links that such a context may have."""
    git_timeout: float = Field(default=300.0, gt=0)
    """Seconds that fetching a Git repository may take."""
    cache_dir: str = ""
    """Folder for build caches that jobs name as `local`. Empty: there are none."""


class ScanSettings(_Group):
    """The vulnerability scanner."""

    trivy: str = "trivy"
    """Trivy's program: a name on PATH or a path."""
    cache_dir: str = ""
    """Folder of Trivy's vulnerability database. Empty: Trivy's own default."""
    offline: bool = False
    """Never fetch the database; scan with the one that is there."""
    db_repository: str = ""
    """Where the database is fetched from, such as `mirror.example:5000/trivy-db:2`. Empty: Trivy's own choice."""
    java_db_repository: str = ""
    """The same for the database that Java archives are looked up in."""
    max_db_age: float = Field(default=0.0, ge=0)
    """Seconds since the database was made after which nothing is scanned with it any more; 0 for no limit."""


class WatchSettings(_Group):
    """The Docker-event producer."""

    rules: str = ""
    """Rule file, or folder of `*.yaml` rule files. Empty: events are published and no rule is run."""
    sinks: str = ""
    """File, or folder of `*.yaml` files, that says which URLs get which events. Empty: none gets any."""


class ScheduleSettings(_Group):
    """The scheduler."""

    path: str = ""
    """Schedule file, or folder of `*.yaml` schedule files, that `dockbus schedule` runs."""


class ScaleSettings(_Group):
    """The autoscaler."""

    path: str = ""
    """YAML file that says which services `dockbus scale` keeps at which size."""
    interval: float = Field(default=5.0, ge=0.1)
    """Seconds between two looks at queues and workers."""


class MetricsSettings(_Group):
    """Metrics for Prometheus."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=9753, ge=0, le=65535)
    """Port that the metrics worker listens on."""
    own_port: int = Field(default=0, ge=0, le=65535)
    """Port on which any other process (`dockbus api`, `watch`, `worker`) serves its own metrics; 0: it does not."""
    token: SecretStr = SecretStr("")
    """Bearer token that a scrape must carry. Empty: none is asked for."""
    cert_path: str = ""
    """Folder with `cert.pem` and `key.pem`, with which metrics are served by TLS, and perhaps with `ca.pem`: then a scrape
    must show a certificate of that authority. Empty: no TLS."""
    labels: tuple[str, ...] = ("com.docker.compose.project", "com.docker.compose.service")
    """Container labels that become metric labels; separate several with commas."""
    series: int = Field(default=100_000, ge=100)
    """Series of containers in one scrape, at most; the newest containers are left out, and counted."""
    cgroup_root: Path = Path("/sys/fs/cgroup")
    """Where the control groups of the Engine's machine are seen, if they are. They are read in place of asking the Engine."""
    proc_root: Path = Path("/proc")
    """Where the processes of the Engine's machine are seen, if they are."""
    interval: float = Field(default=30.0, gt=0)
    """Seconds between two looks at all containers for those that are over a limit."""
    cpu_over: float = Field(default=0.0, ge=0)
    """Percent of one core, above which a container is over its limit; 0 for no limit. Its label
    `dockbus.limit.cpu` goes before."""
    memory_over: float = Field(default=0.0, ge=0, le=100)
    """Percent of the memory it may use, above which a container is over its limit; 0 for no limit. Its label
    `dockbus.limit.memory` goes before."""
    over_for: float = Field(default=60.0, ge=0)
    """Seconds that it must be over it without a break before that is told."""

    @field_validator("labels", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )


class LogSettings(_Group):
    """What programs that go on running say of themselves, on standard error."""

    format: Literal["human", "json"] = "human"
    """`human`: lines to be read; `json`: one object a line, for programs."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is less than this is not said."""


class Settings(_Group):
    """All settings of one process."""

    redis: RedisSettings = RedisSettings()
    bus: BusSettings = Field(default_factory=BusSettings)
    engine: EngineSettings = EngineSettings()
    api: ApiSettings = ApiSettings()
    worker: WorkerSettings = WorkerSettings()
    secrets: SecretsSettings = SecretsSettings()
    policy: PolicySettings = PolicySettings()
    registry: RegistrySettings = RegistrySettings()
    build: BuildSettings = BuildSettings()
    scan: ScanSettings = ScanSettings()
    watch: WatchSettings = WatchSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    scale: ScaleSettings = ScaleSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Read the environment (or the mapping given).

        Raises:
            SettingsError: a value is out of bounds or a `DOCKBUS_*` variable is unknown; all of them are named.
        """
        env = os.environ if env is None else env
        known = variables()
        values: dict[str, dict[str, str]] = {}
        wrong: list[str] = []
        for name, text in env.items():
            if not name.startswith(PREFIX) or name in _FOREIGN:
                continue
            field, is_file = (name, False) if name in known else (name.removesuffix("_FILE"), True)
            if field not in known or (is_file and not known[field].secret):
                wrong.append(f"{name} is not a setting{near_miss(name, list(known))}")
                continue
            try:
                value = Path(text).read_text().strip() if is_file else text
            except (OSError, UnicodeDecodeError) as error:
                wrong.append(f"{name}: {error}")
                continue
            values.setdefault(known[field].group, {})[known[field].field] = value
        engine = values.setdefault("engine", {})
        engine["host"] = engine.get("host") or env.get("DOCKER_HOST", "")
        if env.get("DOCKER_TLS_VERIFY"):
            engine["cert_path"] = engine.get("cert_path") or env.get("DOCKER_CERT_PATH", "")
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            wrong += [
                f"{PREFIX}{'_'.join(str(p) for p in e['loc'][:2]).upper()}: {e['msg']}"
                for e in error.errors()
            ]
            raise SettingsError("; ".join(wrong)) from None
        if wrong:
            raise SettingsError("; ".join(wrong))
        return settings

    @property
    def redis_url(self) -> str:
        """The URL given, with the password in it, else the embedded Redis' socket in the data folder."""
        if not self.redis.url:
            return f"unix://{self.bus.data_dir / 'redis.sock'}"
        password = self.redis.password.get_secret_value()
        parts = urlsplit(self.redis.url)
        if not password or parts.password:
            return self.redis.url
        user, _, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()

    def bus_key(self) -> bytes:
        """The key that signs jobs.

        Raises:
            SettingsError: none is given, and this bus is not the embedded one of the data folder.
        """
        if given := self.bus.key.get_secret_value():
            return given.encode()
        file = self.bus.data_dir / "key"
        if self.redis.url and not file.exists():
            raise SettingsError(
                "DOCKBUS_REDIS_URL is set but DOCKBUS_BUS_KEY is not. "
                "Make a key with `openssl rand -hex 32` and give it to every producer and worker of this bus"
            )
        return secret_file(file).encode()

    def bus_keys(self) -> list[bytes]:
        """The keys whose signatures hold, the one to sign with first.

        Raises:
            SettingsError: as `bus_key`.
        """
        previous = self.bus.previous_key.get_secret_value()
        return [self.bus_key(), *([previous.encode()] if previous else [])]

    def api_token(self) -> str:
        """The bearer token of the HTTP API; made in the data folder where none is given."""
        return self.api.token.get_secret_value() or secret_file(self.bus.data_dir / "token")


class Variable(BaseModel):
    """One environment variable, as the reference documentation lists it."""

    model_config = ConfigDict(frozen=True)
    name: str
    group: str
    field: str
    secret: bool
    default: str
    meaning: str


def variables() -> dict[str, Variable]:
    """Every setting's environment variable, by name, in the order of the groups."""
    found: dict[str, Variable] = {}
    for group, outer in Settings.model_fields.items():
        model = cast("type[BaseModel]", outer.annotation)
        for field, info in model.model_fields.items():
            name = f"{PREFIX}{group}_{field}".upper()
            secret = info.annotation is SecretStr or SecretStr in get_args(info.annotation)
            default = "" if secret or info.default_factory else _shown(info.default)
            meaning = " ".join((info.description or "").split())
            found[name] = Variable(
                name=name, group=group, field=field, secret=secret, default=default, meaning=meaning
            )
    return found


def _shown(value: Any) -> str:  # noqa: ANN401  a default may be anything
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
