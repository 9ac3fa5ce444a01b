"""Specs: strict, frozen, the same for the same order, and errors that name the field."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from dockbus.errors import InvalidSpec
from dockbus.jobs import (
    KINDS,
    Build,
    Cleanup,
    Exec,
    Kind,
    Pull,
    Remove,
    Restart,
    Run,
    Scan,
    Severity,
    Spec,
    Start,
    Stop,
    explain,
    parse_result,
    parse_spec,
)

SPECS: list[Spec] = [
    Pull(image="busybox", platform="linux/arm64"),
    Build(context="here", tags=["a:1", "b"], args={"A": "1"}, labels={"l": "2"}),
    Run(image="busybox", command=["echo", "ä €", ""], env={"A": "="}, memory=2**30, cpus=0.5),
    Scan(image="sha256:" + "0" * 64, fail_on=Severity.HIGH),
    Cleanup(images="dangling", labels={"app": ""}, older_than=60),
    Restart(container="web", only_if="container.health == 'unhealthy'", timeout=30),
    Stop(container="web", started=datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)),
    Start(container="0123456789ab"),
    Remove(container="web", force=True, volumes=True),
    Exec(container="web", command=["echo", "ä €", ""], env={"A": "="}, env_from={"B": "b"}),
]


def refusal(**fields: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(json.dumps(fields))
    return caught.value.detail


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_a_spec_survives_the_bus(spec: Spec) -> None:
    again = parse_spec(json.dumps(spec.model_dump(mode="json")))

    assert again == spec
    assert again.digest() == spec.digest()


def test_every_kind_has_a_spec_and_a_result_of_its_own() -> None:
    assert {info.spec.model_fields["kind"].default for info in KINDS.values()} == set(Kind)
    assert {info.result.model_fields["kind"].default for info in KINDS.values()} == set(Kind)


def test_equal_orders_have_equal_digests_in_whatever_order_they_are_written() -> None:
    one = Run(image="x", env={"A": "1", "B": "2"}, labels={"a": "", "b": ""}, cpus=1)
    two = Run(labels={"b": "", "a": ""}, cpus=1.0, env={"B": "2", "A": "1"}, image="x")

    assert one.digest() == two.digest()
    assert one.digest() != one.model_copy(update={"env": {"A": "2", "B": "1"}}).digest()
    assert Pull(image="x").digest() != Scan(image="x").digest()


def test_digests_do_not_change_between_versions() -> None:
    # A container is found again by this digest, also by the next version's workers.
    assert Run(image="busybox", command=["true"]).digest() == "ade26b4a08188d4e"


def test_a_spec_cannot_be_changed() -> None:
    spec = Run(image="busybox")

    with pytest.raises(ValidationError):
        spec.image = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "kind: it is missing; write one of pull, build, run, scan, cleanup, restart, "),
        ({"kind": "rnu"}, "start, remove, exec, did you mean 'run'"),
        ({"kind": None}, "kind: 'None' is none of"),
        ({"kind": "run"}, "image: Field required"),
        ({"kind": "run", "image": "x", "comand": []}, "comand: no such field, did you mean 'comm"),
        ({"kind": "run", "image": "x", "zzz": 1}, "zzz: no such field"),
        ({"kind": "run", "image": "X"}, "image: 'X' is not an image reference"),
        ({"kind": "run", "image": "x", "pull": "maybe"}, "pull: Input should be 'if-not-present'"),
        (
            {"kind": "run", "image": "x", "command": "echo"},
            "command: Input should be a valid array",
        ),
        ({"kind": "run", "image": "x", "env": {"run": 1}}, "env.run: Input should be a valid str"),
        ({"kind": "run", "image": "x", "env": {"A=B": ""}}, "'A=B' cannot be the name of an envir"),
        (
            {"kind": "run", "image": "x", "env": {"A": "\0"}},
            "env.A: a program cannot be given a NUL",
        ),
        ({"kind": "run", "image": "x", "command": ["\0"]}, "command.0: a program cannot be given"),
        ({"kind": "run", "image": "x", "memory": "lots"}, "memory: 'lots' is not a size"),
        ({"kind": "run", "image": "x", "memory": "5m"}, "memory: it is less than 6291456"),
        ({"kind": "run", "image": "x", "memory": "9" * 400}, "memory: Input should be less than"),
        ({"kind": "run", "image": "x", "cpus": 0}, "cpus: Input should be greater than"),
        ({"kind": "run", "image": "x", "cpus": True}, "cpus: Input should be a valid number"),
        ({"kind": "run", "image": "x", "cpus": "1"}, "cpus: Input should be a valid number"),
        ({"kind": "run", "image": "x", "cpus": math.nan}, "cpus: "),
        ({"kind": "run", "image": "x", "remove": 1}, "remove: Input should be a valid boolean"),
        ({"kind": "pull", "image": "sha256:" + "0" * 64}, "image: "),
        ({"kind": "pull", "image": "x", "platform": "Linux"}, "platform: "),
        ({"kind": "build", "context": "", "tags": ["x"]}, "context.folder: "),
        ({"kind": "build", "context": ".", "tags": []}, "tags: "),
        ({"kind": "scan", "image": "x", "fail_on": "bad"}, "fail_on: "),
        ({"kind": "cleanup", "containers": False}, "neither containers nor images is set"),
        ({"kind": "cleanup", "older_than": "-1s"}, "older_than: '-1s' is not a span"),
        ({"kind": "cleanup", "older_than": math.inf}, "older_than: Input should be a finite"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(**fields)


def test_all_that_is_wrong_is_named_at_once() -> None:
    detail = refusal(kind="run", image="X", pids=-1, zzz=1)

    assert all(f"{field}: " in detail for field in ("image", "pids", "zzz"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"run"', b"\xff", '{"kind":"run","ima'])
def test_what_is_no_spec_at_all_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidSpec):
        parse_spec(text)


def test_bytes_of_a_command_line_that_are_no_text_are_refused_before_they_reach_the_bus() -> None:
    with pytest.raises(ValidationError) as caught:
        Run(image="x", command=[b"\xff".decode("utf-8", "surrogateescape")])

    assert explain(caught.value) == "spec: it holds text that is not Unicode"


def test_a_model_made_in_python_explains_itself_like_json() -> None:
    with pytest.raises(ValidationError) as caught:
        Run.model_validate({"image": "x", "pull": "maybe"})

    assert explain(caught.value).startswith("pull: ")


def test_results_are_told_apart_by_kind() -> None:
    result = parse_result(
        '{"kind":"run","exit_code":0,"oom_killed":false,"duration":1,"container_id":"c","image_id":"i"}'
    )

    assert result.kind is Kind.RUN


def test_severities_have_an_order() -> None:
    assert sorted(Severity, key=lambda level: level.rank) == list(Severity)
