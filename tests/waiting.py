"""Waiting for the world to get where a test wants it, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], timeout: float = 30.0, what: str = "") -> T:
    """The first truthy value of `condition`, asked for again and again.

    Raises:
        AssertionError: there was none in `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {timeout:g} s for {what or condition}; last saw {value!r}"
            )
        time.sleep(0.02)
    return value
