"""The command `dockbus policy`, which needs neither an Engine nor Redis."""

from __future__ import annotations

import json
from pathlib import Path

from commandline import CommandLine
from dockbus.policy import RULES

EXAMPLES = Path(__file__).parents[2] / "examples" / "policy"


def test_the_command_lists_the_rules_in_force() -> None:
    dockbus = CommandLine()

    shown = dockbus.ok("policy", str(EXAMPLES / "baseline.yaml"))
    document = json.loads(dockbus.ok("policy", str(EXAMPLES / "restricted.yaml"), "--json"))

    assert "level baseline" in shown
    assert "engine-socket" in shown
    assert "writable-root" not in shown
    assert {rule["id"] for rule in document["rules"]} == set(RULES)


def test_the_command_judges_a_job(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text('{"kind": "run", "image": "x", "volumes": ["/var/run/docker.sock:/s"]}')
    dockbus = CommandLine(DOCKBUS_POLICY_PATH=str(EXAMPLES / "trusted.yaml"))

    refused = dockbus("policy", str(EXAMPLES / "baseline.yaml"), "--job", str(job))
    document = json.loads(
        dockbus("policy", str(EXAMPLES / "baseline.yaml"), "--job", str(job), "--json").stdout
    )

    assert refused.returncode == 2
    assert refused.stdout.startswith("rule engine-socket (CIS 5.32): volumes.0.source: ")
    assert not document["allowed"]
    assert "engine-socket" in {broken["rule"] for broken in document["violations"]}
    assert "allowed at level privileged" in dockbus.ok("policy", "--job", str(job))

    job.write_text(f'{{"spec": {job.read_text()}, "key": "k"}}')

    assert dockbus("policy", str(EXAMPLES / "baseline.yaml"), "--job", str(job)).returncode == 2


def test_the_command_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("levl: baseline\n")

    done = CommandLine()("policy", str(file))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"{file}:1: levl: no such field, did you mean 'level'?" in done.stderr


def test_without_yaml_the_command_names_the_extra_that_brings_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['yaml'] = None\n")

    done = CommandLine(PYTHONPATH=str(tmp_path))("policy")

    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'dockbus[workers]'" in done.stderr
