"""Jobs and workers: how many, how well, how fast, by kind; where they wait, and for whom."""

from __future__ import annotations

from source.common import KIND, QUEUE, ROW_TO_KIND, ROW_TO_QUEUE, TO_KIND, TO_QUEUE
from source.model import BAD_IF_ANY, NEAR_FULL, ODD_IF_ANY, OUTCOMES, Dashboard, Query, Row
from source.panels import Column, graph, heatmap, stat, table
from source.scaling import SCALING
from source.work import WORK

RATE = "[$__rate_interval]"
FAILED = 'outcome=~"failed|dead"'
COUNTED = 'outcome!="canceled"'


def failed(by: str, span: str) -> str:
    """Share of the jobs ended that failed or died."""
    return f"""
        sum by ({by}) (rate(dockbus_jobs_total{{@job,{FAILED}}}[{span}]))
        / (sum by ({by}) (rate(dockbus_jobs_total{{@job,{COUNTED}}}[{span}])) > 0)
    """


def quantile(of: float, histogram: str, by: str, span: str) -> str:
    """Below which that share of the values is."""
    return f"histogram_quantile({of}, sum by ({by}, le) (rate({histogram}_bucket{{@job}}[{span}])))"


NOW = Row(
    "Now",
    (
        stat(
            "Wait",
            "Jobs on the queues chosen that no worker has taken.",
            'sum(max by (queue) (rq_jobs{@queue,status="queued"}))',
            spark=True,
        ),
        stat(
            "Oldest that waits",
            "How long it has waited.",
            "max(dockbus_queue_oldest_job_age_seconds{@queue})",
            unit="s",
            steps=((None, "green"), (60, "orange"), (300, "red")),
        ),
        stat(
            "Slots busy",
            "Share of the slots of all workers that have a job.",
            """
            sum(max by (queue) (dockbus_queue_slots_busy{@queue}))
            / (sum(max by (queue) (dockbus_queue_slots{@queue})) > 0)
            """,
            unit="percentunit",
            steps=NEAR_FULL,
            spark=True,
        ),
        stat(
            "Workers",
            "Workers that have given a sign of life.",
            'sum(max by (queue) (dockbus_queue_workers{@queue,queue!~".+@.+"}))',
            steps=((None, "red"), (1, "green")),
        ),
        stat(
            "End in a minute",
            "Jobs that came to an end, whichever.",
            f"60 * sum(rate(dockbus_jobs_total{{@job}}{RATE}))",
            spark=True,
        ),
        stat(
            "Fail",
            "Share of the jobs ended in the time shown that failed or died; canceled ones do not count.",
            f"""
            sum(increase(dockbus_jobs_total{{@job,{FAILED}}}[$__range]))
            / (sum(increase(dockbus_jobs_total{{@job,{COUNTED}}}[$__range])) > 0)
            or vector(0)
            """,
            unit="percentunit",
            steps=((None, "green"), (0.05, "orange"), (0.2, "red")),
        ),
        stat(
            "Died",
            "Jobs in the time shown whose attempts are used up; `dockbus replay` orders them again.",
            'sum(increase(dockbus_jobs_total{@job,outcome="dead"}[$__range])) or vector(0)',
            steps=BAD_IF_ANY,
            decimals=0,
        ),
        stat(
            "Attempts lost",
            "Attempts in the time shown whose worker was killed, frozen or cut off; their jobs were carried out by another.",
            'sum(increase(dockbus_job_retries_total{@kind,reason="lost"}[$__range])) or vector(0)',
            steps=ODD_IF_ANY,
            decimals=0,
        ),
    ),
)

RED = Row(
    "Rate, errors, duration by kind",
    (
        table(
            "By kind",
            "What each kind of job does in the time shown. A name leads to that kind alone.",
            (
                Column("Ended", "sum by (kind) (increase(dockbus_jobs_total{@job}[$__range]))"),
                Column("Fail", failed("kind", "$__range"), "percentunit", NEAR_FULL, 1),
                Column(
                    "Half take less than",
                    quantile(0.5, "dockbus_job_run_seconds", "kind", "$__range"),
                    "s",
                ),
                Column(
                    "95 of 100 take less than",
                    quantile(0.95, "dockbus_job_run_seconds", "kind", "$__range"),
                    "s",
                ),
                Column(
                    "95 of 100 wait less than",
                    quantile(0.95, "dockbus_job_wait_seconds", "kind", "$__range"),
                    "s",
                ),
                Column(
                    "Tried again",
                    "sum by (kind) (increase(dockbus_job_retries_total{@kind}[$__range]))",
                ),
            ),
            keys={"kind": "Kind"},
            h=7,
            links=(ROW_TO_KIND,),
        ),
        graph(
            "Ordered and ended",
            "Jobs in a second. Where more are ordered than end, the queue grows.",
            (
                Query(f"sum(rate(dockbus_jobs_enqueued_total{{@job}}{RATE}))", "ordered"),
                Query(f"sum by (outcome) (rate(dockbus_jobs_total{{@job}}{RATE}))", "{{outcome}}"),
            ),
            unit="ops",
            w=8,
            colors=OUTCOMES,
        ),
        graph(
            "End, by kind",
            "Jobs that came to an end in a second.",
            f"sum by (kind) (rate(dockbus_jobs_total{{@job}}{RATE}))",
            unit="ops",
            legend="{{kind}}",
            w=8,
            stack=True,
            links=(TO_KIND,),
        ),
        graph(
            "Fail, by kind",
            "Share of the jobs ended that failed or died; canceled ones do not count.",
            failed("kind", "$__rate_interval"),
            unit="percentunit",
            legend="{{kind}}",
            w=8,
            top=1,
            steps=((None, "green"), (0.2, "red")),
            links=(TO_KIND,),
        ),
        heatmap(
            "Run times",
            "How long attempts take from start to end: the darker, the more jobs took that long.",
            f"sum by (le) (increase(dockbus_job_run_seconds_bucket{{@job}}{RATE}))",
            unit="s",
        ),
        graph(
            "Run time by kind",
            "The time that half of the attempts, and 95 of 100, take less than. Dots are single jobs: `dockbus job ID` tells of one.",
            (
                Query(
                    quantile(0.5, "dockbus_job_run_seconds", "kind", "$__rate_interval"),
                    "{{kind}} half",
                ),
                Query(
                    quantile(0.95, "dockbus_job_run_seconds", "kind", "$__rate_interval"),
                    "{{kind}} 95 of 100",
                    exemplars=True,
                ),
            ),
            unit="s",
            links=(TO_KIND,),
        ),
        heatmap(
            "Waiting times",
            "How long jobs waited from being ordered to being begun: the darker, the more.",
            f"sum by (le) (increase(dockbus_job_wait_seconds_bucket{{@job}}{RATE}))",
            unit="s",
        ),
        graph(
            "Waiting time by queue",
            "The time that half of the jobs, and 95 of 100, wait less than.",
            (
                Query(
                    quantile(0.5, "dockbus_job_wait_seconds", "queue", "$__rate_interval"),
                    "{{queue}} half",
                ),
                Query(
                    quantile(0.95, "dockbus_job_wait_seconds", "queue", "$__rate_interval"),
                    "{{queue}} 95 of 100",
                    exemplars=True,
                ),
            ),
            unit="s",
            links=(TO_QUEUE,),
        ),
    ),
)

QUEUES = Row(
    "Queues and workers",
    (
        table(
            "By queue",
            "Each queue now. `KIND@ENGINE` is served by workers of that Engine only. A name leads to that queue alone.",
            (
                Column(
                    "Oldest waits",
                    "max by (queue) (dockbus_queue_oldest_job_age_seconds{@queue})",
                    "s",
                ),
                Column("Wait", 'max by (queue) (rq_jobs{@queue,status="queued"})'),
                Column("Under way", 'max by (queue) (rq_jobs{@queue,status="started"})'),
                Column("Slots", "max by (queue) (dockbus_queue_slots{@queue})"),
                Column(
                    "Busy",
                    "max by (queue) (dockbus_queue_slots_busy{@queue})"
                    " / (max by (queue) (dockbus_queue_slots{@queue}) > 0)",
                    "percentunit",
                    NEAR_FULL,
                    1,
                ),
                Column("Workers", "max by (queue) (dockbus_queue_workers{@queue})"),
                Column(
                    "Longest silent",
                    "max by (queue) (dockbus_worker_heartbeat_age_seconds{@queue})",
                    "s",
                ),
            ),
            keys={"queue": "Queue"},
            links=(ROW_TO_QUEUE,),
        ),
        graph(
            "Jobs on the queues",
            "Jobs that no worker has taken.",
            'max by (queue) (rq_jobs{@queue,status="queued"})',
            unit="short",
            legend="{{queue}}",
            w=8,
            stack=True,
            links=(TO_QUEUE,),
        ),
        graph(
            "Oldest that waits",
            "How long the job has waited that is longest on each queue. A queue that is long and young is only busy; one that ages is stuck.",
            "max by (queue) (dockbus_queue_oldest_job_age_seconds{@queue})",
            unit="s",
            legend="{{queue}}",
            w=8,
            steps=((None, "green"), (300, "red")),
            links=(TO_QUEUE,),
        ),
        graph(
            "Slots busy",
            "Share of a queue's slots that have a job. At 100 % what comes has to wait: start more workers.",
            "max by (queue) (dockbus_queue_slots_busy{@queue})"
            " / (max by (queue) (dockbus_queue_slots{@queue}) > 0)",
            unit="percentunit",
            legend="{{queue}}",
            w=8,
            top=1,
            steps=NEAR_FULL,
            links=(TO_QUEUE,),
        ),
        graph(
            "Jobs by state",
            "Jobs whose record is kept, by state. The number of those that have ended falls when records run out, so it is no count.",
            "sum by (status) (max by (queue, status) (rq_jobs{@queue}))",
            unit="short",
            legend="{{status}}",
            w=8,
            colors=OUTCOMES,
        ),
        graph(
            "Workers by what they do",
            "Workers that have given a sign of life.",
            'sum by (state) (max by (name, state) (rq_workers{queues!~".+@.+"}))',
            unit="short",
            legend="{{state}}",
            w=8,
            stack=True,
        ),
        graph(
            "Longest silent",
            "How long the worker of each queue has been silent that has been so for longest. It should beat every few seconds.",
            "max by (queue) (dockbus_worker_heartbeat_age_seconds{@queue})",
            unit="s",
            legend="{{queue}}",
            w=8,
            steps=((None, "green"), (60, "red")),
            links=(TO_QUEUE,),
        ),
        graph(
            "Seconds worked of seconds there were",
            "What all workers have worked, against what their slots could have; one job that waits for long is work, too.",
            f"""
            sum(rate(rq_workers_working_time_total{RATE}))
            / (sum(max by (queue) (dockbus_queue_slots)) > 0)
            """,
            unit="percentunit",
            legend="worked",
            w=8,
        ),
        graph(
            "Tried again",
            "Attempts that were not the last, by why: the job failed, its worker was lost, or handed it back when it was stopped.",
            f"sum by (kind, reason) (increase(dockbus_job_retries_total{{@kind}}{RATE})) > 0",
            unit="short",
            legend="{{kind}} {{reason}}",
            w=8,
            bars=True,
            links=(TO_KIND,),
        ),
        graph(
            "Put right by the reaper",
            "Jobs that were found with a lease that had run out, by what was done about them.",
            f"sum by (action) (increase(dockbus_jobs_rescued_total{RATE})) > 0",
            unit="short",
            legend="{{action}}",
            w=8,
            bars=True,
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="dockbus-jobs",
    title="Jobs and workers",
    description="How many jobs there are, how well and how fast they are done, where they wait and for whom.",
    scopes={
        "kind": 'kind=~"$kind"',
        "queue": 'queue=~"$queue"',
        "job": 'kind=~"$kind",queue=~"$queue"',
    },
    variables=(KIND, QUEUE),
    rows=(NOW, RED, QUEUES, SCALING, WORK),
    span="3h",
)
