"""Services that cannot be had here: the test that needs one is skipped on a laptop, and fails in CI."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NoReturn, TypeVar

import pytest

from dockbus.errors import DockbusError

T = TypeVar("T")


@contextmanager
def service(wanted: AbstractContextManager[T]) -> Generator[T]:
    """The service, or the test's end if it cannot be had; errors of its users pass."""
    with ExitStack() as stack:
        try:
            served = stack.enter_context(wanted)
        except DockbusError as error:
            missing(error)
        yield served


def missing(error: DockbusError) -> NoReturn:
    """The end of the test."""
    if os.environ.get("CI") or os.environ.get("DOCKBUS_CI"):
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))
