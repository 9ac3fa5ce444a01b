"""dockbus: an operator-style event bus with workers for plain Docker hosts.

This is the library that programs use to put jobs on the bus and to follow them:

    from dockbus import Bus, Run

    job = Bus.connect().enqueue(Run(image="busybox", command=["echo", "hello"]))
    print(job.wait(timeout=60))
"""

from importlib.metadata import version

from dockbus.artefacts import Artefact, ArtefactNotFound
from dockbus.blobs import Blob, BlobNotFound, BlobTooLarge
from dockbus.bus import Bus, JobHandle
from dockbus.errors import (
    DockbusError,
    InvalidSpec,
    JobCanceled,
    JobFailed,
    JobNotCancelable,
    JobNotFound,
    JobNotReplayable,
    KeyConflict,
    MissingExtra,
    RedisUnavailable,
    SettingsError,
    WaitTimeout,
)
from dockbus.event_reader import EventReader, NoSuchPlace
from dockbus.events import Event, StoredEvent
from dockbus.joblog import LogLine, Progress
from dockbus.jobs import (
    Build,
    BuildResult,
    Cleanup,
    CleanupResult,
    Exec,
    ExecResult,
    Gate,
    Ignore,
    Kind,
    Pull,
    PullResult,
    Remove,
    RemoveResult,
    Restart,
    RestartResult,
    Result,
    Run,
    RunResult,
    Scan,
    ScanResult,
    Severity,
    Spec,
    Start,
    StartResult,
    Stop,
    StopResult,
    Vulnerability,
)
from dockbus.jobs.building.caches import LocalCache, RegistryCache
from dockbus.jobs.building.sources import Repository, Upload
from dockbus.jobs.cleanup import BuildCache
from dockbus.jobs.running import Device, File, Healthcheck, Mount, Network, Port, Ulimit
from dockbus.labels import InvalidLabels, LabelModel
from dockbus.orders import Order
from dockbus.records import Failure, JobRecord, JobState, QueueRecord
from dockbus.retries import RetryPolicy
from dockbus.settings import Settings
from dockbus.snapshot import ContainerState
from dockbus.stats import ContainerStats, StatsUnavailable
from dockbus.subscription import Subscription
from dockbus.watcher import Watcher

__version__ = version("dockbus")

__all__ = [
    "Artefact",
    "ArtefactNotFound",
    "Blob",
    "BlobNotFound",
    "BlobTooLarge",
    "Build",
    "BuildCache",
    "BuildResult",
    "Bus",
    "Cleanup",
    "CleanupResult",
    "ContainerState",
    "ContainerStats",
    "Device",
    "DockbusError",
    "Event",
    "EventReader",
    "Exec",
    "ExecResult",
    "Failure",
    "File",
    "Gate",
    "Healthcheck",
    "Ignore",
    "InvalidLabels",
    "InvalidSpec",
    "JobCanceled",
    "JobFailed",
    "JobHandle",
    "JobNotCancelable",
    "JobNotFound",
    "JobNotReplayable",
    "JobRecord",
    "JobState",
    "KeyConflict",
    "Kind",
    "LabelModel",
    "LocalCache",
    "LogLine",
    "MissingExtra",
    "Mount",
    "Network",
    "NoSuchPlace",
    "Order",
    "Port",
    "Progress",
    "Pull",
    "PullResult",
    "QueueRecord",
    "RedisUnavailable",
    "RegistryCache",
    "Remove",
    "RemoveResult",
    "Repository",
    "Restart",
    "RestartResult",
    "Result",
    "RetryPolicy",
    "Run",
    "RunResult",
    "Scan",
    "ScanResult",
    "Settings",
    "SettingsError",
    "Severity",
    "Spec",
    "Start",
    "StartResult",
    "StatsUnavailable",
    "Stop",
    "StopResult",
    "StoredEvent",
    "Subscription",
    "Ulimit",
    "Upload",
    "Vulnerability",
    "WaitTimeout",
    "Watcher",
    "__version__",
]
