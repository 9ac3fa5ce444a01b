"""What is read out of the scanner's report, and what is taken out of it before it is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dockbus import Severity
from dockbus.errors import ScanFailed
from dockbus_workers.scanning.report import load, parse, scrub


def found(**fields: Any) -> dict[str, Any]:
    return {"Results": [{"Vulnerabilities": [{"VulnerabilityID": "CVE-1", **fields}]}]}


NOTHING: list[dict[str, Any]] = [
    {},
    {"Results": None},
    {"Results": []},
    {"Results": [{}]},
    {"Results": [{"Vulnerabilities": None}, {"Target": "x", "Class": "os-pkgs"}]},
    {"Metadata": {}, "Results": [{"Class": "license"}]},
]


@pytest.mark.parametrize("report", NOTHING)
def test_an_image_without_findings_may_be_told_in_many_ways(report: dict[str, Any]) -> None:
    findings = parse(report)

    assert findings.os is None
    assert not findings.vulnerabilities + findings.secrets
    assert not findings.misconfigurations + findings.licenses


def test_a_finding_is_read_also_where_trivy_knows_little() -> None:
    full = found(
        PkgName="openssl",
        InstalledVersion="3.0.1",
        FixedVersion="3.0.2",
        Severity="CRITICAL",
        Title="bad",
        Status="fixed",
        PkgIdentifier={"PURL": "pkg:deb/debian/openssl@3.0.1"},
    )

    [whole], [bare] = parse(full).vulnerabilities, parse(found()).vulnerabilities

    assert (whole.id, whole.package, whole.fixed) == ("CVE-1", "openssl", "3.0.2")
    assert (whole.severity, whole.status) == (Severity.CRITICAL, "fixed")
    assert whole.purl == "pkg:deb/debian/openssl@3.0.1"
    assert (bare.id, bare.fixed, bare.severity) == ("CVE-1", None, Severity.UNKNOWN)


@pytest.mark.parametrize("word", ["", "NEGLIGIBLE", "high"])
def test_a_severity_that_trivy_does_not_have_yet_is_unknown(word: str) -> None:
    [finding] = parse(found(Severity=word)).vulnerabilities

    assert finding.severity is Severity.UNKNOWN


def test_only_failed_checks_are_misconfigurations() -> None:
    checks = [{"ID": "DS-1", "Status": "PASS"}, {"ID": "DS-2", "Status": "FAIL"}]

    findings = parse({"Results": [{"Target": "x", "Misconfigurations": checks}]})

    assert [one.id for one in findings.misconfigurations] == ["DS-2"]


def test_licences_are_read_with_what_they_belong_to() -> None:
    raw = {"Severity": "HIGH", "Category": "restricted", "PkgName": "p", "Name": "GPL-3.0-only"}

    [licence] = parse({"Results": [{"Class": "license", "Licenses": [raw]}]}).licenses

    assert (licence.id, licence.severity) == ("GPL-3.0-only", Severity.HIGH)
    assert (licence.category, licence.package) == ("restricted", "p")


def test_the_worst_comes_first() -> None:
    raws = [
        {"VulnerabilityID": name, "PkgName": package, "Severity": severity}
        for name, package, severity in (
            ("CVE-3", "a", "LOW"), ("CVE-2", "b", "HIGH"), ("CVE-1", "b", "HIGH"), ("CVE-4", "a", "HIGH"),
        )
    ]  # fmt: skip

    findings = parse({"Results": [{"Vulnerabilities": raws}]})

    assert [one.id for one in findings.vulnerabilities] == ["CVE-4", "CVE-1", "CVE-2", "CVE-3"]


def test_what_the_configuration_holds_in_the_clear_is_taken_out() -> None:
    report = {
        "Metadata": {"ImageConfig": {"config": {"Env": ["TOKEN=hush"]}}, "RepoTags": ["a:1"]},
        "Results": [
            {"Secrets": [{"RuleID": "x", "Layer": {"DiffID": "d", "CreatedBy": "echo hush"}}]},
            {
                "Misconfigurations": [
                    {"ID": "DS-1", "CauseMetadata": {"Code": {"Lines": [{"Content": "hush"}]}}}
                ]
            },
            {"Packages": [{"Name": "p", "Layer": {"CreatedBy": "RUN hush", "DiffID": "d"}}]},
        ],
    }

    kept = scrub(report)

    assert "hush" not in json.dumps(kept)
    assert kept["Metadata"] == {"RepoTags": ["a:1"]}
    assert parse(kept).secrets[0].layer == "d"
    assert "ImageConfig" in report["Metadata"]  # the one that was given is left as it was


@pytest.mark.parametrize("output", ["", "<html>", '{"Results": [', "[]", '{"SchemaVersion": 3}'])
def test_what_is_no_report_is_a_fault_of_the_scanner(output: str) -> None:
    with pytest.raises(ScanFailed):
        load(output)
