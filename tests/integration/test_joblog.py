"""A job's log in a real Redis: every line as it was written, from any point, to an end that is always seen."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from redis import Redis

from at_once import at_once
from dockbus import LogLine, Progress
from dockbus.ids import BEGINNING, JobId, StreamId
from dockbus.joblog import JobLog

KEY = "dockbus:log:job"


@pytest.fixture
def log(redis: Redis) -> JobLog:
    return JobLog(redis, JobId("job"))


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
def test_a_line_comes_back_as_it_was(log: JobLog, text: str, stream: str) -> None:
    log.write([line(text, stream=stream, stamp="2026-11-21T12:00:00.000000001Z")])

    [read], ended = log.read()

    assert isinstance(read, LogLine)
    assert (read.text, read.stream) == (text, stream)
    assert read.stamp == "2026-11-21T12:00:00.000000001Z"
    assert abs(read.time.timestamp() - time.time()) < 60
    assert not ended


def test_progress_comes_back_among_the_lines(log: JobLog) -> None:
    step = Progress(step="abc", status="Downloading", current=5, total=2**40)

    log.write([line("before"), step, line("after")])

    entries, _ = log.read()
    assert [type(entry) for entry in entries] == [LogLine, Progress, LogLine]
    assert entries[1].model_copy(update={"id": BEGINNING}) == step


def test_reading_goes_on_after_any_entry(log: JobLog) -> None:
    log.write([line(str(number)) for number in range(2500)])

    entries, _ = log.read(count=10)
    rest = [*log.read(entries[-1].id, count=5000)[0]]

    assert [entry.text for entry in (*entries, *rest) if isinstance(entry, LogLine)] == [
        str(number) for number in range(2500)
    ]


def test_the_newest_lines_are_kept(redis: Redis) -> None:
    log = JobLog(redis, JobId("job"), lines=100)

    for start in range(0, 5000, 100):
        log.write([line(str(number)) for number in range(start, start + 100)])

    entries, _ = log.read(count=10_000)
    assert 100 <= len(entries) < 400
    assert isinstance(entries[-1], LogLine)
    assert entries[-1].text == "4999"


def test_a_follower_sees_everything_and_the_end_at_once(log: JobLog) -> None:
    got: list[LogLine | Progress] = []
    follower = threading.Thread(target=lambda: got.extend(log.follow(ended=never)))
    follower.start()

    for number in range(50):
        log.write([line(str(number))])
    begun = time.monotonic()
    log.end(60)
    follower.join()

    assert time.monotonic() - begun < 0.9  # the mark, not the question asked each second
    assert [entry.text for entry in got if isinstance(entry, LogLine)] == [
        str(number) for number in range(50)
    ]


def test_many_followers_see_the_same(log: JobLog) -> None:
    seen: list[list[StreamId]] = []

    def work(number: int) -> None:
        if number:
            seen.append([entry.id for entry in log.follow(ended=never)])
        else:
            for text in range(200):
                log.write([line(str(text))])
            log.end(60)

    at_once(6, work)

    assert len(seen) == 5
    assert all(ids == seen[0] and len(ids) == 200 for ids in seen)


def test_without_a_mark_the_jobs_own_state_ends_it_and_nothing_is_missed(log: JobLog) -> None:
    log.write([line("one")])
    asked: list[int] = []

    def ended() -> bool:
        if not asked:  # as the job ends, its last line is written just before
            log.write([line("two")])
        asked.append(1)
        return True

    entries = list(log.follow(ended=ended))

    assert [entry.text for entry in entries if isinstance(entry, LogLine)] == ["one", "two"]


def test_following_stops_at_its_deadline(log: JobLog) -> None:
    begun = time.monotonic()

    assert list(log.follow(ended=never, deadline=begun + 0.3)) == []
    assert 0.2 < time.monotonic() - begun < 1


def test_the_end_lets_the_log_expire(log: JobLog, redis: Any) -> None:
    log.write([line("x")])
    assert redis.ttl(KEY) == -1

    log.end(60)

    assert 0 < redis.ttl(KEY) <= 60
    assert log.read()[1]


def test_the_end_is_still_read_from_where_the_log_stands(log: JobLog) -> None:
    for count in range(3):
        log.write([line("x")] * count)
        log.end(60)
        assert log.read(log.newest())[1], "a waiter that begins now would wait for ever"


def test_the_last_stamp_is_that_of_the_newest_line_which_has_one(log: JobLog) -> None:
    assert log.last_stamp() == ""
    log.write([line("a", stamp="1"), line("b", stamp="2"), line("c"), Progress(step="", status="")])

    assert log.last_stamp() == "2"


PLANTED = [
    {"p": "{"},
    {"p": '{"step": 1}'},
    {b"\xff": b"\xfe"},
    {"x": "y"},
    {"o": b"\xff\xfe"},  # a line, if a strange one
]


@pytest.mark.parametrize("garbage", PLANTED, ids=str)
def test_garbage_stops_no_reader_and_no_follower(
    log: JobLog, redis: Any, garbage: dict[str, Any]
) -> None:
    for number in range(3):
        for _ in range(1200):  # more than one read brings
            redis.xadd(KEY, garbage)
        log.write([line(f"honest {number}")])
    log.end(60)

    texts = [e.text for e in log.follow(ended=never) if isinstance(e, LogLine)]

    assert [text for text in texts if text.startswith("honest")] == [
        "honest 0",
        "honest 1",
        "honest 2",
    ]
