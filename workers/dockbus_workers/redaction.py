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
    stand in a line, what is added later, and the `user:password` of every URL.
    """

    def __init__(self, spec: SpecModel) -> None:
        named = {**getattr(spec, "env", {}), **getattr(spec, "args", {})}
        self._values: set[str] = set()
        self._secrets: re.Pattern[str] | None = None
        self.add(*(str(value) for name, value in named.items() if _NAME.search(name)))

    def add(self, *secrets: str) -> None:
        """Blot these out as well."""
        for secret in secrets:
            parts = (secret, *secret.splitlines())  # a line of a log holds one line of a key
            self._values.update(part for part in parts if len(part) >= SHORTEST)
        longest_first = sorted(self._values, key=len, reverse=True)
        self._secrets = (
            re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        )

    def redact(self, text: str) -> str:
        """The text without them."""
        if self._secrets:
            text = self._secrets.sub(SHOWN, text)
        return _USERINFO.sub(SHOWN, text) if "://" in text else text
