from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from dockbus import Cleanup, Event, Pull, Run, Scan
from dockbus.errors import RuleError
from dockbus_producer.rules import Rule, engine_of, load

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[2] / "examples" / "rules"


def event(
    what: str = "container.die",
    *,
    source: str = "/engines/local",
    age: float = 0,
    **data: JsonValue,
) -> Event:
    facts = {"name": "web", "image": "demo/web:1", "action": what.rpartition(".")[2], **data}
    return Event(
        source=source,
        type=f"io.dockbus.docker.{what}",
        subject="c0ffee",
        time=NOW - timedelta(seconds=age),
        data=facts,
    )


def rule(**fields: object) -> Rule:
    return Rule.model_validate(
        {"name": "r", "on": "io.dockbus.docker.container.die", "do": {"kind": "cleanup"}} | fields
    )


def wrong(tmp_path: Path, text: str) -> str:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(RuleError) as caught:
        load(file)
    return caught.value.detail.replace(f"{file}:", "")


@pytest.mark.parametrize(
    ("fields", "data", "expected"),
    [
        ({}, {}, True),
        ({"on": "io.dockbus.docker.container.*"}, {}, True),
        ({"on": ["io.dockbus.docker.image.pull", "*.die"]}, {}, True),
        ({"on": "io.dockbus.docker.container.start"}, {}, False),
        ({"where": {"image": "demo/*"}}, {}, True),
        ({"where": {"image": "other/*"}}, {}, False),
        ({"where": {"name": "we?"}}, {}, True),
        ({"where": {"name": "w"}}, {}, False),
        ({"where": {"exit_code": [1, 137]}}, {"exitCode": 137}, True),
        ({"where": {"exit_code": 1}}, {"exitCode": 0}, False),
        ({"where": {"exit_code": 0}}, {}, False),
        ({"where": {"labels": {"a": "1"}}}, {"attributes": {"a": "1"}}, True),
        ({"where": {"labels": {"a": "1*"}}}, {"attributes": {"a": "12"}}, True),
        ({"where": {"labels": {"a": "1"}}}, {"attributes": {"a": "12"}}, False),
        ({"where": {"labels": {"a": ""}}}, {"attributes": {"a": "anything"}}, True),
        ({"where": {"labels": {"a": ""}}}, {"attributes": {"b": "1"}}, False),
        ({"where": {"labels": {"a": ""}}}, {}, False),
    ],
)
def test_a_rule_matches_all_that_it_says(
    fields: dict[str, Any], data: dict[str, Any], expected: bool
) -> None:
    assert rule(**fields).match(event(**data), NOW) is expected


def test_old_events_pass() -> None:
    assert rule(max_age="10m").match(event(age=600), NOW)
    assert not rule(max_age="10m").match(event(age=601), NOW)
    assert not rule().match(event(age=3601), NOW)


def test_rules_are_deaf_to_what_dockbus_does_unless_told() -> None:
    of_job = event(attributes={"dockbus.job": "1f"})
    assert not rule().match(of_job, NOW)
    assert rule(own=True).match(of_job, NOW)

    ended = Event(source="/dockbus/jobs", type="io.dockbus.job.failed", time=NOW)
    assert not rule(on="*").match(ended, NOW)
    assert rule(on="*", own=True).match(ended, NOW)

    built = event(
        "image.tag", attributes={"dockbus.job": "1f"}
    )  # by a build job, and to be scanned
    assert rule(on="*.image.tag").match(built, NOW)


def test_the_job_is_filled_in_from_the_event() -> None:
    do = {
        "kind": "run",
        "image": "${image}",
        "command": ["report", "${id}", "${name} ${exit_code} ${action} on ${engine}", "$$HOME"],
        "labels": {"of": "${name}"},
    }
    assert rule(do=do).spec(event(exitCode=3, source="/engines/edge")) == Run(
        image="demo/web:1",
        command=["report", "c0ffee", "web 3 die on edge", "$HOME"],
        labels={"of": "web"},
    )


def test_values_that_make_no_job_are_refused() -> None:
    with pytest.raises(RuleError, match=r"rule 'r': do: image: 'NOT AN IMAGE' is not an image"):
        rule(do={"kind": "scan", "image": "${image}"}).spec(event(image="NOT AN IMAGE"))


def test_no_job_may_cause_the_event_it_answers() -> None:
    on_any = {"on": "io.dockbus.docker.image.*"}
    answer = rule(**on_any, do={"kind": "pull", "image": "demo/web"})
    assert answer.spec(event("image.pull", image="other:1")) == Pull(image="demo/web")
    with pytest.raises(RuleError, match="this would cause the very event it answers"):
        answer.spec(event("image.pull", image="demo/web:latest"))
    build = rule(**on_any, do={"kind": "build", "context": "app", "tags": ["app:1"]})
    with pytest.raises(RuleError, match="this would cause the very event it answers"):
        build.spec(event("image.tag", image="app:1"))


def test_an_event_belongs_to_its_engine() -> None:
    assert engine_of(event(source="/engines/edge")) == "edge"
    assert engine_of(event(source="/dockbus/jobs")) is None


def test_the_examples_are_valid() -> None:
    clean, scan = load(EXAMPLES)
    assert clean.name == "clean-after-exit"
    assert clean.spec(event()) == Cleanup(labels={"dockbus.demo": "true"})
    assert scan.spec(event("image.tag")) == Scan(image="demo/web:1")


def test_a_folder_is_read_whole_and_names_are_unique_in_it(tmp_path: Path) -> None:
    text = "rules: [{name: %s, on: '*', do: {kind: cleanup}}]"
    (tmp_path / "a.yaml").write_text(text % "one")
    (tmp_path / "b.yaml").write_text(text % "two")
    (tmp_path / "c.txt").write_text("not: read")
    assert [found.name for found in load(tmp_path)] == ["one", "two"]
    (tmp_path / "b.yaml").write_text(text % "one")
    with pytest.raises(RuleError, match=r"b.yaml: rule 'one': name: it is in .*a.yaml already"):
        load(tmp_path)


MISTAKES = {
    "unknown key": (
        "rules:\n- name: x\n  on: '*'\n  maxage: 3\n  do: {kind: cleanup}\n",
        "4: rule 'x': maxage: no such field, did you mean 'max_age'?",
    ),
    "unknown key within": (
        "rules:\n- name: x\n  on: '*'\n  where:\n    lables: {}\n  do: {kind: cleanup}\n",
        "5: rule 'x': where.lables: no such field, did you mean 'labels'?",
    ),
    "unknown key above": (
        "rule: []\n",
        "1: rules: Field required; 1: rule: no such field, did you mean 'rules'?",
    ),
    "bad span": (
        "rules:\n- name: x\n  on: '*'\n  max_age: soon\n  do: {kind: cleanup}\n",
        "4: rule 'x': max_age: 'soon' is not a span of time; write seconds, or numbers with s, m, h or d, such as '1h30m'",
    ),
    "label that is no text": (
        "rules:\n- name: x\n  on: '*'\n  where: {labels: {a: true}}\n  do: {kind: cleanup}\n",
        "4: rule 'x': where.labels.a: Input should be a valid string",
    ),
    "missing": ("rules:\n- name: x\n  on: '*'\n", "2: rule 'x': do: Field required"),
    "no name": (
        "rules:\n- on: '*'\n  do: {kind: cleanup}\n",
        "2: rule number 1: name: Field required",
    ),
    "unknown kind": (
        "rules:\n- name: x\n  on: '*'\n  do: {kind: clean}\n",
        "4: rule 'x': do: kind: 'clean' is none of pull, build, run, scan, cleanup, did you mean 'cleanup'?",
    ),
    "bad spec": (
        "rules:\n- name: x\n  on: '*'\n  do:\n    kind: scan\n    imag: a\n",
        "4: rule 'x': do: imag: no such field, did you mean 'image'?",
    ),
    "unknown value": (
        "rules:\n- name: x\n  on: '*'\n  do: {kind: scan, image: '${imgae}'}\n",
        "4: rule 'x': do: ${imgae} is not known, did you mean 'image'?",
    ),
    "bare dollar": (
        "rules:\n- name: x\n  on: '*'\n  do: {kind: run, image: a, command: ['$1']}\n",
        "4: rule 'x': do: Invalid placeholder in string: line 1, col 1; write $$ for a $",
    ),
    "feeds itself": (
        "rules:\n- name: x\n  on: io.dockbus.docker.image.pull\n  do: {kind: pull, image: '${image}'}\n",
        "4: rule 'x': do: this would cause the very event it answers",
    ),
    "key twice": (
        "rules:\n- name: x\n  on: '*'\n  on: '?'\n  do: {kind: cleanup}\n",
        "4: 'on' is there twice",
    ),
    "name twice": (
        "rules:\n- {name: x, on: '*', do: {kind: cleanup}}\n- {name: x, on: '*', do: {kind: cleanup}}\n",
        " rule 'x': name: it is there twice",
    ),
    "not YAML": ("rules:\n- name: 'x\n", "3: not YAML: found unexpected end of stream"),
    "not plain YAML": (
        "rules: !!python/name:os.system\n",
        "1: not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'",
    ),
    "a list": (
        "- name: x\n",
        "1: it must begin with `rules:` and a list of rules below that",
    ),
    "empty": ("", "1: it must begin with `rules:` and a list of rules below that"),
    "a rule that is none": (
        "rules: [x]\n",
        "1: rule number 1: Input should be a valid dictionary or instance of Rule",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    assert wrong(tmp_path, text) == expected


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = "rules:\n- {name: X, on: [], do: {kind: cleanup}}\n- {nam: x, on: '*', do: {}}\n"
    detail = wrong(tmp_path, text)
    for part in (
        "2: rule 'X': name:",
        "2: rule 'X': on:",
        "3: rule number 2: name:",
        "3: rule number 2: nam:",
    ):
        assert part in detail


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"none.yaml: No such file or directory"):
        load(tmp_path / "none.yaml")
