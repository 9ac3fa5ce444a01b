"""The identifiers that travel on the bus; distinct types, so that no function takes one for another."""

from __future__ import annotations

from typing import NewType

JobId = NewType("JobId", str)
"""A job's name on the bus: letters, digits, `_` and `-`, as RQ demands."""

StreamId = NewType("StreamId", str)
"""A position in a Redis Stream, `milliseconds-sequence`; `0` is before the first entry."""

BEGINNING = StreamId("0")
"""Before the first entry of any stream."""
