"""`dockbus run`: every option becomes the field of the spec that it stands for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dockbus.cli.delivery import Delivery
from dockbus.cli.kinds.run import run
from dockbus.errors import InvalidSpec
from dockbus.jobs import Run, Spec


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The spec that a command line makes, or what it says against it."""
    sent: list[Spec] = []

    def send(self: Delivery, spec: Spec) -> None:
        sent.append(spec)

    monkeypatch.setattr(Delivery, "send", send)
    app = typer.Typer()
    app.command()(run)

    def make(words: str) -> Run | str:
        ended = CliRunner().invoke(app, shlex.split(words))
        if ended.exit_code == 0:
            (spec,) = sent
            assert isinstance(spec, Run)
            return spec
        return ended.exception.detail if isinstance(ended.exception, InvalidSpec) else ended.output

    return make


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("x", {}),
        ("x -- echo -n a", {"command": ["echo", "-n", "a"]}),
        ("--name nn --entrypoint /a x", {"name": "nn", "entrypoint": ["/a"]}),
        ("-e A=1 --env B== x", {"env": {"A": "1", "B": "="}}),
        ("--env-secret A=s x", {"env_from": {"A": "s"}}),
        ("-w /a -u 1:2 --group-add 3 x", {"working_dir": "/a", "user": "1:2", "group_add": ["3"]}),
        ("-l a=b --label c x", {"labels": {"a": "b", "c": ""}}),
        ("--platform linux/arm64 --pull newer x", {"platform": "linux/arm64", "pull": "newer"}),
        ("--credentials c x", {"credentials": "c"}),
        ("--require-scan high x", {"require_scan": {"fail_on": "HIGH"}}),
        ("--stop-signal INT --stop-timeout 30s x", {"stop_signal": "INT", "stop_timeout": 30.0}),
        ("--log-driver local --log-opt a=b x", {"log_driver": "local", "log_options": {"a": "b"}}),
        ("--keep x", {"remove": False}),
        ("--network a --network b x", {"networks": ["a", "b"]}),
        ("-p 80 -p 0.0.0.0:53:53/udp x", {"ports": ["80", "0.0.0.0:53:53/udp"]}),
        ("--hostname h --add-host db:::1 x", {"hostname": "h", "extra_hosts": {"db": "::1"}}),
        ("--dns 10.0.0.1 x", {"dns": ["10.0.0.1"]}),
        (
            "--tmpfs /t:size=1m,mode=1777,ro -v d:/d:ro -v /h:/h --read-only x",
            {
                "read_only": True,
                "volumes": [
                    "d:/d:ro",
                    "/h:/h",
                    {
                        "type": "tmpfs",
                        "target": "/t",
                        "size": "1m",
                        "mode": "1777",
                        "read_only": True,
                    },
                ],
            },
        ),
        ("--secret a --secret b x", {"secrets": ["a", "b"]}),
        ("--collect /a x", {"collect": ["/a"]}),
        ("-m 64m --memory-swap 96m x", {"memory": "64m", "memory_swap": "96m"}),
        ("-m 0 --pids-limit 0 x", {"memory": 0, "pids": 0}),
        (
            "--cpus .5 --cpu-shares 2 --cpuset-cpus 0 x",
            {"cpus": 0.5, "cpu_shares": 2, "cpuset": "0"},
        ),
        (
            "--ulimit nofile=1:2 --ulimit core=0 --shm-size 1m x",
            {"ulimits": ["nofile=1:2", "core=0"], "shm_size": "1m"},
        ),
        ("--cap-add kill --cap-drop MKNOD x", {"cap_add": ["KILL"], "cap_drop": ["MKNOD"]}),
        ("--device /dev/a --sysctl a.b=1 x", {"devices": ["/dev/a"], "sysctls": {"a.b": "1"}}),
        ("--seccomp unconfined --privileged x", {"seccomp": "unconfined", "privileged": True}),
        (
            "--service --wait-healthy 1m --restart on-failure:3 x",
            {"mode": "service", "wait_healthy": 60.0, "restart": "on-failure:3"},
        ),
        (
            "--health-cmd 'a b' --health-interval 5s --health-timeout 1s --health-retries 2"
            " --health-start-period 1m x",
            {
                "healthcheck": {
                    "test": "a b",
                    "interval": "5s",
                    "timeout": "1s",
                    "retries": 2,
                    "start_period": "1m",
                }
            },
        ),
    ],
)
def test_options_become_fields(made: Any, words: str, fields: dict[str, Any]) -> None:
    assert made(words) == Run.model_validate({"image": "x", **fields})


def test_files_of_this_machine_go_along(made: Any, tmp_path: Path) -> None:
    script, profile = tmp_path / "a:b.sh", tmp_path / "seccomp.json"
    script.write_text("echo é\n")
    script.chmod(0o750)
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))

    spec = made(f"--file {script}:/bin/b --seccomp {profile} x")

    assert (spec.files["/bin/b"].content, spec.files["/bin/b"].mode) == ("echo é\n", 0o750)
    assert spec.seccomp == {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-e A x", "'A' is not KEY=VALUE"),
        ("--file /no/such:/a x", "/no/such"),
        ("--seccomp /no/such x", "/no/such: No such file"),
        ("--tmpfs /t:nope x", "'nope' is no option of a tmpfs"),
        ("-p a x", "ports.0: 'a' is not a port"),
        ("--restart always x", "restart: a task is carried to its end once"),
        ("--cpus 1 --cpus-shares 2 x", "No such option"),
    ],
)
def test_what_is_wrong_is_said(made: Any, words: str, said: str) -> None:
    assert said in made(words)
