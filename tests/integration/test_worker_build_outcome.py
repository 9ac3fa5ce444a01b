"""What a build job says of its Dockerfile and its image, the limits it sets, and builds that wait for each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import builds
from builds import MARK, Start, built, context, failure, order, output
from dockbus import Bus, Settings
from dockbus.engine import Engine
from processes import Program

Work = Callable[..., Program]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    return made


@pytest.fixture
def settings(settings: Settings, folder: Path, buildx: Path) -> Settings:
    return builds.with_build(settings, root=folder, buildx=str(buildx))


@pytest.fixture
def work(start: Start, settings: Settings, base_image: str) -> Work:
    """Starts a worker with these settings of builds."""

    def run(**fields: object) -> Program:
        return builds.worker(start, builds.with_build(settings, **fields))

    return run


both = pytest.mark.parametrize("builder", ["buildkit", "classic"])


@both
def test_no_more_builds_at_a_time_than_the_setting_says(
    work: Work, bus: Bus, folder: Path, builder: str
) -> None:
    context(
        folder,
        "ARG N\nRUN echo $N; cut -d' ' -f1 /proc/uptime; sleep 1; cut -d' ' -f1 /proc/uptime",
    )
    work(builder=builder, parallel=1)

    jobs = [
        bus.enqueue(
            order(tags=[f"dockbus/test-parallel-{builder}:{n}"], args={"N": f"{builder}{n}"})
        )
        for n in range(3)
    ]
    for job in jobs:
        built(job)

    times = sorted(
        [float(line) for line in output(job) if line.replace(".", "").isdecimal() and "." in line]
        for job in jobs
    )
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    waited = [
        job
        for job in jobs
        if any("carries out 1 builds at a time" in line.text for line in job.logs())
    ]
    assert len(waited) >= 2


def test_a_dockerfile_with_faults_is_told_of_or_refused(
    work: Work, bus: Bus, engine: Engine, folder: Path
) -> None:
    (folder / "Dockerfile").write_text(f"FROM {builds.BASE}\nWORKDIR /x\nUSER root\nCMD echo hi\n")
    work(builder="classic")
    spec = order(tags=["dockbus/test-lint:1"], lint="warn")

    job = bus.enqueue(spec)
    told = built(job)
    refused = failure(
        bus.enqueue(spec.model_copy(update={"lint": "error", "tags": ["dockbus/test-lint:2"]}))
    )

    user = next(finding for finding in told.findings if finding.code in ("DL3002", "DB003"))
    assert (user.line, user.level.value) == (3, "warning")
    assert [line.text for line in job.logs() if line.text.startswith("Dockerfile, line 3: ")]
    assert refused.code == "lint-failed"
    assert "line 3" in refused.detail
    assert engine.images.find("dockbus/test-lint:2") is None


WASTEFUL = """
RUN dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null; mkdir -p /var/lib/apt/lists; dd if=/dev/zero of=/var/lib/apt/lists/x bs=1M count=1 2>/dev/null
RUN chmod 600 /big
RUN rm /big
"""


@both
def test_a_report_says_which_instruction_wastes_what(
    work: Work, bus: Bus, folder: Path, builder: str
) -> None:
    context(folder, WASTEFUL)
    work(builder=builder)
    job = bus.enqueue(order(tags=[f"dockbus/test-report-{builder}:1"], report=True))

    found = built(job).report

    assert found is not None
    mega = 1024**2
    assert found.wasted == 8 * mega
    assert [(waste.instruction, waste.size, waste.path) for waste in found.wastes] == [
        ("RUN chmod 600 /big", 4 * mega, "/big"),
        ("RUN rm /big", 4 * mega, "/big"),
    ]
    assert "COPY --chown" in found.wastes[0].hint
    assert "in the RUN that makes" in found.wastes[1].hint
    assert [(item.what, item.size) for item in found.removable] == [("apt lists", mega)]
    assert found.efficiency == pytest.approx((found.size - 8 * mega) / found.size, abs=0.001)
    full = json.loads(b"".join(job.artefact("image-report.json")))
    assert full["layers"][1]["size"] == 5 * mega


@both
@pytest.mark.parametrize("gate", [{"min_efficiency": 0.9}, {"max_wasted": "1m"}])
def test_an_image_over_its_limits_gets_no_tag(
    work: Work, bus: Bus, engine: Engine, folder: Path, builder: str, gate: dict[str, object]
) -> None:
    name = f"dockbus/test-gate-{builder}-{'-'.join(gate)}:1"
    work(builder=builder)
    context(folder, "RUN echo slim")
    slim = built(bus.enqueue(order(tags=[name], **gate)))
    context(folder, f"LABEL gate={'-'.join(gate)}\n{WASTEFUL}")

    error = failure(bus.enqueue(order(tags=[name], **gate)))

    assert error.code == "image-wasteful"
    assert "RUN" in error.detail
    assert engine.images.get(name).id == slim.image_id
    mine = [
        image
        for image in engine.images.all(dangling=True)
        if image.labels.get("gate") == "-".join(gate)
    ]
    assert mine == []


@both
def test_builds_of_one_name_follow_each_other(
    work: Work, bus: Bus, engine: Engine, folder: Path, builder: str
) -> None:
    context(folder, "ARG N\nRUN echo $N > /n; sleep 1")
    work(builder=builder, parallel=4)
    tag = f"dockbus/test-one-name-{builder}:1"

    jobs = [
        bus.enqueue(order(tags=[tag], args={"N": f"{builder}{n}"}, labels={**MARK, "n": str(n)}))
        for n in range(2)
    ]
    ends = {built(job).image_id: job.refresh().ended for job in jobs}

    assert engine.images.get(tag).id == max(ends, key=lambda image: str(ends[image]))
    assert any(f"another job works on {tag}" in line.text for job in jobs for line in job.logs())
