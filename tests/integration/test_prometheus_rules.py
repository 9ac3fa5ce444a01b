"""Rules and expressions, put before the program that will read them: promtool, out of Debian's package of Prometheus."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import debian
from dashboards import GRAFANA, RULES, expressions, substituted
from dockbus.errors import MissingTool

PROMETHEUS = GRAFANA / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))

Promtool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def promtool(scratch: Path, say: Callable[[str], None]) -> Promtool:
    """Runs promtool; the test's end where it cannot be had, in CI a failure."""
    try:
        program = debian.program("prometheus", "usr/bin/promtool", scratch, say)
    except MissingTool as error:
        if os.environ.get("CI") or os.environ.get("DOCKBUS_CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run((program, *arguments), check=False, capture_output=True, text=True)

    return run


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of Prometheus' folder, for changes."""
    return shutil.copytree(PROMETHEUS, tmp_path / "prometheus")


def parsed(promtool: Promtool, texts: dict[str, str], folder: Path) -> str:
    """What promtool has against these expressions, by their names; empty for nothing."""
    recorded = [
        {"record": f"expression_{number}", "expr": text, "labels": {"where": name}}
        for number, (name, text) in enumerate(texts.items())
    ]
    file = folder / "wrapped.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "wrapped", "rules": recorded}]}))
    done = promtool("check", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_prometheus_accepts_the_rules(promtool: Promtool) -> None:
    done = promtool("check", "rules", *RULES)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_only_then(promtool: Promtool, path: Path) -> None:
    done = promtool("test", "rules", path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("containers", "percent > 90", "percent >= 90"),
        ("containers", "percent_rate5m > 80", "percent_rate5m >= 80"),
        ("containers", "unless sum by", "and sum by"),
        ("recording", "(container_spec_memory_limit_bytes > 0)", "container_spec_memory_limit_bytes"),
        ("recording", "max by (engine, name) (container_start", "max by (engine, name, id) (container_start"),
        ("jobs", 'outcome!="canceled"', 'outcome!=""'),
        ("events", "max by (engine) (dockbus_engine_up)", "min by (engine) (dockbus_engine_up)"),
        ("dockbus", "dockbus_containers_left_out", "dockbus_containers_left"),
    ],
)  # fmt: skip
def test_a_rule_that_is_changed_is_noticed(
    promtool: Promtool, copied: Path, file: str, before: str, after: str
) -> None:
    rules = copied / "rules" / f"{file}.yml"
    assert before in rules.read_text()
    rules.write_text(rules.read_text().replace(before, after))

    of_recorded = "containers"  # whose alerts stand on what is recorded
    tested = of_recorded if file == "recording" else file
    done = promtool("test", "rules", copied / "tests" / f"{tested}.yml")

    assert done.returncode != 0


def test_every_expression_is_one_that_prometheus_understands(
    promtool: Promtool, tmp_path: Path
) -> None:
    asked = {
        f"{it.where} {number}": substituted(it.text) for number, it in enumerate(expressions())
    }

    assert len(asked) > 200
    assert parsed(promtool, asked, tmp_path) == ""
    assert "parse" in parsed(promtool, {"broken": "sum(rate(a_total[1m])"}, tmp_path)


def test_keda_is_told_the_jobs_of_its_queue_once(promtool: Promtool, tmp_path: Path) -> None:
    manifest = yaml.safe_load((GRAFANA.parent / "deploy/kubernetes/4-keda.yaml").read_text())
    query = manifest["spec"]["triggers"][0]["metadata"]["query"]
    jobs = {
        'queue="run",status="queued",instance="a"': 9,
        'queue="run",status="queued",instance="b"': 9,  # which takes over from a
        'queue="run",status="started",instance="a"': 4,
        'queue="run@builder",status="queued",instance="a"': 1,
        'queue="run@another",status="queued",instance="a"': 50,
        'queue="run",status="finished",instance="a"': 60,
        'queue="pull",status="queued",instance="a"': 70,
    }
    series = [
        {"series": f"rq_jobs{{{labels}}}", "values": f"{number}x5"}
        for labels, number in jobs.items()
    ]
    tests = [
        {
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [{"expr": query, "eval_time": "5m", "exp_samples": expected}],
        }
        for given, expected in ((series, [{"labels": "{}", "value": 14}]), ([], []))
    ]
    file = tmp_path / "keda.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))

    done = promtool("test", "rules", file)

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_the_example_of_a_second_machine(
    promtool: Promtool, copied: Path
) -> None:
    example = copied / "examples" / "second-machine.yml"
    (example.parent / "scrape-token").write_text("secret")
    (example.parent / "ca.pem").write_text("")
    main = yaml.safe_load((copied / "prometheus.yml").read_text())
    both = yaml.safe_load(example.read_text())
    both["scrape_configs"] += main["scrape_configs"]
    example.write_text(yaml.safe_dump(both))

    done = promtool("check", "config", "--syntax-only", example)
    own = promtool("check", "config", copied / "prometheus.yml")

    assert done.returncode == 0, done.stderr
    assert own.returncode == 0, own.stderr
    assert "rule files found" in own.stdout
