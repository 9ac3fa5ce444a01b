"""A Dockerfile taken apart, and what is said of it."""

from __future__ import annotations

import pytest

from dockbus.jobs import Build
from dockbus.jobs.building.findings import Level, LintFinding
from dockbus_workers.building import lint, rules
from dockbus_workers.building.dockerfile import base_images, buildkit_only, parse, unused_args
from dockbus_workers.handlers.build import warnings_of

BAD = """\
FROM python
ARG DB_PASSWORD
ENV API_TOKEN=x PATH=/bin
ADD https://example.com/x.sh /x.sh
ADD app.py /app.py
COPY . /app
RUN apt-get update
RUN apt-get install -y gcc
RUN pip install -r /app/requirements.txt
WORKDIR app
CMD python app.py
CMD ["python", "app.py"]
"""

GOOD = """\
# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt
COPY . .
RUN apt-get update \\
    # with a comment in it
 && apt-get install -y --no-install-recommends curl \\

 && rm -rf /var/lib/apt/lists/*
FROM build
ADD rootfs.tar.gz /
ENV TOKEN_FILE=/run/secrets/token
USER 1000
ENTRYPOINT ["python"]
"""


def test_instructions_come_with_their_lines_flags_and_continued_text() -> None:
    found = parse(GOOD)

    assert [item.line for item in found] == [2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16]
    assert found[3].flags == ("mount=type=cache,target=/root/.cache/pip",)
    assert found[5].text == (
        "apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*"
    )
    assert str(found[2]) == "COPY requirements.txt ."


def test_a_heredoc_is_no_instruction() -> None:
    found = parse(
        'FROM a\nRUN <<EOF\nUSER root\nEOF\nCOPY <<"A" <<-B /x\none\nA\ntwo\n\tB\nUSER me'
    )

    assert [(item.line, item.name) for item in found] == [
        (1, "FROM"),
        (2, "RUN"),
        (5, "COPY"),
        (10, "USER"),
    ]


def test_another_escape_character_is_honoured() -> None:
    found = parse("# escape=`\nFROM a\nRUN one `\n  two\nRUN c:\\\nUSER x")

    assert [item.text for item in found] == ["a", "one two", "c:\\", "x"]


@pytest.mark.parametrize(
    ("dockerfile", "args", "unused"),
    [
        ("FROM a\nARG ONE\nARG TWO=2 THREE", ["ONE", "TWO", "THREE"], []),
        ("ARG BASE\nFROM $BASE", ["BASE", "NOPE"], ["NOPE"]),
        ("FROM a", ["HTTP_PROXY", "no_proxy", "BUILDKIT_INLINE_CACHE"], []),
    ],
)
def test_arguments_that_no_instruction_takes_are_found(
    dockerfile: str, args: list[str], unused: list[str]
) -> None:
    assert unused_args(parse(dockerfile), args) == unused


def test_base_images_are_those_that_have_to_be_fetched() -> None:
    dockerfile = (
        'ARG BASE=one:1\nARG HOST="h:5000"\nFROM ${BASE} AS First\nFROM $HOST/two:${V:-2} AS second\nFROM first\nFROM scratch\n'
        "COPY --from=second /a /a\nCOPY --from=0 /b /b\nCOPY --from=three:3 /c /c\n"
    )

    assert base_images(parse(dockerfile), {}) == ["one:1", "h:5000/two:2", "three:3"]
    assert base_images(parse(dockerfile), {"BASE": "other"})[0] == "other"


@pytest.mark.parametrize(
    "instruction",
    [
        "RUN --mount=type=secret,id=x true",
        "RUN <<E\ntrue\nE",
        "COPY --link a /a",
        "RUN --network=none true",
    ],
)
def test_what_only_buildkit_understands_is_seen(instruction: str) -> None:
    assert (
        buildkit_only(parse(f"FROM a\nRUN true\n{instruction}"))
        == parse(f"FROM a\nRUN true\n{instruction}")[2]
    )
    assert buildkit_only(parse("FROM a\nCOPY --chown=1 a /a\nRUN cat <x")) is None


def test_our_own_rules_find_what_is_bad() -> None:
    found = {(item.line, item.code) for item in rules.lint(parse(BAD))}

    assert found == {
        (1, "DB002"), (1, "DB003"), (2, "DB004"), (3, "DB004"), (4, "DB005"), (5, "DB006"), (6, "DB011"),
        (7, "DB009"), (8, "DB007"), (8, "DB008"), (9, "DB010"), (10, "DB014"), (11, "DB012"), (11, "DB013"),
    }  # fmt: skip


def test_our_own_rules_leave_what_is_good_alone() -> None:
    assert rules.lint(parse(GOOD)) == []


@pytest.mark.parametrize(
    ("image", "codes"),
    [
        ("python:3.13", ["DB015"]),
        ("python:3.13-slim", []),
        ("debian:latest", ["DB002", "DB015"]),
        ("python@sha256:0", []),
        ("host:5000/app", ["DB002"]),
        ("${BASE}", []),
        ("scratch", []),
    ],
)
def test_a_base_image_is_judged_by_its_name(image: str, codes: list[str]) -> None:
    found = rules.lint(parse(f"FROM {image}\nUSER me"))

    assert [item.code for item in found] == codes


def test_a_user_that_is_root_in_the_end_is_found() -> None:
    assert [item.code for item in rules.lint(parse("FROM a:1\nUSER me\nUSER 0:0"))] == ["DB003"]
    assert [item.code for item in rules.lint(parse("FROM a:1\nNOSUCH x\nUSER me"))] == ["DB001"]


def test_hadolints_json_is_read() -> None:
    said = '[{"code":"DL3007","column":1,"file":"-","level":"warning","line":3,"message":"Using latest"}]'

    assert lint.parse(said) == [
        LintFinding(code="DL3007", level=Level.WARNING, line=3, message="Using latest")
    ]


def test_only_warnings_and_worse_are_a_reason_to_refuse() -> None:
    style = LintFinding(code="X", level=Level.STYLE, line=1, message="m")
    lint.demand([style, style.model_copy(update={"level": Level.INFO})])

    with pytest.raises(lint.LintFailed, match=r"line 1: m \(X, warning\)"):
        lint.demand([style, style.model_copy(update={"level": Level.WARNING})])


def test_a_large_context_is_warned_of() -> None:
    spec = Build(context=".", tags=["a"])

    assert list(warnings_of(spec, [], 100 * 1024**2)) == []
    assert ".dockerignore" in next(iter(warnings_of(spec, [], 100 * 1024**2 + 1)))
