"""The gate and the scan spec: what may be written, and what it asks for."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from dockbus import Run, Scan, Severity
from dockbus.errors import InvalidSpec
from dockbus.jobs import Gate, Ignore, parse_spec


def spec(**fields: Any) -> Scan:
    parsed = parse_spec(json.dumps({"kind": "scan", "image": "x", **fields}))
    assert isinstance(parsed, Scan)
    return parsed


@pytest.mark.parametrize("word", ["HIGH", "high", "High"])
def test_a_severity_may_be_written_in_any_case_and_is_kept_in_capitals(word: str) -> None:
    parsed = spec(
        fail_on=word,
        max_counts={word: 3},
        fail_on_misconfigurations=word,
        fail_on_licenses=word,
    )

    assert parsed.fail_on is Severity.HIGH
    assert parsed.max_counts == {Severity.HIGH: 3}
    assert parsed.model_dump(mode="json")["fail_on"] == "HIGH"
    assert parsed == Scan.model_validate({**parsed.model_dump(), "fail_on": word})
    assert (
        parsed.digest()
        == spec(**parsed.model_dump(mode="json", exclude={"kind", "image"})).digest()
    )


def test_a_full_spec_survives_the_bus() -> None:
    full = Scan(
        image="shop/web:1",
        scanners=["vuln", "secret", "misconfig", "license"],
        fail_on=Severity.HIGH,
        max_counts={Severity.MEDIUM: 5},
        ignore_unfixed=True,
        fail_on_secrets=True,
        fail_on_misconfigurations=Severity.CRITICAL,
        fail_on_licenses=Severity.CRITICAL,
        fail_on_eol=True,
        ignore=[
            Ignore(id="CVE-1", reason="not ours", expires=date(2026, 12, 31), package="zlib1g")
        ],
        vex={"@context": "https://openvex.dev/ns/v0.2.0", "statements": []},
        sbom="spdx",
        reports=["json", "sarif"],
        fresh=True,
        database="update",
    )

    assert parse_spec(full.model_dump_json()) == full


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fail_on": "awful"}, "fail_on: Input should be 'UNKNOWN', 'LOW'"),
        ({"max_counts": {"HIGH": -1}}, "max_counts.HIGH: Input should be greater than or equal"),
        ({"max_counts": {"bad": 1}}, "max_counts"),
        ({"scanners": []}, "scanners: List should have at least 1 item"),
        ({"scanners": ["virus"]}, "scanners.0: Input should be 'vuln', 'secret'"),
        ({"sbom": "swid"}, "sbom: Input should be 'cyclonedx' or 'spdx'"),
        ({"reports": ["html"]}, "reports.0: Input should be 'json' or 'sarif'"),
        ({"ignore": [{"id": "CVE-1"}]}, "ignore.0.reason: Field required"),
        ({"ignore": [{"id": "CVE-1", "reason": ""}]}, "ignore.0.reason: "),
        ({"ignore": [{"id": "", "reason": "x"}]}, "ignore.0.id: "),
        ({"ignore": [{"id": "C", "reason": "x", "expires": "soon"}]}, "ignore.0.expires: "),
        ({"vex": "sha256:12"}, "vex"),
        ({"image": None}, "image is missing; only where database is 'update' it may be"),
    ],
)
def test_what_is_wrong_with_a_scan_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        spec(**fields)
    assert said in caught.value.detail


def test_a_scan_without_an_image_may_only_update_the_database() -> None:
    assert Scan(database="update").image is None
    with pytest.raises(ValidationError, match="image is missing"):
        Scan()


@pytest.mark.parametrize(
    ("gate", "needed"),
    [
        (Gate(), set[str]()),
        (Gate(fail_on=Severity.LOW), {"vuln"}),
        (Gate(max_counts={Severity.LOW: 0}), {"vuln"}),
        (Gate(fail_on_secrets=True), {"secret"}),
        (Gate(fail_on_misconfigurations=Severity.LOW), {"misconfig"}),
        (Gate(fail_on_licenses=Severity.LOW), {"license"}),
        (Gate(ignore_unfixed=True, fail_on_eol=True), set[str]()),
    ],
)
def test_a_gate_needs_what_it_judges_by(gate: Gate, needed: set[str]) -> None:
    assert gate.scanners_needed == needed


def test_a_gate_without_a_limit_has_no_rules() -> None:
    assert not Gate(ignore_unfixed=True).has_rules
    assert Gate(fail_on_eol=True).has_rules


def test_a_run_job_can_carry_a_gate() -> None:
    parsed = parse_spec('{"kind":"run","image":"x","require_scan":{"fail_on":"critical"}}')

    assert isinstance(parsed, Run)
    assert parsed.require_scan == Gate(fail_on=Severity.CRITICAL)
