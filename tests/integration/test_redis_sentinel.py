"""Real Sentinels over a real primary that is killed: all programs go on at the replica that takes its place."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from pydantic import SecretStr

from commandline import CommandLine
from dockbus import Bus, Cleanup, Event, Order, Settings, doctor
from dockbus.connection import connect, ping
from dockbus.errors import RedisUnavailable
from dockbus.settings import (
    ApiSettings,
    MetricsSettings,
    RedisSettings,
    ScheduleSettings,
    WorkerSettings,
)
from processes import Program
from prometheus_server import free_port
from redises import GUARD, NAME, PASSWORD, Watched, servers, watched
from runs import output, result, shell
from serving import TOKEN, bus_settings
from waiting import wait_for

Start = Callable[..., Program]
Change = Callable[[str], str]
SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})
SCHEDULE = (
    "schedules: [{name: often, every: 1s, do: {kind: cleanup, labels: {dockbus.test.nobody: has}}}]"
)
PROGRAMS = ("worker run", "watch", "api", "schedule", "metrics")


@pytest.fixture(scope="module")
def here() -> Generator[Watched]:
    with watched() as made:
        yield made


@dataclass(frozen=True)
class Running:
    """One program, and where it says whether it is ready."""

    program: Program
    port: int

    def is_ready(self) -> bool:
        assert self.program.process.poll() is None, self.program.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=10).is_success
        except httpx.HTTPError:
            return False


@pytest.fixture
def theirs(here: Watched, settings: Settings, tmp_path: Path) -> Settings:
    """The settings of programs on the bus behind the Sentinels; the password is apart from the URL."""
    (tmp_path / "schedules.yaml").write_text(SCHEDULE)
    redis = RedisSettings(url=here.url, password=SecretStr(PASSWORD))
    paths = ScheduleSettings(path=str(tmp_path / "schedules.yaml"))
    slots = WorkerSettings(slots=2)
    return settings.model_copy(update={"redis": redis, "schedule": paths, "worker": slots})


def begun(start: Start, command: str, settings: Settings) -> Running:
    port = free_port()
    own = MetricsSettings(own_port=0 if command in ("api", "metrics") else port, port=port)
    api = ApiSettings(port=port, token=SecretStr(TOKEN))
    update = {"metrics": own, "api": api}
    return Running(start(*command.split(), settings=settings.model_copy(update=update)), port)


def test_all_programs_outlive_the_primary_and_no_job_is_lost(
    here: Watched, theirs: Settings, base_image: str, start: Start
) -> None:
    programs = {command: begun(start, command, theirs) for command in PROGRAMS}
    with ExitStack() as stack:
        bus = stack.enter_context(Bus(theirs, patience=60))
        for command, each in programs.items():
            wait_for(each.is_ready, 30, f"{command} to be ready")
        followed = stack.enter_context(Followed(bus))
        at_work = [bus.enqueue(shell("echo begun; sleep 6; echo done")) for _ in range(2)]
        for job in at_work:
            wait_for(lambda job=job: output(job) == ["begun"], 30, "the jobs to run")  # type: ignore[misc]
        queued = [bus.enqueue(shell(f"echo {number}")) for number in range(2)]
        here.wait_until_copied()

        here.fail_over()
        later = [bus.enqueue(shell(f"echo {number}")) for number in range(2)]

        assert [output(job) for job in at_work if result(job)] == [["begun", "done"]] * 2
        for jobs in (queued, later):
            assert [output(job) for job in jobs if result(job)] == [[str(n)] for n in range(2)]
        ids = {job.id for job in (*at_work, *queued, *later)}
        for command, each in programs.items():
            wait_for(each.is_ready, 30, f"{command} to be ready again")
        api = httpx.get(
            f"http://127.0.0.1:{programs['api'].port}/v1/jobs?limit=500",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert {job["id"] for job in api.json()} >= ids
        count = scheduled(bus)
        wait_for(lambda: scheduled(bus) > count, what="the schedule to go on")
        last = bus.enqueue(shell("echo last"))
        assert result(last)
        wait_for(lambda: last.id in followed.started(), what="the watch to tell of it")
        ours = {job: times for job, times in followed.started().items() if job in ids}
        assert set(ours.values()) == {1}, "no container was started twice"


def scheduled(bus: Bus) -> int:
    return sum(queue.queued for queue in bus.queues() if queue.name == "cleanup")


class Followed:
    """A reader of the event stream, from before the failover to its end."""

    def __init__(self, bus: Bus) -> None:
        self._seen: list[Event] = []
        self._stop = threading.Event()
        reader = bus.events(since="0", types=["io.dockbus.docker.container.start", "a.test.ends"])
        self._bus = bus
        self._thread = threading.Thread(target=self._read, args=(reader,))
        self._thread.start()

    def started(self) -> Counter[str]:
        """How often the container of each job was started, as far as the watch has heard: an Engine remembers little."""
        return Counter(str(event.data["name"]).removeprefix("dockbus-") for event in self._seen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.publish(Event(source="/test", id="ends", type="a.test.ends"))
        self._thread.join()

    def _read(self, reader: Any) -> None:
        for stored in reader:
            if stored.event.type == "a.test.ends":
                return
            self._seen.append(stored.event)


def test_the_doctor_knows_the_primary_and_tells_no_password(here: Watched) -> None:
    theirs = RedisSettings(url=here.url.replace("://", f"://:{PASSWORD}@"))

    found = list(doctor._redis(Settings(redis=theirs)))  # pyright: ignore[reportPrivateUsage]

    checks = {check.name: check for check in found}
    assert checks["redis"].level == "ok", checks["redis"]
    assert f"/{NAME}?" in checks["redis"].found
    assert PASSWORD not in checks["redis"].found
    assert GUARD not in checks["redis"].found
    assert checks["redis replicas"].level == "ok"


WRONG: dict[str, tuple[Change, str]] = {
    "another name": (
        lambda url: url.replace(f"/{NAME}", "/another"),
        "no primary 'another': .*there is no such name",
    ),
    "wrong guard": (lambda url: url.replace(GUARD, "wrong"), "invalid username-password"),
    "no guard": (lambda url: url.partition("?")[0], "already authenticated"),
    "wrong password": (lambda url: url.replace("://", "://:wrong@"), "WRONGPASS|invalid username"),
    "a Sentinel as Redis": (
        lambda url: f"redis://:{GUARD}@{url.partition('://')[2].partition(',')[0]}",
        "SENTINEL",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(here: Watched, what: str) -> None:
    change, says = WRONG[what]
    with (
        connect(change(here.url), patience=0) as client,
        pytest.raises(RedisUnavailable, match=says),
    ):
        ping(client)


def test_a_redis_that_is_no_sentinel_is_told() -> None:
    with servers() as started:
        plain = started.start()
        url = f"redis+sentinel://127.0.0.1:{plain.port}/{NAME}"
        with (
            connect(url, patience=0) as client,
            pytest.raises(RedisUnavailable, match="unknown command"),
        ):
            ping(client)


def test_a_dark_sentinel_costs_a_second_once(here: Watched) -> None:
    """Nobody answers at the first address: it is asked last from then on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dark = silent.getsockname()[1]
        url = here.url.replace("://", f"://:{PASSWORD}@127.0.0.1:{dark},")
        with connect(url, patience=0) as client:
            ping(client)
            asked: Any = client.connection_pool.connection_kwargs["find"].clients[0]
            assert asked.get_connection_kwargs()["port"] != dark


# -- clusters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [True, False], ids=["whole", "without slots"])
def test_a_cluster_is_refused_by_every_door(slots: bool, tmp_path: Path) -> None:
    with servers() as started:
        cluster = started.start("cluster-enabled yes", f"cluster-port {free_port()}")
        if slots:
            cluster.ask.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        with Bus(bus_settings(cluster.url, tmp_path), patience=0) as bus:
            for verb in (
                lambda: bus.enqueue(SPEC),
                lambda: bus.enqueue_many([Order(spec=SPEC)] * 3),
                bus.jobs,
                bus.queues,
                lambda: list(bus.events(follow=False)),
            ):
                with pytest.raises(RedisUnavailable, match=r"a Redis Cluster.*single primary"):
                    verb()
        dockbus = CommandLine(
            DOCKBUS_REDIS_URL=cluster.url, DOCKBUS_BUS_KEY="k", DOCKBUS_BUS_DATA_DIR=str(tmp_path)
        )
        jobs = dockbus("jobs")
        (found,) = doctor._redis(bus.settings)  # pyright: ignore[reportPrivateUsage]
        assert cluster.ask.dbsize() == 0

    assert found.level == "missing"
    assert "cluster mode off" in found.found
    assert jobs.returncode == 1
    assert "cluster mode off" in jobs.stderr
    assert "Traceback" not in jobs.stderr
