"""The description of a container, part by part: what of it may be said, and the short forms it may be said in."""

from dockbus.jobs.running.container import ContainerSpec
from dockbus.jobs.running.files import File
from dockbus.jobs.running.health import Healthcheck
from dockbus.jobs.running.isolation import CAPABILITIES, Device
from dockbus.jobs.running.limits import Ulimit
from dockbus.jobs.running.mounts import SECRETS, Mount
from dockbus.jobs.running.networks import OWN_NETWORK, Network
from dockbus.jobs.running.ports import Port

__all__ = [
    "CAPABILITIES",
    "OWN_NETWORK",
    "SECRETS",
    "ContainerSpec",
    "Device",
    "File",
    "Healthcheck",
    "Mount",
    "Network",
    "Port",
    "Ulimit",
]
