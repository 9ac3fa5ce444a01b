"""What BuildKit says, cut anywhere, and which error it comes to."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dockbus.engine import EngineUnavailable, ImageNotFound, RegistryDenied, RegistryUnavailable
from dockbus.engine.errors import EngineDiskFull
from dockbus.errors import BuildFailed
from dockbus_workers.building.faults import DockerfileInvalid, explain
from dockbus_workers.building.vertexes import Begun, Failed, Line, Vertexes

NOW = "2026-01-01T00:00:00Z"
NAMES = {
    "a": "[internal] load build definition",
    "b": "[build 1/2] FROM x",
    "c": "[build 2/2] RUN echo hü",
}


def vertex(digest: str, **fields: Any) -> dict[str, Any]:
    return {"vertexes": [{"digest": digest, "name": NAMES[digest], **fields}]}


def log(text: bytes, stream: int = 1) -> dict[str, Any]:
    return {"logs": [{"vertex": "c", "stream": stream, "data": base64.b64encode(text).decode()}]}


SAID = [
    vertex("a", started=NOW, completed=NOW),
    vertex("b"),
    vertex("b", started=NOW, completed=NOW, cached=True),
    vertex("c", started=NOW),
    log(b"one\ntw"),
    log(b"err\r\n", 2),
    log("o\nüni".encode()),
    vertex("c", completed=NOW, error="exit code: 9"),
]
TEXT = (
    "WARNING: of something\n"
    + "\n".join(json.dumps(item, indent=2) for item in SAID)
    + "\nERROR: failed\nto solve\n"
)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_the_stream_is_read_however_it_is_cut(size: int) -> None:
    vertexes = Vertexes()
    found = [
        item
        for begin in range(0, len(TEXT), size)
        for item in vertexes.feed(TEXT[begin : begin + size])
    ]
    found += vertexes.finish()

    assert [item.vertex.name for item in found if isinstance(item, Begun)] == list(NAMES.values())
    lines = [(item.text, item.stream) for item in found if isinstance(item, Line)]
    assert lines == [("one", "stdout"), ("err", "stderr"), ("two", "stdout"), ("üni", "stdout")]
    assert [item.vertex.number for item in found if isinstance(item, Failed)] == [2]
    assert vertexes.error == "failed\nto solve"
    assert (len(vertexes.steps), vertexes.cached) == (2, 0)
    failed = vertexes.failed
    assert failed is not None
    assert (failed.stage, failed.instruction, list(failed.tail)) == (
        "build",
        "RUN echo hü",
        ["one", "err", "two", "üni"],
    )


def test_a_step_that_was_given_up_for_anothers_sake_is_not_the_one_that_failed() -> None:
    vertexes = Vertexes()
    list(
        vertexes.feed(
            json.dumps(vertex("b", error="context canceled"))
            + json.dumps(vertex("c", error="exit code: 1"))
        )
    )

    assert vertexes.failed is not None
    assert vertexes.failed.error == "exit code: 1"


@pytest.mark.parametrize(
    ("words", "error", "detail"),
    [
        (
            "executor failed running [/bin/sh -c x]: exit code: 9",
            BuildFailed,
            "RUN x: exit code 9; its last words: a | b",
        ),
        (
            "The command '/bin/sh -c x' returned a non-zero code: 9",
            BuildFailed,
            "RUN x: exit code 9; its last words: a | b",
        ),
        (
            'process "/bin/sh -c curl refused: connection refused" did not complete successfully: exit code: 7',
            BuildFailed,
            "RUN x: exit code 7; its last words: a | b",
        ),
        (
            'failed to compute cache key: "/nope" not found: not found',
            BuildFailed,
            'RUN x: "/nope" not found: not found; its last words: a | b',
        ),
        (
            "failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: RUNN",
            DockerfileInvalid,
            "dockerfile parse error line 2: unknown instruction: RUNN",
        ),
        (
            "dial tcp: lookup registry.example: no such host",
            RegistryUnavailable,
            "dial tcp: lookup registry.example: no such host",
        ),
        (
            "pull access denied, repository does not exist",
            RegistryDenied,
            "pull access denied, repository does not exist",
        ),
        ("manifest unknown", ImageNotFound, "manifest unknown"),
        (
            "rpc error: code = Unavailable desc = error reading from server: EOF",
            EngineUnavailable,
            "error reading from server: EOF",
        ),
        (
            "write /x: no space left on device",
            EngineDiskFull,
            "RUN x: write /x: no space left on device",
        ),
    ],
)
def test_the_words_of_a_builder_come_to_an_error_of_ours(
    words: str, error: type[Exception], detail: str
) -> None:
    found = explain(words, "RUN x", ["a", "b"])

    assert type(found) is error
    assert found.detail == detail


def test_a_disk_that_is_full_inside_an_instruction_is_the_engines() -> None:
    assert isinstance(
        explain("exit code: 1", "RUN x", ["cp: No space left on device"]), EngineDiskFull
    )


def test_only_the_last_lines_are_repeated() -> None:
    found = explain("exit code: 1", "RUN x", [str(number) for number in range(100)])

    assert found.detail.endswith("its last words: " + " | ".join(map(str, range(90, 100))))
