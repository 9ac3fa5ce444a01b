"""Actions: what their specs take and refuse, which queue they are on, and which container a name means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from dockbus import Exec, InvalidSpec, Kind, Order, Remove, Restart, RestartResult, Stop
from dockbus.cli.results import what
from dockbus.engine import Container, ContainerNotFound
from dockbus.engine.errors import classify
from dockbus.jobs import NotDone, Queue, Run, parse_result, parse_spec
from dockbus.policy import Policy, target_violations, violations
from dockbus.queue import queue_name
from dockbus_workers.acting.reach import as_run
from dockbus_workers.acting.target import is_meant

ACTIONS = ("restart", "stop", "start", "remove", "exec")
ID = "beef" + "0" * 60


def spec(**fields: Any) -> Any:
    return parse_spec(json.dumps({"kind": "restart", "container": "web"} | fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"container": ""}, "container: String should match"),
        ({"container": "../etc"}, "container: String should match"),
        ({"container": "web/json?x"}, "container: String should match"),
        ({"container": "web\n"}, "container: String should match"),
        ({"container": "-web"}, "container: String should match"),
        ({"container": "a" * 129}, "container: String should match"),
        ({"container": None}, "container: Input should be a valid string"),
        ({"only_if": "container.healt == 'x'"}, "has no field 'healt', did you mean 'health'?"),
        ({"only_if": "event.data.exitCode == 0"}, "only_if: 'event' is not known"),
        ({"only_if": "container.state =="}, "only_if: column"),
        ({"only_if": "x" * 2000}, "only_if: it has 2000 characters"),
        ({"started": "2026-11-21T12:00:00"}, "started: Input should have timezone info"),
        ({"started": "yesterday"}, "started: Input should be a valid datetime"),
        ({"timeout": -1}, "timeout: Input should be greater than or equal to 0"),
        ({"timeout": "2d"}, "timeout: Input should be less than or equal to 86400"),
        ({"signal": "KILL; rm"}, "signal: String should match"),
        ({"force": True}, "force: no such field"),
        ({"kind": "start", "timeout": 1}, "timeout: no such field"),
        ({"kind": "exec"}, "command: Field required"),
        ({"kind": "exec", "command": []}, "command: List should have at least 1 item"),
        ({"kind": "exec", "command": "ls"}, "command: Input should be a valid array"),
        ({"kind": "exec", "command": ["a\0"]}, "command.0: a program cannot be given a NUL"),
        ({"kind": "exec", "command": ["a"], "user": "a b"}, "user: String should match"),
        ({"kind": "exec", "command": ["a"], "working_dir": "x"}, "'x' is not an absolute path"),
        ({"kind": "exec", "command": ["a"], "env": {"A": "1"}, "env_from": {"A": "s"}}, "A is in"),
        ({"kind": "exec", "command": ["a"], "env_from": {"A": "../s"}}, "env_from.A: String"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        spec(**fields)

    assert said in caught.value.detail


def test_a_result_survives_the_bus() -> None:
    result = RestartResult(done=False, reason=NotDone.OTHER_LIFE, container_id=ID, state="running")

    assert parse_result(result.model_dump_json()) == result


def test_all_actions_are_on_one_queue_and_the_other_kinds_on_their_own() -> None:
    assert {kind for kind in Kind if kind.queue is Queue.CONTAINER} == {*map(Kind, ACTIONS)}
    assert {kind.queue for kind in Kind if kind not in ACTIONS} == {*Queue} - {Queue.CONTAINER}
    assert queue_name(Kind.RESTART.queue, "e1") == "container@e1"


@pytest.mark.parametrize("kind", [Restart, Stop])
def test_an_attempt_lasts_longer_than_the_container_has_to_stop(kind: type[Restart | Stop]) -> None:
    assert Order(spec=kind(container="web")).limit == 300
    assert Order(spec=kind(container="web", timeout=1000)).limit == 1300
    assert Order(spec=kind(container="web", timeout=20), timeout=21).limit == 21
    with pytest.raises(ValidationError, match="the container has 20 s to stop"):
        Order(spec=kind(container="web", timeout=20), timeout=20)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("shop-web-1", True),
        (ID, True),
        (ID[:12], True),
        (ID[:11], False),
        ("beef", False),
        ("shop-web", False),
        ("shop-web-10", False),
    ],
)
def test_a_container_is_meant_by_its_name_or_enough_of_its_id(name: str, meant: bool) -> None:
    container = Container(
        id=ID, name="shop-web-1", image="i", image_id="i", state="running", labels={}
    )

    assert is_meant(container, name) == meant


def test_a_name_that_begins_several_ids_is_nobodys() -> None:
    error = classify(500, "Multiple IDs found with provided prefix: be")

    assert isinstance(error, ContainerNotFound)


def test_what_a_job_is_about_is_said_in_a_few_words() -> None:
    assert what(Exec(container="web", command=["ls", "-l"])) == "web ls -l"
    assert what(Restart(container="web")) == "web"


# -- policy ------------------------------------------------------------------------------------


def policy(**fields: Any) -> Policy:
    return Policy.model_validate(fields)


def broken(action: Any, labels: dict[str, str] | None = None, **fields: Any) -> list[str]:
    given: dict[str, Any] = {"policy": policy(), "reach": Run(image="busybox")} | fields
    return [found.rule for found in target_violations(action, labels or {}, **given)]


@pytest.mark.parametrize("kind", ACTIONS)
def test_an_action_can_be_forbidden(kind: str) -> None:
    action = spec(kind=kind, **({"command": ["ls"]} if kind == "exec" else {}))

    assert violations(action, policy(level="restricted")) == []
    assert [v.rule for v in violations(action, policy(actions={"forbid": [kind]}))] == [
        "forbidden-action"
    ]


def test_an_action_that_there_is_not_cannot_be_forbidden() -> None:
    with pytest.raises(ValidationError, match="there is no action 'exce', did you mean 'exec'"):
        policy(actions={"forbid": ["exce"]})
    with pytest.raises(ValidationError, match="there is no action 'run'"):
        policy(actions={"forbid": ["run"]})


@pytest.mark.parametrize("level", ["privileged", "baseline", "restricted"])
def test_labels_confine_actions_at_every_level(level: str) -> None:
    confined = policy(level=level, actions={"only_labelled": {"act": "", "team": "shop"}})
    restart = spec()

    assert broken(restart, {"act": "x", "team": "shop"}, policy=confined) == []
    assert broken(restart, {"act": "x", "team": "db"}, policy=confined) == ["unlabelled-target"]
    assert broken(restart, {}, policy=confined) == ["unlabelled-target"] * 2


def test_a_container_that_is_kept_is_not_removed() -> None:
    kept = {"dockbus.keep": "true"}

    assert broken(Remove(container="web"), kept, policy=policy(level="privileged")) == [
        "kept-container"
    ]
    assert broken(Remove(container="web"), {"dockbus.keep": "false"}) == []
    assert broken(Stop(container="web"), kept) == []


def test_a_jobs_container_is_left_to_it_unless_the_policy_says_otherwise() -> None:
    loose = policy(allow={"rules": ["job-container"]})

    assert broken(spec(), job="j1") == ["job-container"]
    assert broken(spec(), job="j1", policy=loose) == []


COMMON: dict[str, Any] = {
    "Image": "sha256:" + "0" * 64,
    "HostConfig": {
        "Privileged": False,
        "NetworkMode": "default",
        "CapAdd": None,
        "CgroupnsMode": "host",
        "SecurityOpt": None,
        "Devices": [],
    },
    "Mounts": [{"Type": "volume", "Source": "/var/lib/docker/x", "Destination": "/d", "RW": True}],
}


def reach(mounts: list[dict[str, Any]] | None = None, **host: Any) -> Run | None:
    return as_run(
        COMMON | {"HostConfig": COMMON["HostConfig"] | host, "Mounts": mounts or COMMON["Mounts"]}
    )


def bind(source: str, **fields: Any) -> list[dict[str, Any]]:
    mount = {"Type": "bind", "Source": source, "Destination": "/x", "RW": False, "Propagation": ""}
    return [mount | fields]


COMMAND = Exec(container="web", command=["ls"])


@pytest.mark.parametrize(
    "found",
    [
        reach(Privileged=True),
        reach(NetworkMode="host"),
        reach(NetworkMode="container:abc"),
        reach(PidMode="host"),
        reach(IpcMode="host"),
        reach(UTSMode="host"),
        reach(UsernsMode="host"),
        reach(CapAdd=["SYS_ADMIN"]),
        reach(CapAdd=["CAP_SYS_ADMIN"]),
        reach(CapAdd=["ALL"]),
        reach(CapAdd=["NO_SUCH_THING"]),
        reach(SecurityOpt=["seccomp=unconfined"]),
        reach(SecurityOpt=["label=disable", "apparmor:unconfined"]),
        reach(Devices=[{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]),
        reach(bind("/var/run/docker.sock")),
        reach(bind("/etc")),
        reach(bind("/srv/shop", RW=True)),
        None,
    ],
)
def test_a_command_is_not_run_where_it_reaches_the_machine(found: Run | None) -> None:
    assert broken(COMMAND, reach=found) == ["exec-reach"]
    assert broken(COMMAND, reach=found, policy=policy(allow={"rules": ["exec-reach"]})) == []
    assert broken(spec(), reach=found) == []


def test_a_command_is_run_in_an_ordinary_container_and_where_its_reach_is_allowed() -> None:
    allowed = policy(allow={"bind_mounts": [{"path": "/srv/shop"}], "capabilities": ["SYS_PTRACE"]})

    assert broken(COMMAND, reach=reach()) == []
    assert broken(COMMAND, reach=reach(CapAdd=["CHOWN"], NetworkMode="shop_default")) == []
    assert broken(COMMAND, reach=reach(bind("/srv/shop/a")), policy=allowed) == []
    assert broken(COMMAND, reach=reach(bind("/srv/shop", RW=True)), policy=allowed) == [
        "exec-reach"
    ]
    assert broken(COMMAND, reach=reach(CapAdd=["SYS_PTRACE"]), policy=allowed) == []
    assert broken(COMMAND, reach=reach(Privileged=True), policy=policy(level="privileged")) == []
