from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import JsonValue

from dockbus import Event, Pull, Run
from dockbus.errors import RuleError
from dockbus.events import RESYNCED
from dockbus.jobs.actions import Exec, Restart, Start, Stop
from dockbus.snapshot import ContainerState
from dockbus_producer.rules import Dedup, Limit, Occasion, Rule, engine_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB: dict[str, JsonValue] = {
    "engine": "local",
    "id": "c0ffee",
    "name": "web",
    "image": "demo/web:1",
    "state": "exited",
    "started": "2025-12-31T00:00:00Z",
    "labels": {"a": "1", "com.example/team": "shop"},
}


def event(
    what: str = "container.die",
    *,
    source: str = "/engines/local",
    age: float = 0,
    **data: JsonValue,
) -> Occasion:
    facts = {"name": "web", "image": "demo/web:1", "action": what.rpartition(".")[2], **data}
    return Occasion.of(
        Event(
            source=source,
            type=f"io.dockbus.docker.{what}",
            subject="c0ffee",
            time=NOW - timedelta(seconds=age),
            data=facts,
        )
    )


def rule(**fields: object) -> Rule:
    return Rule.model_validate(
        {"name": "r", "on": "io.dockbus.docker.container.die", "do": {"kind": "cleanup"}} | fields
    )


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
        ({"where": {"attributes": {"signal": "9"}}}, {"attributes": {"signal": "9"}}, True),
        ({"where": {"attributes": {"signal": "9"}}}, {"attributes": {"signal": "15"}}, False),
        ({"where": {"attributes": {"signal": ""}}}, {}, False),
        ({"where": {"source": "/engines/loc*"}}, {}, True),
        ({"where": {"source": "/engines/edge"}}, {}, False),
        ({"where": {"action": ["start", "d?e"]}}, {}, True),
        ({"where": {"action": "start"}}, {}, False),
        ({"when": "event.data.exitCode in [1, 2]"}, {"exitCode": 2}, True),
        ({"when": "event.data.exitCode in [1, 2]"}, {"exitCode": 3}, False),
        ({"when": "event.data.exitCode in [1, 2]"}, {}, False),
        ({"when": "now - timestamp(event.time) < duration('1s')"}, {}, True),
        ({"when": "container.restart_count > 2"}, {"container": {**WEB, "restart_count": 3}}, True),
        ({"when": "container.restart_count > 2"}, {"container": WEB}, False),
        ({"when": "container.restart_count > 2"}, {}, False),
        ({"when": "container.labels['a'] == '1'"}, {"container": WEB}, True),
        ({"when": "container.labels['b'] == '1'"}, {"container": WEB}, False),
        # the labels of a container that was seen, not what poses as one
        ({"where": {"labels": {"a": "1"}}}, {"container": WEB}, True),
        ({"where": {"labels": {"b": "1"}}}, {"container": WEB, "attributes": {"b": "1"}}, False),
        ({"where": {"exit_code": 0}}, {"exitCode": 1, "container": {**WEB, "exit_code": 0}}, False),
        ({"where": {"exit_code": 3}}, {"container": {**WEB, "exit_code": 3}}, True),
        ({"state": "container.state == 'exited'"}, {"container": WEB}, True),
        ({"state": "container.state == 'running'"}, {"container": WEB}, False),
        ({"state": "true"}, {}, False),
        ({"enabled": False}, {}, False),
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

    ended = Occasion(Event(source="/dockbus/jobs", type="io.dockbus.job.failed", time=NOW))
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
    assert rule(do=do).ordered(event(exitCode=3, source="/engines/edge")).spec == Run(
        image="demo/web:1",
        command=["report", "c0ffee", "web 3 die on edge", "$HOME"],
        labels={"of": "web"},
    )


def test_values_that_make_no_job_are_refused() -> None:
    with pytest.raises(RuleError, match=r"rule 'r': do: image: 'NOT AN IMAGE' is not an image"):
        rule(do={"kind": "scan", "image": "${image}"}).ordered(event(image="NOT AN IMAGE"))


def test_no_job_may_cause_the_event_it_answers() -> None:
    on_any = {"on": "io.dockbus.docker.image.*"}
    answer = rule(**on_any, do={"kind": "pull", "image": "demo/web"})
    assert answer.ordered(event("image.pull", image="other:1")).spec == Pull(image="demo/web")
    with pytest.raises(RuleError, match="this would cause the very event it answers"):
        answer.ordered(event("image.pull", image="demo/web:latest"))
    build = rule(**on_any, do={"kind": "build", "context": "app", "tags": ["app:1"]})
    with pytest.raises(RuleError, match="this would cause the very event it answers"):
        build.ordered(event("image.tag", image="app:1"))


def test_an_event_belongs_to_its_engine() -> None:
    assert engine_of(event(source="/engines/edge").event) == "edge"
    assert engine_of(event(source="/dockbus/jobs").event) is None


def resynced(**fields: JsonValue) -> Occasion:
    """A container, as a resync finds it."""
    found = Event(source="/engines/local", type=RESYNCED, subject="local", time=NOW)
    return Occasion(found, ContainerState.model_validate({**WEB, **fields}))


# -- states --------------------------------------------------------------------------------------------


def test_a_rule_on_a_state_is_asked_at_every_event_of_a_container_and_at_every_resync() -> None:
    fields = {"name": "r", "state": "container.state == 'exited'", "do": {"kind": "cleanup"}}
    exited = Rule.model_validate(fields)
    assert exited.match(event("container.start", container=WEB), NOW)
    assert exited.match(resynced(), NOW)
    assert not exited.match(resynced(state="running"), NOW)
    assert not exited.match(Occasion(resynced().event), NOW)
    assert not exited.match(event("image.pull", container=WEB), NOW)
    narrow = rule(state="container.state == 'exited'", on="*.die")
    assert not narrow.match(event("container.start", container=WEB), NOW)
    assert narrow.match(resynced(), NOW)


def test_a_rule_on_resyncs_is_asked_once_for_each() -> None:
    edge = rule(on=RESYNCED)
    assert edge.match(Occasion(resynced().event), NOW)
    assert not edge.match(resynced(), NOW)


def test_where_goes_for_a_state_as_well() -> None:
    def asked(**where: object) -> bool:
        return rule(state="true", where=where).match(resynced(exit_code=3), NOW)

    assert asked(name="w*", image="demo/*", labels={"a": "1"}, exit_code=3)
    assert not asked(name="db")
    assert not asked(labels={"b": ""})
    assert not asked(exit_code=0)


def test_a_state_may_have_lasted() -> None:
    lasting = rule(state="now - container.started > duration('2h')")
    assert lasting.match(resynced(), NOW)
    assert not lasting.match(resynced(started="2025-12-31T23:00:00Z"), NOW)


def test_a_rule_on_a_state_is_bounded() -> None:
    level = rule(state="true")
    assert level.cooldown == 60
    assert level.limit == Limit(count=10, per=3600, then="suspend")
    assert level.dedup == Dedup(key="${engine}/${id}", reuse="always", conflict="drop")
    own = rule(state="true", cooldown="5m", limit={"count": 2, "per": "1d"})
    assert own.cooldown == 300
    assert own.limit == Limit(count=2, per=86400, then="drop")
    edge = rule()
    assert (edge.cooldown, edge.limit, edge.dedup) == (0, None, None)


def test_a_resync_leaves_containers_of_jobs_alone_unless_told() -> None:
    assert not rule(state="true").match(resynced(labels={"dockbus.job": "1f"}), NOW)
    assert rule(state="true", own=True).match(resynced(labels={"dockbus.job": "1f"}), NOW)


# -- why not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "occasion", "expected"),
    [
        ({"enabled": False}, event(), "enabled: it is not"),
        (
            {"on": "*.start"},
            event(),
            "on: io.dockbus.docker.container.die is none of *.start",
        ),
        (
            {},
            event(attributes={"dockbus.job": "1f"}),
            "own: this is what dockbus does itself",
        ),
        ({"max_age": "5m"}, event(age=600), "max_age: it is 10 min old, 5 min is allowed"),
        ({"where": {"name": "db*"}}, event(), "where.name: 'web' is not 'db*'"),
        (
            {"where": {"labels": {"b": "", "a": ""}}},
            event(container=WEB),
            "where.labels: there is no 'b'",
        ),
        (
            {"where": {"labels": {"a": "2"}}},
            event(container=WEB),
            "where.labels: a='1' is not '2'",
        ),
        (
            {"where": {"exit_code": [1, 2]}},
            event(exitCode=3),
            "where.exit_code: 3 is none of 1, 2",
        ),
        (
            {"where": {"action": ["kill", "stop"]}},
            event(),
            "where.action: 'die' is none of kill, stop",
        ),
        ({"when": "event.data.nope == 1"}, event(), "when: there is no 'nope'"),
        ({"when": "container.state == 'dead'"}, event(), "when: the container is not known"),
        ({"when": "container.state == 'dead'"}, event(container=WEB), "when: it does not hold"),
        ({"state": "container.state == 'dead'"}, event(), "state: the container is not known"),
        ({"state": "container.state == 'dead'"}, resynced(), "state: it does not hold"),
        ({"state": "container.labels['b'] == ''"}, resynced(), "state: there is no 'b'"),
        ({"when": "container.name"}, event(container=WEB), "when: it does not hold"),
        ({}, event(), ""),
    ],
)
def test_the_first_condition_that_fails_is_told(
    fields: dict[str, Any], occasion: Occasion, expected: str
) -> None:
    assert rule(**fields).miss(occasion, NOW) == expected


# -- orders --------------------------------------------------------------------------------------------


def test_a_job_on_a_container_is_about_this_one_in_this_life_and_this_state() -> None:
    state = "container.state == 'exited'"
    started = datetime(2025, 12, 31, tzinfo=UTC)
    heal = rule(state=state, do={"kind": "start"})
    assert heal.ordered(resynced()).spec == Start(
        container="c0ffee", only_if=state, started=started
    )
    edge = rule(do={"kind": "restart"})
    assert edge.ordered(event(container=WEB)).spec == Restart(container="c0ffee", started=started)
    assert edge.ordered(event()).spec == Restart(container="c0ffee")
    told = rule(state=state, do={"kind": "stop", "only_if": "true", "started": None})
    assert told.ordered(resynced()).spec == Stop(container="c0ffee", only_if="true")
    other = rule(state=state, do={"kind": "stop", "container": "${labels.a}-proxy"})
    assert other.ordered(resynced()).spec == Stop(container="1-proxy")


def test_all_that_templates_may_name() -> None:
    words = [
        *("${id}", "${engine}", "${name}", "${image}", "${action}", "${exit_code}", "${health}"),
        *(
            "${image_id}",
            "${restart_count}",
            "${started}",
            "${labels.com.example/team}",
            "${attributes.signal}",
        ),
    ]
    do: JsonValue = {"kind": "exec", "command": [*words, "$${id}"]}
    container: JsonValue = {**WEB, "health": "healthy", "restart_count": 2}
    spec = (
        rule(do=do)
        .ordered(event(exitCode=137, attributes={"signal": "9"}, container=container))
        .spec
    )
    assert isinstance(spec, Exec)
    assert spec.command == [
        *("c0ffee", "local", "web", "demo/web:1", "die", "137", "healthy", "", "2"),
        *("2025-12-31T00:00:00+00:00", "shop", "9", "${id}"),
    ]


def test_no_value_can_add_a_field_or_name_another() -> None:
    do: JsonValue = {"kind": "run", "image": "a", "command": ["${labels.a}"]}
    evil = '", "privileged": true, "x": "${id}'
    spec = rule(do=do).ordered(event(container={**WEB, "labels": {"a": evil}})).spec
    assert spec == Run(image="a", command=[evil])


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ({"kind": "cleanup", "labels": {"of": "${labels.b}"}}, "do: there is no label 'b'"),
        (
            {"kind": "cleanup", "labels": {"of": "${attributes.sig}"}},
            "do: there is no attribute 'sig'",
        ),
    ],
)
def test_a_label_that_is_not_there_is_no_empty_one(do: JsonValue, expected: str) -> None:
    with pytest.raises(RuleError, match=expected):
        rule(do=do).ordered(event(container=WEB))


def test_the_terms_of_an_order_are_held_against_its_bounds() -> None:
    long = rule(order={"exclusive": "${labels.a}"})
    with pytest.raises(RuleError, match=r"rule 'r': order: exclusive: String should have at most"):
        long.ordered(event(container={**WEB, "labels": {"a": "x" * 201}}))
    order = rule(order={"exclusive": "image:${image}", "priority": "high"}).ordered(event())
    assert (order.exclusive, order.priority, order.engine) == ("image:demo/web:1", "high", "local")


@pytest.mark.parametrize(
    ("on", "kind"),
    [("start", "restart"), ("restart", "restart"), ("stop", "stop"), ("destroy", "remove")],
)
def test_no_action_answers_its_own_echo_without_a_bound(on: str, kind: str) -> None:
    fields: dict[str, Any] = {"on": f"io.dockbus.docker.container.{on}", "do": {"kind": kind}}
    with pytest.raises(ValueError, match="give the rule a `limit`"):
        rule(**fields)
    bounded = rule(**fields, limit={"count": 3, "per": "1h"})
    assert bounded.ordered(event(f"container.{on}")).spec.kind == kind
    wide = rule(**fields | {"on": "*"})
    with pytest.raises(RuleError, match="give the rule a `limit`"):
        wide.ordered(event(f"container.{on}"))


def test_causes_are_told_apart() -> None:
    first, second = resynced(), resynced(id="f00d")
    assert first.cause != Occasion(first.event).cause
    assert first.cause.removesuffix("c0ffee") == f"/engines/local:{first.event.id}:"
    assert Occasion(first.event, second.container).cause != first.cause


def test_events_of_strangers_do_no_harm() -> None:
    odd = Event(
        source="/engines/local",
        type="io.dockbus.docker.container.die",
        time=NOW.replace(tzinfo=None),
        data={"attributes": {"a": 1}, "exitCode": "x", "container": "y", "name": ["z"]},
    )
    asked = rule(where={"attributes": {"a": "1"}, "name": "*z*"})
    assert asked.match(Occasion.of(odd), NOW)
    for attributes in ("text", [1], 3):
        bare = odd.model_copy(update={"data": {"attributes": attributes}})
        assert rule(max_age="1s").match(Occasion.of(bare), NOW)
        assert not asked.match(Occasion.of(bare), NOW)
