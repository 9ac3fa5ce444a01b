from __future__ import annotations

from pathlib import Path

import pytest

from dockbus.local.engine import NoEngine, why_not_private
from dockbus.local.process import StartFailed, socket_path


@pytest.mark.parametrize(
    ("root", "installed", "apt", "reason"),
    [
        (True, True, False, ""),
        (True, False, True, ""),
        (False, True, False, "takes root"),
        (False, False, True, "takes root"),
        (True, False, False, "not installed"),
    ],
)
def test_a_private_engine_takes_root_and_debian_or_dockerd(
    root: bool, installed: bool, apt: bool, reason: str
) -> None:
    said = why_not_private(root=root, installed=installed, apt=apt)

    assert reason in said
    assert bool(reason) == bool(said)


def test_no_engine_says_what_to_do() -> None:
    text = str(NoEngine("unix:///x: no such socket; starting a private one takes root"))

    assert text.startswith("There is no Docker Engine to use: unix:///x: no such socket;")
    assert "apt install docker.io" in text
    assert "DOCKBUS_ENGINE_HOST" in text


def test_a_socket_path_too_long_for_linux_is_named() -> None:
    assert socket_path(Path("/" + "a" * 106))
    with pytest.raises(StartFailed, match="shorter path"):
        socket_path(Path("/" + "a" * 107))
