from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dockbus import Event, Pull, Scan
from dockbus.errors import RuleError
from dockbus.events import RESYNCED
from dockbus.jobs import Spec
from dockbus.snapshot import ContainerState
from dockbus_producer.rules import Occasion, Rule, load
from dockbus_producer.sinks.sink import load as load_sinks
from dockbus_producer.watch import RuleFiles


def wrong(tmp_path: Path, text: str) -> str:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(RuleError) as caught:
        load(file)
    return caught.value.detail.replace(f"{file}:", "")


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
        "4: rule 'x': do: kind: 'clean' is none of pull, build, run, scan, cleanup, restart, stop, start, remove, exec, did you mean 'cleanup'?",
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
    "state that is no expression": (
        "rules:\n- name: x\n  state: container.health = 'unhealthy'\n  do: {kind: cleanup}\n",
        "3: rule 'x': state: column 18: ",
    ),
    "field that containers do not have": (
        "rules:\n- name: x\n  state: container.helth == 'unhealthy'\n  do: {kind: cleanup}\n",
        "3: rule 'x': state: container has no field 'helth', did you mean 'health'?",
    ),
    "name that expressions do not know": (
        "rules:\n- name: x\n  on: '*'\n  when: evnt.type == 'a'\n  do: {kind: cleanup}\n",
        "4: rule 'x': when: 'evnt' is not known, did you mean 'event'?",
    ),
    "state of an event": (
        "rules:\n- name: x\n  state: event.data.exitCode == 1\n  do: {kind: cleanup}\n",
        "3: rule 'x': state: 'event' is not known here; there are container, now",
    ),
    "image in a condition": (
        "rules:\n- name: x\n  on: '*'\n  when: image.size > 1\n  do: {kind: cleanup}\n",
        "4: rule 'x': when: 'image' is not known here; there are event, container, now",
    ),
    "endless age": (
        "rules:\n- name: x\n  on: '*'\n  max_age: 1000d\n  do: {kind: cleanup}\n",
        "4: rule 'x': max_age: Input should be less than or equal to 31622400",
    ),
    "state and when": (
        "rules:\n- name: x\n  state: 'true'\n  when: 'true'\n  do: {kind: cleanup}\n",
        "4: rule 'x': when: it is about events, and `state` is not; write it into `state`",
    ),
    "state and count": (
        "rules:\n- name: x\n  state: 'true'\n  count: 3\n  within: 1m\n  do: {kind: cleanup}\n",
        "4: rule 'x': count: it is about events, and `state` is not; `limit` bounds how often it acts",
    ),
    "state and attributes": (
        "rules:\n- name: x\n  state: 'true'\n  where: {attributes: {signal: '9'}}\n  do: {kind: cleanup}\n",
        "4: rule 'x': where: attributes is about events, and `state` is not; write it into `state`",
    ),
    "neither on nor state": (
        "rules:\n- name: x\n  do: {kind: cleanup}\n",
        "2: rule 'x': on: Field required",
    ),
    "count without within": (
        "rules:\n- name: x\n  on: '*'\n  count: 3\n  do: {kind: cleanup}\n",
        "4: rule 'x': count: `count` and `within` go together",
    ),
    "within without count": (
        "rules:\n- name: x\n  on: '*'\n  within: 5m\n  do: {kind: cleanup}\n",
        "4: rule 'x': within: `count` and `within` go together",
    ),
    "count of one": (
        "rules:\n- name: x\n  on: '*'\n  within: 5m\n  count: 1\n  do: {kind: cleanup}\n",
        "5: rule 'x': count: Input should be greater than or equal to 2",
    ),
    "debounce_max alone": (
        "rules:\n- name: x\n  on: '*'\n  debounce_max: 5m\n  do: {kind: cleanup}\n",
        "4: rule 'x': debounce_max: it goes with `debounce`",
    ),
    "debounce_max too short": (
        "rules:\n- name: x\n  on: '*'\n  debounce: 5s\n  debounce_max: 2s\n  do: {kind: cleanup}\n",
        "5: rule 'x': debounce_max: it is shorter than `debounce`",
    ),
    "by for nothing": (
        "rules:\n- name: x\n  on: '*'\n  by: '${name}'\n  do: {kind: cleanup}\n",
        "4: rule 'x': by: it goes with `count`, `debounce`, `cooldown` or `limit`",
    ),
    "by what there is not": (
        "rules:\n- name: x\n  on: '*'\n  cooldown: 5s\n  by: '${nmae}'\n  do: {kind: cleanup}\n",
        "5: rule 'x': by: ${nmae} is not known, did you mean 'name'?",
    ),
    "dedup by what there is not": (
        "rules:\n- name: x\n  on: '*'\n  dedup: {key: '${label.app}'}\n  do: {kind: cleanup}\n",
        "4: rule 'x': dedup: ${label.app} is not known, did you mean 'labels.KEY'?",
    ),
    "conflict that is none": (
        "rules:\n- name: x\n  on: '*'\n  dedup:\n    conflict: requeu\n  do: {kind: cleanup}\n",
        "5: rule 'x': dedup.conflict: Input should be 'drop', 'requeue' or 'replace'",
    ),
    "limit without per": (
        "rules:\n- name: x\n  on: '*'\n  limit: {count: 3}\n  do: {kind: cleanup}\n",
        "4: rule 'x': limit.per: Field required",
    ),
    "limit with a typo": (
        "rules:\n- name: x\n  on: '*'\n  limit: {count: 3, pre: 1h}\n  do: {kind: cleanup}\n",
        "4: rule 'x': limit.per: Field required; 4: rule 'x': limit.pre: no such field, did you mean 'per'?",
    ),
    "term with a typo": (
        "rules:\n- name: x\n  on: '*'\n  order:\n    retries: 3\n  do: {kind: cleanup}\n",
        "5: rule 'x': order.retries: no such field, did you mean 'retry'?",
    ),
    "exclusive of what there is not": (
        "rules:\n- name: x\n  on: '*'\n  order: {exclusive: '${imge}'}\n  do: {kind: cleanup}\n",
        "4: rule 'x': order: exclusive: ${imge} is not known, did you mean 'image'?",
    ),
    "mode that is none": (
        "rules:\n- name: x\n  on: '*'\n  mode: dryrun\n  do: {kind: cleanup}\n",
        "4: rule 'x': mode: Input should be 'enforce' or 'dry-run'",
    ),
    "type of event that is cut short": (
        "rules:\n- name: x\n  on: container.die\n  do: {kind: cleanup}\n",
        "3: rule 'x': on: 'container.die' is not the whole type, did you mean 'io.dockbus.docker.container.die'?",
    ),
    "event that the Engine does not know": (
        "rules:\n- name: x\n  on: io.dockbus.docker.container.dies\n  do: {kind: cleanup}\n",
        "3: rule 'x': on: 'io.dockbus.docker.container.dies': the Engine knows no 'dies', did you mean 'die'?",
    ),
    "event that is never published": (
        "rules:\n- name: x\n  on: io.dockbus.docker.container.exec_start\n  do: {kind: cleanup}\n",
        "3: rule 'x': on: 'io.dockbus.docker.container.exec_start': that somebody looks or runs a command is not published",
    ),
    "action that echoes": (
        "rules:\n- name: x\n  on: io.dockbus.docker.container.restart\n  do: {kind: restart}\n",
        "4: rule 'x': do: this would cause the very event it answers; give the rule a `limit`",
    ),
    "only_if that is no expression": (
        "rules:\n- name: x\n  on: '*'\n  do: {kind: restart, only_if: 'container.helth'}\n",
        "4: rule 'x': do: only_if: container has no field 'helth', did you mean 'health'?",
    ),
    "a rule that is none": (
        "rules: [x]\n",
        "1: rule number 1: Input should be a valid dictionary or instance of Rule",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    said = wrong(tmp_path, text)
    assert said.startswith(expected) if expected.endswith(": ") else said == expected


@pytest.mark.parametrize("mistake", MISTAKES)
def test_rules_stay_in_force_while_their_file_is_wrong(tmp_path: Path, mistake: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("rules: [{name: good, on: '*', do: {kind: cleanup}}]")
    files = RuleFiles(str(tmp_path))
    file.write_text(MISTAKES[mistake][0])
    os.utime(file, ns=(0, 0))
    assert not files.refresh()
    assert [rule.name for rule in files.rules] == ["good"]


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


# -- examples ------------------------------------------------------------------------------------------

EXAMPLES = Path(__file__).parents[2] / "examples" / "rules"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def examples() -> dict[str, Rule]:
    return {rule.name: rule for rule in load(EXAMPLES)}


def heard(what: str, **data: str) -> Occasion:
    event = Event(
        source="/engines/edge",
        type=f"io.dockbus.{what}",
        subject="sha256:5a",
        time=NOW,
        data={"action": what.rpartition(".")[2], **data},
    )
    return Occasion(event)


def looked_at(label: str, **fields: Any) -> Occasion:
    known: dict[str, Any] = {
        "engine": "edge",
        "id": "c0ffee",
        "name": "web",
        "labels": {label: "true"},
    }
    event = Event(source="/engines/edge", type=RESYNCED, time=NOW)
    return Occasion(event, ContainerState(**known | fields))


@pytest.mark.parametrize(
    ("name", "occasion", "spec"),
    [
        (
            "scan-pulled-images",
            heard("docker.image.pull", image="demo/web:1"),
            Scan(image="demo/web:1"),
        ),
        (
            "scan-tagged-images",
            heard("docker.image.tag", image="demo/web:1"),
            Scan(image="demo/web:1"),
        ),
        (
            "clean-after-exit",
            heard("docker.container.die"),
            None,
        ),
        (
            "keep-image-fresh",
            heard("engine.resynced"),
            Pull(image="busybox:stable", policy="newer"),
        ),
    ],
)
def test_the_examples_on_events(
    examples: dict[str, Rule], name: str, occasion: Occasion, spec: Spec | None
) -> None:
    matches = [rule for rule in examples.values() if rule.match(occasion, NOW)]
    assert [rule.name for rule in matches] == ([name] if spec else [])
    assert [rule.ordered(occasion).spec for rule in matches] == ([spec] if spec else [])


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("heal-unhealthy", {"state": "running", "health": "unhealthy"}, True),
        ("heal-unhealthy", {"state": "running", "health": "starting"}, False),
        ("heal-unhealthy", {"state": "running"}, False),
        ("restart-crashed", {"state": "exited", "exit_code": 1}, True),
        ("restart-crashed", {"state": "exited", "exit_code": 0}, False),
        ("restart-crashed", {"state": "exited", "exit_code": 143}, False),
        ("restart-crashed", {"state": "exited", "exit_code": 137}, False),
        ("restart-crashed", {"state": "exited", "exit_code": 137, "oom_killed": True}, True),
        ("restart-crashed", {"state": "exited"}, False),
        ("restart-crashed", {"state": "running"}, False),
    ],
)
def test_the_examples_on_states(
    examples: dict[str, Rule], name: str, fields: dict[str, Any], expected: bool
) -> None:
    label = {"heal-unhealthy": "dockbus.heal", "restart-crashed": "dockbus.restart"}[name]
    assert examples[name].match(looked_at(label, **fields), NOW) is expected
    assert not examples[name].match(looked_at("another", **fields), NOW)


def test_the_example_of_a_sink_is_told_when_a_rule_gives_up() -> None:
    (sink,) = load_sinks(EXAMPLES.parent / "sinks")
    given_up = Event(source="/dockbus/rules", type="io.dockbus.rule.suspended")
    assert sink.match(given_up)
    assert not sink.match(given_up.model_copy(update={"type": "io.dockbus.rule.fired"}))
