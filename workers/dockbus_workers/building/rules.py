"""A dozen rules for Dockerfiles, for where hadolint is not installed: what makes images large, stale or unsafe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from dockbus.jobs.building.findings import Level, LintFinding
from dockbus_workers.building.dockerfile import Instruction

Instructions = Sequence[Instruction]
Rule = Callable[[Instructions], Iterator[tuple[int, str]]]
KNOWN = {
    *("FROM", "RUN", "CMD", "LABEL", "MAINTAINER", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT"),
    *("VOLUME", "USER", "WORKDIR", "ARG", "ONBUILD", "STOPSIGNAL", "HEALTHCHECK", "SHELL"),
}
_SECRET = re.compile(
    r"passw|secret|token|credential|private_?key|api_?key|access_?key", re.IGNORECASE
)
_APT = re.compile(r"\bapt(-get)?\b")
_COPIED = re.compile(r"^(\.|\./)\s")
_INSTALL = re.compile(
    r"\b(pip3? install|npm (ci|install)|yarn install|bundle install|go mod download|cargo fetch|poetry install|uv sync)\b"
)
_FAT = re.compile(r"^(?:.*/)?(python|node|ruby|golang|openjdk|php|debian|ubuntu):[^\s@]+$")
_LEAN = re.compile(r"slim|alpine|distroless|minimal|-jre")


def lint(instructions: Instructions) -> list[LintFinding]:
    """What these rules find, by line."""
    found = [
        LintFinding(code=code, level=level, line=line, message=message)
        for code, (level, rule) in RULES.items()
        for line, message in rule(instructions)
    ]
    return sorted(found, key=lambda finding: (finding.line, finding.code))


def _named(instructions: Instructions, *names: str) -> Iterator[Instruction]:
    return (item for item in instructions if item.name in names)


def _bases(instructions: Instructions) -> Iterator[tuple[Instruction, str]]:
    """Each `FROM` of an image, with that image; not of a stage, and not where a variable decides."""
    stages = {"scratch"}
    for item in _named(instructions, "FROM"):
        words = item.text.split()
        if words and words[0].lower() not in stages and "$" not in words[0]:
            yield item, words[0]
        stages.update(word.lower() for word in words[2:3])


def _unknown(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in instructions:
        if item.name not in KNOWN:
            yield item.line, f"there is no instruction {item.name}"


def _latest(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item, image in _bases(instructions):
        if "@" not in image and (":" not in image.rpartition("/")[2] or image.endswith(":latest")):
            yield item.line, f"{image} is another image every month; name a version, or a digest"


def _lighter_base(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item, image in _bases(instructions):
        if _FAT.match(image) and not _LEAN.search(image):
            yield item.line, f"{image} is a full system; a `slim` or `alpine` variant may do"


def _root(instructions: Instructions) -> Iterator[tuple[int, str]]:
    stages = list(_named(instructions, "FROM"))
    users = [
        item for item in _named(instructions, "USER") if stages and item.line > stages[-1].line
    ]
    if stages and not users:
        yield stages[-1].line, "no USER: the container runs as root"
    elif users and re.match(r"(root|0)(:|$)", users[-1].text.strip()):
        yield users[-1].line, "the last USER is root"


def _add_url(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _named(instructions, "ADD"):
        if re.search(r"\bhttps?://", item.text) and not any(
            flag.startswith("checksum=") for flag in item.flags
        ):
            yield (
                item.line,
                "ADD of a URL is checked by nobody; fetch and verify in a RUN, or give --checksum",
            )


def _add_file(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _named(instructions, "ADD"):
        if (
            not re.search(r"://|\.(tar|tgz|tbz2|txz|gz|xz|bz2)\b|git@", item.text)
            and not item.heredoc
        ):
            yield item.line, "COPY copies files; ADD does more than that"


def _apt_installs(instructions: Instructions) -> Iterator[Instruction]:
    for item in _named(instructions, "RUN"):
        if _APT.search(item.text) and re.search(r"\binstall\b", item.text):
            yield item


def _apt_clean(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _apt_installs(instructions):
        mounted = any("/var/lib/apt" in flag for flag in item.flags)
        if "/var/lib/apt/lists" not in item.text and not mounted:
            yield (
                item.line,
                "package lists stay in the layer; end with `rm -rf /var/lib/apt/lists/*`",
            )


def _apt_recommends(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _apt_installs(instructions):
        if "--no-install-recommends" not in item.text:
            yield item.line, "apt brings recommended packages along; add --no-install-recommends"


def _apt_alone(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _named(instructions, "RUN"):
        if (
            _APT.search(item.text)
            and re.search(r"\bupdate\b", item.text)
            and "install" not in item.text
        ):
            yield (
                item.line,
                "an update of its own comes from an old cache; do it in the RUN that installs",
            )


def _package_cache(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _named(instructions, "RUN"):
        cached = any("type=cache" in flag for flag in item.flags)
        if (
            re.search(r"\bpip3? install\b", item.text)
            and "--no-cache-dir" not in item.text
            and not cached
        ):
            yield item.line, "pip keeps what it downloads; add --no-cache-dir, or mount a cache"
        if (
            re.search(r"\bapk (-\S+ )*add\b", item.text)
            and "--no-cache" not in item.text
            and not cached
        ):
            yield item.line, "apk keeps its index; add --no-cache"


def _secret(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _named(instructions, "ARG", "ENV"):
        names = [
            word.partition("=")[0]
            for word in item.text.split()
            if item.name == "ARG" or "=" in word
        ]
        for name in names or item.text.split()[:1]:
            if _SECRET.search(name) and not name.upper().endswith(("_FILE", "_PATH")):
                yield (
                    item.line,
                    f"{item.name} {name} stays readable in the image; mount it as a secret in RUN",
                )


def _copy_first(instructions: Instructions) -> Iterator[tuple[int, str]]:
    copied: Instruction | None = None
    for item in instructions:
        if item.name == "FROM":
            copied = None
        elif item.name in ("COPY", "ADD") and _COPIED.match(item.text) and not item.flags:
            copied = copied or item
        elif item.name == "RUN" and copied and _INSTALL.search(item.text):
            yield (
                copied.line,
                f"every change of a file repeats the installation in line {item.line}; copy the list of packages first, and the rest after it",
            )
            copied = None


def _several(instructions: Instructions) -> Iterator[tuple[int, str]]:
    last: dict[str, Instruction] = {}
    for item in instructions:
        if item.name == "FROM":
            last.clear()
        elif item.name in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            if earlier := last.get(item.name):
                yield earlier.line, f"a later {item.name} replaces this one"
            last[item.name] = item


def _shell_form(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _named(instructions, "CMD", "ENTRYPOINT"):
        if not item.text.startswith("["):
            yield (
                item.line,
                f"a shell stands between {item.name} and its signals; write it as a JSON list",
            )


def _relative(instructions: Instructions) -> Iterator[tuple[int, str]]:
    for item in _named(instructions, "WORKDIR"):
        if not re.match(r"[\"']?(/|\$|[A-Za-z]:)", item.text):
            yield item.line, "a relative WORKDIR depends on the base image"


RULES: dict[str, tuple[Level, Rule]] = {
    "DB001": (Level.ERROR, _unknown),
    "DB002": (Level.WARNING, _latest),
    "DB003": (Level.WARNING, _root),
    "DB004": (Level.WARNING, _secret),
    "DB005": (Level.WARNING, _add_url),
    "DB006": (Level.INFO, _add_file),
    "DB007": (Level.INFO, _apt_clean),
    "DB008": (Level.INFO, _apt_recommends),
    "DB009": (Level.WARNING, _apt_alone),
    "DB010": (Level.INFO, _package_cache),
    "DB011": (Level.INFO, _copy_first),
    "DB012": (Level.WARNING, _several),
    "DB013": (Level.INFO, _shell_form),
    "DB014": (Level.INFO, _relative),
    "DB015": (Level.INFO, _lighter_base),
}
"""Every rule by its code, which stays the same from version to version."""
