"""`dockbus rules`, as its users call it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commandline import CommandLine
from dockbus import Bus, Event
from dockbus.queue.keys import job_key, registry_key
from dockbus.snapshot import ENGINES, ContainerState, EngineState, containers_key
from dockbus_producer.firing import Firing
from dockbus_producer.gate import Gate
from dockbus_producer.rules import Occasion, load

DIE = "io.dockbus.docker.container.die"
TEXT = """rules:
  - name: clean
    on: io.dockbus.docker.container.die
    where: {labels: {team: shop}}
    cooldown: 1h
    do: {kind: cleanup, labels: {of: "${name}"}}
  - name: heal
    state: container.health == 'unhealthy'
    limit: {count: 2, per: 1h, then: suspend}
    cooldown: 0
    do: {kind: restart}
"""
WEB = ContainerState(
    engine="edge", id="c0ffee" * 4, name="web", health="unhealthy", labels={"team": "shop"}
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(TEXT)
    return file


def died(*, container: ContainerState | None = WEB, age: float = 0.0) -> Event:
    known = {"container": container.model_dump(mode="json")} if container else {}
    return Event(
        source="/engines/edge",
        type=DIE,
        subject=WEB.id,
        time=datetime.now(UTC) - timedelta(seconds=age),
        data={"name": "web", **known},
    )


def test_lint_names_every_mistake_on_a_line_of_its_own(
    dockbus: CommandLine, file: Path, tmp_path: Path
) -> None:
    bad, worse = tmp_path / "bad.yaml", tmp_path / "worse.yaml"
    bad.write_text("rules:\n- name: x\n  wen: a\n  on: '*'\n  do: {kind: cleanup}\n- {nam: y}\n")
    worse.write_text("rules:\n- name: x\n  on: '*'\n  do: {kind: run, image: a, command: ['$1']}\n")
    said = dockbus.ok("rules", "lint", str(file)).splitlines()
    assert [line.partition(":")[0] for line in said] == ["clean", "heal"]
    refused = dockbus("rules", "lint", str(bad), str(file), str(worse))
    assert refused.returncode == 1
    assert refused.stdout.splitlines() == said
    lines = refused.stderr.splitlines()
    assert lines[0] == f"dockbus: {bad}:3: rule 'x': wen: no such field, did you mean 'when'?"
    assert f"dockbus: {bad}:6: rule number 2: nam: no such field, did you mean 'name'?" in lines
    assert lines[-1].startswith(f"dockbus: {worse}:4: rule 'x': do: Invalid placeholder")
    assert lines[-1].endswith("write $$ for a $")


def test_lint_reads_folders(dockbus: CommandLine, file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("rules:\n- {name: x}\n")
    refused = dockbus("rules", "lint", str(tmp_path))
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 2
    assert f"{tmp_path / 'bad.yaml'}:2: rule 'x': do: Field required" in refused.stderr


def test_a_rule_is_tried_out_without_redis(file: Path, tmp_path: Path) -> None:
    alone = CommandLine()
    event, stored, state = tmp_path / "e.json", tmp_path / "s.json", tmp_path / "c.json"
    bare = died(container=None)
    event.write_text(bare.model_dump_json())
    stored.write_text(json.dumps({"position": "1-0", "event": died().model_dump(mode="json")}))
    state.write_text(WEB.model_dump_json())

    assert alone.ok("rules", "test", str(file), "--event", str(event)).splitlines() == [
        "clean: no: where.labels: there is no 'team'",
        "heal: no: state: the container is not known",
    ]
    both = alone.ok("rules", "test", str(file), "--event", str(event), "--container", str(state))
    assert both == alone.ok("rules", "test", str(file), "--event", str(stored))
    clean, heal = both.splitlines()
    assert clean.startswith('clean: fires: cleanup {"labels": {"of": "web"}} {"engine": "edge"}; ')
    assert heal.startswith(
        f'heal: fires: restart {{"container": "{WEB.id}", "only_if": "container.health == \'unhealthy\'"}}'
    )
    clean, heal = alone.ok("rules", "test", str(file), "--container", str(state)).splitlines()
    assert clean == f"clean: no: on: io.dockbus.engine.resynced is none of {DIE}"
    assert heal.startswith("heal: fires: restart")

    assert alone("rules", "test", str(file)).returncode == 2
    event.write_text("[]")
    assert alone("rules", "test", str(file), "--event", str(event)).returncode == 2
    event.write_text("no JSON")
    refused = alone("rules", "test", str(file), "--event", str(event))
    assert refused.returncode == 2
    assert "no JSON" in refused.stderr


def test_explain_says_what_became_of_each_event(
    dockbus: CommandLine, engineless_bus: Bus, file: Path
) -> None:
    bus, events = engineless_bus, [died(), died(), died(container=None)]
    bus.publish(died(age=7200))
    for event in events:
        bus.publish(event)
    bus.publish(Event(source="/engines/edge", type="io.dockbus.docker.image.pull", subject="a:1"))
    clean, firing = load(file)[0], Firing(bus)
    for event in events[:2]:
        firing.fire(clean, Occasion.of(event), firing.gate.now())

    said = dockbus("rules", "explain", str(file), "--last", "1h")
    assert said.returncode == 0
    lines = [line.partition("  ")[2] for line in said.stdout.splitlines()]
    about = f"{DIE} {WEB.id[:12]}"
    assert [line for line in lines if "  clean: " in line] == [
        f"{about}  clean: no: max_age: it is 2 h old, 60 min is allowed",
        f"{about}  clean: it was decided: fire",
        f"{about}  clean: it was decided: cooling",
        f"{about}  clean: no: where.labels: there is no 'team'",
    ]
    assert "events of types that no rule is asked about" in said.stderr


def test_explain_looks_at_states_as_they_are_now(
    dockbus: CommandLine, engineless_bus: Bus, file: Path
) -> None:
    bus = engineless_bus
    fine = WEB.model_copy(update={"id": "f00d" * 6, "health": "healthy"})
    bus.redis.hset(ENGINES, "edge", EngineState(name="edge").model_dump_json())
    for one in (WEB, fine):
        bus.redis.hset(containers_key("edge"), one.id, one.model_dump_json())
    dockbus.env["DOCKBUS_WATCH_RULES"] = str(file)
    assert dockbus.ok("rules", "explain", "heal", "--subject", "f00d").splitlines() == [
        f"now  io.dockbus.engine.resynced {fine.id[:12]}  heal: no: state: it does not hold"
    ]
    assert "heal: fires: restart" in dockbus.ok("rules", "explain", "heal")
    refused = dockbus("rules", "explain", "heel")
    assert refused.returncode == 1
    assert "did you mean 'heal'?" in refused.stderr


def test_what_is_suspended_is_listed_and_resumed(
    dockbus: CommandLine, engineless_bus: Bus, file: Path
) -> None:
    bus, heal = engineless_bus, load(file)[1].model_copy(update={"dedup": None})
    firing = Firing(bus)
    other = WEB.model_copy(update={"id": "f00d" * 6})
    for container in (WEB, other):
        for _ in range(4):
            event = died(container=container).model_copy(update={"subject": container.id})
            firing.fire(heal, Occasion.of(event), firing.gate.now())
    listed = json.loads(dockbus.ok("rules", "suspended", "--json"))
    assert {one["object"] for one in listed} == {f"edge/{WEB.id}", f"edge/{other.id}"}
    assert dockbus.ok("rules", "suspended").count("heal") == 2

    assert dockbus.ok("rules", "resume", "heal", f"edge/{WEB.id}") == f"heal edge/{WEB.id}\n"
    assert [one.object for one in Gate(bus.redis).suspensions()] == [f"edge/{other.id}"]
    assert dockbus.ok("rules", "resume", "heal") == f"heal edge/{other.id}\n"
    resumed = [
        one.event for one in bus.events(since="0", types="io.dockbus.rule.resumed", follow=False)
    ]
    assert [event.data["reason"] for event in resumed] == ["asked", "asked"]
    refused = dockbus("rules", "resume", "heal")
    assert refused.returncode == 2
    assert "rule 'heal' is not suspended" in refused.stderr


def test_dead_jobs_are_found_by_the_rule_that_ordered_them(
    dockbus: CommandLine, engineless_bus: Bus, file: Path
) -> None:
    bus, clean = engineless_bus, load(file)[0]
    firing = Firing(bus)
    for name in ("clean", "another"):
        rule = clean.model_copy(update={"name": name})
        firing.fire(rule, Occasion.of(died()), firing.gate.now())
    for job in bus.jobs():
        bus.redis.hset(job_key(job.id), mapping={"status": "failed", "dead": 1})
        bus.redis.zadd(registry_key("failed", job.queue), {job.id: 1})
    (found,) = json.loads(dockbus.ok("rules", "dead", "clean", "--json"))
    assert found["terms"]["key"].startswith("rule:clean:")
    assert found["id"] in dockbus.ok("rules", "dead", "clean")
