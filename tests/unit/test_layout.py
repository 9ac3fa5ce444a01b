"""The shape of the tree: three source roots, typed packages, small modules, a public face that is what it says."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

import dockbus

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "shared": ROOT / "shared" / "dockbus",
    "producer": ROOT / "producer" / "dockbus_producer",
    "workers": ROOT / "workers" / "dockbus_workers",
}


@pytest.mark.parametrize("root", PACKAGES)
def test_a_source_root_is_a_folder_and_never_a_package(root: str) -> None:
    inside = {
        entry.name
        for entry in (ROOT / root).iterdir()
        if entry.name != "__pycache__" and not entry.name.endswith(".egg-info")
    }

    assert inside == {PACKAGES[root].name}


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_a_package_is_typed(package: Path) -> None:
    assert (package / "py.typed").is_file()


def test_no_module_is_too_long_to_read() -> None:
    modules = [
        file
        for folder in (*PACKAGES.values(), ROOT / "tests", ROOT / "examples")
        for file in folder.rglob("*.py")
    ]
    long = {
        str(file.relative_to(ROOT)): lines
        for file in modules
        if (lines := len(file.read_text().splitlines())) > 400
    }

    assert len(modules) > 80
    assert long == {}


def test_the_public_face_is_all_that_it_says_and_sorted() -> None:
    assert dockbus.__all__ == sorted(dockbus.__all__)
    assert all(hasattr(dockbus, name) for name in dockbus.__all__)
    named = {
        name
        for name, value in vars(dockbus).items()
        if getattr(value, "__module__", "").startswith("dockbus.") and not name.startswith("_")
    }
    assert named <= set(dockbus.__all__)
    assert {"Bus", "Run", "JobFailed", "Settings"} <= set(dockbus.__all__)


def test_the_version_is_the_distributions() -> None:
    assert dockbus.__version__ == metadata.version("dockbus")
