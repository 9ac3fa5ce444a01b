"""Which optional parts of dockbus are installed: the extras of its own package, as its metadata declares them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, requires


def lacking() -> dict[str, list[str]]:
    """For each extra, the packages that it needs and that are not there; an empty list where it is complete."""
    found: dict[str, list[str]] = {}
    for line in requires("dockbus") or ():
        requirement, marker = f"{line};".split(";")[:2]
        extra = re.search(r"extra == ['\"](\w+)['\"]", marker)
        if extra is None or extra[1] == "all":  # which is the others
            continue
        package = re.split(r"[^\w.-]", requirement)[0]
        absent = found.setdefault(extra[1], [])
        if not _installed(package):
            absent.append(package)
    return found


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
