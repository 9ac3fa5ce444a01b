"""Sinks: which URL gets which events, read from YAML into frozen models. Pure: no Redis, no network.

    sinks:
      - name: on-call
        url: https://alerts.example/hooks/dockbus
        types: [io.dockbus.docker.container.oom, io.dockbus.job.dead]
        secret: on-call

Whoever writes this file decides where this machine sends requests, also inside its own network.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dockbus.errors import DockbusError
from dockbus.event_reader import EventFilter
from dockbus.events import Event
from dockbus.expressions import Expression
from dockbus.retries import RetryPolicy
from dockbus.settings import NAME_PATTERN
from dockbus.strict_yaml import Model
from dockbus.units import Seconds
from dockbus_producer.yaml_files import Form

OWN = "io.dockbus.sink."
"""Types of the events that sinks themselves cause."""
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("connection", "content-length", "content-type", "host", "transfer-encoding")


class SinkError(DockbusError):
    """A file of sinks is wrong, so no sink of it is in force.

    Correct the named lines; `dockbus sinks list` reads the files of DOCKBUS_WATCH_SINKS and changes nothing.
    """


def _several(value: object) -> object:
    return cast("object", value) if isinstance(value, list) else [value]


def _check_url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL: {error}") from None
    if url.scheme not in ("https", "http") or not url.hostname or port == 0:
        raise ValueError(f"{text!r} is not a URL that begins with https:// or http:// and a host")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} has characters that a URL cannot have; encode them as %XX")
    if url.username is not None or url.password is not None:
        raise ValueError("a URL with a password in it; send it as a header or sign with a secret")
    if url.fragment:
        raise ValueError(f"{text!r} has a fragment (#), which is never sent")
    return text


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise ValueError(f"{name}: dockbus sets this header itself")
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"{name}: its value has characters that a header cannot have")
    return headers


def _check_condition(text: str) -> str:
    _compiled(text)
    return text


@lru_cache(maxsize=1000)
def _compiled(text: str) -> Expression:
    return Expression.parse(text, {"event": None, "now": None})


class SinkRetry(RetryPolicy):
    """How often a delivery is tried again: by default 16 times, over some four hours."""

    max: int = Field(default=16, ge=0, le=100)
    """Further attempts after the first."""
    base: Seconds = Field(default=5.0, ge=0, le=3600)
    """Longest pause before the first of them."""
    cap: Seconds = Field(default=3600.0, ge=0, le=24 * 3600)
    """Longest pause of all."""


class Sink(Model):
    """A URL and the events that are sent to it."""

    name: str = Field(pattern=NAME_PATTERN)
    """Unique among all sinks. What has been sent is remembered by it."""
    url: Annotated[str, AfterValidator(_check_url)]
    """Where to POST; `http://` only for addresses of this machine and of private networks."""
    insecure: bool = False
    """Allow `http://` for any host: everybody on the way can read and change what is sent."""
    types: Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]
    """Types of event, such as `io.dockbus.job.dead`; `*` stands for anything."""
    sources: Annotated[list[str], BeforeValidator(_several)] = []
    """Sources, such as `/engines/edge`; none given: any."""
    subjects: Annotated[list[str], BeforeValidator(_several)] = []
    """Subjects, such as a container's ID; none given: any."""
    when: Annotated[str, AfterValidator(_check_condition)] | None = None
    """A condition over `event` (as JSON) and `now` that must hold, such as `event.data.exitCode > 0`."""
    secret: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")] | None = None
    """Name of the secret to sign with; none: requests are not signed."""
    headers: Annotated[dict[str, str], AfterValidator(_check_headers)] = {}
    """Sent along as they stand."""
    timeout: Seconds = Field(default=10.0, gt=0, le=120)
    """Longest one attempt may take."""
    retry: SinkRetry = SinkRetry()

    @property
    def parts(self) -> SplitResult:
        """The URL in its parts."""
        return urlsplit(self.url)

    def match(self, event: Event) -> bool:
        """Whether the event is for this sink. It never hears of its own failures."""
        if event.type.startswith(OWN) and event.subject == self.name:
            return False
        if not EventFilter(self.types, self.sources, self.subjects).match(event):
            return False
        if self.when is None:
            return True
        variables = {"event": event.model_dump(mode="json"), "now": datetime.now(UTC)}
        return _compiled(self.when).holds(variables)

    @model_validator(mode="after")
    def _check_transport(self) -> Sink:
        if self.parts.scheme == "https" and self.insecure:
            raise ValueError("insecure: it is for http:// only; certificates are always checked")
        if self.parts.scheme == "http" and not (self.insecure or _is_near(self.parts)):
            raise ValueError(
                "url: http:// to an address that is neither of this machine nor private; "
                "write https://, or `insecure: true` if you mean it"
            )
        return self


def _is_near(url: SplitResult) -> bool:
    host = str(url.hostname)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return False


class _File(Model):
    sinks: list[Sink]


_FORM: Form[Sink] = Form(_File, SinkError)


def load(path: Path) -> list[Sink]:
    """The sinks of a file, or of all `*.yaml` files of a folder.

    Raises:
        SinkError: a file is wrong; every mistake is named with its line.
    """
    return _FORM.load(path)
