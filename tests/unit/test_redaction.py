"""What a job was told in confidence does not come back in its log."""

from __future__ import annotations

import pytest

from dockbus import Build, Run, Scan
from dockbus_workers.redaction import Redactor

SPEC = Run(
    image="x",
    env={
        "DB_PASSWORD": "hunter22",
        "API_TOKEN": "abc.def+(ghi)",
        "GITHUB_TOKEN": "hunter22-and-more",
        "SSH_PRIVATE_KEY": "-----BEGIN-----\nAAAAline\n-----END-----",
        "PIN_SECRET": "123",
        "LOG_LEVEL": "debug",
    },
)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("login with hunter22!", "login with ***!"),
        ("hunter22-and-more, not hunter22", "***, not ***"),
        ("token=abc.def+(ghi)", "token=***"),
        ("abcxdef+(ghi)", "abcxdef+(ghi)"),
        ("AAAAline", "***"),
        ("level debug, pin 123", "level debug, pin 123"),
        ("pull https://me:pa55@registry/x failed", "pull https://***@registry/x failed"),
        ("https://registry/x?a=b:c@d", "https://registry/x?a=b:c@d"),
        ("", ""),
    ],
)
def test_secrets_are_blotted_out_and_nothing_else(line: str, shown: str) -> None:
    assert Redactor(SPEC).redact(line) == shown


def test_build_arguments_are_told_apart_by_their_names_too() -> None:
    redactor = Redactor(
        Build(tags=["x:1"], context="c", args={"NPM_TOKEN": "s3cr3t", "V": "1.2.3"})
    )

    assert redactor.redact("Step 2/3 : ARG s3cr3t 1.2.3") == "Step 2/3 : ARG *** 1.2.3"


def test_a_kind_without_secrets_is_left_alone() -> None:
    assert Redactor(Scan(image="x")).redact("anything at all") == "anything at all"
