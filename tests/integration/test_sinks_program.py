"""Sinks as `dockbus watch` and `dockbus sinks` have them: killed, given other files, asked, told to try again."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from redis import Redis

from commandline import CommandLine
from couriers import groups, publish, serving, settled, sink
from dockbus import Bus
from dockbus.settings import WatchSettings
from dockbus_producer.sinks import Sinks
from dockbus_producer.sinks.outbox import Outbox
from receivers import Receiver, receiver, status
from waiting import wait_for


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def hooks() -> Generator[Receiver]:
    with receiver() as hooks:
        yield hooks


@pytest.fixture
def outbox(redis: Redis) -> Outbox:
    return Outbox(redis, "s")


FILE = """
sinks:
  - {{name: s, url: "{url}", types: "test.*", timeout: 1s, retry: {{max: 5, base: 50ms, cap: 50ms}}}}
"""


@pytest.fixture
def file(hooks: Receiver, tmp_path: Path) -> Path:
    file = tmp_path / "sinks.yaml"
    file.write_text(FILE.format(url=hooks.url))
    return file


@pytest.fixture
def program(dockbus: CommandLine, file: Path, tmp_path: Path) -> CommandLine:
    """The command line, with that file and no Engine."""
    dockbus.env |= {
        "DOCKBUS_WATCH_SINKS": str(file),
        "DOCKBUS_ENGINE_HOST": f"unix://{tmp_path}/no-engine.sock",
    }
    return dockbus


def test_a_process_killed_between_delivery_and_acknowledgement_delivers_again(
    bus: Bus, hooks: Receiver, outbox: Outbox, program: CommandLine
) -> None:
    hooks.answers = [hooks.hang]
    with program.started("watch") as watch:
        wait_for(lambda: outbox.group in groups(bus), what="the courier")
        publish(bus, "1")
        wait_for(lambda: hooks.got, what="the request")
        watch.send_signal(signal.SIGKILL)
        watch.communicate()
    assert outbox.waiting() == 1
    hooks.released.set()
    with program.started("watch") as watch:
        wait_for(lambda: len(hooks.got) == 2 and settled(bus, outbox), what="it again")
        watch.send_signal(signal.SIGTERM)
        _, errors = watch.communicate(timeout=30)
        assert watch.returncode == 0, errors

    first, second = hooks.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_files_are_read_anew(bus: Bus, hooks: Receiver, file: Path) -> None:
    def write(text: str) -> None:
        file.write_text(text)
        os.utime(file, ns=(0, next(times)))  # a coarse clock may not tell two writes apart

    times = iter(range(10))
    settings = bus.settings.model_copy(update={"watch": WatchSettings(sinks=str(file))})
    with Bus(settings) as watched, receiver() as others:
        part = Sinks(watched)
        thread = threading.Thread(target=part.run)
        thread.start()
        try:
            wait_for(lambda: "dockbus:sink:s" in groups(bus), what="the first")
            write(FILE.format(url=others.url))
            publish(bus, "1")
            wait_for(lambda: hooks.got or others.got, what="the event, by the one or the other")
            wait_for(lambda: publish_until(bus, others), what="the new URL")
            write("sinks: [{name: s}]")
            asked = len(others.got)
            publish(bus, "after a mistake")
            wait_for(lambda: len(others.got) > asked, what="what was in force to stay")
            write("sinks: []")
            wait_for(lambda: "sink-s" not in names(), what="the end of its courier")
        finally:
            part.stop()
            thread.join(30)
    assert not thread.is_alive()


def names() -> set[str]:
    """The names of the threads that run."""
    return {thread.name for thread in threading.enumerate()}


def publish_until(bus: Bus, hooks: Receiver) -> bool:
    publish(bus, f"again {len(hooks.got)} {os.urandom(4).hex()}")
    return bool(hooks.got)


def test_the_command_line_lists_replays_resumes_and_tests(
    bus: Bus, hooks: Receiver, outbox: Outbox, program: CommandLine
) -> None:
    hooks.usual = status(404, "no such hook")
    with serving(bus, sink(hooks)):
        publish(bus, "1", subject="thing")
        wait_for(lambda: outbox.dead() and settled(bus, outbox), what="the end")

    assert program.ok("sinks", "list").splitlines()[1].split() == [
        *("s", hooks.url, "test.*", "active", "0", "1")
    ]
    [listed] = json.loads(program.ok("sinks", "list", "--json"))
    assert (listed["sink"]["name"], listed["dead"], listed["suspended"]) == ("s", 1, None)
    assert "test.happened  thing           1  HTTP 404: no such hook" in program.ok(
        "sinks", "dead", "s"
    )
    [letter] = json.loads(program.ok("sinks", "dead", "s", "--json"))
    assert letter["event"]["id"] == "1"

    refused = program("sinks", "test", "s")
    assert (refused.returncode, refused.stderr) == (
        1,
        f"dockbus: {hooks.url}: HTTP 404: no such hook\n",
    )
    hooks.usual = status(200)
    assert program.ok("sinks", "test", "s") == f"{hooks.url}: HTTP 200\n"
    assert hooks.got[-1].event["type"] == "io.dockbus.sink.test"

    asked = len(hooks.got)
    assert program.ok("sinks", "replay", "s") == "1 events are sent again\n"
    assert program.ok("sinks", "replay", "s") == "0 events are sent again\n"
    with serving(bus, sink(hooks)):
        wait_for(lambda: settled(bus, outbox), what="the replay")
    assert hooks.ids()[asked:] == ["1"]
    assert hooks.got[0].headers["webhook-id"] == hooks.got[-1].headers["webhook-id"]

    outbox.suspend(hooks.url, "HTTP 410")
    assert "suspended: HTTP 410" in program.ok("sinks", "list")
    assert program.ok("sinks", "resume", "s") == "sink s is sent to again\n"
    assert program.ok("sinks", "resume", "s") == "sink s was not suspended\n"

    unknown = program("sinks", "dead", "ss")
    assert unknown.returncode == 2
    assert "has no sink 'ss', did you mean 's'?" in unknown.stderr


def test_a_wrong_file_is_told_by_every_door(program: CommandLine, file: Path) -> None:
    file.write_text("sinks:\n- {name: s, ulr: x}\n")

    for words in (("sinks", "list"), ("watch",)):
        done = program(*words)
        assert done.returncode == 1
        assert f"{file}:2: sink 's': ulr: no such field, did you mean 'url'?" in done.stderr
