"""The verdict of a policy: what no job gets, what every job may ask, and what exceptions let through."""

from __future__ import annotations

from typing import Any

import pytest

from dockbus import Build, Cleanup, Pull, Run
from dockbus.jobs import Spec, parse_spec
from dockbus.policy import (
    LEVELS,
    RULES,
    Policy,
    PolicyRefused,
    unenforced,
    violations,
)
from dockbus.policy.paths import canonical
from dockbus.settings import PolicyLevel
from hostile import HOSTILE, mount, run, volume

ID = "sha256:" + "5a" * 32
HARDENED: dict[str, Any] = {"user": "1000:1000", "read_only": True}


def policy(**fields: object) -> Policy:
    return Policy.model_validate(fields)


def rules(spec: Spec, policy: Policy | None = None) -> set[str]:
    return {violation.rule for violation in violations(spec, policy or Policy())}


# -- what no job gets ----------------------------------------------------------------------


def test_there_are_forty_hostile_jobs_of_different_names() -> None:
    assert len({name for name, _, _ in HOSTILE}) == len(HOSTILE) >= 40


@pytest.mark.parametrize(
    ("fields", "rule"), [case[1:] for case in HOSTILE], ids=[c[0] for c in HOSTILE]
)
def test_a_hostile_job_breaks_the_rule_it_should_at_every_level_that_has_it(
    fields: dict[str, Any], rule: str
) -> None:
    spec = run(fields)

    for level in LEVELS:
        found = rules(spec, Policy(level=level))
        assert (rule in found) == (LEVELS.index(level) >= LEVELS.index(RULES[rule].level))
    assert rules(parse_spec(spec.model_dump_json()), Policy()) == rules(spec)


def test_every_rule_of_baseline_has_a_hostile_job() -> None:
    optional = {"image-source", "image-digest", "memory-maximum", "cpu-maximum"}
    optional |= {"forbidden-action", "unlabelled-target"}
    optional |= {"kept-container", "job-container", "exec-reach"}  # these are about the container
    known = {rule.id for rule in RULES.values() if rule.level != "restricted"} - optional

    assert known - {rule for _, _, rule in HOSTILE} == set()


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"user": None}, "root-user"),
        ({"user": "0"}, "root-user"),
        ({"user": "00"}, "root-user"),
        ({"user": "+0"}, "root-user"),
        ({"user": "0:1000"}, "root-user"),
        ({"user": "root"}, "root-user"),
        ({"user": "\u0661"}, "root-user"),
        ({"user": "app"}, "root-user"),  # the image may call root so
        ({"read_only": False}, "writable-root"),
        ({"cap_drop": []}, "kept-capabilities"),
        ({"cap_drop": ["NET_RAW"]}, "kept-capabilities"),
        ({"cap_add": ["CHOWN"]}, "extra-capability"),
        ({"ports": ["80:80"]}, "privileged-port"),
        ({"ports": ["0.0.0.0:8080:80"]}, "open-address"),
        ({"ports": ["[::]:8080:80"]}, "open-address"),
        ({"ports": ["[0:0::0]:8080:80"]}, "open-address"),
        ({"ports": ["[::ffff:0.0.0.0]:8080:80"]}, "open-address"),
        ({"networks": "bridge"}, "default-bridge"),
        ({"networks": "default"}, "default-bridge"),
        ({"networks": ["dockbus", "shop"]}, "foreign-network"),
        ({"mode": "service", "restart": "always"}, "unbounded-restart"),
        ({"mode": "service", "restart": "unless-stopped"}, "unbounded-restart"),
        ({"mode": "service", "restart": "on-failure"}, "unbounded-restart"),
        ({"mode": "service", "restart": "on-failure:6"}, "unbounded-restart"),
    ],
)
def test_restricted_refuses_more(fields: dict[str, Any], rule: str) -> None:
    spec = run({**HARDENED, **fields})

    assert rules(spec, policy(level="restricted")) == {rule}
    assert rules(spec) == set()


# -- what every job may ask ----------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"command": ["sh", "-c", "make test"], "working_dir": "/src"},
        {"ports": ["8080:80"]},
        {"ports": ["0.0.0.0:80:80", "53:53/udp"]},
        {"volumes": ["data:/var/lib/data", "cache:/cache:ro"]},
        {"volumes": ["/var/lib/data"]},
        {"volumes": [{"type": "tmpfs", "target": "/scratch", "size": "64m", "mode": "1777"}]},
        {"volumes": [{"type": "volume", "source": "ram", "target": "/r", "driver": "local"}]},
        volume(type="tmpfs", device="tmpfs", o="size=1m,mode=0700,uid=1000,noexec"),
        {"env": {"GREETING": "hello"}, "env_from": {"TOKEN": "token"}, "secrets": ["password"]},
        {"healthcheck": {"test": "wget -q localhost", "interval": "5s"}, "mode": "service"},
        {"memory": "4g", "cpus": 2, "pids": 4096, "shm_size": "1g", "memory_swap": "8g"},
        {"ulimits": ["nofile=1024:65536"], "cpu_shares": 512, "cpuset": "0"},
        {"mode": "service", "restart": "unless-stopped", "networks": ["shop"]},
        {"networks": "none"},
        {"networks": [{"name": "shop", "aliases": ["web"]}, "dockbus"]},
        {"networks": "bridge"},
        {"user": "1000:1000", "read_only": True, "group_add": ["audio"]},
        {"user": "root", "cap_drop": [], "cap_add": ["CHOWN", "cap_setuid", "NET_RAW"]},
        {"labels": {"team": "shop", "dockbus.keep": "true", "dockbus.test.x": "1"}},
        {
            "sysctls": {
                "net.core.somaxconn": "1024",
                "kernel.shmmax": "1",
                "net/ipv4/ip_forward": "0",
            }
        },
        {"apparmor": "docker-default", "selinux": ["type:container_t", "level:s0:c1,c2"]},
        {
            "name": "shop-web",
            "hostname": "web",
            "dns": ["9.9.9.9"],
            "extra_hosts": {"h": "10.0.0.1"},
        },
        {"log_driver": "local", "log_options": {"max-size": "1m"}, "stop_signal": "SIGINT"},
        {"files": {"/etc/app.conf": "a=b"}, "collect": ["/out"], "platform": "linux/amd64"},
    ],
)
def test_what_people_do_every_day_passes_baseline(fields: dict[str, Any]) -> None:
    assert violations(run(fields), Policy()) == []


def test_a_job_that_asks_nothing_passes_unless_restricted() -> None:
    assert rules(Run(image="x")) == set()
    assert rules(Run(image="x"), Policy(level="restricted")) == {"root-user", "writable-root"}


def test_restricted_lets_a_hardened_job_through() -> None:
    spec = run(
        {
            **HARDENED,
            "ports": ["8080:80"],
            "cap_add": ["NET_BIND_SERVICE"],
            "volumes": ["data:/data", {"type": "tmpfs", "target": "/scratch"}],
            "mode": "service",
            "restart": "on-failure:5",
        }
    )

    assert violations(spec, policy(level="restricted")) == []


# -- exceptions ----------------------------------------------------------------------------


def mounts(*entries: str) -> Policy:
    """A policy that allows these paths; one that ends in `:rw`, to be written to."""
    allowed = [
        {"path": entry.removesuffix(":rw"), "read_only": not entry.endswith(":rw")}
        for entry in entries
    ]
    return policy(allow={"bind_mounts": allowed})


@pytest.mark.parametrize(
    ("allowed", "wanted", "rule"),
    [
        (["/srv"], "/srv:ro", None),
        (["/srv"], "/srv/data:ro", None),
        (["/srv/"], "/srv/../srv//data:ro", None),
        (["/srv"], "/srv", "host-path"),
        (["/srv:rw"], "/srv/data", None),
        (["/srv:rw", "/srv/data"], "/srv/data/x", "host-path"),
        (["/srv", "/srv/data:rw"], "/srv/data/x", None),
        (["/srv:rw", "/srv/data"], "/srv", "host-path"),
        (["/srv"], "/srvx:ro", "host-path"),
        (["/srv/data"], "/srv:ro", "host-path"),
        (["/srv"], "/srv/../etc:ro", "sensitive-path"),
        (["/:rw"], "/srv/data", None),
        (["/:rw"], "/etc", "sensitive-path"),
        (["/:rw"], "/run/docker.sock", "engine-socket"),
        (["/:rw"], "/", "engine-socket"),
        (["/srv:rw"], "/srv/docker.sock", "engine-socket"),
        (["/:rw", "/etc"], "/etc:ro", None),
        (["/:rw", "/etc"], "/etc", "host-path"),
        (["/:rw", "/etc"], "/etc/hosts:ro", None),
        (["/etc/hosts"], "/etc/hosts:ro", None),
        (["/etc/hosts"], "/etc/shadow:ro", "sensitive-path"),
        (["/etc/hosts"], "/etc:ro", "sensitive-path"),
        (["/run:rw"], "/run/app", None),
        (["/run:rw"], "/run", "engine-socket"),
        (["/var/run/docker.sock:rw"], "/run/docker.sock", None),
        (["/run/docker.sock:rw"], "/proc/1/root/var/run/docker.sock", None),
        (["/run/docker.sock:rw"], "/run/containerd/containerd.sock", "engine-socket"),
    ],
)
def test_an_allowed_path_is_allowed_and_nothing_dangerous_below_it(
    allowed: list[str], wanted: str, rule: str | None
) -> None:
    source = wanted.removesuffix(":ro")
    spec = run(mount(source, read_only=wanted.endswith(":ro")))

    assert rules(spec, mounts(*allowed)) == ({rule} if rule else set())


@pytest.mark.parametrize(
    ("allow", "fields"),
    [
        ({"devices": ["/dev/dri/*"]}, {"devices": ["/dev/dri/card0", "/dev/x/../dri/card1"]}),
        ({"capabilities": ["cap_net_admin"]}, {"cap_add": ["NET_ADMIN"]}),
        ({"capabilities": ["ALL"]}, {"cap_add": ["SYS_ADMIN", "ALL"]}),
        ({"networks": ["host"]}, {"networks": "host"}),
        ({"networks": ["container:vpn*"]}, {"networks": "container:vpn-1"}),
        ({"sysctls": ["vm.*"]}, {"sysctls": {"vm/overcommit_memory": "1"}}),
        ({"volume_drivers": ["nfs"]}, volume("nfs", share="h:/x")),
        ({"volume_drivers": ["local"]}, volume(type="nfs", device=":/x")),
        ({"runtimes": ["kata*"]}, {"runtime": "kata-fc"}),
        ({"rules": ["memory-limit", "pids-limit"]}, {"memory": 0, "pids": 0}),
    ],
)
def test_what_is_allowed_passes_and_the_like_of_it_only_there(
    allow: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert rules(run(fields), policy(allow=allow)) == set()
    assert rules(run(fields)) != set()


@pytest.mark.parametrize(
    ("allow", "fields", "rule"),
    [
        ({"devices": ["/dev/dri/*"]}, {"devices": ["/dev/dri/../sda"]}, "device"),
        ({"capabilities": ["NET_ADMIN"]}, {"cap_add": ["NET_ADMIN", "BPF"]}, "capability"),
        ({"capabilities": ["SYS_ADMIN"]}, {"cap_add": ["ALL"]}, "capability"),
        ({"networks": ["*"]}, {"networks": "host"}, "host-network"),
        ({"networks": ["*"]}, {"networks": "container:db"}, "container-network"),
        ({"volume_drivers": ["nfs"]}, volume(o="bind", device="/"), "volume-options"),
        ({"rules": ["host-path"]}, {"volumes": ["/etc:/e"]}, "sensitive-path"),
    ],
)
def test_an_exception_goes_no_further_than_it_says(
    allow: dict[str, Any], fields: dict[str, Any], rule: str
) -> None:
    assert rules(run(fields), policy(allow=allow)) == {rule}


# -- images and limits ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "passes"),
    [
        ("registry.example/shop/web:1", True),
        (f"registry.example/shop/web@{ID}", True),
        ("python:3.13-slim", True),
        ("docker.io/library/python:3.12", True),
        ("python:2.7", False),
        ("python", False),
        ("evil/python:3.1", False),
        ("registry.example.evil.test/shop/web:1", False),
        ("registry.example:5000/shop/web:1", False),
        (ID, False),
    ],
)
def test_only_images_that_are_named_may_be_used(image: str, passes: bool) -> None:
    only = policy(
        level="privileged", images={"only": ["registry.example/*", "docker.io/library/python:3.*"]}
    )

    specs: list[Spec] = [Run(image=image)]
    if image != ID:  # which cannot be pulled
        specs.append(Pull(image=image))
    assert [rules(spec, only) for spec in specs] == [
        set() if passes else {"image-source"} for _ in specs
    ]


def test_images_may_have_to_be_named_by_their_digest() -> None:
    digest = policy(level="privileged", images={"digest": True})

    assert rules(Run(image="x:1"), digest) == {"image-digest"}
    assert rules(Pull(image="x"), digest) == {"image-digest"}
    assert rules(Run(image=f"x:1@{ID}"), digest) == set()
    assert rules(Run(image=ID), digest) == set()


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"memory": "2g", "cpus": 2}, None),
        ({"memory": "3g", "cpus": 2}, "memory-maximum"),
        ({"memory": 0, "cpus": 2}, "memory-maximum"),
        ({"memory": "1g", "memory_swap": "3g", "cpus": 1}, "memory-maximum"),
        ({"cpus": 2.5}, "cpu-maximum"),
        ({}, "cpu-maximum"),
        ({"cpu_quota": 200_000}, None),
        ({"cpu_quota": 200_000, "cpu_period": 50_000}, "cpu-maximum"),
    ],
)
def test_no_job_gets_more_than_the_limits(fields: dict[str, Any], rule: str | None) -> None:
    limits = policy(level="privileged", limits={"memory": "2g", "cpus": 2})

    assert rules(run(fields), limits) == ({rule} if rule else set())


# -- other kinds, and what is told ---------------------------------------------------------


def test_a_build_may_not_give_its_image_labels_of_dockbus() -> None:
    build = Build(context="x", tags=["x:1"], labels={"dockbus.job": "5a", "dockbus.keep": "true"})

    (found,) = violations(build, Policy(level="privileged"))
    assert (found.rule, found.field) == ("reserved-label", "labels.dockbus.job")
    assert rules(Cleanup()) == set()


def test_the_refusal_names_every_rule_field_and_remedy() -> None:
    spec = run({"privileged": True, "volumes": ["data:/d", "/proc/1/root/run/docker.sock:/s"]})

    text = str(PolicyRefused.of(violations(spec, Policy())))

    assert "rule privileged (CIS 5.5): privileged: " in text
    assert "rule engine-socket (CIS 5.32): volumes.1.source: " in text
    assert "is '/run/docker.sock', which" in text
    for rule in ("privileged", "engine-socket"):
        assert RULES[rule].remedy in text
    assert "\n" not in text
    assert not PolicyRefused.retryable


@pytest.mark.parametrize(("level", "refused"), [("baseline", []), ("restricted", ["apparmor"])])
def test_only_restricted_refuses_what_would_not_be_enforced(
    level: PolicyLevel, refused: list[str]
) -> None:
    found = unenforced(["apparmor", "memory_swap"], Policy(level=level))

    assert [(each.rule, each.field) for each in found] == [("not-enforced", f) for f in refused]


@pytest.mark.parametrize(
    ("path", "is_really"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/..", "/"),
        ("/srv/./a//b/../c/", "/srv/a/c"),
        ("/var/run", "/run"),
        ("/var/running", "/var/running"),
        ("/proc/self/root", "/"),
        ("/proc/1/root/proc/2/root/var/run/x", "/run/x"),
        ("/proc/self/rootless", "/proc/self/rootless"),
        ("/srv/proc/1/root/x", "/srv/proc/1/root/x"),
    ],
)
def test_a_path_has_one_form(path: str, is_really: str) -> None:
    assert canonical(path) == is_really
