"""The one door to Docker: nothing else in dockbus imports the docker SDK.

Calls go in with our types and come out as frozen views or errors of our own tree. Needs the `docker`
package, which the extras `workers` and `producer` bring.
"""

from dockbus.engine.client import DEFAULT_HOST, Engine
from dockbus.engine.containers import has_labels
from dockbus.engine.disk import CacheRecord, DiskUnknown, DiskUsage, FileSystem
from dockbus.engine.errors import (
    CommandNotFound,
    ContainerNotFound,
    EngineConflict,
    EngineDiskFull,
    EngineError,
    EngineFault,
    EngineForbidden,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    ExecNotFound,
    ImageCorrupt,
    ImageNotFound,
    RegistryDenied,
    RegistryError,
    RegistryRateLimited,
    RegistryStalled,
    RegistryUnavailable,
    RegistryUntrusted,
    SignalNotChosen,
)
from dockbus.engine.execs import ExecView
from dockbus.engine.logins import CredentialsUnusable, Login
from dockbus.engine.services import ServiceView
from dockbus.engine.streams import Stream
from dockbus.engine.views import (
    Container,
    EngineEvent,
    EngineInfo,
    Image,
    LogChunk,
    NetworkView,
    PullProgress,
    Raw,
    RemoteImage,
    VolumeView,
)
from dockbus.jobs.running import ContainerSpec

__all__ = [
    "DEFAULT_HOST",
    "CacheRecord",
    "CommandNotFound",
    "Container",
    "ContainerNotFound",
    "ContainerSpec",
    "CredentialsUnusable",
    "DiskUnknown",
    "DiskUsage",
    "Engine",
    "EngineConflict",
    "EngineDiskFull",
    "EngineError",
    "EngineEvent",
    "EngineFault",
    "EngineForbidden",
    "EngineInfo",
    "EngineRejected",
    "EngineTimeout",
    "EngineUnavailable",
    "ExecNotFound",
    "ExecView",
    "FileSystem",
    "Image",
    "ImageCorrupt",
    "ImageNotFound",
    "LogChunk",
    "Login",
    "NetworkView",
    "PullProgress",
    "Raw",
    "RegistryDenied",
    "RegistryError",
    "RegistryRateLimited",
    "RegistryStalled",
    "RegistryUnavailable",
    "RegistryUntrusted",
    "RemoteImage",
    "ServiceView",
    "SignalNotChosen",
    "Stream",
    "VolumeView",
    "has_labels",
]
