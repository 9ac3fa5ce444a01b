"""Scan jobs, carried out for real by Trivy on images of the Engine: what they find, leave and decide."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import trivy_db
import trivy_images
from dockbus import Bus, JobFailed, JobState, Scan, ScanResult, Settings, Severity
from dockbus.engine import Engine
from dockbus.jobs import Ignore
from dockbus.settings import ScanSettings
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
TOKEN = "ghp_016C7e1a2B3c4D5e6F7g8H9i0J1k2L3m4N5o"
OTHER_TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
LEAKY = f"""FROM dockbus/base:1
ENV GITHUB_TOKEN={OTHER_TOKEN}
RUN echo 'token={TOKEN}' > /deploy.env
RUN rm /deploy.env
"""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    cache = trivy_db.copy(tmp_path / "trivy")
    scan = ScanSettings(cache_dir=str(cache), offline=True)
    return settings.model_copy(update={"scan": scan})


@pytest.fixture
def worker(start: Start) -> Program:
    return started(start)


def started(start: Start, **options: Settings) -> Program:
    program = start("worker", "scan", **options)
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def debian(engine: Engine) -> Generator[str]:
    with trivy_images.image(engine, "debian", "dockbus/test-scan-debian:1"):
        yield "dockbus/test-scan-debian:1"


def scanned(bus: Bus, image: str, **fields: Any) -> ScanResult:
    result = bus.enqueue(Scan(image=image, **fields)).wait(timeout=60)
    assert isinstance(result, ScanResult)
    return result


def test_a_scan_finds_exactly_what_is_in_each_image(
    worker: Program, bus: Bus, engine: Engine
) -> None:
    found: dict[str, list[str]] = {}
    for kind in trivy_images.CVES:
        name = f"dockbus/test-scan-each:{kind}"
        with trivy_images.image(engine, kind, name) as image_id:
            result = scanned(bus, name, fail_on=Severity.LOW)
            found[kind] = [one.id for one in result.vulnerabilities]
            assert result.image_id == image_id
            assert result.verdict == ("failed" if found[kind] else "passed")
            assert sum(result.counts.values()) == result.totals["vuln"] == len(found[kind])

    assert found == trivy_images.CVES


def test_a_result_tells_what_was_scanned_with_what_and_when(
    worker: Program, bus: Bus, debian: str
) -> None:
    before = datetime.now(UTC)

    result = scanned(bus, debian, fail_on=Severity.CRITICAL)

    assert result.scanner.startswith("trivy 0.")
    assert result.scanned is not None
    assert before < result.scanned < datetime.now(UTC)
    assert not result.cached
    assert result.database == trivy_db.OLDER.made
    assert result.database_age is not None
    age = (datetime.now(UTC) - trivy_db.OLDER.made).total_seconds()
    assert result.database_age == pytest.approx(age, abs=60)
    assert result.os is not None
    assert (result.os.family, result.os.name) == ("debian", "12.1")
    assert result.counts[Severity.CRITICAL] == 2
    assert result.reasons == ["vulnerabilities that are CRITICAL or worse: 2"]
    curl, zlib = result.vulnerabilities[:2]
    assert (curl.package, curl.installed, curl.fixed) == (
        "libcurl4", "7.88.1-10", "7.88.1-10+deb12u4",
    )  # fmt: skip
    assert (zlib.fixed, zlib.status) == (None, "will_not_fix")
    assert zlib.purl.startswith("pkg:deb/debian/zlib1g@")


def test_a_distribution_without_updates_can_fail_an_image(
    worker: Program, bus: Bus, engine: Engine, base_image: str
) -> None:
    name = "dockbus/test-scan-eol:1"
    with trivy_images.image(engine, "alpine", name):  # 3.18 had its last update in May 2025
        old = scanned(bus, name, fail_on_eol=True)
    bare = scanned(bus, base_image, fail_on_eol=True)

    assert (old.verdict, old.reasons) == ("failed", ["alpine 3.18.2 gets no more updates"])
    assert (bare.verdict, bare.os) == ("passed", None)


def test_secrets_are_found_also_where_a_later_layer_deleted_them_and_never_told(
    worker: Program, bus: Bus, engine: Engine, base_image: str
) -> None:
    name = "dockbus/test-scan-leaky:1"
    with trivy_images.built(engine, LEAKY, name):
        job = bus.enqueue(
            Scan(
                image=name,
                scanners=["secret", "misconfig"],
                reports=["json", "sarif"],
                sbom="cyclonedx",
                fail_on_secrets=True,
            )
        )
        result = job.wait(timeout=60)

    assert isinstance(result, ScanResult)
    deleted = [one for one in result.secrets if one.path == "/deploy.env"]
    assert [(one.id, one.severity, one.line) for one in deleted] == [
        ("github-pat", Severity.CRITICAL, 1)
    ]
    assert deleted[0].layer.startswith("sha256:")
    assert deleted[0].match == f"token={'*' * len(TOKEN)}"
    assert any(one.path != "/deploy.env" for one in result.secrets)  # the variable
    assert (result.verdict, result.database) == ("failed", None)
    rules = {one.id: one.severity for one in result.misconfigurations}
    assert rules["DS-0002"] is Severity.HIGH  # it runs as root
    assert rules["DS-0026"] is Severity.LOW  # it has no health check
    assert rules["DS-0031"] is Severity.CRITICAL  # a secret in a variable
    told = [result.model_dump_json(), *(line.text for line in job.logs())]
    told += [b"".join(job.artefact(left.name)).decode() for left in result.artefacts]
    assert len(told) > 4
    assert [text for text in told if TOKEN in text or OTHER_TOKEN in text] == []


def test_licences_are_found_with_their_packages(worker: Program, bus: Bus, engine: Engine) -> None:
    name = "dockbus/test-scan-licence:1"
    package = json.dumps({"name": "left", "version": "1.0.0", "license": "AGPL-3.0-only"})
    files = trivy_images.tar({"app/node_modules/left/package.json": package})
    engine.images.import_rootfs(files, name, ["LABEL dockbus.test=1"])

    result = scanned(bus, name, fail_on_licenses=Severity.CRITICAL)
    trivy_images.remove(engine, name)

    [licence] = result.licenses
    assert (licence.id, licence.package, licence.category) == ("AGPL-3.0-only", "left", "forbidden")
    assert (result.verdict, result.totals) == ("failed", {"license": 1, "vuln": 0})


# -- what it leaves ------------------------------------------------------------------------


def test_reports_and_sboms_are_left_in_the_forms_that_were_asked_for(
    worker: Program, bus: Bus, engine: Engine
) -> None:
    name = "dockbus/test-scan-reports:1"
    with trivy_images.image(engine, "python", name):
        first = bus.enqueue(Scan(image=name, reports=["json", "sarif"], sbom="cyclonedx"))
        first.wait(timeout=60)
        second = bus.enqueue(Scan(image=name, reports=[], sbom="spdx"))
        second.wait(timeout=60)

    left = {one.name: one.media_type for one in [*first.artefacts(), *second.artefacts()]}
    assert left == {
        "report.json": "application/json",
        "report.sarif": "application/sarif+json",
        "sbom.cdx.json": "application/vnd.cyclonedx+json",
        "sbom.spdx.json": "application/spdx+json",
    }

    def read(job: Any, name: str) -> Any:
        return json.loads(b"".join(job.artefact(name)))

    packages = {
        ("Jinja2", "3.1.2"),
        ("PyYAML", "5.3.1"),
        ("requests", "2.28.0"),
        ("urllib3", "1.26.16"),
    }
    report = read(first, "report.json")
    assert report["SchemaVersion"] == 2
    sarif = read(first, "report.sarif")
    assert sarif["version"] == "2.1.0"
    assert {one["ruleId"] for one in sarif["runs"][0]["results"]} == set(
        trivy_images.CVES["python"]
    )
    cyclonedx = read(first, "sbom.cdx.json")
    assert cyclonedx["bomFormat"] == "CycloneDX"
    assert {(one["name"], one["version"]) for one in cyclonedx["components"]} == packages
    spdx = read(second, "sbom.spdx.json")
    assert spdx["spdxVersion"] == "SPDX-2.3"
    listed = {(one["name"], one.get("versionInfo")) for one in spdx["packages"]}
    assert packages <= listed


def test_an_sbom_needs_no_look_for_vulnerabilities(worker: Program, bus: Bus, debian: str) -> None:
    job = bus.enqueue(Scan(image=debian, scanners=["secret"], sbom="cyclonedx", reports=[]))
    job.wait(timeout=60)

    sbom = json.loads(b"".join(job.artefact("sbom.cdx.json")))

    names = {one["name"] for one in sbom["components"]}
    assert {"libssl3", "libc6", "libcurl4", "zlib1g"} <= names


# -- the gate ------------------------------------------------------------------------------


def test_what_is_ignored_for_a_reason_does_not_count_until_it_expires(
    worker: Program, bus: Bus, debian: str
) -> None:
    today = datetime.now(UTC).date()

    def ignoring(last: date) -> ScanResult:
        entries = [
            Ignore(id=name, reason="being worked on", expires=last)
            for name in trivy_images.CVES["debian"]
        ]
        return scanned(bus, debian, fail_on=Severity.LOW, ignore=entries)

    good = ignoring(today + timedelta(days=1))
    over = ignoring(today - timedelta(days=1))

    assert (good.verdict, good.vulnerabilities, good.totals["vuln"]) == ("passed", [], 0)
    assert [one.id for one in good.suppressed] == trivy_images.CVES["debian"]
    assert {one.reason for one in good.suppressed} == {"being worked on"}
    assert (over.verdict, over.suppressed) == ("failed", [])
    assert over.expired == trivy_images.CVES["debian"]


def test_a_vex_document_may_be_in_the_spec_or_uploaded(
    worker: Program, bus: Bus, debian: str
) -> None:
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "statements": [
            {
                "vulnerability": {"name": "CVE-2023-45853"},
                "products": [{"@id": "pkg:deb/debian/zlib1g"}],
                "status": "not_affected",
                "justification": "vulnerable_code_not_present",
            }
        ],
    }
    digest = bus.upload(json.dumps(document).encode()).digest

    inline = scanned(bus, debian, vex=document)
    uploaded = scanned(bus, debian, vex=digest)

    assert [(one.id, one.by) for one in inline.suppressed] == [("CVE-2023-45853", "vex")]
    assert inline.suppressed == uploaded.suppressed
    assert "vulnerable_code_not_present" in inline.suppressed[0].reason
    assert inline.totals["vuln"] == 3


def test_what_nobody_fixes_can_be_left_out_for_an_image_to_pass(
    worker: Program, bus: Bus, engine: Engine
) -> None:
    name = "dockbus/test-scan-unfixed:1"
    with trivy_images.image(engine, "debian-fixed", name):
        strict = scanned(bus, name, fail_on=Severity.LOW)
        lenient = scanned(bus, name, fail_on=Severity.LOW, ignore_unfixed=True)

    assert (strict.verdict, lenient.verdict) == ("failed", "passed")
    assert [(one.id, one.by) for one in lenient.suppressed] == [("CVE-2023-45853", "unfixed")]


# -- what goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (Scan(image="dockbus/test-scan-no-such:1"), "image-not-found"),
        (Scan(image="sha256:" + "0" * 64), "image-not-found"),
        (Scan(image="dockbus/base:1", vex={"@context": "nonsense"}), "vex-invalid"),
        (Scan(image="dockbus/base:1", vex="sha256:" + "0" * 64), "blob-not-found"),
    ],
)
def test_what_no_other_attempt_would_better_fails_at_once(
    worker: Program, bus: Bus, base_image: str, spec: Scan, code: str
) -> None:
    job = bus.enqueue(spec)

    with pytest.raises(JobFailed):
        job.wait(timeout=60)

    record = job.refresh()
    assert record.error is not None
    assert (record.error.code, record.attempts, record.state) == (code, 1, JobState.FAILED)


def test_a_scan_without_a_database_says_what_to_do(
    start: Start, bus: Bus, base_image: str, settings: Settings, tmp_path: Path
) -> None:
    empty = ScanSettings(cache_dir=str(tmp_path / "empty"), offline=True)
    started(start, settings=settings.model_copy(update={"scan": empty}))
    job = bus.enqueue(Scan(image=base_image))

    failure = wait_for(lambda: job.refresh().error, 60, "the first attempt to fail")

    assert failure.code == "database-unavailable"
    assert "DOCKBUS_SCAN_CACHE_DIR" in failure.advice
    assert job.state in (JobState.SCHEDULED, JobState.QUEUED, JobState.STARTED)  # it may pass later


def test_a_scan_worker_without_trivy_takes_no_job(
    start: Start, bus: Bus, settings: Settings
) -> None:
    job = bus.enqueue(Scan(image="dockbus/base:1"))
    lame = start(
        "worker",
        "scan",
        settings=settings.model_copy(update={"scan": ScanSettings(trivy="no-trivy")}),
    )

    assert lame.process.wait(timeout=60) == 1
    said = lame.log.read_text().strip()
    assert "Install Trivy, or set DOCKBUS_SCAN_TRIVY" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert job.state is JobState.QUEUED


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_scan_that_is_canceled_or_too_slow_ends_trivy_and_what_it_started(
    start: Start, bus: Bus, base_image: str, settings: Settings, tmp_path: Path, how: str
) -> None:
    slow = tmp_path / "slow-trivy"
    slow.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo Version: 1 && exit\n'
        f"sleep 600 &\necho $$ $! > {tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pids\nwait\n"
    )
    slow.chmod(0o755)
    scan = settings.scan.model_copy(update={"trivy": str(slow)})
    started(start, settings=settings.model_copy(update={"scan": scan}))
    job = bus.enqueue(Scan(image=base_image), timeout=2.0 if how == "timeout" else None)

    wait_for((tmp_path / "pids").exists, 60, "Trivy to run")
    pids = (tmp_path / "pids").read_text().split()
    if how == "cancel":
        job.cancel()
    state = wait_for(lambda: job.refresh().state.ended and job.state, 30, "the job to end")

    assert state is (JobState.CANCELED if how == "cancel" else JobState.FAILED)
    wait_for(lambda: not any(_is_alive(pid) for pid in pids), 10, f"processes {pids} to go")


def _is_alive(pid: str) -> bool:
    """Whether it runs; a zombie that nobody has waited for does not."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
