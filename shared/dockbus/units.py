"""Sizes and spans of time as people write them, and as they like to read them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_size(value: object) -> object:
    """Bytes from a number or from text such as `512m`, `1.5 GiB` (powers of 1024, as Docker counts)."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise ValueError(
            f"{value!r} is not a size; write bytes, or a number with k, m, g or t, such as '512m'"
        )
    return int(Decimal(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def parse_span(value: object) -> object:
    """Seconds from a number or from text such as `90s`, `1h30m`, `7d`."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text or _SPAN.sub("", text):
        raise ValueError(
            f"{value!r} is not a span of time; write seconds, or numbers with s, m, h or d, such as '1h30m'"
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(text))


def show_size(count: int) -> str:
    """`count` bytes for a person: `12 MB`, `1.5 GB` (powers of 1024)."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if size % 1 and size < 10 else f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def show_span(seconds: float) -> str:
    """`seconds` for a person: `0.3 s`, `12 s`, `3 min`, `2 h`, `5 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


Bytes = Annotated[
    int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(examples=["512m"])
]
"""A size in bytes."""

Seconds = Annotated[
    float,
    BeforeValidator(parse_span, json_schema_input_type=float | str),
    Field(examples=["90s"], allow_inf_nan=False),
]
"""A span of time in seconds."""
