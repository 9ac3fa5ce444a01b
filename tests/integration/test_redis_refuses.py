"""A Redis that is there and refuses: one clear error with advice, by every door, and nothing of the job is kept."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from commandline import CommandLine
from dockbus import Bus, Cleanup, JobState, Order, RedisUnavailable, local
from dockbus.connection import connect, reachable
from dockbus.settings import RedisSettings
from serving import bus_settings, served
from waiting import wait_for

SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})
BODY = {"spec": SPEC.model_dump(mode="json")}


def full(redis: Any, _folder: Path) -> None:
    redis.set("somebody's", b"x" * 4 * 1024**2)
    redis.config_set("maxmemory", "1mb")


def full_disk(redis: Any, folder: Path) -> None:
    (folder / "dump.rdb" / "in-the-way").mkdir(parents=True)
    redis.config_set("save", "3600 1")
    redis.bgsave()
    wait_for(lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err", what="a failure")


@dataclass(frozen=True)
class Refusal:
    """Makes a Redis refuse; what it then says, and whom to ask as."""

    arrange: Callable[[Any, Path], object]
    says: str
    user: str = ""
    reads: bool = True
    """Whether it still answers to whom only looks."""


REFUSALS = {
    "its memory is full": Refusal(full, "OOM"),
    "it cannot save": Refusal(full_disk, "MISCONF"),
    "it is a replica": Refusal(lambda redis, _: redis.replicaof("127.0.0.1", 1), "READONLY"),
    "it has lost its primary": Refusal(
        lambda redis, _: (
            redis.config_set("replica-serve-stale-data", "no"),
            redis.replicaof("127.0.0.1", 1),
        ),
        "MASTERDOWN|READONLY",
        reads=False,
    ),
    "it has no replica": Refusal(
        lambda redis, _: redis.config_set("min-replicas-to-write", 1), "NOREPLICAS"
    ),
    "the password is wrong": Refusal(
        lambda redis, _: redis.config_set("requirepass", "right"),
        "WRONGPASS",
        user=":wrong@",
        reads=False,
    ),
    "there is no password": Refusal(
        lambda redis, _: redis.config_set("requirepass", "right"), "NOAUTH", reads=False
    ),
    "the user may only read": Refusal(
        lambda redis, _: redis.execute_command("ACL SETUSER reader on >pw ~* +@read +ping"),
        "NOPERM",
        user="reader:pw@",
    ),
    "scripts of the user may only read": Refusal(
        lambda redis, _: redis.execute_command(
            "ACL SETUSER reader on >pw ~* +@read +ping +time +@scripting"
        ),
        "NOPERM",
        user="reader:pw@",
    ),
}


@dataclass(frozen=True)
class Stubborn:
    """A Redis that refuses, and what was on the bus before it did."""

    bus: Bus
    redis: Any
    """For a look behind the scenes."""
    says: str
    queued: str
    ended: str
    reads: bool
    before: dict[bytes, bytes]

    def kept(self) -> dict[bytes, bytes]:
        """All that is in it, byte for byte."""
        # One that has lost its primary has to be talked into showing it.
        stale = self.redis.config_get("replica-serve-stale-data")
        self.redis.config_set("replica-serve-stale-data", "yes")
        kept = {key: self.redis.dump(key) for key in self.redis.scan_iter()}
        self.redis.config_set(*stale.popitem())
        return kept


@pytest.fixture(params=REFUSALS)
def stubborn(
    request: pytest.FixtureRequest, redis_url: str
) -> Generator[Stubborn]:  # with `redis_url`, which skips where there is no Redis
    refusal = REFUSALS[request.param]
    with tempfile.TemporaryDirectory(prefix="dkb-") as name:
        folder = Path(name)
        with local.local_redis(folder, print) as url:
            settings = bus_settings(url, folder)
            redis: Any = connect(url)
            with Bus(settings) as bus:
                queued, ended = (job.id for job in bus.enqueue_many([SPEC, SPEC]))
                bus.cancel(ended)
            refusal.arrange(redis, folder)
            theirs = RedisSettings(url=url.replace("unix://", f"unix://{refusal.user}"))
            settings = settings.model_copy(update={"redis": theirs})
            with Bus(settings, patience=0) as bus:
                found = Stubborn(bus, redis, refusal.says, queued, ended, refusal.reads, {})
                found.before.update(found.kept())
                yield found
            redis.config_set("save", "")  # or it would not stop without having saved
            redis.close()


def refused(verb: Callable[[], object]) -> str:
    """The code with which Redis refuses."""
    with pytest.raises(RedisUnavailable) as caught:
        verb()
    return caught.value.detail.rpartition("(")[2].rstrip(")")


def test_every_verb_says_so_and_changes_nothing(stubborn: Stubborn) -> None:
    bus = stubborn.bus
    order = Order(spec=SPEC)
    verbs: dict[str, Callable[[], object]] = {
        "enqueue": lambda: bus.enqueue(SPEC),
        "with a key": lambda: bus.enqueue(SPEC, key="refused"),
        "later": lambda: bus.enqueue(SPEC, delay=60),
        "after": lambda: bus.enqueue(SPEC, after=[stubborn.queued]),
        "enqueue_many": lambda: bus.enqueue_many([order] * 1500),
        "chain": lambda: bus.chain(order, order),
        "replay": lambda: bus.replay(stubborn.ended),
        "replay with edits": lambda: bus.replay(stubborn.ended, {"dry_run": True}),
        "cancel": lambda: bus.cancel(stubborn.queued),
    }
    looks: dict[str, Callable[[], object]] = {
        "job": lambda: bus.job(stubborn.queued),
        "jobs": bus.jobs,
        "queues": bus.queues,
    }

    said = {name: refused(verb) for name, verb in verbs.items()}

    assert set(said.values()) <= set(stubborn.says.split("|")), said
    assert stubborn.kept() == stubborn.before
    for name, look in looks.items():
        if stubborn.reads:
            assert look(), name
        else:
            assert refused(look) in stubborn.says.split("|"), name


def test_http_answers_503_with_advice(stubborn: Stubborn) -> None:
    with served(stubborn.bus) as api:
        answers = [
            api.post("/v1/jobs", json=BODY),
            api.post("/v1/jobs/batch", json={"orders": [BODY] * 3}),
            api.post("/v1/jobs/batch", json={"orders": [BODY] * 3, "chain": True}),
            api.post(f"/v1/jobs/{stubborn.ended}/replay"),
            api.post(f"/v1/jobs/{stubborn.queued}/cancel"),
        ]

    for answer in answers:
        assert answer.status_code == 503, answer.text
        problem = answer.json()
        assert problem["type"] == "urn:dockbus:problem:redis-unavailable"
        assert problem["detail"].rpartition("(")[2].rstrip(")") in stubborn.says.split("|")
        assert "DOCKBUS_REDIS_URL" in problem["advice"]
        assert int(answer.headers["retry-after"]) > 0
    assert stubborn.kept() == stubborn.before


def test_the_command_line_says_so_in_one_line(stubborn: Stubborn) -> None:
    settings = stubborn.bus.settings
    dockbus = CommandLine(
        DOCKBUS_REDIS_URL=settings.redis.url,
        DOCKBUS_BUS_KEY=settings.bus.key.get_secret_value(),
        DOCKBUS_BUS_DATA_DIR=str(settings.bus.data_dir),
    )

    done = dockbus("cleanup", "-d", "--json")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    problem = json.loads(done.stderr)
    assert problem["code"] == "redis-unavailable"
    assert problem["detail"].rpartition("(")[2].rstrip(")") in stubborn.says.split("|")
    assert stubborn.kept() == stubborn.before


def test_a_memory_that_fills_up_takes_whole_jobs_or_nothing(redis_url: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="dkb-") as name,
        local.local_redis(Path(name), print) as url,
        Bus(bus_settings(url, Path(name))) as bus,
    ):
        redis: Any = bus.redis
        orders = [Order(spec=SPEC, key=f"fills-up-{number}") for number in range(5000)]
        bus.enqueue_many(orders[:10])
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 1024**2)

        assert refused(lambda: bus.enqueue_many(orders)) == "OOM"

        queued = redis.lrange("rq:queue:cleanup", 0, -1)
        records = bus.jobs(limit=5000)
        assert 10 < len(queued) < 5000
        assert [record.id.encode() for record in reversed(records)] == queued
        assert {record.state for record in records} == {JobState.QUEUED}
        assert len(redis.keys("rq:job:*")) == len(queued)

        redis.config_set("maxmemory", 0)
        ids = [job.id for job in bus.enqueue_many(orders)]
        assert sorted(raw.decode() for raw in redis.lrange("rq:queue:cleanup", 0, -1)) == sorted(
            ids
        )
        assert len(set(ids)) == 5000


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "Attempted to access a non local key in a cluster node script: on @user_script:9.",
            "MOVED",
        ),
        (
            "The user executing the script can't run this command or subcommand script: 8f, on @user_script:9.",
            "NOPERM",
        ),
        (
            "Command # 1 (LLEN x) of pipeline caused error: BUSY Redis is busy running a script.",
            "BUSY",
        ),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ""),
    ],
)
def test_an_error_of_redis_is_told_from_one_of_ours(said: str, code: str) -> None:
    with pytest.raises(RedisUnavailable if code else ResponseError) as caught, reachable():
        raise ResponseError(said)

    assert f"({code})" in str(caught.value) or not code
