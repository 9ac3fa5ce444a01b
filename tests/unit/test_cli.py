from __future__ import annotations

import pytest
import typer
from pydantic import JsonValue

from dockbus.cli import results, terminal
from dockbus.cli.delivery import exit_code
from dockbus.cli.options import json_or_text, labels, pairs, seconds
from dockbus.jobs import Build, Cleanup, PullResult, Run, RunResult, ScanResult, Severity, Spec


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("1.5", 1.5), ("90s", 90), ("1h30m", 5400), ("7d", 604800)]
)
def test_time_is_seconds_or_a_span(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "1x", "-5", "inf", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds(text)


def test_pairs_keep_what_follows_the_first_sign() -> None:
    assert pairs(["A=1", "B=x=y", "C="], "--env") == {"A": "1", "B": "x=y", "C": ""}
    assert labels(["a", "b=1"]) == {"a": "", "b": "1"}


@pytest.mark.parametrize("text", ["A", "=1", ""])
def test_a_pair_needs_a_name_and_a_sign(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        pairs([text], "--env")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("512m", "512m"),
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"1"', "1"),
        ('["sh", "-c", "a=b"]', ["sh", "-c", "a=b"]),
        ('{"A": "b"}', {"A": "b"}),
        ("", ""),
        ("[sh", "[sh"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_an_edit_is_json_or_else_text(text: str, value: JsonValue) -> None:
    assert json_or_text(text) == value
    assert type(json_or_text(text)) is type(value)


def test_exit_code_is_that_of_the_container_and_2_for_a_failed_verdict() -> None:
    run = RunResult(exit_code=3, oom_killed=False, duration=1, container_id="c", image_id="i")
    pull = PullResult(
        image="a",
        image_id="i",
        digest=None,
        size=1,
        layers=1,
        platform="linux/amd64",
        pulled=True,
        shared=False,
        fetched=0,
    )
    scan = ScanResult(
        image="a",
        image_id="i",
        verdict="failed",
        counts=dict.fromkeys(Severity, 0),
        vulnerabilities=[],
        scanner="trivy 1",
        database=None,
    )
    passed = scan.model_copy(update={"verdict": "passed"})
    assert [exit_code(result) for result in (run, pull, scan, passed)] == [3, 0, 2, 0]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Run(image="busybox", command=["echo", "hi"]), "busybox echo hi"),
        (Run(image="busybox"), "busybox"),
        (Build(context="/x", tags=["app:1", "app:2"]), "app:1"),
        (Cleanup(images="dangling", dry_run=True), "containers and images (dry run)"),
    ],
)
def test_a_job_is_told_in_a_few_words(spec: Spec, words: str) -> None:
    assert results.what(spec) == words


def test_texts_from_the_bus_cannot_move_the_cursor() -> None:
    assert (
        terminal.printable("\x1b[2Jhé\r\tß\x07")
        == "\N{REPLACEMENT CHARACTER}[2Jhé"
        + ("\N{REPLACEMENT CHARACTER}" * 2)
        + "ß\N{REPLACEMENT CHARACTER}"
    )
