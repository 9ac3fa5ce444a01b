"""What a context may try that somebody uploads who means harm, against BuildKit's program on the worker."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import builds
from dockbus import Bus, Settings
from dockbus.engine import Engine
from processes import Program

Start = Callable[..., Program]


def test_git_files_in_an_uploaded_context_run_nothing_on_the_worker(
    start: Start,
    settings: Settings,
    base_image: str,
    buildx: Path,
    bus: Bus,
    engine: Engine,
    tmp_path: Path,
) -> None:
    folder = builds.context(tmp_path / "shop", "LABEL dockbus.test=1\nRUN echo built > /word")
    mark = tmp_path / "mark"
    (folder / "evil").write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    (folder / "evil").chmod(0o755)

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": ".",
        "remote.origin.uploadpack": "./evil",
    }.items():
        git("config", name, value)
    (folder / ".git/refs/heads/main").write_text("5a" * 20 + "\n")  # which it would have to fetch
    ask = ["git", "-C", str(folder), "-c", "log.showSignature=false", "show", "HEAD", "--quiet"]
    subprocess.run(ask, check=False, capture_output=True)
    assert mark.exists(), "whoever asks Git about this folder runs it"
    mark.unlink()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, arcname=".")
    builds.worker(start, builds.with_build(settings, builder="buildkit", buildx=str(buildx)))

    source = {"blob": bus.upload(packed.getvalue()).digest}
    builds.built(bus.enqueue(builds.order(context=source, tags=["dockbus/test-evil:1"])))

    assert builds.run_in(engine, "dockbus/test-evil:1", "cat /word") == "built"
    assert not mark.exists()
