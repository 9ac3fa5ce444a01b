"""What can go wrong with an action."""

from __future__ import annotations

from dockbus.errors import DockbusError


class ContainerNotRunning(DockbusError):
    """A command can be run in a container that runs only.

    Start it first (`dockbus start NAME`), or run the command in a container of its own: `dockbus run`.
    """


class CommandRefused(DockbusError):
    """The container could not begin the command.

    Check `user` and `working_dir` against what the container holds.
    """


class CommandLost(DockbusError):
    """The command was begun, and nobody saw its end; it is not begun again.

    Find out in the container what it has done, then order the job again: `dockbus replay ID`.
    """
