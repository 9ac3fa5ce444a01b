"""Following jobs and events on the command line: streams apart, bars, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import threading
from typing import Any

import pytest

from commandline import CommandLine
from dockbus import Bus, Event, JobState, LogLine, Progress
from logs import write
from waiting import wait_for


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_logs_keep_the_streams_apart(dockbus: CommandLine, bus: Bus) -> None:
    job = dockbus.ok("run", "-d", "busybox").strip()
    write(
        bus.redis,
        job,
        [
            LogLine(stream="system", text="pulling"),
            LogLine(stream="stdout", text="[bold]out[/]"),
            LogLine(stream="stderr", text="err"),
        ],
    )
    done = dockbus("logs", job)
    assert (done.stdout, done.stderr) == ("[bold]out[/]\n", "pulling\nerr\n")
    assert [entry["stream"] for entry in lines(dockbus.ok("logs", job, "--json"))] == [
        "system",
        "stdout",
        "stderr",
    ]

    with dockbus.started("logs", "-f", job) as follower:
        assert follower.stdout
        assert follower.stdout.readline() == b"[bold]out[/]\n"
        write(bus.redis, job, [LogLine(stream="stdout", text="more")])
        assert follower.stdout.readline() == b"more\n"
        bus.cancel(job)
        rest, _ = follower.communicate(timeout=30)
        assert (follower.returncode, rest) == (0, b"")


def test_events_are_followed_as_they_happen(dockbus: CommandLine, bus: Bus) -> None:
    bus.publish(Event(source="/test", type="test.old"))
    with dockbus.started("events", "-f", "--json", "--since", "0") as follower:
        assert follower.stdout
        assert json.loads(follower.stdout.readline())["event"]["type"] == "test.old"
        bus.publish(Event(source="/test", type="test.new"))
        assert json.loads(follower.stdout.readline())["event"]["type"] == "test.new"
        follower.send_signal(signal.SIGINT)
        _, errors = follower.communicate(timeout=30)
        assert (follower.returncode, errors) == (130, b"")


def test_ctrl_c_cancels_the_job(dockbus: CommandLine, bus: Bus) -> None:
    with dockbus.started("run", "busybox", "--", "sleep", "60") as process:
        assert process.stderr
        announced = process.stderr.readline().decode().split()
        alone = process.stderr.readline().decode()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    (job,) = bus.jobs()
    assert announced == ["job", job.id]
    assert alone.endswith("the job waits. Start one: dockbus worker run\n")
    assert (process.returncode, output) == (130, b"")
    # The signal may interrupt the line before while it is written, which is then written again.
    assert errors.decode().splitlines()[-1] == f"canceled job {job.id}"
    assert job.state is JobState.CANCELED


STEPS: list[LogLine | Progress] = [
    Progress(step="layer1", status="Downloading", current=1024**2, total=4 * 1024**2),
    LogLine(stream="stdout", text="between"),
    Progress(step="layer1", status="Downloading", current=2 * 1024**2, total=4 * 1024**2),
]


def test_progress_is_bars_on_a_terminal(dockbus: CommandLine, bus: Bus) -> None:
    ours, theirs = pty.openpty()
    seen: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(ours, seen))
    with dockbus.started("pull", "a", stderr=theirs) as process:
        os.close(theirs)
        reader.start()
        (job,) = wait_for(bus.jobs, what="the job")
        write(bus.redis, job.id, STEPS)
        bus.cancel(job.id)
        output, _ = process.communicate(timeout=30)
    reader.join()
    screen = b"".join(seen).decode()
    assert (process.returncode, output) == (1, b"between\n")
    assert "━" in screen
    assert "2 MB of 4 MB" in screen
    assert screen.rstrip().endswith(f"The job was canceled: {job.id}.")


def test_progress_is_changes_of_status_elsewhere(dockbus: CommandLine, bus: Bus) -> None:
    with dockbus.started("pull", "a") as process:
        (job,) = wait_for(bus.jobs, what="the job")
        write(bus.redis, job.id, STEPS)
        bus.cancel(job.id)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (1, b"between\n")
    assert errors.decode().splitlines() == [
        f"job {job.id}",
        "no worker serves queue pull yet; the job waits. Start one: dockbus worker pull",
        "layer1: Downloading",
        f"dockbus: The job was canceled: {job.id}.",
    ]


def _read_all(terminal: int, into: list[bytes]) -> None:
    try:
        while chunk := os.read(terminal, 65536):
            into.append(chunk)
    except OSError:  # Linux' way to say that the other side is closed
        os.close(terminal)
