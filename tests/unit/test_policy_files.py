"""Policy files: what they may hold, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dockbus.policy import LEVELS, RULES, Policy, PolicyError
from dockbus.policy.loading import load, policy_of
from dockbus.settings import PolicySettings

EXAMPLES = Path(__file__).parents[2] / "examples" / "policy"
DOCS = Path(__file__).parents[2] / "docs" / "policy.md"


def wrong(tmp_path: Path, text: str) -> str:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load(file)
    return caught.value.detail.replace(f"{file}:", "")


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_valid_and_is_what_it_is_called(file: Path) -> None:
    policy = load(file, "restricted")

    assert policy.level == {"trusted": "privileged"}.get(file.stem, file.stem)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: it must hold fields"),
        ("- level", "1: it must hold fields"),
        ("level: [", "1: not YAML"),
        ("level: baseline\nlevel: restricted", "2: 'level' is there twice"),
        ("level: basline", "1: level: Input should be 'privileged', 'baseline' or 'restricted'"),
        ("levl: baseline", "1: levl: no such field, did you mean 'level'?"),
        (
            "level: baseline\nallow:\n  device: []",
            "3: allow.device: no such field, did you mean 'devices'?",
        ),
        (
            "allow:\n  bind_mounts:\n    - path: srv",
            "3: allow.bind_mounts.0.path: 'srv' is not an absolute path",
        ),
        (
            "allow:\n  bind_mounts:\n    - path: /srv\n      readonly: true",
            "4: allow.bind_mounts.0.readonly: no such field, did you mean 'read_only'?",
        ),
        (
            "allow:\n  rules:\n    - privilegd",
            "3: allow.rules.0: there is no rule 'privilegd', did you mean 'privileged'?",
        ),
        ("allow: {rules: [reserved-label]}", "'reserved-label' cannot be switched off"),
        ("allow: {capabilities: [SYS_ADMN]}", "there is no capability 'SYS_ADMN', did you mean"),
        ("images: {only: [busybox]}", "'busybox' names no registry; write docker.io/library/NAME"),
        ("limits: {memory: lots}", "limits.memory: 'lots' is not a size"),
        ("limits: {cpus: 0}", "limits.cpus: Input should be greater than 0"),
        ("limits: {memory: 0}", "limits.memory: Input should be greater than 0"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert said in wrong(tmp_path, text)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    said = wrong(tmp_path, "level: none\nimages:\n  digest: 1\nlimit: {}\n")

    assert [part.split(":")[0].strip() for part in said.split("; ")] == ["1", "3", "4"]


def test_a_file_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        policy_of(PolicySettings(path=str(tmp_path / "none.yaml")))


def test_the_setting_names_the_level_where_the_file_does_not(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("limits: {cpus: 2}\n")

    assert policy_of(PolicySettings()) == Policy() == policy_of(PolicySettings(level="baseline"))
    assert policy_of(PolicySettings(level="restricted")).level == "restricted"
    assert policy_of(PolicySettings(path=str(file), level="restricted")).level == "restricted"
    file.write_text("level: privileged\n")
    assert policy_of(PolicySettings(path=str(file), level="restricted")).level == "privileged"


def test_the_documentation_lists_the_rules_that_there_are_and_shows_valid_policies(
    tmp_path: Path,
) -> None:
    text = DOCS.read_text()
    blocks = [part.split("```")[0] for part in text.split("```yaml\n")[1:]]

    rows = [line for line in text.splitlines() if line.startswith("| `")][len(LEVELS) :]
    assert rows == [
        f"| `{rule.id}` | {rule.cis} | {rule.refuses} | {rule.remedy} |" for rule in RULES.values()
    ]
    assert blocks
    for number, block in enumerate(blocks):
        assert yaml.safe_load(block)
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        load(file)
