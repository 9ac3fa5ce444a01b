"""The commands that put a job on the bus, one module for each queue: they turn options into a spec."""

from dockbus.cli.kinds.actions import remove, restart, run_command, start, stop
from dockbus.cli.kinds.build import build
from dockbus.cli.kinds.cleanup import cleanup
from dockbus.cli.kinds.pull import pull
from dockbus.cli.kinds.run import run
from dockbus.cli.kinds.scan import scan

__all__ = [
    "build",
    "cleanup",
    "pull",
    "remove",
    "restart",
    "run",
    "run_command",
    "scan",
    "start",
    "stop",
]
