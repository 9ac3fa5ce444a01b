"""The documentation says what the code does: reference pages, links, examples and the changelog."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import dockbus
from dockbus.jobs import Kind, parse_spec
from dockbus_producer.rules import load

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [
        "settings.md",
        "errors.md",
        "cli.md",
        "metrics.md",
        *(f"reference/{kind}.md" for kind in Kind),
    ],
)
def test_the_reference_is_what_the_code_says(reference: ModuleType, name: str) -> None:
    written = (ROOT / "docs" / name).read_text()

    assert written == reference.PAGES[name](), "run: python docs/reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if not link.startswith(("http://", "https://"))]

    missing = [link for link in local if not (page.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())

    missing = [
        (path, anchor)
        for path, anchor in links
        if anchor not in headings(page.parent / path if path else page)
    ]

    assert missing == []


def headings(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_exists(page: Path) -> None:
    from dockbus.settings import variables  # noqa: PLC0415

    known = {*variables(), "DOCKBUS_CI"}
    named = {
        name.removesuffix("_FILE") for name in re.findall(r"DOCKBUS_[A-Z_]+[A-Z]", page.read_text())
    }

    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(page: Path, reference: ModuleType) -> None:
    commands = set(re.findall(r"^## dockbus (\w+)$", reference.command_line(), re.MULTILINE))
    shown = {
        name
        for block in blocks(page, "sh")
        for name in re.findall(r"^(?:[A-Z_]+=\S+ )*dockbus ([a-z]+)", block, re.MULTILINE)
    }

    assert shown - commands == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_rule_that_is_shown_is_valid(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "yaml")):
        assert yaml.safe_load(block)
        if block.startswith("rules:"):
            file = tmp_path / f"{number}.yaml"
            file.write_text(block)
            assert load(file)


def test_the_readmes_request_is_a_valid_job() -> None:
    body = re.search(r"-d '(\{.*\})'", (ROOT / "README.md").read_text())

    assert body is not None
    assert parse_spec(json.dumps(json.loads(body[1])["spec"])).kind == "scan"


def test_the_changelog_knows_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert dockbus.__version__ == project["version"]
    assert f"## [{project['version']}] - 20" in (ROOT / "CHANGELOG.md").read_text()


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    pages = [page.name for page in folder.glob("0*.md")]

    assert pages
    assert [name for name in pages if f"({name})" not in index] == []
