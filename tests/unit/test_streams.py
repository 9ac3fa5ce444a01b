"""The Engine's streams, cut wherever a network may cut them."""

from __future__ import annotations

import io
import json
import socket
import struct
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dockbus.engine import EngineFault, ImageNotFound, LogChunk
from dockbus.engine.streams import LONGEST_LINE, Lines, read_log, read_objects, read_output

STAMP = "2026-11-21T12:00:00.000000001Z"


class Wire(io.RawIOBase):
    """What arrives over a connection, in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._pieces.pop(0) if self._pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def heard(*pieces: bytes) -> HTTPResponse:
    """A response of which this arrives."""
    arriving = io.BufferedReader(Wire(*pieces), 65536)

    def makefile(_mode: str) -> object:
        return arriving

    response = HTTPResponse(cast("socket.socket", SimpleNamespace(makefile=makefile)))
    response.begin()
    return response


def answer(*chunks: bytes) -> HTTPResponse:
    """A response whose body comes in these chunks."""
    framed = (b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return heard(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *framed, b"0\r\n\r\n")


def written(*pieces: bytes) -> HTTPResponse:
    """A response whose body is all that arrives until its connection is closed, as what a command writes is."""
    return heard(b"HTTP/1.1 200 OK\r\n\r\n", *pieces)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def frame(text: str | bytes, channel: int = 1, stamp: str = STAMP) -> bytes:
    payload = f"{stamp} ".encode() + (text if isinstance(text, bytes) else text.encode())
    return struct.pack(">BxxxL", channel, len(payload)) + payload


OBJECTS: list[dict[str, Any]] = [
    {"status": "Pulling from x"},
    {"stream": "Step 1/2 : FROM \u00e4\u20ac\U0001f433\n"},
    {"aux": {"ID": "sha256:a"}, "nested": {"}": ["{", "\\", '"']}},
    {"stream": ""},
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("between", ["", "\n", "\r\n \n"])
@pytest.mark.parametrize("escaped", [True, False])
def test_objects_are_found_however_they_are_cut_glued_or_printed(
    size: int, indent: int | None, between: str, escaped: bool
) -> None:
    text = between.join(json.dumps(o, indent=indent, ensure_ascii=escaped) for o in OBJECTS)

    assert list(read_objects(answer(*cut(text.encode(), size)))) == OBJECTS


def test_an_object_comes_as_soon_as_it_is_whole() -> None:
    arrived = iter([b'{"a": 1}{"b"', b": 2}"])
    stream = read_objects(answer(*arrived))

    assert next(stream) == {"a": 1}
    assert next(stream) == {"b": 2}


def test_an_error_object_raises_what_it_says_after_what_came_before() -> None:
    words = "manifest for x:1 not found: manifest unknown"
    body = json.dumps({"status": "Pulling"}) + json.dumps(
        {"errorDetail": {"message": words}, "error": words}
    )
    stream = read_objects(answer(*cut(body.encode(), 5)))

    assert next(stream) == {"status": "Pulling"}
    with pytest.raises(ImageNotFound) as caught:
        next(stream)
    assert caught.value.detail == words


def test_an_error_nobody_knows_is_the_engines_fault() -> None:
    with pytest.raises(EngineFault, match="disk on fire"):
        list(read_objects(answer(b'{"error": "disk on fire"}')))


def test_an_empty_stream_is_empty() -> None:
    assert list(read_objects(answer())) == []
    assert list(read_objects(answer(b"\n", b" "))) == []
    assert list(read_log(answer())) == []


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 100, 10_000])
def test_lines_keep_their_stream_and_order_however_frames_are_cut(size: int) -> None:
    body = b"".join(
        [
            frame("one\n"),
            frame("oops \u20ac\n", 2),
            frame("\n"),
            frame("carriage return\r\n"),
            frame("tab\t and  spaces \n"),
            frame(b"nul \x00 and no utf-8 \xff\n"),
            frame("no end", 2),
            frame("last"),
        ]
    )

    lines = list(read_log(answer(*cut(body, size))))

    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", "one"),
        ("stderr", "oops \u20ac"),
        ("stdout", ""),
        ("stdout", "carriage return"),
        ("stdout", "tab\t and  spaces "),
        ("stdout", "nul \x00 and no utf-8 \ufffd"),
        ("stderr", "no end"),
        ("stdout", "last"),
    ]
    assert {line.stamp for line in lines} == {STAMP}


def test_a_long_line_is_put_together_again_beside_the_other_streams() -> None:
    body = [
        frame("a" * 16384),
        frame("b" * 16384, 2),
        frame("a" * 16384),
        frame("b\n", 2),
        frame("a\n"),
    ]

    assert list(read_log(answer(*body))) == [
        LogChunk(stream="stderr", stamp=STAMP, text="b" * 16385),
        LogChunk(stream="stdout", stamp=STAMP, text="a" * 32769),
    ]


def test_a_line_that_never_ends_comes_in_pieces_and_is_whole() -> None:
    pieces = list(read_log(answer(*(frame("x" * 16384) for _ in range(640)), frame("end\n"))))

    assert len(pieces) > 100
    assert all(len(piece.text) <= 2 * LONGEST_LINE for piece in pieces)
    assert "".join(piece.text for piece in pieces) == "x" * 16384 * 640 + "end"


def test_a_stream_cut_within_a_frame_gives_what_was_whole() -> None:
    body = frame("whole\n") + frame("cut\n")[:-2]

    assert [line.text for line in read_log(answer(body))] == ["whole"]


# -- output of commands, which has no timestamps and comes as it is written -----------------------


def piece(data: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BxxxL", channel, len(data)) + data


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 100, 10_000])
def test_output_is_cut_into_lines_wherever_the_engine_has_cut_it(size: int) -> None:
    body = b"".join(
        [
            piece(b"one\ntw"),
            piece(b"oops \xe2\x82", 2),
            piece(b"o\n\ncarriage return\r\n"),
            piece(b"\xac\nno end", 2),
            piece(b" leading and no utf-8 \xff"),
        ]
    )

    lines = list(read_output(written(*cut(body, size))))

    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", "one"),
        ("stdout", "two"),
        ("stdout", ""),
        ("stdout", "carriage return"),
        ("stderr", "oops \u20ac"),
        ("stderr", "no end"),
        ("stdout", " leading and no utf-8 \ufffd"),
    ]
    assert {line.stamp for line in lines} == {""}


def test_output_that_never_ends_its_line_comes_in_pieces_and_is_whole() -> None:
    pieces = list(read_output(written(*(piece(b"x" * 16384) for _ in range(640)), piece(b"end\n"))))

    assert len(pieces) > 100
    assert all(len(part.text) <= 2 * LONGEST_LINE for part in pieces)
    assert "".join(part.text for part in pieces) == "x" * 16384 * 640 + "end"


def test_a_large_object_is_not_parsed_anew_with_each_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []
    decode = json.JSONDecoder.raw_decode

    def counted(self: json.JSONDecoder, text: str, at: int = 0) -> tuple[Any, int]:
        tries.append(len(text))
        return decode(self, text, at)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    large = {"label": "x" * 3_000_000}
    assert list(read_objects(answer(*cut(json.dumps(large).encode() + b"\n", 16384)))) == [large]
    assert [size for size in tries if size > 2 * LONGEST_LINE] == [len(json.dumps(large)) + 1]


def test_a_large_object_without_an_end_of_line_comes_at_the_end() -> None:
    large = {"label": "x" * 100_000}
    assert list(read_objects(answer(*cut(json.dumps(large).encode(), 4096)))) == [large]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_lines_are_found_however_they_arrive_and_whatever_their_chunks(step: int) -> None:
    wanted = [b'{"a":1}', b"", b"x" * 300, b"last"]
    body = b"\n".join(wanted) + b"\nnot whole"
    pieces = [body[:5], body[5:6], body[6:200], body[200:]]
    chunked = (
        b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    )
    for sent, lines in ((body, Lines(chunked=False)), (chunked, Lines(chunked=True))):
        parts = [sent[at : at + step] for at in range(0, len(sent), step)]
        assert [line for part in parts for line in lines.feed(part)] == wanted


def test_what_is_no_chunk_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Lines(chunked=True).feed(b"no size\r\n{}\r\n")
