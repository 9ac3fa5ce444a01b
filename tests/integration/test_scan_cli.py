"""`dockbus scan`, and the examples of it: what its options mean, what it shows, how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import trivy_db
import trivy_images
from commandline import CommandLine
from dockbus import Bus, Settings
from dockbus.engine import Engine
from dockbus.settings import ScanSettings
from processes import Program, environment

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "scan"
NAME = "dockbus/test-scan-cli:1"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    cache = trivy_db.copy(tmp_path / "trivy")
    scan = ScanSettings(cache_dir=str(cache), offline=True)
    return settings.model_copy(update={"scan": scan})


@pytest.fixture
def with_worker(
    settings: Settings, bus: Bus, engine: Engine, start: Callable[..., Program]
) -> Generator[CommandLine]:
    """The command line, on a bus with a scan worker whose Engine has an old Debian's image."""
    start("worker", "scan").wait_until_said("taking jobs")
    with trivy_images.image(engine, "debian", NAME):
        command = CommandLine()
        command.env = environment(settings)
        yield command


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ("scan x", {"image": "x", "scanners": ["vuln"], "reports": ["json"], "database": "use"}),
        ("scan --update-database", {"image": None, "database": "update"}),
        (
            "scan x --scanner secret --scanner misconfig --sbom spdx --fresh",
            {"scanners": ["secret", "misconfig"], "sbom": "spdx", "fresh": True},
        ),
        ("scan x --report none", {"reports": []}),
        ("scan x --report json --report sarif", {"reports": ["json", "sarif"]}),
        (
            "scan x --fail-on Critical --max-count high=3 --max-count MEDIUM=10 --ignore-unfixed",
            {
                "fail_on": "CRITICAL",
                "max_counts": {"HIGH": 3, "MEDIUM": 10},
                "ignore_unfixed": True,
            },
        ),
        (
            "scan x --fail-on-secrets --fail-on-eol --fail-on-misconfigurations high"
            " --fail-on-licenses critical",
            {
                "fail_on_secrets": True,
                "fail_on_eol": True,
                "fail_on_misconfigurations": "HIGH",
                "fail_on_licenses": "CRITICAL",
            },
        ),
        (
            f"scan x --ignore-file {EXAMPLES}/ignore.json",
            {
                "ignore": [
                    {"path": None, **json.loads((EXAMPLES / "ignore.json").read_text())[0]},
                    {
                        "package": None,
                        "expires": None,
                        **json.loads((EXAMPLES / "ignore.json").read_text())[1],
                    },
                ]
            },
        ),
        (
            f"scan x --vex {EXAMPLES}/vex.json",
            {"vex": json.loads((EXAMPLES / "vex.json").read_text())},
        ),
    ],
)
def test_options_become_the_spec(dockbus: CommandLine, words: str, spec: dict[str, Any]) -> None:
    job = json.loads(dockbus.ok(*words.split(), "--detach", "--json"))

    assert {name: job["spec"][name] for name in spec} == spec


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("scan -d", 1, "image is missing"),
        ("scan x -d --scanner virus", 1, "scanners.0: Input should be 'vuln'"),
        ("scan x -d --max-count high", 2, "'high' is not KEY=VALUE"),
        ("scan x -d --max-count high=few", 2, "'few' is not a number"),
        ("scan x -d --max-count awful=1", 1, "max_counts"),
        ("scan x -d --ignore-file /no/such/file", 1, "/no/such/file: No such file"),
        (
            f"scan x -d --ignore-file {EXAMPLES}/vex.json",
            1,
            "vex.json: spec: Input should be a valid",
        ),
        (f"scan x -d --vex {EXAMPLES}/sbom.py", 1, "sbom.py: spec: Invalid JSON"),
    ],
)
def test_a_mistake_is_one_line(dockbus: CommandLine, words: str, code: int, said: str) -> None:
    done = dockbus(*words.split())

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_findings_are_shown_worst_first_and_a_failed_verdict_is_exit_code_2(
    with_worker: CommandLine,
) -> None:
    failed = with_worker("scan", NAME, "--fail-on", "high")
    passed = with_worker("scan", NAME, "--max-count", "critical=2")

    assert (failed.returncode, passed.returncode) == (2, 0)
    lines = failed.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["CRITICAL", "CVE-2023-38545"],
        ["CRITICAL", "CVE-2023-45853"],
        ["HIGH", "CVE-2023-4911"],
        ["HIGH", "CVE-2023-5363"],
    ]
    assert lines[5].startswith(f"{NAME}: 2 CRITICAL, 2 HIGH; failed; database ")
    assert "failed: vulnerabilities that are HIGH or worse: 4" in failed.stderr
    assert "; passed; " in passed.stdout


def test_the_examples_let_through_what_they_say(with_worker: CommandLine, bus: Bus) -> None:
    done = with_worker(
        *("scan", NAME, "--ignore-file", str(EXAMPLES / "ignore.json"), "--json"),
        *("--vex", str(EXAMPLES / "vex.json"), "--fail-on", "low"),
    )

    result = json.loads(done.stdout)["result"]
    assert [(one["id"], one["by"]) for one in result["suppressed"]] == [
        ("CVE-2023-45853", "ignore"),
        ("CVE-2023-4911", "vex"),
    ]
    assert result["totals"] == {"vuln": 2}


def test_the_example_of_a_gate_is_an_order(dockbus: CommandLine, engineless_bus: Bus) -> None:
    dockbus.ok("enqueue", str(EXAMPLES / "gate.jsonl"))

    [job] = engineless_bus.jobs()
    assert job.spec is not None
    assert job.spec.kind == "scan"


def test_an_sbom_can_be_had_from_the_command_line_and_by_a_program(
    with_worker: CommandLine, tmp_path: Path
) -> None:
    job = json.loads(with_worker.ok("scan", NAME, "--sbom", "cyclonedx", "--json"))["id"]
    with_worker.ok("artefact", job, "sbom.cdx.json", "-o", str(tmp_path / "one.json"))
    subprocess.run(
        [sys.executable, str(EXAMPLES / "sbom.py"), NAME, str(tmp_path / "two.json")],
        env=with_worker.env,
        check=True,
        timeout=60,
    )

    for file in ("one.json", "two.json"):
        sbom = json.loads((tmp_path / file).read_text())
        assert {one["name"] for one in sbom["components"]} >= {"libc6", "libssl3"}
