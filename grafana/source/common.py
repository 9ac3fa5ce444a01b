"""What several dashboards have in common: links between them, choices, and expressions that are easy to get wrong."""

from __future__ import annotations

from source.model import RED, Annotation, Link, Variable

ENGINE = Variable("engine", "Engine", "dockbus_engine_up", "engine")
KIND = Variable("kind", "Kind", "dockbus_jobs_enqueued_total", "kind")
QUEUE = Variable("queue", "Queue", "rq_jobs", "queue")

ENGINE_SCOPE = 'engine=~"$engine"'

TO_ENGINE = Link(
    "Containers of this Engine", "dockbus-containers", ("var-engine=${__field.labels.engine}",)
)
TO_CONTAINER = Link(
    "This container",
    "dockbus-containers",
    ("var-engine=${__field.labels.engine}", "var-name=${__field.labels.name}"),
)
TO_EVENTS = Link(
    "Events of this Engine", "dockbus-events", ("var-engine=${__field.labels.engine}",)
)
TO_QUEUE = Link("Jobs of this queue", "dockbus-jobs", ("var-queue=${__field.labels.queue}",))
TO_KIND = Link("Jobs of this kind", "dockbus-jobs", ("var-kind=${__field.labels.kind}",))

ROW_TO_ENGINE = Link(
    "Containers of this Engine", "dockbus-containers", ("var-engine=${__data.fields.Engine}",)
)
ROW_TO_CONTAINER = Link(
    "This container",
    "dockbus-containers",
    ("var-engine=${__data.fields.Engine}", "var-name=${__data.fields.Container}"),
)
ROW_TO_KIND = Link("Jobs of this kind", "dockbus-jobs", ("var-kind=${__data.fields.Kind}",))
ROW_TO_QUEUE = Link("Jobs of this queue", "dockbus-jobs", ("var-queue=${__data.fields.Queue}",))


def newly(counter: str, by: str, span: str) -> str:
    """How far a counter of rare events has come within `span`, where it has.

    Such a counter is there only from its first event on, which an increase does not see: there is nothing before it. So one
    that is new counts as a whole, unless all are new, since the bus itself was not scraped at that time.
    """
    return f"""(
        sum by ({by}) ({counter}) > 0
            unless sum by ({by}) ({counter} offset {span})
            and on () max(dockbus_redis_up offset {span}) == 1
        or sum by ({by}) (increase({counter}[{span}])) > 0
    )"""


KILLS = Annotation(
    "Killed for memory",
    "ceil" + newly('container_oom_events_total{engine=~"$engine"}', "engine, name, image", "1m"),
    "{{name}} ({{image}}) on {{engine}}",
    RED,
)
GAPS = Annotation(
    "Gap",
    "ceil" + newly('dockbus_engine_gaps_total{engine=~"$engine"}', "engine", "1m"),
    "Events of {{engine}} may have been lost",
    "orange",
)
DEPLOYS = Annotation(
    "Started",
    # The moment of a start is what it is, however short the look back; containers of jobs have no compose service.
    """
    max by (engine, name) (
        container_start_time_seconds{engine=~"$engine",container_label_com_docker_compose_service!=""}
    ) > time() - 60
    """,
    "{{name}} on {{engine}}",
    "blue",
)
