from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dockbus import Event
from dockbus.events import RESYNCED
from dockbus.jobs.actions import Exec
from dockbus.snapshot import ContainerState
from dockbus_producer.rules import Dedup, Occasion, Rule
from dockbus_producer.rules.labels import Mistake, Vocabulary, newest_slot, refusal, timing
from dockbus_producer.rules.occasion import DUE

NOW = datetime(2026, 1, 1, 3, 0, 30, tzinfo=UTC)
STARTED = datetime(2025, 12, 31, tzinfo=UTC)
EXEC: dict[str, Any] = {"kind": "exec", "command": ["backup", "${name}"]}


def rule(name: str = "heal", **fields: object) -> Rule:
    return Rule.model_validate({"name": name, "do": {"kind": "restart"}} | fields)


HEAL = rule(state="container.health == 'unhealthy'", opt_in=True)
PLAIN = rule("plain", state="container.labels['dockbus.tier'] == '1'")
BACKUP = rule("backup", cron=True, do=EXEC)
SLOW = rule("slow", cron=True, every_at_least="5m", do=EXEC)


def occasion(type_: str = RESYNCED, labels: dict[str, str] | None = None, **data: Any) -> Occasion:
    box = ContainerState(
        engine="local",
        id="c0ffee",
        name="web",
        health="unhealthy",
        labels=labels or {},
        started=STARTED,
    )
    event = Event(source="/engines/local", type=type_, subject=box.id, time=NOW, data=data)
    return Occasion(event, box)


def due(name: str = "backup", **labels: str) -> Occasion:
    given = {"dockbus.enable": "true", "dockbus.cron.backup": "0 3 * * *"} | labels
    return occasion(DUE, given, rule=name)


# -- opting in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "miss"),
    [
        ({"dockbus.enable": "true", "dockbus.rule.heal": "true"}, ""),
        ({}, "opt_in: the container has no dockbus.enable=true"),
        ({"dockbus.rule.heal": "true"}, "opt_in: the container has no dockbus.enable=true"),
        ({"dockbus.enable": "true"}, "opt_in: the container has no dockbus.rule.heal=true"),
        (
            {"dockbus.enable": "true", "dockbus.rule.heal": "false"},
            "opt_in: the container has no dockbus.rule.heal=true",
        ),
        (
            {"dockbus.enable": "True", "dockbus.rule.heal": "true"},
            "opt_in: the container has no dockbus.enable=true",
        ),
        (
            {"dockbus.enable": "true", "dockbus.rule.heal": "1"},
            "opt_in: the container has no dockbus.rule.heal=true",
        ),
        (
            {"dockbus.enable": "true", "dockbus.rule.other": "true"},
            "opt_in: the container has no dockbus.rule.heal=true",
        ),
    ],
)
def test_a_rule_with_opt_in_answers_only_containers_that_ask_for_it(
    labels: dict[str, str], miss: str
) -> None:
    assert HEAL.miss(occasion(labels=labels), NOW) == miss


def test_what_is_about_no_container_cannot_ask() -> None:
    edge = rule(on="*", opt_in=True, do={"kind": "cleanup"})
    labels = {"dockbus.enable": "true", "dockbus.rule.heal": "true"}
    assert edge.match(occasion("io.dockbus.docker.container.die", labels), NOW)
    image = occasion("io.dockbus.docker.image.pull", labels)
    assert edge.miss(image, NOW) == "opt_in: this is about no container"


# -- times ---------------------------------------------------------------------------------------------


def test_a_rule_with_cron_answers_its_own_slots_of_containers_that_time_it() -> None:
    assert BACKUP.miss(due(), NOW) == ""
    assert BACKUP.miss(due("other"), NOW) == "cron: this is the time of another rule"
    lost = "cron: the container has not both dockbus.enable=true and a valid dockbus.cron.backup"
    assert BACKUP.miss(due(**{"dockbus.enable": "yes"}), NOW) == lost
    assert BACKUP.miss(due(**{"dockbus.cron.backup": "every day"}), NOW) == lost
    assert BACKUP.miss(occasion(), NOW).startswith("on: ")


def test_a_rule_with_cron_is_bounded() -> None:
    assert (BACKUP.on, BACKUP.max_age, BACKUP.dedup) == ([DUE], 600, Dedup())
    assert rule(cron=True, max_age="2h").max_age == 7200
    late = NOW + timedelta(minutes=11)
    assert BACKUP.miss(due(), late) == "max_age: it is 11 min old, 10 min is allowed"


def test_the_job_is_the_rules_and_about_this_container_in_this_life() -> None:
    labels = {
        "dockbus.cron.backup.command": "rm -rf /",
        "dockbus.cron.backup.container": "db",
        "dockbus.rule.backup.user": "root",
    }
    spec = BACKUP.ordered(due(**labels)).spec
    assert spec == Exec(container="c0ffee", started=STARTED, command=["backup", "web"])


def test_a_condition_may_ask_for_the_container_at_the_slot() -> None:
    running = rule("backup", cron=True, when="container.state == 'running'", do=EXEC)
    assert running.miss(due(), NOW) == "when: it does not hold"


@pytest.mark.parametrize(
    ("labels", "fields", "expected"),
    [
        ({}, {}, "0 3 * * *"),
        ({"dockbus.enable": "false"}, {}, None),
        ({"dockbus.enable": "TRUE"}, {}, None),
        ({"dockbus.cron.backup": "0 3 * *"}, {}, None),
        ({"dockbus.cron.backup": "* * * * * *"}, {}, None),
        ({"dockbus.cron.backup": ""}, {}, None),
        ({"dockbus.cron.backup": "@daily"}, {}, None),
        ({"dockbus.cron.backup": "0 0 30 2 *"}, {}, None),
        ({"dockbus.job": "5a"}, {}, None),
        ({"dockbus.job": "5a"}, {"own": True}, "0 3 * * *"),
        ({"dockbus.cron.backup": "*/5 * * * *"}, {"every_at_least": "5m"}, "*/5 * * * *"),
        ({"dockbus.cron.backup": "*/4 * * * *"}, {"every_at_least": "5m"}, None),
    ],
)
def test_only_a_valid_label_times_a_rule(
    labels: dict[str, str], fields: dict[str, Any], expected: str | None
) -> None:
    asked = rule("backup", cron=True, do=EXEC, **fields)
    assert timing(asked, due(**labels).labels) == expected


@pytest.mark.parametrize(
    ("cron", "now", "slot"),
    [
        ("* * * * *", "03:00:30", "03:00:00"),
        ("* * * * *", "03:00:00", "03:00:00"),
        ("* * * * *", "02:59:59.999", "02:59:00"),
        ("0 3 * * *", "03:00:00.001", "03:00:00"),
        ("*/15 2 * * *", "03:00:00", "02:45:00"),
    ],
)
def test_the_newest_slot_is_the_last_one_that_has_come(cron: str, now: str, slot: str) -> None:
    def seconds(clock: str) -> float:
        return datetime.fromisoformat(f"2026-01-01T{clock}+00:00").timestamp()

    assert newest_slot(cron, seconds(now)) == seconds(slot)


@pytest.mark.parametrize(
    ("cron", "at_least", "expected"),
    [
        ("0 3 * * *", None, ""),
        ("0 3 * * *", 86400, ""),
        ("*/5 * * * *", 300, ""),
        ("*/5 * * * *", 600, "it comes again after 5 min, the rule asks for 10 min"),
        ("0,59 * * * *", 300, "it comes again after 60 s, the rule asks for 5 min"),
        ("0 0,23 * * *", 7200, "it comes again after 60 min, the rule asks for 2 h"),
        ("0 0 1,2 * *", 172800, "it comes again after 24 h, the rule asks for 2 d"),
        ("0 0 29 2 *", 31 * 86400, ""),
        ("0 3 * *", None, "'0 3 * *' has 4 fields"),
        ("60 3 * * *", None, "'60 3 * * *': bad minute"),
        ("0 0 30 2 *", None, "'0 0 30 2 *': bad day-of-month"),
        ("0," * 200 + "0 3 * * *", None, "it has more than 200 characters"),
    ],
)
def test_a_label_that_comes_too_often_or_never_is_refused(
    cron: str, at_least: float | None, expected: str
) -> None:
    said = refusal(cron, at_least)
    assert said.startswith(expected) if expected else said == ""


def test_no_text_of_a_label_is_more_than_refused() -> None:
    dice = random.Random(7)  # noqa: S311  the same texts each time
    for _ in range(2000):
        text = "".join(dice.choices("0123456789*/-,#L @ a\0\u0663", k=dice.randrange(24)))
        if not refusal(text, 60.0):
            newest_slot(text, NOW.timestamp())
        Vocabulary([SLOW]).mistakes({"dockbus.cron.slow": text, f"dockbus.{text}": text})


# -- rules that cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"cron": True, "state": "true"}, "state: labels say when a rule with `cron` acts"),
        ({"cron": True, "on": "*.die"}, "on: labels say when a rule with `cron` acts"),
        ({"cron": True, "opt_in": True}, "opt_in: a rule with `cron` needs a label anyway"),
        ({"on": "*.die", "every_at_least": "5m"}, "every_at_least: it goes with `cron`"),
        (
            {"on": "io.dockbus.docker.image.pull", "opt_in": True},
            "opt_in: 'io.dockbus.docker.image.pull' is about no container",
        ),
        (
            {"on": "io.dockbus.docker.image.*", "opt_in": True},
            "opt_in: 'io.dockbus.docker.image.*' is about no container",
        ),
        ({"cron": "0 3 * * *"}, "valid boolean"),
        ({}, "on"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        rule(**fields, do={"kind": "cleanup"})


# -- wrong labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"dockbus.enable": "true"},
        {"dockbus.enable": "false", "dockbus.rule.heal": "false"},
        {"dockbus.enable": "true", "dockbus.rule.heal": "true", "dockbus.keep": "true"},
        {"dockbus.enable": "true", "dockbus.cron.backup": "0 3 * * *", "team": "shop"},
        {"dockbus.enable": "true", "dockbus.test": "1", "dockbus.test.x": "1", "dockbus.demo": "1"},
        {"dockbus.enable": "true", "dockbus.tier": "2"},  # a condition of a rule speaks of it
        {"dockbus.mine": "1", "dockbus.heal": "true", "dockbus.label": "x"},  # nobody asks for any
        {"dockbus.job": "5a", "dockbus.enable": "yes", "dockbus.rule.nope": "x"},  # a job's own
        {"com.example.dockbus.enable": "yes"},
    ],
)
def test_labels_that_are_right_or_nobodys_business_pass(labels: dict[str, str]) -> None:
    assert Vocabulary([HEAL, PLAIN, BACKUP]).mistakes(labels) == []


@pytest.mark.parametrize(
    ("label", "value", "reason", "suggestion"),
    [
        ("dockbus.enable", "yes", "it is neither `true` nor `false`", ""),
        ("dockbus.enable", "True", "it is neither `true` nor `false`", ""),
        ("dockbus.enable", "", "it is neither `true` nor `false`", ""),
        ("dockbus.rule.heal", "1", "it is neither `true` nor `false`", ""),
        ("dockbus.rule.plain", "true", "labels do not choose this rule: it has no `opt_in`", ""),
        (
            "dockbus.rule.backup",
            "true",
            "this rule is timed, not switched on",
            "dockbus.cron.backup",
        ),
        (
            "dockbus.cron.heal",
            "0 3 * * *",
            "labels do not time this rule: it has no `cron`",
            "dockbus.rule.heal",
        ),
        (
            "dockbus.cron.plain",
            "0 3 * * *",
            "labels do not time this rule: it has no `cron`",
            "",
        ),
        ("dockbus.cron.backup", "0 25 * * *", "'0 25 * * *': bad hour", ""),
        (
            "dockbus.cron.slow",
            "* * * * *",
            "it comes again after 60 s, the rule asks for 5 min",
            "",
        ),
    ],
)
def test_a_label_that_is_wrong_is_found(
    label: str, value: str, reason: str, suggestion: str
) -> None:
    labels = {"dockbus.enable": "true", label: value}
    found = Vocabulary([HEAL, PLAIN, BACKUP, SLOW]).mistakes(labels)
    assert found == [Mistake(label, value, reason, suggestion)]


@pytest.mark.parametrize(
    ("label", "alone", "suggestion"),
    [
        ("dockbus.enabled", True, "dockbus.enable"),
        ("dockbus.enbale", True, "dockbus.enable"),
        ("dockbus.Enable", True, "dockbus.enable"),
        ("dockbus.rul.heal", True, "dockbus.rule.heal"),
        ("dockbus.rules.heal", True, "dockbus.rule.heal"),
        ("dockbus.corn.backup", True, "dockbus.cron.backup"),
        ("dockbus.rule.haal", True, "dockbus.rule.heal"),
        ("dockbus.heal", False, "dockbus.rule.heal"),
        ("dockbus.zzz", False, ""),
    ],
)
def test_a_label_that_nobody_knows_is_found_where_it_matters(
    label: str, alone: bool, suggestion: str
) -> None:
    known = Vocabulary([HEAL, PLAIN, BACKUP])
    asking = {"dockbus.enable": "true", label: "true"}
    (mistake,) = known.mistakes(asking)
    assert (mistake.label, mistake.suggestion, mistake.unknown) == (label, suggestion, True)
    assert bool(known.mistakes({label: "true"})) is alone


def test_a_label_without_enable_does_nothing_and_says_so() -> None:
    (mistake,) = Vocabulary([HEAL]).mistakes({"dockbus.rule.heal": "true"})
    assert mistake.reason == "it does nothing without dockbus.enable=true"
    assert mistake.suggestion == "dockbus.enable"


def test_no_container_tells_more_than_a_screenful() -> None:
    junk = {f"dockbus.rule.{'x' * 1000}{number}": "y" * 1000 for number in range(1000)}
    found = Vocabulary([HEAL]).mistakes(junk)
    assert len(found) == 20
    assert all(len(one.label + one.value + one.reason) <= 600 for one in found)
