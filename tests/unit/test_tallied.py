"""From the tally's two hashes to families: buckets added up, zeros before the first event, and what is not ours left out."""

from __future__ import annotations

import pytest
from prometheus_client import Metric
from prometheus_client.samples import Sample

from dockbus.tally import EXEMPLARS, LEFT_OUT, RUNS, observation, sample
from dockbus_workers.metrics.bus_families import COUNTED, READ
from dockbus_workers.metrics.tallied import tallied

RUN = {"kind": "run", "queue": "run"}


def found(counted: dict[str, float | str], exemplars: dict[str, str] | None = None) -> list[Sample]:
    raw = {field.encode(): str(value).encode() for field, value in counted.items()}
    marked = {field.encode(): text.encode() for field, text in (exemplars or {}).items()}
    return [one for metric in tallied(raw, marked) for one in metric.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    (one,) = [s.value for s in samples if s.name == name and s.labels == labels]
    return one


def test_counters_are_what_was_counted() -> None:
    samples = found(
        {
            sample("dockbus_rules_total", rule='a"b', outcome="fired"): 3,
            sample("dockbus_run_cpu_seconds_total", image="x:1"): "0.25",
        }
    )

    assert value(samples, "dockbus_rules_total", rule='a"b', outcome="fired") == 3
    assert value(samples, "dockbus_run_cpu_seconds_total", image="x:1") == 0.25


def test_each_bucket_has_all_below_it_and_every_bound_is_there() -> None:
    counted: dict[str, float | str] = {}
    for seconds in (0.3, 0.4, 2.0, 5000.0):
        for field, by in observation("dockbus_job_run_seconds", seconds, RUNS, **RUN).items():
            counted[field] = float(counted.get(field, 0)) + by

    samples = [s for s in found(counted) if s.labels.items() >= RUN.items()]

    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert list(buckets) == [*(str(float(bound)) for bound in RUNS), "+Inf"]
    assert list(buckets.values()) == [0, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4]
    assert value(samples, "dockbus_job_run_seconds_count", **RUN) == 4
    assert value(samples, "dockbus_job_run_seconds_sum", **RUN) == pytest.approx(5002.7)


def test_a_bucket_names_a_job_that_was_counted_in_it() -> None:
    bucket = sample("dockbus_job_wait_seconds_bucket", **RUN, le="5")

    samples = found({bucket: 1}, {bucket: "k-1 2.5 1700000000", "other": "spoilt"})

    marked = [s for s in samples if s.exemplar]
    assert [s.labels["le"] for s in marked] == ["5.0"]
    exemplar = marked[0].exemplar
    assert exemplar is not None
    assert (exemplar.labels, exemplar.value, exemplar.timestamp) == (
        {"job_id": "k-1"},
        2.5,
        1700000000,
    )


def test_what_can_be_foreseen_is_zero_before_it_happens() -> None:
    samples = found({sample("dockbus_jobs_enqueued_total", **RUN): 1})

    outcomes = {s.labels["outcome"]: s.value for s in samples if s.name == "dockbus_jobs_total"}
    assert outcomes == dict.fromkeys(("succeeded", "failed", "dead", "canceled"), 0)
    assert value(samples, "dockbus_job_retries_total", kind="run", reason="lost") == 0
    assert value(samples, "dockbus_job_run_seconds_bucket", **RUN, le="+Inf") == 0
    assert value(samples, "dockbus_job_run_seconds_count", **RUN) == 0
    assert value(samples, "dockbus_scans_total", verdict="failed") == 0
    assert value(samples, "dockbus_run_memory_peak_bytes_count") == 0


@pytest.mark.parametrize(
    "field",
    [
        "dockbus_not_ours_total",
        "no sample at all",
        sample("dockbus_jobs_total", kind="run"),
        sample("dockbus_jobs_total", **RUN, outcome="failed", more="x"),
        sample("dockbus_job_run_seconds_bucket", **RUN, le="7"),
        sample("dockbus_job_run_seconds_sum", kind="run"),
    ],
)
def test_what_is_not_known_is_left_out_and_counted(field: str) -> None:
    right = sample("dockbus_jobs_total", **RUN, outcome="dead")

    samples = found({field: 7, right: 2, LEFT_OUT: 1})

    assert not any(s.value == 7 for s in samples)
    assert value(samples, LEFT_OUT) == 2
    assert value(samples, "dockbus_jobs_total", **RUN, outcome="dead") == 2


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "x", ""])
def test_a_value_that_no_counter_has_is_left_out_and_counted(text: str) -> None:
    samples = found({sample("dockbus_scans_total", verdict="passed"): text})

    assert value(samples, "dockbus_scans_total", verdict="passed") == 0
    assert value(samples, LEFT_OUT) == 1


def test_the_catalogue_is_in_order() -> None:
    families = (*READ, *COUNTED)
    names = [family.name for family in families]

    assert len(set(names)) == len(names)
    for family in families:
        assert (family.type == "counter") == family.name.endswith("_total"), family.name
        assert family.meaning.endswith("."), family.name
        assert isinstance(family.metric(), Metric)
        assert set(getattr(family, "values", {})) <= set(family.labels)
    assert EXEMPLARS not in names
