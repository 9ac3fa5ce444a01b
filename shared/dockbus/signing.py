"""The job class that RQ works with: JSON only, an allow-list of handlers, and a signature over what will run.

RQ imports any dotted path it finds in a job, unpickles where it is let, and calls webhooks and
callbacks by name. Whoever can write to Redis must not gain by that, so here a name is only ever looked up,
never imported, and a job that this bus did not sign is disarmed: it still loads, since a job that
cannot be loaded would stop every worker that pops it, but performing it raises `JobRefused`.
"""

# RQ's own annotations are partial, and its job is subclassed here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from redis import Redis
from redis.exceptions import ResponseError
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from dockbus.errors import JobRefused

MAX_BYTES = 1024 * 1024
"""Most bytes a job's data may unpack to."""

Handler = Callable[..., dict[str, Any]]

_FORBIDDEN = (
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "webhooks",
    "rate_limit_key",
    "repeats_left",
    "group_id",
    "meta",
)
"""Fields of RQ's that dockbus never writes; a job that has one was not made here."""


class SignedJob(Job):
    """An RQ job that runs only what this bus has signed. Use `signed_jobs` to make the class for one key."""

    key_bytes: ClassVar[bytes] = b""
    handlers: ClassVar[Mapping[str, Handler]] = {}

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  RQ's name for it
        connection: Redis | None = None,
        serializer: object = None,  # noqa: ARG002  no caller can bring pickle back by naming it, or none
    ) -> None:
        super().__init__(id, connection, JSONSerializer)
        self.refused = ""
        """Why this job must not run; empty for an honest one."""
        self.extra: dict[str, str] = {}
        """The fields of the record that RQ does not know: `attempts`, `error` and `lost`."""
        self._signature = ""

    # -- writing ---------------------------------------------------------------------------

    def to_dict(self, include_meta: bool = True, include_result: bool = True) -> dict[str, Any]:
        """RQ's fields and the signature, made when the job is first saved."""
        fields = super().to_dict(include_meta, include_result)
        if not self._signature and not self.refused:
            self._signature = self._sign(self.data, self.origin, str(self.timeout))
        return fields | {"sig": self._signature}

    def _sign(self, data: bytes, origin: str, timeout: str) -> str:
        text = json.dumps([self.id, data.decode(), origin, timeout], separators=(",", ":"))
        return hmac.new(self.key_bytes, text.encode(), hashlib.sha256).hexdigest()

    # -- reading ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """Load the record from Redis.

        Raises:
            NoSuchJobError: there is none.
        """
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ResponseError as error:  # something else has its key
            raise NoSuchJobError(f"no such job: {self.id}") from error

    def restore(self, raw_data: Mapping[bytes | str, bytes]) -> None:
        """Load a record from Redis; whatever is wrong with it disarms the job and is told when it is performed.

        Raises:
            NoSuchJobError: the record is the stump of a job that has been deleted.
        """
        raw = {
            key.decode() if isinstance(key, bytes) else key: value
            for key, value in raw_data.items()
        }
        if "data" not in raw:
            raise NoSuchJobError(f"no such job: {self.id}")
        try:
            self._verify(raw)
            super().restore({key.encode(): value for key, value in raw.items()})
            self.extra = {
                key: raw[key].decode() for key in ("attempts", "error", "lost") if key in raw
            }
        except Exception as error:  # noqa: BLE001  a forged record may break the reading of it anywhere
            self._disarm(str(error) or type(error).__name__, raw)

    def _verify(self, raw: Mapping[str, bytes]) -> None:
        planted = [name for name in _FORBIDDEN if raw.get(name)]
        if planted:
            raise ValueError(f"it carries {', '.join(planted)}, which dockbus never sets")
        unpack = zlib.decompressobj()
        data = unpack.decompress(raw["data"], MAX_BYTES)
        if unpack.unconsumed_tail:
            raise ValueError(f"its data is larger than {MAX_BYTES} bytes")
        signature = raw.get("sig", b"").decode()
        origin, timeout = raw.get("origin", b"").decode(), raw.get("timeout", b"").decode()
        if not hmac.compare_digest(self._sign(data, origin, timeout), signature):
            raise ValueError("its signature does not match" if signature else "it is not signed")
        self._signature = signature

    def _disarm(self, reason: str, raw: Mapping[str, bytes]) -> None:
        Job.__init__(self, self.id, self.connection, JSONSerializer)
        self.refused = reason
        self.origin = raw.get("origin", b"").decode("utf-8", "replace")
        self.description = "refused job"
        self.data = b'["refused",null,[],{}]'
        self.log.error("Job %s refused: %s", self.id, reason)

    # -- running ---------------------------------------------------------------------------

    @property
    def func(self) -> Handler:
        """The handler of this job's kind; nothing is ever imported by name.

        Raises:
            JobRefused: the job is not honest, or of no kind that this worker knows.
        """
        if self.refused:
            raise JobRefused(self.refused)
        handler = self.handlers.get(str(self.func_name))
        if handler is None or self.instance is not None:
            raise JobRefused(f"no handler for {self.func_name!r}")
        return handler

    # RQ resolves these by importing; a job of ours never has any.

    @property
    def success_callback(self) -> None:
        """None."""

    @property
    def failure_callback(self) -> None:
        """None."""

    @property
    def stopped_callback(self) -> None:
        """None."""


def signed_jobs(key: bytes, handlers: Mapping[str, Handler] | None = None) -> type[SignedJob]:
    """The job class of the bus with this key; `handlers` are what its workers may run, by kind."""
    return type("SignedJob", (SignedJob,), {"key_bytes": key, "handlers": handlers or {}})
