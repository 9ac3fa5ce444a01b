"""Sizes and spans, from what people write and to what they read."""

from __future__ import annotations

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from dockbus.units import Seconds, parse_size, parse_span, show_size, show_span


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("1k", 1024),
        ("1K", 1024),
        ("1KiB", 1024),
        ("64mb", 64 * 2**20),
        (" 1.5 GiB ", 3 * 2**29),
        ("2t", 2**41),
        ("9007199254740993", 9007199254740993),  # more than a float can tell apart
        (4096, 4096),
    ],
)
def test_a_size_is_read_as_docker_reads_it(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "1x", "-1", "1 2", "1e3", "0x10", "1,5g", "1m\n1m", "∞"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as '512m'"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("7d", 604800),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("1m1s1ms", 61.001),
        (" 5m ", 300),
        (12.5, 12.5),
    ],
)
def test_a_span_is_read(text: object, span: float) -> None:
    assert parse_span(text) == pytest.approx(span)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("text", ["", "90", "s", "1y", "-1s", "1h 30m", "m5s", "1s!", "1.s"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as '1h30m'"):
        parse_span(text)


@pytest.mark.parametrize("value", ["9" * 400 + "d", math.inf, math.nan])
def test_a_span_has_an_end(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(value)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 kB"),
        (1536, "1.5 kB"),
        (12 * 2**20, "12 MB"),
        (3 * 2**29, "1.5 GB"),
        (5 * 2**40, "5.0 TB"),
    ],
)
def test_a_size_is_shown_in_few_characters(size: int, shown: str) -> None:
    assert show_size(size) == shown


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (12.3, "12 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_a_span_is_shown_in_few_characters(span: float, shown: str) -> None:
    assert show_span(span) == shown
