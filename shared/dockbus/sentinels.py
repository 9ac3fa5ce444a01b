"""Redis behind Sentinels: every connection goes to the one that they name as the primary when it is made.

redis-py has connections for that, too. But they ask only when they are taken from the pool: while a call is tried again, they go
back to where the primary was, for as long as anybody is patient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url  # pyright: ignore[reportUnknownVariableType]
from redis.exceptions import ConnectionError, ResponseError, TimeoutError  # noqa: A004
from redis.retry import Retry

SCHEMES = ("redis+sentinel", "rediss+sentinel")
PORT = 26379
FORM = "redis+sentinel://HOST:26379,HOST:26379/NAME"
_WAIT = 1.0
"""Seconds that one Sentinel has for its answer before the next one is asked."""


def primary(url: str, **options: Any) -> redis.Redis:  # noqa: ANN401  redis-py's own
    """A client of the primary that Sentinels know by a name; nothing is sent yet.

    Args:
        url: `redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,…]/NAME[/DB][?…]`, or `rediss+sentinel://…`: by TLS, to Sentinels
            and Redis. User and password are those of Redis; `sentinel_username` and `sentinel_password` those of Sentinels.
        options: more for the connections to Redis, as redis-py knows them.

    Raises:
        ValueError: the URL is malformed.
    """
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    name, _, db = parts.path.strip("/").partition("/")
    addresses = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not name or not all(address.hostname for address in addresses):
        raise ValueError(f"Sentinels, and the name that they know the primary by: {FORM}")
    scheme = parts.scheme.removesuffix("+sentinel")
    plain = parts._replace(scheme=scheme, netloc=f"{user}{at}localhost", path=f"/{db}")
    known: dict[str, Any] = parse_url(plain.geturl())  # type: ignore[no-untyped-call]
    for key in ("host", "connection_class"):
        known.pop(key, None)
    theirs = {key: known.pop(f"sentinel_{key}", None) for key in ("username", "password")}
    tls = {key: value for key, value in known.items() if key.startswith("ssl_")}
    asked = [
        redis.Redis(
            host=address.hostname or "",
            port=address.port or PORT,
            ssl=scheme == "rediss",
            socket_timeout=_WAIT,
            socket_connect_timeout=_WAIT,
            retry=Retry(NoBackoff(), 0),
            **theirs,
            **tls,
        )
        for address in addresses
    ]
    pool = redis.ConnectionPool(
        connection_class=_ByTls if scheme == "rediss" else _ToPrimary,
        find=Sentinels(name, asked),
        **known | options,
    )
    return redis.Redis.from_pool(pool)


class _ToPrimary(Connection):
    """A connection that asks where to, whenever it is opened."""

    def __init__(self, *, find: Callable[[], tuple[str, int]], **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._find = find

    def _connect(self) -> Any:  # noqa: ANN401
        self.host, self.port = self._find()
        return super()._connect()  # type: ignore[no-untyped-call]


class _ByTls(_ToPrimary, SSLConnection):
    pass


class Sentinels:
    """Where the primary of a name is, asked by any thread."""

    def __init__(self, name: str, clients: Sequence[redis.Redis]) -> None:
        self.name = name
        self.clients = tuple(clients)
        """In the order in which they are asked."""

    def __call__(self) -> tuple[str, int]:
        """Its host and port; the Sentinel that says so is asked first from then on.

        Raises:
            ConnectionError: none of them knows of one that is up.
        """
        told: list[str] = []
        for client in self.clients:
            at: Any = client.get_connection_kwargs()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            try:
                known: Any = client.sentinel_masters()
            except (ConnectionError, TimeoutError, ResponseError) as error:
                told.append(f"{at['host']}:{at['port']}: {error}")
                continue
            state = known.get(self.name)
            if state and not (state["is_sdown"] or state["is_odown"]):
                self.clients = (client, *(each for each in self.clients if each is not client))
                return str(state["ip"]), int(state["port"])
            told.append(
                f"{at['host']}:{at['port']}: {'it is down' if state else 'there is no such name'}"
            )
        raise ConnectionError(f"Sentinels name no primary {self.name!r}: {'; '.join(told)}")
