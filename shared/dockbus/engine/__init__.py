"""The one door to Docker: nothing else in dockbus imports the docker SDK.

Calls go in with our types and come out as frozen views or errors of our own tree. Needs the `docker`
package, which the extras `workers` and `producer` bring.
"""

from dockbus.engine.client import DEFAULT_HOST, Engine
from dockbus.engine.containers import ContainerSpec, has_labels
from dockbus.engine.errors import (
    CommandNotFound,
    ContainerNotFound,
    EngineConflict,
    EngineError,
    EngineFault,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    ImageNotFound,
    RegistryDenied,
    RegistryRateLimited,
    RegistryUnavailable,
)
from dockbus.engine.streams import Stream
from dockbus.engine.views import (
    Container,
    EngineEvent,
    EngineInfo,
    Image,
    LogChunk,
    PullProgress,
    Raw,
)

__all__ = [
    "DEFAULT_HOST",
    "CommandNotFound",
    "Container",
    "ContainerNotFound",
    "ContainerSpec",
    "Engine",
    "EngineConflict",
    "EngineError",
    "EngineEvent",
    "EngineFault",
    "EngineInfo",
    "EngineRejected",
    "EngineTimeout",
    "EngineUnavailable",
    "Image",
    "ImageNotFound",
    "LogChunk",
    "PullProgress",
    "Raw",
    "RegistryDenied",
    "RegistryRateLimited",
    "RegistryUnavailable",
    "Stream",
    "has_labels",
]
