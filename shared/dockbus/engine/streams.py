"""Reading the Engine's endless answers: JSON objects and multiplexed container output.

The SDK's own readers take a dead connection for the end of the stream and have no time limit; here a
broken stream raises, an idle one raises after `idle` seconds, and any thread may close it.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from itertools import chain
from typing import Generic, TypeVar

from dockbus.engine.connections import BLOCK
from dockbus.engine.errors import classify, refusal, translated
from dockbus.engine.views import LogChunk, Raw

T = TypeVar("T")
LONGEST_LINE = 64 * 1024
"""Bytes after which a line is cut, so that a program which never ends its line fills no memory."""
_HEADER = struct.Struct(">BxxxL")


class Stream(Generic[T]):
    """An answer that is still coming. Iterate it in one thread; `close()` from any other ends that loop."""

    def __init__(
        self, connection: HTTPConnection, read: Callable[[HTTPResponse], Iterator[T]]
    ) -> None:
        """Begin with a connection over which the Engine has been asked, and that is for this alone.

        Raises:
            EngineError: it refuses.
        """
        self._connection = connection
        self._socket = connection.sock
        self._read = read
        self._closed = False
        self._thread: int | None = None
        """The one that iterates."""
        self._response = connection.getresponse()
        if self._response.status >= HTTPStatus.BAD_REQUEST:
            raise refusal(self._response.status, self._response.read())

    @property
    def chunked(self) -> bool:
        """Whether the answer comes in chunks, each with its size before it."""
        return bool(self._response.chunked)

    def __iter__(self) -> Iterator[T]:
        self._thread = threading.get_ident()
        try:
            with translated():
                yield from self._read(self._response)
        except Exception:
            if (
                not self._closed
            ):  # an error is how a reader learns that another thread has closed it
                raise
        finally:
            self.close()

    def close(self) -> None:
        """End the stream; a thread that waits for its next item stops at once."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        # Where another thread iterates, it is woken by that and lets go itself.
        if self._thread in (None, threading.get_ident()):
            self._response.close()
            self._connection.close()


def read_objects(response: HTTPResponse) -> Iterator[Raw]:
    """The JSON objects of a progress stream or of `/events`, as they come.

    Raises:
        EngineError: an object reports an error; the Engine has already answered 200 by then.
    """
    decoder = json.JSONDecoder()
    characters = codecs.getincrementaldecoder("utf-8")(
        "replace"
    )  # one may be cut by the end of a chunk
    pieces: list[str] = []
    size = 0
    for chunk in chain(_chunks(response), (b"\n",)):
        pieces.append(characters.decode(chunk))
        size += len(chunk)
        if size > LONGEST_LINE and "\n" not in pieces[-1]:
            continue  # one as large as that is looked at when it may be whole: at the end of its line
        text = "".join(pieces).lstrip()
        while text:
            try:
                item, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break  # the rest of this object is still to come
            text = text[end:].lstrip()
            if "error" in item:
                raise classify(None, str(item["error"]))
            yield item
        pieces, size = [text], len(text)


def read_log(response: HTTPResponse) -> Iterator[LogChunk]:
    """The lines of a container without a terminal: stdout and stderr told apart, each line with its timestamp.

    A line longer than `LONGEST_LINE` comes in pieces with the same timestamp.
    """
    begun: dict[int, bytes] = {}
    for channel, part in _frames(response):
        # The Engine sends a line over 16 kB in parts, and gives its timestamp anew with each.
        line = begun.pop(channel) + part.partition(b" ")[2] if channel in begun else part
        if line.endswith(b"\n") or len(line) > LONGEST_LINE:
            yield _line(channel, line)
        else:
            begun[channel] = line
    yield from (_line(channel, line) for channel, line in begun.items())


def read_output(response: HTTPResponse) -> Iterator[LogChunk]:
    """The lines of a command without a terminal, stdout and stderr told apart; they have no timestamps.

    A line longer than `LONGEST_LINE` comes in pieces.
    """
    begun: dict[int, bytes] = {}
    for channel, part in _frames(response):
        *lines, rest = (begun.pop(channel, b"") + part).split(b"\n")
        yield from (_line(channel, b" " + line) for line in lines)
        if len(rest) > LONGEST_LINE:
            yield _line(channel, b" " + rest)
        elif rest:
            begun[channel] = rest
    yield from (_line(channel, b" " + line) for channel, line in begun.items())


def _frames(response: HTTPResponse) -> Iterator[tuple[int, bytes]]:
    """The pieces of multiplexed output, each with its channel: 1 for stdout, 2 for stderr."""
    data = b""
    for chunk in _chunks(response):
        data += chunk
        while len(data) >= _HEADER.size:
            channel, size = _HEADER.unpack_from(data)
            if len(data) < _HEADER.size + size:
                break
            part, data = data[_HEADER.size : _HEADER.size + size], data[_HEADER.size + size :]
            yield channel, part


def read_bytes(response: HTTPResponse) -> Iterator[bytes]:
    """The answer as it is, in pieces."""
    return _chunks(response)


def read_arrivals(response: HTTPResponse) -> Iterator[bytes]:
    """What comes, as soon as it comes and as cheaply as can be: `Lines` makes sense of it."""
    yield from iter(partial(response.fp.read1, BLOCK), b"")


class Lines:
    """The lines of a body that arrives bit by bit, perhaps in chunks (RFC 9112, section 7.1)."""

    def __init__(self, *, chunked: bool) -> None:
        self._chunked = chunked
        self._rest = b""
        self._left = 0
        """Bytes of the chunk that is coming, and of the end of line after it."""
        self._line = b""
        """What has come of a line."""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole with this.

        Raises:
            ValueError: these are no chunks.
        """
        *whole, self._line = (
            self._line + (self._unchunked(data) if self._chunked else data)
        ).split(b"\n")
        return whole

    def _unchunked(self, data: bytes) -> bytes:
        data, body = self._rest + data, list[bytes]()
        while data:
            if not self._left:
                size, line_end, rest = data.partition(b"\r\n")
                if not line_end:
                    break
                self._left, data = int(size.partition(b";")[0], 16) + 2, rest
            body.append(data[: max(0, self._left - 2)])
            self._left, data = max(0, self._left - len(data)), data[self._left :]
        self._rest = data
        return b"".join(body)


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The body as it arrives, never waiting to fill a buffer."""
    yield from iter(partial(response.read1, BLOCK), b"")
    if response.length:
        raise IncompleteRead(b"", response.length)


def _line(channel: int, line: bytes) -> LogChunk:
    stamp, _, text = line.decode("utf-8", "replace").partition(" ")
    return LogChunk(
        stream="stderr" if channel == 2 else "stdout", stamp=stamp, text=text.rstrip("\r\n")
    )
