"""How the long-running processes log: one line each on standard error, times in UTC.

Much of what they tell was written by others: labels, names, answers. What cannot be printed is escaped, and a traceback
is indented, so that a line that begins with a time is ours.
"""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class _Lines(logging.Formatter):
    """One line for what happened, indented ones for a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  its name there
        return _printable(super().formatMessage(record))

    def formatException(  # noqa: N802  its name there
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        lines = super().formatException(ei).splitlines()
        return "\n".join(f"    {_printable(line)}" for line in lines)


def log_to_stderr() -> None:
    """Send what this process logs, from INFO up, to standard error. Called once, in a command's main."""
    formatter = _Lines("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("urllib3", "docker", "rq.job"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
