"""What can be wrong with a job's container beyond what the Engine itself refuses."""

from __future__ import annotations

from dockbus.errors import DockbusError


class ContainerLost(DockbusError):
    """Somebody removed the container while the job ran, so nobody knows how it would have ended.

    Leave containers with the label `dockbus.job` to dockbus; `dockbus cancel ID` stops a job. `dockbus replay ID` orders it again.
    """


class ServiceFailed(DockbusError):
    """The service did not come up.

    The end of its output is in the job's log: `dockbus logs ID`. With `remove=False` the stopped container stays to be looked at.
    """


class NoHealthcheck(DockbusError):
    """The job is to wait until the service is healthy, and nothing says how to find out.

    Give it a `healthcheck`, or an image that has one.
    """


class FilesRefused(DockbusError):
    """The files cannot be put into the container.

    Name paths that are not on a read-only root file system, nor below a volume or tmpfs that is mounted at the start.
    """


class TooMuchToCollect(DockbusError):
    """What the job is to collect is more than the bus keeps.

    Collect less, or raise DOCKBUS_BUS_BLOB_SIZE.
    """
