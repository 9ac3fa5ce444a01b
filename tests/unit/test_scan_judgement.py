"""The judgement on findings: pure, so every rule is tried here, without a scanner."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dockbus import Severity, Vulnerability
from dockbus.jobs import Gate, Ignore
from dockbus.jobs.scan import ImageOS, License, Misconfiguration, Secret
from dockbus_workers.scanning import vex
from dockbus_workers.scanning.errors import VexInvalid
from dockbus_workers.scanning.judgement import Judgement, judge
from dockbus_workers.scanning.report import Findings

TODAY = date(2026, 6, 15)
PURL = "pkg:deb/debian/zlib1g@1.2.13?arch=amd64&distro=debian-12.1"


def weakness(
    name: str = "CVE-1",
    severity: Severity = Severity.HIGH,
    package: str = "zlib1g",
    fixed: str | None = "2",
) -> Vulnerability:
    return Vulnerability(
        id=name, package=package, installed="1", fixed=fixed, severity=severity, title="", purl=PURL
    )


SECRET = Secret(
    id="github-pat", severity=Severity.CRITICAL, title="", path="/a", line=1, match="*", layer=""
)
MISTAKE = Misconfiguration(
    id="DS-0002", severity=Severity.HIGH, title="", message="", resolution="", path="x"
)
LICENCE = License(id="GPL-3.0", severity=Severity.HIGH, category="restricted", package="p", path="")


def verdict(*found: Any, eosl: bool = False, document: Any = None, **rules: Any) -> Judgement:
    def those(kind: type[Any]) -> list[Any]:
        return [one for one in found if isinstance(one, kind)]

    findings = Findings(
        os=ImageOS(family="debian", name="10", eosl=eosl),
        vulnerabilities=those(Vulnerability),
        secrets=those(Secret),
        misconfigurations=those(Misconfiguration),
        licenses=those(License),
    )
    statements = vex.parse(document) if document else None
    images = ("shop/web:1", "reg.example:5000/shop/web@sha256:" + "a" * 64)
    return judge(findings, Gate(**rules), today=TODAY, vex=statements, images=images)


@pytest.mark.parametrize("found", [[], [weakness(severity=Severity.CRITICAL)], [SECRET]])
def test_without_a_rule_whatever_was_found_is_only_reported(found: list[Any]) -> None:
    judged = verdict(*found)

    assert (judged.verdict, judged.reasons) == ("reported", [])


@pytest.mark.parametrize("limit", list(Severity))
@pytest.mark.parametrize("there", list(Severity))
def test_a_vulnerability_fails_the_image_from_the_limit_on(
    there: Severity, limit: Severity
) -> None:
    judged = verdict(weakness(severity=there), fail_on=limit)

    assert judged.verdict == ("failed" if there.rank >= limit.rank else "passed")


@pytest.mark.parametrize(("number", "says"), [(2, "passed"), (3, "failed")])
def test_so_many_of_a_severity_may_be_there(number: int, says: str) -> None:
    found = [weakness(f"CVE-{n}") for n in range(number)]

    judged = verdict(*found, weakness("CVE-9", Severity.LOW), max_counts={Severity.HIGH: 2})

    assert judged.verdict == says
    assert judged.reasons == (
        [] if says == "passed" else ["vulnerabilities that are HIGH: 3, and 2 may be"]
    )


@pytest.mark.parametrize(
    ("found", "rules", "reason"),
    [
        (SECRET, {"fail_on_secrets": True}, "secrets: 1"),
        (
            MISTAKE,
            {"fail_on_misconfigurations": Severity.HIGH},
            "misconfigurations that are HIGH or worse: 1",
        ),
        (LICENCE, {"fail_on_licenses": Severity.HIGH}, "licences that are HIGH or worse: 1"),
        (None, {"fail_on_eol": True}, "debian 10 gets no more updates"),
    ],
)
def test_each_rule_fails_what_it_is_for_and_nothing_else(
    found: Any, rules: dict[str, Any], reason: str
) -> None:
    others = [one for one in (SECRET, MISTAKE, LICENCE, weakness()) if one is not found]

    bad = verdict(*([found] if found else []), eosl=True, **rules)
    good = verdict(*others, eosl=False, **rules)

    assert (bad.verdict, bad.reasons) == ("failed", [reason])
    assert (good.verdict, good.reasons) == ("passed", [])


def test_a_milder_misconfiguration_or_licence_passes() -> None:
    judged = verdict(
        MISTAKE,
        LICENCE,
        fail_on_misconfigurations=Severity.CRITICAL,
        fail_on_licenses=Severity.CRITICAL,
    )

    assert judged.verdict == "passed"


def test_what_nobody_fixes_can_be_left_out() -> None:
    judged = verdict(
        weakness("CVE-1"), weakness("CVE-2", fixed=None), ignore_unfixed=True, fail_on=Severity.HIGH
    )

    assert [one.id for one in judged.counting.vulnerabilities] == ["CVE-1"]
    [held] = judged.suppressed
    assert (held.id, held.by) == ("CVE-2", "unfixed")


@pytest.mark.parametrize(
    ("entry", "holds"),
    [
        ({}, True),
        ({"package": "zlib1g"}, True),
        ({"package": "curl"}, False),
        ({"id": "CVE-2"}, False),
        ({"path": "/elsewhere"}, False),
        ({"expires": date(2026, 6, 16)}, True),
        ({"expires": date(2026, 6, 15)}, True),  # the last day counts
        ({"expires": date(2026, 6, 14)}, False),
    ],
)
def test_an_ignored_finding_does_not_count_and_the_reason_is_kept(
    entry: dict[str, Any], holds: bool
) -> None:
    fields: dict[str, Any] = {"id": "CVE-1", "reason": "we never call it", **entry}
    ignore = Ignore(**fields)

    judged = verdict(weakness(), fail_on=Severity.LOW, ignore=[ignore])

    assert judged.verdict == ("passed" if holds else "failed")
    assert [(one.id, one.subject, one.by, one.reason) for one in judged.suppressed] == (
        [("CVE-1", "zlib1g", "ignore", "we never call it")] if holds else []
    )


def test_an_expired_entry_is_told_and_counts_no_more() -> None:
    over = Ignore(id="CVE-1", reason="until the release", expires=date(2026, 6, 14))
    good = Ignore(id="CVE-2", reason="not ours", expires=date(2026, 7, 1))

    judged = verdict(weakness("CVE-1"), weakness("CVE-2"), ignore=[over, good])

    assert judged.expired == ["CVE-1"]
    assert [one.id for one in judged.counting.vulnerabilities] == ["CVE-1"]


def test_secrets_misconfigurations_and_licences_can_be_ignored_too() -> None:
    ignore = [
        Ignore(id="github-pat", reason="a test key", path="/a"),
        Ignore(id="DS-0002", reason="it drops root itself"),
        Ignore(id="GPL-3.0", reason="only linked", package="p"),
    ]
    elsewhere = SECRET.model_copy(update={"path": "/b"})

    judged = verdict(SECRET, elsewhere, MISTAKE, LICENCE, ignore=ignore, fail_on_secrets=True)

    assert [one.scanner for one in judged.suppressed] == ["secret", "misconfig", "license"]
    assert judged.counting.secrets == [elsewhere]
    assert judged.reasons == ["secrets: 1"]


def document(product: Any, status: str = "not_affected", **more: Any) -> dict[str, Any]:
    statement = {
        "vulnerability": {"name": "CVE-1"},
        "products": [product],
        "status": status,
        "justification": "vulnerable_code_not_in_execute_path",
        **more,
    }
    return {"@context": "https://openvex.dev/ns/v0.2.0", "statements": [statement]}


@pytest.mark.parametrize(
    ("product", "holds"),
    [
        ({"@id": PURL}, True),
        ({"@id": "pkg:deb/debian/zlib1g"}, True),
        ({"@id": "pkg:deb/debian/zlib1g@1.2.13"}, True),
        ({"@id": "urn:x", "identifiers": {"purl": "pkg:deb/debian/zlib1g"}}, True),
        ({"@id": "pkg:deb/debian/zlib1g@1.2.12"}, False),
        ({"@id": "pkg:deb/debian/zlib1g?arch=arm64"}, False),
        ({"@id": "pkg:deb/ubuntu/zlib1g"}, False),
        ({"@id": "pkg:oci/web"}, True),
        ({"@id": "pkg:oci/web?repository_url=docker.io/shop/web"}, True),
        ({"@id": f"pkg:oci/web@sha256%3A{'a' * 64}"}, True),
        ({"@id": "pkg:oci/web?repository_url=reg.example:5000/shop/web&tag=1"}, False),
        ({"@id": "pkg:oci/web?tag=1"}, True),
        ({"@id": "pkg:oci/web?tag=2"}, False),
        ({"@id": f"pkg:oci/web@sha256:{'b' * 64}"}, False),
        ({"@id": "pkg:oci/other"}, False),
        ({"@id": "pkg:oci/web", "subcomponents": [{"@id": "pkg:deb/debian/zlib1g"}]}, True),
        ({"@id": "pkg:oci/web", "subcomponents": [{"@id": "pkg:deb/debian/curl"}]}, False),
        ({"@id": "just some words"}, False),
    ],
)
def test_a_vex_statement_holds_for_the_products_that_it_names(product: Any, holds: bool) -> None:
    judged = verdict(weakness(), document=document(product), fail_on=Severity.LOW)

    assert judged.verdict == ("passed" if holds else "failed")
    if holds:
        [held] = judged.suppressed
        assert held.by == "vex"
        assert held.reason == "not_affected; vulnerable_code_not_in_execute_path"


@pytest.mark.parametrize(
    ("status", "holds"),
    [("not_affected", True), ("fixed", True), ("affected", False), ("under_investigation", False)],
)
def test_only_what_is_stated_as_harmless_or_fixed_does_not_count(status: str, holds: bool) -> None:
    judged = verdict(weakness(), document=document({"@id": PURL}, status))

    assert bool(judged.suppressed) is holds


def test_a_vulnerability_may_be_stated_under_another_of_its_names() -> None:
    names = {"name": "GHSA-x", "aliases": ["CVE-1"]}

    assert verdict(weakness(), document=document({"@id": PURL}, vulnerability=names)).suppressed


@pytest.mark.parametrize(
    ("times", "holds"),
    [(("", ""), False), (("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"), True)],
)
def test_of_several_statements_the_last_one_holds(times: tuple[str, str], holds: bool) -> None:
    both = document({"@id": PURL}, "fixed", timestamp=times[0])
    both["statements"] += document({"@id": PURL}, "affected", timestamp=times[1])["statements"]

    assert bool(verdict(weakness(), document=both).suppressed) is holds


@pytest.mark.parametrize(
    "text",
    [
        [],
        {},
        {"@context": "https://example.org", "statements": []},
        {"@context": "https://openvex.dev/ns"},
        {"@context": "https://openvex.dev/ns", "statements": [{"status": "fixed"}]},
        {
            "@context": "https://openvex.dev/ns",
            "statements": [{"vulnerability": {"name": "C"}, "status": "harmless"}],
        },
    ],
)
def test_what_is_no_openvex_document_is_refused(text: Any) -> None:
    with pytest.raises(VexInvalid):
        vex.parse(text)
