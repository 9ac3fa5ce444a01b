"""Terms, many orders at once, and replays, on the command line."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from attempting import attempts_on, settle, take
from commandline import CommandLine
from dockbus import Bus, Failure, JobState, LogLine, RetryPolicy
from dockbus.ids import JobId
from logs import write

SPEC = {"kind": "cleanup", "labels": {"dockbus.test.nobody": "has this"}}
CLEANUP = ("cleanup", "-d", "--label", "dockbus.test.nobody=has this")


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def fail(bus: Bus, how: str, error: BaseException) -> JobId:
    """Take the next cleanup job and end it like this."""
    attempts = attempts_on(bus)
    (attempt,) = take(attempts)
    assert settle(attempts, attempt, how, Failure.of(error).model_dump_json())
    return attempt.job


def dead(dockbus: CommandLine, bus: Bus, *more: str) -> str:
    """The ID of a job whose attempts are used up."""
    job = dockbus.ok(*CLEANUP, *more).strip()
    assert fail(bus, "dead", OSError("the disk is gone")) == job
    return job


def order(**terms: Any) -> str:
    return json.dumps({"spec": SPEC, **terms}) + "\n"


def piped(dockbus: CommandLine, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [dockbus.program, *words],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        env=dockbus.env,
    )


# -- terms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    ["run a", "pull a", "build ctx -t a", "scan a", "cleanup"],
    ids=lambda words: words.split()[0],
)
def test_every_kind_takes_the_terms(dockbus: CommandLine, bus: Bus, words: str) -> None:
    first, second = dockbus.ok(*CLEANUP).strip(), dockbus.ok(*CLEANUP).strip()
    terms = (
        f"-d --json --after {first} --after {second} --after-failure run --exclusive image:a "
        "--delay 1h30m --timeout 2m --retries 7 --high --engine far --key cli-terms"
    )

    job = json.loads(dockbus.ok(*words.split(), *terms.split()))

    assert job["state"] == "waiting"
    assert job["terms"] == {
        "key": "cli-terms",
        "engine": "far",
        "priority": "high",
        "delay": 5400.0,
        "timeout": 120.0,
        "after": [first, second],
        "after_failure": "run",
        "exclusive": "image:a",
        "retry": {"max": 7, "base": job["terms"]["retry"]["base"], "cap": 300.0},
        "replay_of": None,
    }
    shown = dockbus.ok("job", job["id"])
    assert re.search(rf'^terms.after +\["{first}", "{second}"\]', shown, re.MULTILINE)
    assert re.search(r'^terms.retry +{"max": 7', shown, re.MULTILINE)
    (queue,) = (q for q in bus.queues() if q.name == job["queue"])
    assert queue.waiting == 1
    row = rf"^{re.escape(queue.name)} +0 +0 +0 +1 +0 +0"
    assert re.search(row, dockbus.ok("queues"), re.MULTILINE)


def test_retries_keep_the_pauses_of_the_kind(dockbus: CommandLine, bus: Bus) -> None:
    job = dockbus.ok("run", "-d", "--retries", "0", "a").strip()

    terms = bus.job(job).refresh().terms

    assert terms is not None
    assert terms.retry == RetryPolicy(max=0, base=2.0)


def test_when_a_delayed_job_is_due_is_shown(dockbus: CommandLine, bus: Bus) -> None:
    job = dockbus.ok(*CLEANUP, "--delay", "1h").strip()

    due = bus.job(job).refresh().due

    assert due is not None
    assert re.search(
        rf"^due +{due.astimezone():%Y-%m-%d %H:%M:%S}", dockbus.ok("job", job), re.MULTILINE
    )


# -- many at once --------------------------------------------------------------------------


def test_many_orders_come_from_a_file(dockbus: CommandLine, bus: Bus, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text(order(key="cli-many") + "\n" + order(priority="high", delay=60) * 2)

    ids = dockbus.ok("enqueue", str(file)).split()

    assert [record.id for record in reversed(bus.jobs())] == ids
    assert [bus.job(job).state.value for job in ids] == ["queued", "scheduled", "scheduled"]
    again = json.loads(dockbus.ok("enqueue", str(file), "--json"))
    assert (again["ids"][0], len(set(ids + again["ids"]))) == (ids[0], 5)


def test_a_chain_comes_from_standard_input(dockbus: CommandLine, bus: Bus) -> None:
    done = piped(dockbus, order() * 3, "enqueue", "--chain", "-")

    assert (done.returncode, done.stderr) == (0, "")
    ids = done.stdout.split()
    assert [bus.job(job).state.value for job in ids] == ["queued", "waiting", "waiting"]
    after = [record.terms and record.terms.after for record in reversed(bus.jobs())]
    assert after == [(), (ids[0],), (ids[1],)]
    assert piped(dockbus, "", "enqueue", "-").stdout == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (json.dumps(SPEC), "line 2: spec: "),
        (json.dumps({"spec": {"kind": "rum"}}), "line 2: kind: 'rum' is none of"),
        (json.dumps({"spec": {**SPEC, "lables": {}}}), "line 2: spec.lables: no such field"),
        (order(timeout=0).strip(), "line 2: timeout: "),
        ("{", "line 2: spec: Invalid JSON"),
        ("\udcff", "line 2: spec: Invalid JSON"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_sent(
    dockbus: CommandLine, bus: Bus, tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text(order() + line + "\n" + order(), errors="surrogateescape")

    done = dockbus("enqueue", str(file))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr
    assert bus.jobs() == []


def test_a_conflict_is_named_and_the_others_are_on_the_bus(dockbus: CommandLine, bus: Bus) -> None:
    other = json.dumps({"spec": {**SPEC, "dry_run": True}, "key": "cli-conflict"}) + "\n"

    done = piped(dockbus, order(key="cli-conflict") + other + order(), "enqueue", "-", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    problem = json.loads(done.stderr)
    assert problem["code"] == "key-conflict"
    assert "cli-conflict" in problem["detail"]
    assert len(bus.jobs()) == 2


# -- what has failed, and replays ----------------------------------------------------------


def test_jobs_are_listed_by_state(dockbus: CommandLine, bus: Bus) -> None:
    first = dead(dockbus, bus)
    failed = dockbus.ok(*CLEANUP).strip()
    fail(bus, "failed", OSError())
    queued = dockbus.ok(*CLEANUP).strip()

    def listed(*words: str) -> list[str]:
        return [record["id"] for record in json.loads(dockbus.ok("jobs", "--json", *words))]

    assert listed() == [queued, failed, first]
    assert listed("--state", "dead") == [first]
    assert listed("-s", "dead", "-s", "queued") == [queued, first]
    assert listed("-s", "dead", "-s", "queued", "-n", "1") == [queued]
    assert re.search(rf"^{first} .* dead ", dockbus.ok("jobs", "-s", "dead"), re.MULTILINE)
    wrong = dockbus("jobs", "--state", "dad")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "'dead'" in wrong.stderr


def test_a_dead_job_shows_its_traceback_and_the_end_of_its_log(
    dockbus: CommandLine, bus: Bus, redis: Redis
) -> None:
    job = dockbus.ok(*CLEANUP).strip()
    write(redis, job, [LogLine(stream="stderr", text=f"line {n}") for n in range(1, 31)])
    write(redis, job, [LogLine(stream="stdout", text="\x1b[2J")])
    alive = dockbus.ok("job", job)
    with pytest.raises(FileNotFoundError) as caught:
        Path("/nowhere/at-all").read_text()
    fail(bus, "dead", caught.value)

    shown = dockbus.ok("job", job)

    assert re.search(r"^state +dead", shown, re.MULTILINE)
    assert re.search(r"^attempts +1", shown, re.MULTILINE)
    assert re.search(r"^error.code +bug", shown, re.MULTILINE)
    assert "\ntraceback\nTraceback (most recent call last):\n" in shown
    assert "\nFileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at-all'\n" in shown
    assert "error.traceback" not in shown
    end = shown.partition("\nend of the log\n")[2].splitlines()
    assert end == [*(f"line {n}" for n in range(22, 31)), "\N{REPLACEMENT CHARACTER}[2J"]
    assert "end of the log" not in alive
    assert "line 30" not in dockbus.ok("job", job, "--json")


def test_a_job_is_replayed_once_and_with_edits_each_time(dockbus: CommandLine, bus: Bus) -> None:
    job = dead(dockbus, bus, "--timeout", "2m", "--exclusive", "cli-replay")

    again = dockbus.ok("replay", job).strip()

    assert (again != job, bus.job(again).state) == (True, JobState.QUEUED)
    assert dockbus.ok("replay", job).strip() == again
    terms = bus.job(again).refresh().terms
    assert terms is not None
    assert (terms.replay_of, terms.timeout, terms.exclusive) == (job, 120.0, "cli-replay")
    edits = ("--set", "dry_run=true", "--set", "older_than=7d", "--set", 'labels={"a": "b=c"}')
    (edited,) = json.loads(dockbus.ok("replay", job, *edits, "--json"))
    assert edited["id"] not in (job, again)
    assert edited["spec"]["dry_run"] is True
    assert edited["spec"]["older_than"] == 604800.0
    assert edited["spec"]["labels"] == {"a": "b=c"}


def test_all_dead_jobs_are_replayed_oldest_first(dockbus: CommandLine, bus: Bus) -> None:
    first, second = dead(dockbus, bus), dead(dockbus, bus)
    other = dockbus.ok(*CLEANUP).strip()

    replayed = dockbus.ok("replay", "--dead").split()

    terms = [bus.job(job).refresh().terms for job in replayed]
    assert [term and term.replay_of for term in terms] == [first, second]
    assert dockbus.ok("replay", "--dead").split() == replayed
    assert [record.id for record in bus.jobs()] == [*reversed(replayed), other, second, first]

    bus.cancel(other)
    assert fail(bus, "dead", OSError("again")) == replayed[0]
    third, same = dockbus.ok("replay", "--dead", "--set", "dry_run=true").split()
    replays = [bus.job(job).refresh().terms for job in (third, same)]
    assert [term and term.replay_of for term in replays] == [second, replayed[0]]


def test_one_that_cannot_be_replayed_stops_no_other(dockbus: CommandLine, bus: Bus) -> None:
    job = dead(dockbus, bus)
    queued = dockbus.ok(*CLEANUP).strip()

    done = dockbus("replay", "nope", queued, job, "--json")

    assert done.returncode == 1
    codes = [json.loads(line)["code"] for line in done.stderr.splitlines()]
    assert codes == ["job-not-found", "job-not-replayable"]
    (again,) = json.loads(done.stdout)
    assert again["terms"]["replay_of"] == job
    wrong = dockbus("replay", job, "--set", "older_than=soon")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (1, "", 1)
    assert "older_than: 'soon' is not a span" in wrong.stderr
    assert len(bus.jobs()) == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("replay", 2, "name jobs, or give --dead"),
        ("replay x --dead", 2, "name jobs, or give --dead"),
        ("replay x --set memory", 2, "'memory' is not KEY=VALUE"),
        ("replay nope", 1, "There is no such job: nope"),
        ("enqueue", 2, "Missing argument 'FILE'"),
        ("enqueue /nowhere/orders", 2, "No such file"),
        ("cleanup -d --after nope", 1, "There is no such job: nope"),
        ("cleanup -d --after-failure stop", 2, "'stop'"),
        ("cleanup -d --delay soon", 2, "'soon' is not a span of time"),
        ("cleanup -d --retries 101", 2, "less than or equal to 100"),
        ("cleanup -d --retries two", 2, "a valid integer"),
        ("jobs --state asleep", 2, "'asleep'"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    dockbus: CommandLine, bus: Bus, words: str, code: int, said: str
) -> None:
    done = dockbus(*words.split())

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("dockbus: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert bus.jobs() == []
