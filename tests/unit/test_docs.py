"""The documentation says what the code does: reference pages, links, examples and the changelog.

What commands of pages do when they are run is for `tests/e2e/test_pages.py`.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import dockbus
from dockbus.jobs import Kind, parse_spec
from dockbus_producer.rules import load
from pages import NOTES, RUN
from pages import blocks as fenced

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
KINDS = [f"reference/{kind}.md" for kind in Kind]
REFERENCE = [
    *(f"{name}.md" for name in ("settings", "errors", "cli", "metrics", "labels", "http")),
    *KINDS,
    *(f"reference/{file}.md" for file in ("rule", "schedule", "sink", "policy", "registry")),
]
PACKAGES = {"dockbus": "shared", "dockbus_producer": "producer", "dockbus_workers": "workers"}
"""The folder of each."""
NO_LABELS = {"dockbus.commands", "dockbus.json"}
"""Texts of the code that look like labels: a group of entry points, and a note of the command line's."""


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


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_is_what_the_code_says(reference: ModuleType, name: str) -> None:
    written = (ROOT / "docs" / name).read_text()

    assert written == reference.PAGES[name](), "run: python docs/reference.py"


def test_every_page_of_the_reference_is_compared(reference: ModuleType) -> None:
    there = {f"reference/{page.name}" for page in (ROOT / "docs" / "reference").iterdir()}

    assert set(reference.PAGES) == set(REFERENCE)
    assert there == {name for name in REFERENCE if "/" in name}


@pytest.mark.parametrize("name", [name for name in REFERENCE if name not in ("errors.md", *KINDS)])
def test_everything_in_the_reference_has_a_meaning(name: str) -> None:
    rows = re.findall(r"^\| `.*", (ROOT / "docs" / name).read_text(), re.MULTILINE)

    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_label_that_the_code_knows_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "labels.md").read_text()
    labels = {text for text in _texts_in_code(r"dockbus(\.[a-z]+)+\.?") if not _is_module(text)}

    assert "dockbus.keep" in labels
    assert {label for label in labels - NO_LABELS if f"`{label}" not in page} == set()


def test_every_metric_that_the_code_names_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    metrics = {text for text in _texts_in_code(r"dockbus_[a-z_]+") if text not in PACKAGES}

    assert "dockbus_jobs_total" in metrics
    assert {metric for metric in metrics if f"`{metric}" not in page} == set()


def _texts_in_code(pattern: str) -> set[str]:
    """The texts of the code that are all of that pattern."""
    return {text for text in _all_texts() if re.fullmatch(pattern, text)}


@cache
def _all_texts() -> frozenset[str]:
    return frozenset(
        node.value
        for root in PACKAGES.values()
        for module in (ROOT / root).rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_module(text: str) -> bool:
    path = ROOT / "shared" / text.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


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


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.is_file():
            seen.add(page)
            links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
            found = [(page.parent / link).resolve() for link in links]
            waiting += [one / "README.md" if one.is_dir() else one for one in found]
            waiting = [one for one in waiting if one.suffix == ".md"]

    assert {str(page.relative_to(ROOT)) for page in set(PAGES) - seen} == set()


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
def test_every_option_that_is_shown_exists(page: Path, reference: ModuleType) -> None:
    text = reference.command_line()
    sections = re.split(r"^## (dockbus .+)\n", text, flags=re.MULTILINE)[1:]
    known = {
        name: {*re.findall(r"(?<=[`\s])--?[a-z-]+", section), "--help"}
        for name, section in zip(sections[::2], sections[1::2], strict=True)
    }

    wrong = [
        f"{command} {option}"
        for command, options in _commands_in(page, known)
        for option in options - known[command]
    ]

    assert wrong == []


def _commands_in(page: Path, known: dict[str, set[str]]) -> Iterator[tuple[str, set[str]]]:
    """The commands of dockbus that a page shows, each with the options given to it."""
    typed = "\n".join(blocks(page, "sh") + re.findall(r"^\$ (.*)$", page.read_text(), re.MULTILINE))
    for line in typed.replace("\\\n", " ").splitlines():
        called = re.match(r"(?:[A-Z_]+=\S+ )*(dockbus .*)", line)
        if not called:
            continue
        found = shlex.shlex(called[1], posix=True, punctuation_chars="|>;&")
        found.whitespace_split = True
        words = list(takewhile(lambda word: not set(word) & set("|>;&"), found))
        command = " ".join(words[:3] if " ".join(words[:3]) in known else words[:2])
        ours = words[: words.index("--")] if "--" in words else words
        if command in known:  # else another test says so
            yield command, {word.partition("=")[0] for word in ours if word.startswith("-")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_of_make_that_is_shown_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {
        name
        for block in blocks(page, "sh")
        for name in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)
    }

    assert shown - targets == set()


def test_make_up_is_dockbus_up() -> None:
    """So pages' tests take it for."""
    assert re.search(
        r"^up: \.venv ##.*\n\t@dockbus up\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_said_of_how_a_block_is_run_can_be_understood(page: Path) -> None:
    found = fenced(page.read_text(), page.name)

    noted = [block for block in found if block.note in NOTES]
    assert len(noted) == len(
        re.findall(rf"^<!-- (?:{'|'.join(NOTES)})\b", page.read_text(), re.MULTILINE)
    ), "a note that stands above no block"
    for block in noted:
        assert block.note == "file" or block.language in RUN, block.place
        assert bool(block.value) == (block.note in ("file", "goes on", "not run")), block.place
        assert block.note != "not run" or len(block.value.split()) > 2, "say why"
        named = re.findall(r"tests/\S+\.py", block.value)
        assert all((ROOT / file).is_file() for file in named), block.place


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
