"""The lines of the log, whatever others put into them."""

from __future__ import annotations

import logging
from collections.abc import Generator

import pytest

from dockbus.logs import log_to_stderr

FORGED = "x\n2026-01-01T00:00:00Z ERROR   forged\r\x1b[2J\u202e"


@pytest.fixture(autouse=True)
def put_back() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)


def fail() -> None:
    raise ValueError(FORGED)


def test_what_others_wrote_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    logging.getLogger("test").warning("label %s of %s", FORGED, "Käse ✓")

    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable()
    assert line.endswith(r"label x\n2026-01-01T00:00:00Z ERROR   forged\r\x1b[2J\u202e of Käse ✓")


def test_only_what_is_ours_begins_at_the_margin(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    try:
        fail()
    except ValueError:
        logging.getLogger("test").exception("it broke")

    first, *others = capsys.readouterr().err.split("\n")
    assert first.endswith("it broke")
    assert "    ValueError: x" in others
    assert all(not line or line.startswith("    ") for line in others)
    assert all(line.isprintable() for line in others)
