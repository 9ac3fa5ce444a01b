"""The door to one Docker Engine: connects on first use, negotiates the API version, translates errors.

`Engine` is cheap to make and safe to share between the threads of a process; it must not be carried
across a fork. The host is always explicit: what the Docker CLI's context says is never followed.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPResponse
from pathlib import Path
from typing import IO, Any, TypeVar, cast
from urllib.parse import quote, urlencode

import docker
import docker.constants
import docker.tls
import docker.transport
import requests.adapters
from docker.transport import unixconn

from dockbus.engine.asking import Asker
from dockbus.engine.builds import Builds
from dockbus.engine.connections import Connections
from dockbus.engine.containers import Containers
from dockbus.engine.disk import Disk
from dockbus.engine.errors import (
    EngineError,
    EngineFault,
    EngineForbidden,
    EngineRejected,
    EngineUnavailable,
    translated,
)
from dockbus.engine.execs import Execs
from dockbus.engine.images import Images
from dockbus.engine.networks import Networks
from dockbus.engine.services import Services
from dockbus.engine.streams import Stream, read_arrivals, read_objects
from dockbus.engine.views import EngineEvent, EngineInfo, Raw, parse_guards
from dockbus.engine.volumes import Volumes
from dockbus.settings import EngineSettings

T = TypeVar("T")
Params = Mapping[str, str | int | Sequence[str]]
"""Of a request, by name."""
DEFAULT_HOST = "unix:///var/run/docker.sock"
CONNECT = 10.0
"""Seconds that the connection for a stream may take to be there."""
OLDEST_API = (1, 41)
"""Engine 20.10."""
ANY_NETWORK = "none"
"""A network that every Engine has and nobody can remove."""


@dataclass(frozen=True)
class _Known:
    """An Engine that has answered."""

    network: str
    """ID of its `ANY_NETWORK`. For a name, a Swarm without a quorum would be asked first."""
    engine: str
    """Its own ID."""


class Engine:
    """One Docker Engine. `images`, `containers`, … hold its verbs; all share one pool of connections."""

    def __init__(self, settings: EngineSettings, *, pool: int = 64) -> None:
        self.name = settings.name
        self.host = settings.host or DEFAULT_HOST
        self._settings = settings
        self._pool = pool
        self._lock = threading.Lock()
        self._api: Any = None
        self._known: _Known | None = None
        self._connections = Connections(self.host, settings.cert_path)
        self.asker = Asker(self._connections, settings.timeout)
        self.images = Images(self)
        self.containers = Containers(self)
        self.execs = Execs(self)
        self.builds = Builds(self)
        self.networks = Networks(self)
        self.volumes = Volumes(self)
        self.services = Services(self)
        self.disk = Disk(self)

    @property
    def api(self) -> Any:  # noqa: ANN401  the SDK's client is untyped in all that matters here
        """The SDK's low-level client, connected.

        Raises:
            EngineUnavailable: the Engine does not answer, or is older than 20.10.
        """
        with self._lock:
            if self._api is None:
                self._api = self._connect()
            return self._api

    def _connect(self) -> Any:  # noqa: ANN401
        if self.host.startswith("unix://"):
            _knock(self.host.removeprefix("unix://"))
        try:
            with translated():
                probe = self._client("{}.{}".format(*OLDEST_API))
                served = _version(probe.version(api_version=False)["ApiVersion"])
                probe.close()
        except EngineUnavailable as error:
            raise EngineUnavailable(f"{self.host}: {error.detail}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"{self.host}: that is no Docker Engine") from error
        if served < OLDEST_API:
            raise EngineUnavailable(
                f"{self.host} is older than Docker 20.10, the oldest that dockbus speaks to"
            )
        newest = _version(docker.constants.DEFAULT_DOCKER_API_VERSION)
        return self._client("{}.{}".format(*min(served, newest)))

    def _client(self, version: str) -> Any:  # noqa: ANN401
        tls: Any = False
        if folder := self._settings.cert_path:
            certs = Path(folder)
            tls = docker.tls.TLSConfig(
                client_cert=(str(certs / "cert.pem"), str(certs / "key.pem")),
                ca_cert=str(certs / "ca.pem"),
                verify=True,
            )
        client: Any = docker.APIClient(
            base_url=self.host,
            version=version,
            tls=tls,
            timeout=self._settings.timeout,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            max_pool_size=self._pool,
        )
        if self.host.startswith("unix://"):
            socket_url = self.host.replace("unix://", "http+unix://")
            client.mount("http+docker://", _OneSocket(socket_url, max_pool_size=self._pool))
        else:  # the SDK keeps ten connections here, whatever it is told
            for scheme in ("http://", "https://"):
                client.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=self._pool))
        # Otherwise REQUESTS_CA_BUNDLE would win over the Engine's own ca.pem, and a web proxy over its address.
        client.trust_env = False
        return client

    def close(self) -> None:
        """Let go of the connections; the next call connects again."""
        self.asker.close()
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    def check(self, patience: float) -> str:
        """The ID of the Engine that answers now, as far as a question tells one that is able to start containers.

        The question is about a network that every Engine has: one of 20.10 whose networks have locked each other up
        (moby/moby#46661) answers a ping for ever after, and starts nothing.

        Args:
            patience: seconds that the answer may take.

        Raises:
            EngineError: it cannot, or has not said so in time.
        """
        known, self._known = self._known, None
        path = self._target(f"/networks/{known.network if known else ANY_NETWORK}", {})
        ((_, said),) = self.asker.ask({ANY_NETWORK: path}, timeout=patience)
        if isinstance(said, EngineRejected) and known:  # it is not there: another Engine answers
            return self.check(patience)
        if isinstance(said, EngineRejected | EngineUnavailable):
            self.close()  # it may come back as another version
        if isinstance(said, EngineError):
            raise said
        if known is None:
            self.__dict__.pop("guards", None)
        self._known = known or _Known(network=_id_in(said), engine=self.id)
        return self._known.engine

    def info(self) -> EngineInfo:
        """Who answers: ID, versions, drivers.

        Raises:
            EngineUnavailable: nobody does.
        """
        with translated():
            return EngineInfo.parse(self.api.info(), self.api.version())

    @property
    def id(self) -> str:
        """The Engine's own ID."""
        return self.info().id

    @cached_property
    def guards(self) -> frozenset[str]:
        """What this Engine can enforce, such as `apparmor`, `selinux`, `swap` and `pids`; asked for once, and after `check` has missed it."""
        with translated():
            return parse_guards(self.api.info())

    def events(
        self, *, since: str = "", until: str = "", idle: float = 300.0
    ) -> Stream[EngineEvent]:
        """Events as they happen, after those since `since` ("seconds.nanoseconds") that the Engine remembers.

        With `until`, only those up to that time.

        Raises:
            EngineTimeout: while iterating, when nothing came for `idle` seconds; a silent connection may be a dead one.
            EngineError: the stream broke, or could not be opened.
        """
        params = {name: time for name, time in (("since", since), ("until", until)) if time}
        return self.open("GET", "/events", _read_events, params=params, idle=idle)

    def arrivals(self, *, since: str, idle: float) -> Stream[bytes]:
        """The same as bytes, for `Lines`: who must not keep the Engine waiting makes events of them when there is time.

        Raises:
            EngineTimeout: while iterating, when nothing came for `idle` seconds.
            EngineError: the stream broke, or could not be opened.
        """
        return self.open("GET", "/events", read_arrivals, params={"since": since}, idle=idle)

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Raw | None = None,
    ) -> Raw:
        """What the Engine answers to a question that every job asks; nothing where it has nothing to say. Spares the SDK's way.

        Raises:
            EngineError: there is no answer, or it is a refusal.
        """
        sent = None if body is None else json.dumps(body).encode()
        said = self.asker.call(method, self._target(path, params or {}), sent)
        try:
            raw: Raw = json.loads(said) if said else {}
        except ValueError:
            raise EngineFault("its answer is no JSON") from None
        return raw

    def open(
        self,
        method: str,
        path: str,
        read: Callable[[HTTPResponse], Iterator[T]],
        *,
        params: Params,
        idle: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
    ) -> Stream[T]:
        """Start a request whose answer comes bit by bit; `idle` bounds the wait for each bit, in seconds.

        Raises:
            EngineError: the Engine refused it.
        """
        target = self._target(path, params)
        connection = self._connections.connect(CONNECT)
        try:
            with translated():
                connection.sock.settimeout(idle)
                connection.request(method, target, body, headers or {})
                return Stream(connection, read)
        except BaseException:
            connection.close()
            raise

    def _target(self, path: str, params: Params) -> str:
        query = f"?{urlencode(params, doseq=True)}" if params else ""
        return f"/v{self.api.api_version}{quote(path, safe='/:')}{query}"


class _OneSocket(docker.transport.UnixHTTPAdapter):
    """Keeps connections to use them again. The SDK's own adapter does so for each URL apart, which here is for each container."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:  # noqa: ANN401, ARG002  the SDK's own signature
        pools = cast("Any", self.pools)  # pyright: ignore[reportUnknownMemberType]
        with pools.lock:
            if not (pool := pools.get("")):
                pools[""] = pool = _Pool(
                    str(url), self.socket_path, self.timeout, self.max_pool_size
                )
            return pool


class _Pool(unixconn.UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:  # noqa: ANN401  the SDK's connection is not quite what urllib3 types say
        timeout: Any = self.timeout
        return _Connection(self.base_url, self.socket_path, timeout)


class _Connection(unixconn.UnixHTTPConnection):
    """Leaves no socket open where nobody listens, as the SDK's own does."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.unix_socket)
        except OSError:
            self.close()
            raise


def _read_events(response: HTTPResponse) -> Iterator[EngineEvent]:
    return (EngineEvent.parse(raw) for raw in read_objects(response))


def _knock(path: str) -> None:
    """Ask first whether anybody listens there, to say in plain words why nobody does."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(10)
            probe.connect(path)
    except OSError as error:
        why = "no such socket" if isinstance(error, FileNotFoundError) else error.strerror or error
        kind = EngineForbidden if isinstance(error, PermissionError) else EngineUnavailable
        raise kind(f"unix://{path}: {why}") from error


def _id_in(said: bytes) -> str:
    try:
        return str(json.loads(said)["Id"])
    except (ValueError, KeyError, TypeError):
        raise EngineFault("its answer is no network") from None


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
