"""The lines of the log, whatever others put into them."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from dockbus.cli import up
from dockbus.errors import JobExpired
from dockbus.logs import FIELDS, about, log_to_stderr
from dockbus.records import Failure
from dockbus.settings import LogSettings

FORGED = "x\n2026-01-01T00:00:00Z ERROR   forged\r\x1b[2J\u202e"


@pytest.fixture(autouse=True)
def put_back() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(capture=False)


def fail(error: Exception | None = None) -> None:
    raise error or ValueError(FORGED)


def test_what_others_wrote_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(LogSettings())
    logging.getLogger("test").warning("label %s of %s", FORGED, "Käse ✓")

    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable()
    assert line.endswith(r"label x\n2026-01-01T00:00:00Z ERROR   forged\r\x1b[2J\u202e of Käse ✓")


def test_only_what_is_ours_begins_at_the_margin(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(LogSettings())
    try:
        fail()
    except ValueError:
        logging.getLogger("test").exception("it broke")

    first, *others = capsys.readouterr().err.split("\n")
    assert first.endswith("it broke")
    assert "    ValueError: x" in others
    assert all(not line or line.startswith("    ") for line in others)
    assert all(line.isprintable() for line in others)


# -- objects -------------------------------------------------------------------------------------

log = logging.getLogger("test.objects")
AS_JSON = LogSettings(format="json")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """What was logged since, as objects; each has to be a line of its own."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_object_says_when_how_grave_who_and_what(said: Any) -> None:
    log_to_stderr(AS_JSON)
    log.warning("label %s of %s", FORGED, "Käse ✓")

    [told] = said()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert told == {
        "level": "warning",
        "logger": "test.objects",
        "message": f"label {FORGED} of Käse ✓",
    }


def test_what_others_wrote_stays_in_its_object(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(AS_JSON)
    log.warning("%s %s", FORGED, "\u2028\x85\ud800")

    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isascii()
    assert line.isprintable()


def test_facts_of_the_process_of_what_it_does_and_of_the_line_are_told(said: Any) -> None:
    log_to_stderr(AS_JSON, program="worker", engine="local", queue="run")
    with about(queue="run@local", kind="run", job="j1"):
        log.info("begins")
        log.info("of another", extra={"job": "j2"})
    log.info("idle")

    facts = [{name: one[name] for name in one if name not in _ALWAYS} for one in said()]
    process = {"program": "worker", "engine": "local"}
    during = {**process, "queue": "run@local", "kind": "run"}
    assert facts == [
        {**during, "job": "j1"},
        {**during, "job": "j2"},
        {**process, "queue": "run"},
    ]


_ALWAYS = ("time", "level", "logger", "message")


def test_an_error_is_told_by_its_code(said: Any) -> None:
    log_to_stderr(AS_JSON)
    log.warning("job %s: %s", "j", JobExpired("j"))
    log.warning("job %s: %s", "j", Failure.of(JobExpired("j")))
    log.error("%s", "late", extra={"error": "rule-error"})
    try:
        fail(JobExpired("j"))
    except JobExpired:
        log.exception("broke")
    log.warning("nothing of the sort: %s", ValueError("x"))

    codes = [one.get("error") for one in said()]
    assert codes == ["job-expired", "job-expired", "rule-error", "job-expired", None]


def test_a_traceback_is_part_of_the_object(said: Any) -> None:
    log_to_stderr(AS_JSON)
    try:
        fail()
    except ValueError:
        log.exception("it broke")

    [told] = said()
    assert told["error"] == "bug"
    assert told["exception"].startswith("Traceback")
    assert "in fail" in told["exception"]


def test_threads_are_not_mistaken_for_one_another(said: Any) -> None:
    log_to_stderr(AS_JSON)
    meet = threading.Barrier(2)

    def work(job: str) -> None:
        with about(job=job):
            meet.wait()
            log.info(job)

    threads = [threading.Thread(target=work, args=(job,)) for job in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {one["message"]: one["job"] for one in said()} == {"a": "a", "b": "b"}


def test_what_nobody_caught_and_what_is_deprecated_are_objects_too(said: Any) -> None:
    log_to_stderr(AS_JSON)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    told = said()
    assert [one["level"] for one in told] == ["critical", "critical", "warning"]
    assert [one["logger"] for one in told] == ["dockbus", "dockbus", "py.warnings"]
    assert all("in fail" in one["exception"] for one in told[:2])


def test_the_whole_bus_in_one_terminal_hands_objects_on_as_they_are(said: Any) -> None:
    log_to_stderr(AS_JSON, program="up")
    up.tell("api", '{"message": "its own", "program": "api"}')
    up.tell("dockbus", "  token       /data/token")

    told = [(one["program"], one["message"]) for one in said()]
    assert told == [("api", "its own"), ("up", "dockbus: token       /data/token")]


@pytest.mark.parametrize("form", ["human", "json"])
def test_what_is_less_than_the_level_is_not_said(
    form: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr(LogSettings(format=form, level="error"))
    chatty = logging.getLogger("test.chatty")
    chatty.setLevel(logging.DEBUG)  # as some libraries do
    chatty.warning("less")
    log.error("more")
    assert "less" not in (first := capsys.readouterr().err)
    assert "more" in first

    log_to_stderr(LogSettings(format=form, level="debug"))
    log.debug("detail")
    assert "detail" in capsys.readouterr().err


def test_every_field_is_documented() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "operations.md"

    for name, meaning in FIELDS.items():
        assert f"| `{name}` | {meaning} |" in page.read_text()
