"""Every program logs as it is told to: what is on its standard error are objects, from its first line to its last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commandline import CommandLine
from dockbus import Bus, JobFailed, Settings
from dockbus.settings import ApiSettings, LogSettings, MetricsSettings, ScheduleSettings
from processes import Program
from runs import result, shell

Start = Callable[..., Program]


def objects(program: Program) -> list[dict[str, Any]]:
    said = program.log.read_text()
    assert all(line.startswith("{") for line in said.splitlines()), said
    return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    schedules = tmp_path / "schedules.yaml"
    schedules.write_text(
        "schedules:\n  - name: often\n    every: 1s\n    do: {kind: cleanup, dry_run: true}\n"
    )
    return settings.model_copy(
        update={
            "log": LogSettings(format="json"),
            "api": ApiSettings(port=0),
            "metrics": MetricsSettings(port=0),
            "schedule": ScheduleSettings(path=str(schedules)),
        }
    )


def test_a_worker_tells_which_job_a_line_is_about(bus: Bus, start: Start, base_image: str) -> None:
    worker = start("worker", "run")
    worker.wait_until_said("taking jobs")
    good = bus.enqueue(shell("exit 3"))
    bad = bus.enqueue(shell("true", networks=["dockbus-test-logs-none"]))
    assert result(good).exit_code == 3
    with pytest.raises(JobFailed):
        bad.wait(timeout=60)
    assert worker.stop() == 0

    told = objects(worker)
    assert all(one["program"] == "worker" and one["engine"] == "local" for one in told)
    about = [one for one in told if one.get("job") == good.id]
    assert {(one["kind"], one["queue"]) for one in about} == {("run", "run")}
    [failed] = [one for one in told if one.get("error")]
    assert (failed["job"], failed["error"]) == (bad.id, "engine-rejected")
    assert [one for one in told if "job" not in one][-1]["message"].endswith("has stopped")


def test_every_other_program_does_the_same(bus: Bus, start: Start) -> None:
    words = {
        "api": "the API listens",
        "watch": "watching Engine",
        "metrics": "has the lease",
        "schedule": "job ",
    }
    programs = {name: start(name) for name in words}
    for name, said in words.items():
        programs[name].wait_until_said(said)
        assert programs[name].stop() == 0

    for name, program in programs.items():
        told = objects(program)
        assert {one["program"] for one in told} == {name}
    [fired, *_] = [one for one in objects(programs["schedule"]) if "job" in one]
    assert fired["kind"] == "cleanup"
    assert bus.job(fired["job"]).refresh().spec


def test_a_program_that_cannot_begin_says_so_in_an_object(dockbus: CommandLine) -> None:
    dockbus.env |= {"DOCKBUS_LOG_FORMAT": "json"}

    done = dockbus("schedule")

    assert done.returncode == 1
    told = json.loads(done.stderr)
    assert (told["level"], told["error"]) == ("critical", "settings-error")
    assert "DOCKBUS_SCHEDULE_PATH" in told["message"]
