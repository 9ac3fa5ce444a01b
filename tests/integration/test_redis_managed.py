"""A Redis as providers manage it: one address that follows the primary, TLS with certificates, a user with few rights."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError

import registries
from dockbus import Bus, Cleanup, Event, JobState, Order, Settings, doctor
from dockbus.backup import back_up, restore
from dockbus.connection import connect, ping
from dockbus.errors import JobNotFound, MissingTool, RedisUnavailable
from dockbus.settings import MetricsSettings, RedisSettings, ScheduleSettings, WatchSettings
from missing import missing
from outage import Plug
from processes import Program
from prometheus_server import free_port
from redises import Server, servers, wait_until_copied, with_tls
from runs import output, result, shell
from serving import bus_settings
from waiting import wait_for

Start = Callable[..., Program]
Change = Callable[[str], str]
SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "redis.md"
SCHEDULE = (
    "schedules: [{name: often, every: 1s, do: {kind: cleanup, labels: {dockbus.test.nobody: has}}}]"
)
RULES = "rules: [{name: sweep, on: io.dockbus.docker.container.die, debounce: 1s, where: {labels: {dockbus.test.nobody: has}}, do: {kind: remove}}]"
SINKS = "sinks: [{name: nobody, url: 'http://127.0.0.1:9/', types: io.dockbus.job.succeeded, retry: {max: 1, base: 0.1}}]"


# -- an address that moves -------------------------------------------------------------------------


def test_programs_go_on_where_the_address_leads(settings: Settings, start: Start) -> None:
    """Also those whose connections the old primary keeps open: it says READONLY, and they connect anew."""
    with servers() as started:
        first = started.start()
        second = started.replica(first.port)
        with Plug(first.socket) as plug:
            moved = RedisSettings(url=f"redis://127.0.0.1:{plug.port}")
            theirs = settings.model_copy(update={"redis": moved})
            worker = start("worker", "cleanup", settings=theirs)
            with Bus(theirs, patience=30) as bus:
                assert bus.enqueue(SPEC).wait(timeout=30)

                plug.lead_to(second.socket)
                second.ask.replicaof("NO", "ONE")
                first.ask.replicaof("127.0.0.1", second.port)
                with contextlib.suppress(
                    RedisUnavailable
                ):  # batches are not sent again by themselves
                    bus.enqueue_many([Order(spec=SPEC)] * 2)
                jobs = bus.enqueue_many([Order(spec=SPEC)] * 2)
                assert all(job.wait(timeout=30) for job in jobs)
                wait_for(lambda: first.info("master_link_status") == "up", what="the copy")
                wait_until_copied(second, [first])

                plug.lead_to(first.socket)
                second.kill()
                first.ask.replicaof("NO", "ONE")
                last = bus.enqueue(SPEC)
                assert last.wait(timeout=30)

                assert [job.refresh().attempts for job in (*jobs, last)] == [1, 1, 1]
                assert first.ask.exists(f"rq:job:{last.id}")
            assert worker.process.poll() is None


def test_what_was_not_copied_is_lost_and_can_be_sent_again(tmp_path: Path) -> None:
    """Copies are made after the answer. How much can be lost is bounded by `min-replicas-max-lag`."""
    with servers() as started:
        primary = started.start("min-replicas-to-write 1", "min-replicas-max-lag 2")
        with Plug(primary.socket) as line:
            replica = started.replica(line.port)
            wait_for(lambda: primary.info("min_slaves_good_slaves") == 1, what="the replica")
            with Bus(bus_settings(primary.url, tmp_path), patience=0) as bus:
                copied = bus.enqueue(SPEC, key="copied")
                wait_for(lambda: replica.ask.exists(f"rq:job:{copied.id}"), what="the copy")
                line.freeze()
                lost = bus.enqueue(SPEC, key="lost")

                def refused() -> bool:
                    try:
                        bus.enqueue(SPEC)
                    except RedisUnavailable as error:
                        return "NOREPLICAS" in str(error)
                    return False

                wait_for(refused, what="it to take no more")
                primary.kill()
            line.pull()
            replica.ask.replicaof("NO", "ONE")

            with Bus(
                bus.settings.model_copy(update={"redis": RedisSettings(url=replica.url)})
            ) as bus:
                assert bus.job(copied.id).state is JobState.QUEUED
                with pytest.raises(JobNotFound):
                    bus.job(lost.id)
                again = [bus.enqueue(SPEC, key=key).id for key in ("copied", "lost")]

                assert again == [copied.id, lost.id]
                assert len(bus.jobs()) == 2


# -- TLS, and a user with few rights ---------------------------------------------------------------


@dataclass(frozen=True)
class Managed:
    """One that asks for TLS and a client's certificate; its default user is off."""

    server: Server
    folder: Path

    program: list[str]
    env: dict[str, str]

    @property
    def tls(self) -> str:
        ca, key = self.folder / "ca.pem", self.folder / "key.pem"
        return f"ssl_ca_certs={ca}&ssl_certfile={ca}&ssl_keyfile={key}"

    def url(self, user: str = "dockbus:PASSWORD@") -> str:
        return f"rediss://{user}127.0.0.1:{self.server.port}/0?{self.tls}"


@pytest.fixture(scope="module")
def managed(scratch: Path, say: Callable[[str], None]) -> Generator[Managed]:
    """With the user that the page gives."""
    try:
        program, env = with_tls(scratch, say)
    except MissingTool as error:
        missing(error)
    folder = scratch / "managed"
    folder.mkdir()
    ca = registries._certificate(folder)  # pyright: ignore[reportPrivateUsage]
    found = re.search(r"^user dockbus .*$", PAGE.read_text(), re.MULTILINE)
    assert found
    tls = (
        *("tls-port %PORT%", "port 0", f"tls-cert-file {ca}", f"tls-key-file {folder / 'key.pem'}"),
        *(f"tls-ca-cert-file {ca}", "tls-auth-clients yes"),
    )
    with servers() as started:
        server = started.start(
            *tls,
            *("user default off", "user admin on >admin ~* &* +@all", found[0]),
            program=program,
            env=env,
            username="admin",
            password="admin",
            ssl=True,
            ssl_ca_certs=str(ca),
            ssl_certfile=str(ca),
            ssl_keyfile=str(folder / "key.pem"),
        )
        yield Managed(server, folder, program, env)


def test_every_program_needs_no_more_rights_than_the_page_says(
    managed: Managed, settings: Settings, base_image: str, start: Start, tmp_path: Path
) -> None:
    files = {"schedules": SCHEDULE, "rules": RULES, "sinks": SINKS}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    theirs = settings.model_copy(
        update={
            "redis": RedisSettings(url=managed.url("dockbus@"), password=SecretStr("PASSWORD")),
            "metrics": MetricsSettings(port=free_port()),
            "schedule": ScheduleSettings(path=str(tmp_path / "schedules.yaml")),
            "watch": WatchSettings(
                rules=str(tmp_path / "rules.yaml"), sinks=str(tmp_path / "sinks.yaml")
            ),
        }
    )
    for command in ("worker run", "watch", "schedule", "metrics"):
        start(*command.split(), settings=theirs)
    with Bus(theirs, patience=10) as bus:
        wait_for(
            lambda: any(engine.connected for engine in bus.snapshot.engines()), what="the watch"
        )
        job = bus.enqueue(shell("echo done"), key="once")
        waiting = bus.enqueue(shell("true"), after=[job])
        assert result(job).exit_code == 0
        assert output(job) == ["done"]
        assert waiting.wait(timeout=30)
        bus.cancel(bus.enqueue(SPEC, delay=3600).id)
        bus.publish(Event(source="/test", id="1", type="a.test"))
        wait_for(lambda: len(bus.jobs()) > 3, what="the schedule")
        wait_for(lambda: told(bus, "docker.container.die"), what="what the watch tells")
        file = tmp_path / "bus.backup"
        assert back_up(bus, file).jobs > 3
        restore(bus, file, replace=True)
    found = list(doctor._redis(theirs))  # pyright: ignore[reportPrivateUsage]

    assert found[0].level == "ok", found
    assert "PASSWORD" not in found[0].found
    assert managed.server.ask.acl_log() == []
    with connect(managed.url()) as client:
        for refused in ("CONFIG GET *", "FLUSHALL", "GET another:program"):
            with pytest.raises(RedisError, match="permissions"):
                client.execute_command(*refused.split())  # pyright: ignore[reportUnknownMemberType]
    managed.server.ask.acl_log_reset()


def told(bus: Bus, what: str) -> bool:
    """Whether such an event was published."""
    kept = bus.events(since="0", follow=False, types=f"io.dockbus.{what}")
    return any(True for _ in kept)


WRONG: dict[str, tuple[Change, str]] = {
    "no authority": (
        lambda url: re.sub(r"ssl_ca_certs=[^&]*&", "", url),
        "certificate verify failed",
    ),
    "no certificate": (
        lambda url: re.sub(r"&ssl_(cert|key)file=[^&]*", "", url),
        "certificate required|reset|EOF",
    ),
    "no TLS": (lambda url: url.replace("rediss", "redis").partition("?")[0], "closed|reset"),
    "no user": (lambda url: url.replace("dockbus:PASSWORD@", ""), "NOAUTH"),
    "wrong password": (
        lambda url: url.replace("PASSWORD", "wrong"),
        "WRONGPASS|invalid username-password",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(managed: Managed, what: str) -> None:
    change, says = WRONG[what]
    with (
        connect(change(managed.url()), patience=0) as client,
        pytest.raises(RedisUnavailable, match=says),
    ):
        ping(client)


def test_sentinels_speak_tls_too(managed: Managed) -> None:
    ca, key = managed.folder / "ca.pem", managed.folder / "key.pem"
    with servers() as started:
        sentinel = started.start(
            *("tls-port %PORT%", "port 0", f"tls-cert-file {ca}", f"tls-key-file {key}"),
            *(f"tls-ca-cert-file {ca}", "tls-replication yes"),
            f"sentinel monitor shop 127.0.0.1 {managed.server.port} 1",
            *("sentinel auth-user shop admin", "sentinel auth-pass shop admin"),
            sentinel=True,
            program=managed.program,
            env=managed.env,
            ssl=True,
            ssl_ca_certs=str(ca),
            ssl_certfile=str(ca),
            ssl_keyfile=str(key),
        )
        url = f"rediss+sentinel://dockbus:PASSWORD@127.0.0.1:{sentinel.port}/shop?{managed.tls}"

        with connect(url) as client:
            ping(client)
            found: Any = client.connection_pool.connection_kwargs["find"]()
    assert found == ("127.0.0.1", managed.server.port)
