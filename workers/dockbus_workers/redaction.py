"""Secrets that a job was given must not come back in its log."""

from __future__ import annotations

import re

from dockbus.jobs import SpecModel

SHOWN = "***"
SHORTEST = 4
"""Characters; anything shorter stands in too many lines by chance."""
_NAME = re.compile(
    r"passw|secret|token|credential|private|api_?key|access_?key|auth", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+(?=@)")


class Redactor:
    """Blots out the secrets of one spec.

    Secrets are the values of `env` and `args` whose name says so (a password, token, key…), wherever they
    stand in a line, and the `user:password` of every URL.
    """

    def __init__(self, spec: SpecModel) -> None:
        named = {**getattr(spec, "env", {}), **getattr(spec, "args", {})}
        values = {
            str(part)
            for name, value in named.items()
            if _NAME.search(name)
            for part in (value, *str(value).splitlines())  # a line of a log holds one line of a key
            if len(str(part)) >= SHORTEST
        }
        longest_first = sorted(values, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if values else None

    def redact(self, text: str) -> str:
        """The text without them."""
        if self._secrets:
            text = self._secrets.sub(SHOWN, text)
        return _USERINFO.sub(SHOWN, text) if "://" in text else text
