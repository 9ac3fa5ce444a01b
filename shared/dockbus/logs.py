"""How the long-running processes log: one line each on standard error, times in UTC."""

from __future__ import annotations

import logging
import sys
import time


def log_to_stderr() -> None:
    """Send what this process logs, from INFO up, to standard error. Called once, in a command's main."""
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("urllib3", "docker", "rq.job"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
