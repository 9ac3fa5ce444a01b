"""A job's log in a real Redis: every line as it was written, from any point, to an end that is always seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from at_once import at_once
from attempting import RESULT, SPEC, attempts_on, settle, take
from dockbus import Bus, LogLine, Progress
from dockbus.ids import BEGINNING, StreamId
from dockbus.joblog import KEY, JobLog
from logs import end


class Running:
    """A job that runs, and writes to its log as a worker does."""

    def __init__(self, bus: Bus) -> None:
        bus.enqueue(SPEC)
        self._attempts = attempts_on(bus)
        [self._attempt] = take(self._attempts)
        self.job = self._attempt.job
        self.log = bus.log(self.job)

    def write(self, entries: Sequence[LogLine | Progress]) -> None:
        assert self._attempts.log(self._attempt, entries)

    def end(self) -> None:
        assert settle(self._attempts, self._attempt, "succeeded", RESULT)


@pytest.fixture
def running(engineless_bus: Bus) -> Running:
    return Running(engineless_bus)


@pytest.fixture
def log(running: Running) -> JobLog:
    return running.log


def line(text: str, **fields: Any) -> LogLine:
    return LogLine(stream=fields.pop("stream", "stdout"), text=text, **fields)


def never() -> bool:
    return False


@pytest.mark.parametrize(
    "text",
    [
        "",
        " leading and trailing ",
        "\N{SNOWMAN} äöü \U0001f433 \N{RIGHT-TO-LEFT OVERRIDE}",
        "nul \0 bell \a escape \x1b[31m",
        "no utf-8 \ufffd",
        "p",
        "x" * 2**20,
    ],
    ids=lambda text: ascii(text[:12]),
)
@pytest.mark.parametrize("stream", ["stdout", "stderr", "system"])
def test_a_line_comes_back_as_it_was(running: Running, log: JobLog, text: str, stream: str) -> None:
    running.write([line(text, stream=stream, stamp="2026-11-21T12:00:00.000000001Z")])

    [read], ended = log.read()

    assert isinstance(read, LogLine)
    assert (read.text, read.stream) == (text, stream)
    assert read.stamp == "2026-11-21T12:00:00.000000001Z"
    assert abs(read.time.timestamp() - time.time()) < 60
    assert not ended


def test_progress_comes_back_among_the_lines(running: Running, log: JobLog) -> None:
    step = Progress(step="abc", status="Downloading", current=5, total=2**40)

    running.write([line("before"), step, line("after")])

    entries, _ = log.read()
    assert [type(entry) for entry in entries] == [LogLine, Progress, LogLine]
    assert entries[1].model_copy(update={"id": BEGINNING}) == step


def test_reading_goes_on_after_any_entry(running: Running, log: JobLog) -> None:
    running.write([line(str(number)) for number in range(2500)])

    entries, _ = log.read(count=10)
    rest = [*log.read(entries[-1].id, count=5000)[0]]

    assert [entry.text for entry in (*entries, *rest) if isinstance(entry, LogLine)] == [
        str(number) for number in range(2500)
    ]


def test_the_newest_lines_are_kept(engineless_bus: Bus) -> None:
    settings = engineless_bus.settings
    few = settings.bus.model_copy(update={"log_lines": 100})
    with Bus(settings.model_copy(update={"bus": few})) as bus:
        running = Running(bus)
        for start in range(0, 5000, 100):
            running.write([line(str(number)) for number in range(start, start + 100)])
        entries, _ = running.log.read(count=10_000)

    assert 100 <= len(entries) < 400
    assert isinstance(entries[-1], LogLine)
    assert entries[-1].text == "4999"


def test_a_follower_sees_everything_and_the_end_at_once(running: Running, log: JobLog) -> None:
    got: list[LogLine | Progress] = []
    follower = threading.Thread(target=lambda: got.extend(log.follow(ended=never)))
    follower.start()

    for number in range(50):
        running.write([line(str(number))])
    running.end()  # nothing but its mark tells the follower
    follower.join()

    assert [entry.text for entry in got if isinstance(entry, LogLine)] == [
        str(number) for number in range(50)
    ]


def test_many_followers_see_the_same(running: Running, log: JobLog) -> None:
    seen: list[list[StreamId]] = []

    def work(number: int) -> None:
        if number:
            seen.append([entry.id for entry in log.follow(ended=never)])
        else:
            for text in range(200):
                running.write([line(str(text))])
            running.end()

    at_once(6, work)

    assert len(seen) == 5
    assert all(ids == seen[0] and len(ids) == 200 for ids in seen)


def test_without_a_mark_the_jobs_own_state_ends_it_and_nothing_is_missed(
    running: Running, log: JobLog
) -> None:
    running.write([line("one")])
    asked: list[int] = []

    def ended() -> bool:
        if not asked:  # as the job ends, its last line is written just before
            running.write([line("two")])
        asked.append(1)
        return True

    entries = list(log.follow(ended=ended))

    assert [entry.text for entry in entries if isinstance(entry, LogLine)] == ["one", "two"]


def test_following_stops_at_its_deadline(running: Running, log: JobLog) -> None:
    begun = time.monotonic()

    assert list(log.follow(ended=never, deadline=begun + 0.3)) == []
    assert time.monotonic() - begun > 0.2


@pytest.mark.parametrize("lines", [0, 1, 99, 100, 250])
def test_the_end_lets_the_log_expire_and_no_line(running: Running, redis: Any, lines: int) -> None:
    running.write([line(str(number)) for number in range(lines)])
    assert redis.ttl(KEY + running.job) in (-1, -2)
    before, _ = running.log.read()

    running.end()

    assert 0 < redis.ttl(KEY + running.job) <= 24 * 3600
    assert running.log.read(count=1000) == (before, True)


@pytest.mark.parametrize("lines", range(3))
def test_the_end_is_still_read_from_where_the_log_stands(
    running: Running, log: JobLog, lines: int
) -> None:
    if lines:
        running.write([line("x")] * lines)
    running.end()

    assert log.read(log.newest())[1], "a waiter that begins now would wait for ever"


def test_the_last_stamps_are_those_of_the_newest_line_of_each_stream(
    running: Running, log: JobLog
) -> None:
    assert log.last_stamps() == {}
    running.write([LogLine(stream="stderr", text="e", stamp="0")])
    running.write([line("a", stamp="1"), line("b", stamp="2"), line("c")] * 800)
    running.write([LogLine(stream="system", text="s"), Progress(step="", status="")])

    assert log.last_stamps() == {"stdout": "2", "stderr": "0"}


PLANTED = [
    {"p": "{"},
    {"p": '{"step": 1}'},
    {b"\xff": b"\xfe"},
    {"x": "y"},
    {"o": b"\xff\xfe"},  # a line, if a strange one
]


@pytest.mark.parametrize("garbage", PLANTED, ids=str)
def test_garbage_stops_no_reader_and_no_follower(
    running: Running, log: JobLog, redis: Any, garbage: dict[str, Any]
) -> None:
    for number in range(3):
        for _ in range(1200):  # more than one read brings
            redis.xadd(KEY + running.job, garbage)
        running.write([line(f"honest {number}")])
    end(redis, running.job)

    texts = [e.text for e in log.follow(ended=never) if isinstance(e, LogLine)]

    assert [text for text in texts if text.startswith("honest")] == [
        "honest 0",
        "honest 1",
        "honest 2",
    ]
