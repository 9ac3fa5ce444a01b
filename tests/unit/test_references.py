"""Image references: what the Engine would take, and nothing that could be taken for something else."""

from __future__ import annotations

import time

import pytest

from dockbus.references import Reference, check_name, check_name_or_id, is_id, split

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("busybox", "busybox", "latest"),
        ("busybox:1.36", "busybox", "1.36"),
        ("library/busybox", "library/busybox", "latest"),
        ("localhost:5000/busybox", "localhost:5000/busybox", "latest"),
        ("127.0.0.1:5000/a/b/c:v1_2.3-4", "127.0.0.1:5000/a/b/c", "v1_2.3-4"),
        ("[::1]:5000/app", "[::1]:5000/app", "latest"),
        ("Registry.Example.com/app", "Registry.Example.com/app", "latest"),
        ("a__b--c.d_e/f", "a__b--c.d_e/f", "latest"),
        (f"app@{DIGEST}", "app", DIGEST),
        (f"host:1/app:tag@{DIGEST}", "host:1/app", DIGEST),
        ("x" * 255, "x" * 255, "latest"),
        ("app:" + "t" * 128, "app", "t" * 128),
    ],
)
def test_a_name_is_taken_apart(name: str, repository: str, tag: str) -> None:
    assert check_name(name) == name
    assert split(name) == (repository, tag)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Busybox",
        "busybox ",
        "busybox\n",
        "busybox:",
        "busybox:-x",
        "busybox:" + "t" * 129,
        "busybox@",
        "busybox@sha256:abc",
        f"busybox@{DIGEST.upper()}",
        "/busybox",
        "a//b",
        "a/",
        "a..b",
        "a___b",
        "-a",
        "host:port/app",
        "http://example.com/app",
        "--privileged",
        "app?tag=x",
        "app;true",
        "\N{CYRILLIC SMALL LETTER A}pp",
        "app:\N{ARABIC-INDIC DIGIT ONE}",
        "x" * 256,
        DIGEST,
        "0a" * 32,
    ],
)
def test_what_is_no_name_is_refused_with_advice(name: str) -> None:
    with pytest.raises(ValueError, match="write \\[registry/\\]name"):
        check_name(name)


def test_an_id_stands_for_an_image_that_exists() -> None:
    assert check_name_or_id(DIGEST) == DIGEST
    assert check_name_or_id("0a" * 32) == "0a" * 32
    assert check_name_or_id("busybox") == "busybox"


@pytest.mark.parametrize("unit", ["a", "a-", "a.", "a/", "a_", "-", "a:", "[:", "1.", "a@"])
def test_hostile_text_is_refused_quickly_and_shown_in_part(unit: str) -> None:
    begun = time.monotonic()

    with pytest.raises(ValueError, match="not an image reference") as caught:
        check_name(unit * 50_000 + "!")

    assert time.monotonic() - begun < 1
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "host", "path", "shown"),
    [
        ("busybox", "docker.io", "library/busybox", "busybox:latest"),
        ("docker.io/library/busybox:1", "docker.io", "library/busybox", "busybox:1"),
        ("docker.io/busybox:1", "docker.io", "library/busybox", "busybox:1"),
        ("index.docker.io/team/app:1", "docker.io", "team/app", "team/app:1"),
        ("team/app:1", "docker.io", "team/app", "team/app:1"),
        ("localhost/app:1", "localhost", "app", "localhost/app:1"),
        ("localhost:5000/app:1", "localhost:5000", "app", "localhost:5000/app:1"),
        ("registry.example/a/b:1", "registry.example", "a/b", "registry.example/a/b:1"),
        ("Registry/app:1", "Registry", "app", "Registry/app:1"),
        (f"host:1/app:tag@{DIGEST}", "host:1", "app", f"host:1/app@{DIGEST}"),
        (f"busybox@{DIGEST}", "docker.io", "library/busybox", f"busybox@{DIGEST}"),
    ],
)
def test_a_reference_knows_its_registry_and_what_the_engine_calls_it(
    name: str, host: str, path: str, shown: str
) -> None:
    reference = Reference.parse(name)

    assert (reference.host, reference.path, reference.name) == (host, path, shown)
    assert Reference.parse(reference.name) == reference


@pytest.mark.parametrize(
    ("name", "mirror", "there"),
    [
        ("busybox:1", "mirror.local:5000/hub", "mirror.local:5000/hub/library/busybox:1"),
        ("busybox", "mirror.local:5000", "mirror.local:5000/library/busybox:latest"),
        (f"host:1/a/b@{DIGEST}", "localhost/x/y", f"localhost/x/y/a/b@{DIGEST}"),
        ("host:1/a:2", "docker.io/team", "team/a:2"),
    ],
)
def test_a_reference_has_another_name_at_a_mirror(name: str, mirror: str, there: str) -> None:
    assert Reference.parse(name).at(mirror).name == there


def test_an_id_is_told_from_a_name() -> None:
    assert is_id(DIGEST)
    assert is_id("0a" * 32)
    assert not is_id("busybox")
    assert not is_id(f"busybox@{DIGEST}")
