"""The state of a bus into a file and back, on a real Redis, while it is in use."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from secrets import token_bytes
from typing import Any

import pytest
from redis import Redis

from attempting import RESULT, SPEC, attempts_on, settle, states, take
from commandline import CommandLine
from dockbus import Bus, JobState, Pull, Settings
from dockbus.backup import HOLD, STAGE, BusNotEmpty, back_up, restore
from dockbus.backup_file import BackupRefused
from dockbus.engine import Engine
from dockbus.errors import RedisUnavailable
from dockbus.joblog import LogLine
from dockbus.jobs import LABEL_JOB
from dockbus.queue.scripts import Scripts
from processes import Program
from runs import result, shell
from waiting import wait_for

Start = Callable[..., Program]


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bus.backup"


def world(redis: Any) -> dict[bytes, tuple[Any, bool]]:
    """All that is there: each key's value, and whether it expires."""
    values: dict[bytes, Callable[[bytes], Any]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"set": redis.smembers,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: (redis.xrange(key), redis.xinfo_groups(key)),
    }
    keys = [key for key in redis.scan_iter() if not key.startswith(STAGE)]
    return {key: (values[redis.type(key)](key), redis.ttl(key) >= 0) for key in keys}


def test_what_is_restored_is_what_there_was(bus: Bus, redis: Any, file: Path) -> None:
    ended, waiting = bus.chain(SPEC, Pull(image="busybox"))
    later = bus.enqueue(SPEC, delay=3600, key="k")
    attempts = attempts_on(bus)
    settle(attempts, take(attempts)[0], "succeeded", RESULT)
    redis.xgroup_create("dockbus:events", "readers", id="0")
    redis.xreadgroup("readers", "one", {"dockbus:events": ">"}, count=2)
    redis.zadd("dockbus:rules:suspended", {"heal:local/web": 9e9})
    redis.hset("dockbus:schedule:nightly", mapping={"settled": 5})
    redis.set("dockbus:rules:verdict:heal:c", "fire", px=3_600_000)
    redis.set("another:program", "stays")
    records = [job.refresh() for job in (ended, waiting, later)]
    before = world(redis)

    made = back_up(bus, file)
    redis.flushdb()
    redis.set("another:program", "stays")
    restored, again = restore(bus, file)

    assert restored == made
    assert (made.jobs, made.unended, again) == (3, 2, 0)
    assert [job.refresh() for job in (ended, waiting, later)] == records
    after = world(redis)
    assert after.keys() == before.keys()
    # Of jobs that have not ended the token is another, see below.
    tokens = {f"rq:job:{job.id}".encode() for job in (waiting, later)}
    assert {key for key in after if after[key] != before[key]} == tokens
    assert redis.pttl("dockbus:rules:verdict:heal:c") <= 3_600_000
    assert redis.xpending("dockbus:events", "readers")["pending"] == 2
    assert bus.enqueue(SPEC, delay=3600, key="k").id == later.id


def test_a_job_that_had_begun_is_tried_again_and_no_attempt_of_before_is_heard(
    bus: Bus, redis: Any, file: Path
) -> None:
    jobs = [bus.enqueue(SPEC, exclusive="one"), bus.enqueue(SPEC, exclusive="one")]
    attempts = attempts_on(bus)
    [old] = take(attempts)
    back_up(bus, file)
    redis.zadd("rq:wip:cleanup", {f"{old.job}:{old.token}": 0})
    attempts.reap("cleanup")
    [lost] = take(attempts)  # begun after the backup

    _, again = restore(bus, file, replace=True)

    assert again == 1
    assert jobs[0].refresh().state is JobState.QUEUED
    assert jobs[0].refresh().attempts == 0
    [new] = take(attempts)
    assert (new.job, new.number) == (jobs[0].id, 1)
    for one in (old, lost):
        assert not attempts.claim(one)
        assert not settle(attempts, one, "succeeded", RESULT)
    assert settle(attempts, new, "succeeded", RESULT)
    [second] = take(attempts)
    assert second.job == jobs[1].id
    assert states(bus, jobs[0].id) == ["queued", "started", "queued", "started", "succeeded"]


def nobody(_key: bytes) -> bool:
    return False


def test_a_bus_that_is_there_is_not_overwritten_unless_told(
    bus: Bus, redis: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = bus.enqueue(SPEC)
    back_up(bus, file)
    newer = bus.enqueue(SPEC)
    before = world(redis)

    with pytest.raises(BusNotEmpty):
        restore(bus, file)
    with monkeypatch.context() as patched:  # as if it came while the backup was put beside it
        patched.setattr("dockbus.backup.belongs", nobody)
        with pytest.raises(BusNotEmpty):
            restore(bus, file)

    assert world(redis) == before
    assert not list(redis.scan_iter(STAGE + b"*"))
    restore(bus, file, replace=True)
    assert [job.id for job in bus.jobs()] == [kept.id]
    assert redis.lrange("rq:queue:cleanup", 0, -1) == [kept.id.encode()]
    assert not redis.exists(f"rq:job:{newer.id}")


def test_a_restore_that_is_refused_changes_nothing(bus: Bus, redis: Any, file: Path) -> None:
    bus.enqueue(SPEC)
    back_up(bus, file)
    file.write_bytes(file.read_bytes()[:-9])
    before = world(redis)

    with pytest.raises(BackupRefused):
        restore(bus, file, replace=True)

    assert world(redis) == before


def test_a_restore_for_which_there_is_no_memory_changes_nothing(
    bus: Bus, redis: Any, file: Path
) -> None:
    for _ in range(3):
        bus.blobs.put([token_bytes(1_500_000)], ttl=3600)
    back_up(bus, file)
    before = world(redis)
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 1_000_000)
    try:
        with pytest.raises(RedisUnavailable):
            restore(bus, file, replace=True)
    finally:
        redis.config_set("maxmemory", 0)

    assert world(redis) == before
    assert not list(redis.scan_iter(STAGE + b"*"))


def test_files_of_jobs_and_logs_of_those_that_have_ended_are_kept_as_long_as_before(
    bus: Bus, redis: Any, file: Path
) -> None:
    text = b"x" * 3_000_000
    blob = bus.blobs.put([text], ttl=3600)
    job = bus.enqueue(SPEC)
    attempts = attempts_on(bus)
    [attempt] = take(attempts)
    attempts.log(attempt, [LogLine(stream="stdout", text="hello")])
    settle(attempts, attempt, "succeeded", RESULT)
    kept = redis.ttl(f"rq:job:{job.id}")
    back_up(bus, file)
    redis.flushdb()

    restore(bus, file)

    assert b"".join(bus.blobs.read(blob.digest)) == text
    assert 3500 < redis.ttl(f"dockbus:blob:{blob.digest}") <= 3600
    assert [line.text for line in job.logs()] == ["hello"]
    assert kept - 60 < redis.ttl(f"rq:job:{job.id}") <= kept


def test_a_restore_whose_answer_was_lost_may_be_asked_for_again(
    bus: Bus, redis: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bus.enqueue(SPEC)
    take(attempts_on(bus))
    back_up(bus, file)
    run = Scripts.run

    def twice(scripts: Scripts, *arguments: Any) -> Any:
        run(scripts, *arguments)
        return run(scripts, *arguments)

    monkeypatch.setattr(Scripts, "run", twice)
    _, again = restore(bus, file, replace=True)

    assert again == 1
    assert redis.lrange("rq:queue:cleanup", 0, -1) == [job.id.encode()]


def test_a_backup_shows_one_moment_however_much_is_written_meanwhile(
    bus: Bus, redis: Any, file: Path
) -> None:
    """A thousand keys are always raised together, by each of four writers; a backup must not show them apart."""
    stop, turns = threading.Event(), [0] * 4
    names = [f"dockbus:test:{number}" for number in range(1000)]
    raise_all = redis.register_script("for _, key in ipairs(KEYS) do redis.call('INCR', key) end")

    def work(number: int) -> None:
        while not stop.is_set():
            raise_all(names)
            turns[number] += 1

    writers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    try:
        wait_for(lambda: all(turns), what="all to write")
        begun = sum(turns)
        made = back_up(bus, file)
        wait_for(lambda: sum(turns) > begun + 8, what="them to go on")
    finally:
        stop.set()
        for writer in writers:
            writer.join()

    redis.flushdb()
    restore(bus, file)
    assert len(set(redis.mget(names))) == 1
    assert made.keys == 1000


def test_whoever_dies_while_others_wait_holds_them_for_seconds_only(bus: Bus, redis: Any) -> None:
    die = (
        "import os, redis, sys; from dockbus.backup import _stillness\n"
        "with _stillness(redis.Redis.from_url(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    begun = time.monotonic()
    killed = subprocess.run([sys.executable, "-c", die, bus.settings.redis.url], check=False)
    assert killed.returncode == -9

    job = bus.enqueue(SPEC)

    assert HOLD - 0.5 < time.monotonic() - begun < HOLD + 10
    assert job.refresh().state is JobState.QUEUED


def test_the_command_line_backs_up_and_restores(
    bus: Bus, redis: Any, dockbus: CommandLine, file: Path
) -> None:
    job = bus.enqueue(SPEC)

    said = dockbus.ok("backup", str(file))
    refused = dockbus("restore", str(file))
    redis.flushdb()
    told = json.loads(dockbus.ok("restore", str(file), "--json"))

    assert said.startswith(f"{file}: 1 jobs, 1 of them not ended; ")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "--replace" in refused.stderr
    assert (told["backup"]["unended"], told["queued_again"]) == (1, 0)
    assert job.refresh().state is JobState.QUEUED
    file.write_text("nothing")
    refused = dockbus("restore", str(file), "--replace", "--json")
    assert json.loads(refused.stderr)["code"] == "backup-refused"
    assert job.refresh().state is JobState.QUEUED


def test_programs_run_on_while_the_bus_is_set_back(
    redis: Redis, start: Start, engine: Engine, base_image: str, settings: Settings, file: Path
) -> None:
    """A job goes on with its container, and a watch tells what happens to that once."""
    with Bus(settings) as bus:
        start("watch")
        start("worker", "run").wait_until_said("taking jobs")
        running = bus.enqueue(shell("trap 'exit 7' TERM; echo begun; while :; do sleep 0.1; done"))
        wait_for(lambda: list(running.logs()), what="it to run")
        [container] = engine.containers.all(labels={LABEL_JOB: running.id})
        wait_for(lambda: bus.snapshot.container("local", container.id), what="the watch to see it")
        queued = bus.enqueue(SPEC)
        back_up(bus, file)
        bus.cancel(queued.id)

        restore(bus, file, replace=True)

        wait_for(lambda: states(bus, running.id).count("started") == 2, what="its next attempt")
        start("worker", "cleanup")
        queued.wait(timeout=60)
        engine.containers.stop(container.id, timeout=10)
        assert result(running).exit_code == 7
        assert running.refresh().attempts == 1
        assert [line.text for line in running.logs() if line.stream == "stdout"] == ["begun"]
        assert not engine.containers.all(labels={LABEL_JOB: running.id})
        gone = "io.dockbus.docker.container.destroy"
        wait_for(lambda: gone in told(bus, container.id), what="the watch to tell of its end")
        assert told(bus, container.id).count("io.dockbus.docker.container.die") == 1
        assert not bus.snapshot.container("local", container.id)


def told(bus: Bus, subject: str) -> list[str]:
    """The types of the events about something."""
    events = bus.events(since="0", follow=False)
    return [one.event.type for one in events if one.event.subject == subject]
