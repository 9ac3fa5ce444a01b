"""The catalogue of what is exported of the bus, of which one metrics worker of all exports it.

COUNTED is what the bus has counted itself, in its tally: exact, whoever died when, and beginning anew only with its
Redis. READ is what Redis holds at the moment of the scrape; names that begin with `rq_` are those of rq-exporter, so
that what was made for that shows the truth here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dockbus.families import Family
from dockbus.tally import DELAYS, LEFT_OUT, RUNS, WAITS
from dockbus_workers.measures import PEAKS

ENQUEUED = "dockbus_jobs_enqueued_total"


@dataclass(frozen=True)
class Counted(Family):
    """A family of the tally."""

    bounds: tuple[str, ...] = ()
    """Upper bounds of the buckets of a histogram, least first, without the last, which has none."""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Labels with all their values. Each is there from the first scrape, as 0: of a counter that begins with its first 1
    Prometheus cannot see that it rose."""
    like: str = ""
    """The family whose other labels it is to have from the first scrape, too."""


def _counter(name: str, labels: str, meaning: str, *, like: str = "", **values: str) -> Counted:
    fixed = {key: tuple(text.split()) for key, text in values.items()}
    return Counted(name, "counter", meaning, tuple(labels.split()), values=fixed, like=like)


def _histogram(
    name: str, labels: str, meaning: str, bounds: tuple[str, ...], *, like: str = ""
) -> Counted:
    return Counted(name, "histogram", meaning, tuple(labels.split()), bounds, like=like)


def _gauge(name: str, labels: str, meaning: str) -> Family:
    return Family(name, "gauge", meaning, tuple(labels.split()))


COUNTED = (
    _counter(ENQUEUED, "kind queue", "Jobs that were put on the bus."),
    _counter(
        "dockbus_jobs_total",
        "kind queue outcome",
        "Jobs that have ended, by how; `dead` are those whose attempts were used up.",
        like=ENQUEUED,
        outcome="succeeded failed dead canceled",
    ),
    _counter(
        "dockbus_job_retries_total",
        "kind reason",
        "Attempts that were not a job's last, by why there was another: it failed, its worker was lost, or that was stopped and handed it back.",
        like=ENQUEUED,
        reason="failed lost handed-back",
    ),
    _histogram(
        "dockbus_job_wait_seconds",
        "kind queue",
        "How long jobs were queued before an attempt began.",
        WAITS,
        like=ENQUEUED,
    ),
    _histogram(
        "dockbus_job_run_seconds",
        "kind queue",
        "How long the last attempt of a job took.",
        RUNS,
        like=ENQUEUED,
    ),
    _counter(
        "dockbus_jobs_rescued_total",
        "action",
        "Jobs that were found and queued again: their worker or their Engine was lost, or they were queued and in no queue.",
        action="worker-lost engine-lost mended",
    ),
    _counter(
        "dockbus_engine_events_total",
        "engine type action",
        "Events of an Engine that were published.",
    ),
    _counter(
        "dockbus_engine_events_found_total",
        "engine",
        "Those of them that were not heard, and found by looking at the Engine.",
    ),
    _histogram(
        "dockbus_engine_event_delay_seconds",
        "engine",
        "How long events that were heard took from their Engine to the bus.",
        DELAYS,
    ),
    _counter("dockbus_engine_gaps_total", "engine", "Times that events may have been missed."),
    _counter(
        "dockbus_engine_resyncs_total",
        "engine",
        "Times that all an Engine holds was compared with what was told of it.",
    ),
    _counter("dockbus_engine_disconnects_total", "engine", "Times that an Engine was lost."),
    _counter(
        "dockbus_events_doubled_total",
        "engine",
        "Events that were heard again and not published again.",
    ),
    _counter(
        "dockbus_rules_total", "rule outcome", "Events that rules matched, by what came of it."
    ),
    _counter(
        "dockbus_sink_deliveries_total",
        "sink outcome",
        "Attempts to deliver an event to a sink: delivered, failed (there is another one), or dead (given up).",
        outcome="delivered failed dead",
    ),
    _counter(
        "dockbus_scaler_decisions_total",
        "fleet direction",
        "Times that a service was to have more or fewer workers from now on, by `PROJECT/SERVICE`.",
        direction="out in",
    ),
    _counter(
        "dockbus_scaler_failures_total",
        "fleet",
        "Times that the workers of a service could not be made or taken away, each cause once as long as it lasts.",
    ),
    _counter("dockbus_scans_total", "verdict", "Scans of images.", verdict="passed failed"),
    _counter(
        "dockbus_cleanup_reclaimed_bytes_total", "what", "Bytes of disk that cleanups have freed."
    ),
    _counter("dockbus_cleanup_removed_total", "what", "Things that cleanups have removed."),
    _counter(
        "dockbus_runs_total",
        "image exit_code",
        "Containers of run jobs that have ended, by the image as the job named it.",
    ),
    _counter(
        "dockbus_run_cpu_seconds_total", "image", "CPU time that containers of run jobs have used."
    ),
    _counter(
        "dockbus_run_network_receive_bytes_total",
        "image",
        "Bytes that containers of run jobs have received.",
    ),
    _counter(
        "dockbus_run_network_transmit_bytes_total",
        "image",
        "Bytes that containers of run jobs have sent.",
    ),
    _counter(
        "dockbus_run_read_bytes_total",
        "image",
        "Bytes that containers of run jobs have read from disks.",
    ),
    _counter(
        "dockbus_run_write_bytes_total",
        "image",
        "Bytes that containers of run jobs have written to disks.",
    ),
    _histogram(
        "dockbus_run_memory_peak_bytes",
        "",
        "Most memory that a container of a run job had, file cache included.",
        PEAKS,
    ),
    _counter(
        "container_oom_events_total",
        "engine name image",
        "Times that the kernel killed a process of the container for want of memory; containers of jobs have no name.",
    ),
    _counter(
        "dockbus_container_exits_total",
        "engine name image exit_code",
        "Times that the container ended.",
    ),
    _counter(
        "dockbus_container_restarts_total",
        "engine name image",
        "Times that the container was started after it had ended.",
    ),
    _counter(
        "dockbus_container_health_transitions_total",
        "engine name image health",
        "Times that the container's probe came to another finding.",
    ),
    _counter(
        LEFT_OUT,
        "",
        "Samples that are not exported, since the tally has no room or this program does not know them.",
    ),
)

JOBS = _gauge(
    "rq_jobs",
    "queue status",
    "Jobs by queue and state; those that have ended as long as they are kept.",
)
WORKERS = _gauge(
    "rq_workers",
    "name state queues",
    "Workers, each 1; a worker process has two, for any Engine's jobs and for its own Engine's.",
)
WORKER_SUCCESSES = Family(
    "rq_workers_success_total", "counter", "Jobs that succeeded at a worker.", ("name", "queues")
)
WORKER_FAILURES = Family(
    "rq_workers_failed_total", "counter", "Attempts that failed at a worker.", ("name", "queues")
)
WORKING_TIME = Family(
    "rq_workers_working_time_total",
    "counter",
    "Seconds of work that a worker has done, of all its slots together.",
    ("name", "queues"),
)
PROCESSING = Family(
    "rq_request_processing_seconds", "summary", "How long it took to ask Redis for all of this."
)
OLDEST_JOB = _gauge(
    "dockbus_queue_oldest_job_age_seconds",
    "queue",
    "How long the job that has been queued longest has waited; 0 where none waits.",
)
QUEUE_WORKERS = _gauge(
    "dockbus_queue_workers", "queue", "Workers that serve the queue and have given a sign of life."
)
SLOTS = _gauge(
    "dockbus_queue_slots",
    "queue",
    "Jobs that all workers of the queue can carry out at the same time, its Engines' own queues included.",
)
SLOTS_BUSY = _gauge(
    "dockbus_queue_slots_busy",
    "queue",
    "Jobs that they carry out now.",
)
HEARTBEAT = _gauge(
    "dockbus_worker_heartbeat_age_seconds",
    "queue",
    "How long ago the queue's most silent worker gave its last sign of life.",
)
REDIS_UP = _gauge("dockbus_redis_up", "", "Whether Redis answered.")
REDIS_MEMORY = _gauge("dockbus_redis_memory_bytes", "", "Memory that Redis uses.")
REDIS_LIMIT = _gauge(
    "dockbus_redis_memory_limit_bytes", "", "Memory that Redis may use; 0 is no limit."
)
EVENTS_STORED = _gauge("dockbus_events_stored", "", "Events that the event stream keeps.")
GROUP_PENDING = _gauge(
    "dockbus_event_group_pending",
    "group",
    "Events that readers of the group have taken and not done with.",
)
GROUP_LAG = _gauge(
    "dockbus_event_group_lag", "group", "Events that no reader of the group has taken yet."
)
SUSPENDED = _gauge(
    "dockbus_rule_suspended", "rule", "Objects that the rule does nothing about for now."
)
CONNECTED = _gauge(
    "dockbus_engine_connected", "engine", "Whether the watch over the Engine hears it."
)
RESYNC_AGE = _gauge(
    "dockbus_engine_resync_age_seconds",
    "engine",
    "How long ago all that the Engine holds was last compared with what was told of it.",
)
READ = (
    *(REDIS_UP, REDIS_MEMORY, REDIS_LIMIT, PROCESSING),
    *(JOBS, OLDEST_JOB, QUEUE_WORKERS, SLOTS, SLOTS_BUSY, HEARTBEAT),
    *(WORKERS, WORKER_SUCCESSES, WORKER_FAILURES, WORKING_TIME),
    *(EVENTS_STORED, GROUP_PENDING, GROUP_LAG, SUSPENDED, CONNECTED, RESYNC_AGE),
)
