"""One attempt to deliver one event: a POST, and what its answer means.

No redirect is followed, no proxy of the environment is used, no more of an answer is read than is worth telling. A
connection serves one attempt: simple, and slower than keeping it by what a TLS handshake takes.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from dockbus import __version__
from dockbus.errors import DockbusError
from dockbus.events import Event
from dockbus.secrets import read_secret
from dockbus_producer.sinks.signature import key_of, message_id, sign
from dockbus_producer.sinks.sink import Sink

MEDIA_TYPE = "application/cloudevents+json"
TOLD = 200
"""Bytes of a refusal's body that are told."""
LONGEST_WAIT = 24 * 3600.0
"""Seconds that a `Retry-After` is obeyed for at most."""


class Meaning(StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Another attempt may help."""
    REFUSED = "refused"
    """None will."""
    GONE = "gone"
    """The receiver wants nothing more."""


@dataclass(frozen=True)
class Answer:
    """What an attempt came to, and why."""

    meaning: Meaning
    cause: str = ""
    wait: float = 0.0
    """Seconds that the receiver asks to be left alone."""


def judge(status: int, body: bytes = b"", retry_after: str = "") -> Answer:
    """What a response means."""
    said = _line(body.decode(errors="replace"))
    cause = f"HTTP {status}{f': {said}' if said else ''}"
    if 200 <= status < 300:
        return Answer(Meaning.DELIVERED, cause)
    if status == 410:
        return Answer(Meaning.GONE, cause)
    if 400 <= status < 500 and status not in (408, 429):
        return Answer(Meaning.REFUSED, cause)
    if 300 <= status < 400:
        cause = f"HTTP {status}: redirects are not followed"
    return Answer(Meaning.FAILED, cause, _wait(retry_after))


def _line(text: str) -> str:
    """The beginning of a text from outside, fit for a log."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())[:TOLD]


def _wait(text: str) -> float:
    """Seconds in a `Retry-After`: a number of them, or a date."""
    try:
        wait = (
            float(text)
            if text.isdecimal()
            else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError, OverflowError):  # none, or no time zone, or beyond all dates
        return 0.0
    return min(max(wait, 0.0), LONGEST_WAIT)


def deliver(sink: Sink, event: Event, secrets: str) -> Answer:
    """Try once; `secrets` is the folder of the secrets. Whatever goes wrong is an answer; nothing is raised."""
    try:
        body = event.model_dump_json().encode()
        message, timestamp = message_id(event), int(time.time())
        headers = {
            "user-agent": f"dockbus/{__version__}",
            **{name.lower(): value for name, value in sink.headers.items()},
            "content-type": MEDIA_TYPE,
            "connection": "close",
            "webhook-id": message,
            "webhook-timestamp": str(timestamp),
        }
        if sink.secret:
            key = key_of(sink.secret, read_secret(secrets, sink.secret))
            headers |= sign(key, message, timestamp, body)
        return _post(sink, headers, body)
    except DockbusError as error:  # the secret; the next attempt may find it
        return Answer(Meaning.FAILED, f"not sent: secret {error.detail}")
    except Exception as error:  # noqa: BLE001  who answers, or names a host, is not ours
        return Answer(Meaning.FAILED, f"{type(error).__name__}: {_line(str(error))}")


def _post(sink: Sink, headers: Mapping[str, str], body: bytes) -> Answer:
    url = sink.parts
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection = (
        http.client.HTTPSConnection(
            str(url.hostname), url.port, timeout=sink.timeout, context=ssl.create_default_context()
        )
        if url.scheme == "https"
        else http.client.HTTPConnection(str(url.hostname), url.port, timeout=sink.timeout)
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(OSError):
            if connection.sock:
                connection.sock.shutdown(socket.SHUT_RDWR)

    # A socket's own timeout begins anew with every byte that comes.
    watchdog = threading.Timer(sink.timeout, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", target, body, dict(headers))
        response = connection.getresponse()
        said = b"" if response.status < 300 else response.read(TOLD)
        return judge(response.status, said, response.getheader("Retry-After", ""))
    except (OSError, http.client.HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            return Answer(Meaning.FAILED, f"no answer within {sink.timeout:g} s")
        return Answer(Meaning.FAILED, _line(str(error)) or type(error).__name__)
    finally:
        watchdog.cancel()
        connection.close()
