"""Small decisions around a run job's container: what is not enforced, what goes into a tar and comes out, the holder."""

from __future__ import annotations

import io
import os
import platform
import re
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dockbus.engine.views import parse_guards
from dockbus.jobs import Run
from dockbus.orders import Order
from dockbus_workers.running.files import first_file, pack
from dockbus_workers.running.holder import HolderUnavailable, program
from dockbus_workers.running.unenforced import not_enforced
from waiting import wait_for

ALL = frozenset(
    {"apparmor", "selinux", "seccomp", "memory", "swap", "cpus", "cpu_shares", "cpuset", "pids"}
)


@pytest.mark.parametrize(
    ("fields", "lacks", "ignored"),
    [
        ({}, set[str](), []),
        ({}, ALL, ["seccomp", "memory", "pids"]),
        ({"seccomp": "unconfined", "memory": 0, "pids": 0}, ALL, []),
        ({"apparmor": "a"}, {"apparmor"}, ["apparmor"]),
        ({"selinux": ["disable"]}, {"selinux"}, ["selinux"]),
        ({"memory_swap": "2g"}, {"swap"}, ["memory_swap"]),
        ({"cpu_quota": 1000}, {"cpus"}, ["cpus"]),
        ({"cpus": 1, "cpuset": "0"}, {"cpuset"}, ["cpuset"]),
        ({"cpu_shares": 2}, {"cpu_shares"}, ["cpu_shares"]),
    ],
)
def test_what_an_engine_does_not_enforce_is_known(
    fields: dict[str, Any], lacks: set[str], ignored: list[str]
) -> None:
    spec = Run.model_validate({"image": "x", **fields})

    assert not_enforced(spec, ALL - lacks) == ignored


def test_an_engine_tells_what_it_enforces() -> None:
    info = {
        "SecurityOptions": ["name=seccomp,profile=default", "name=cgroupns"],
        "PidsLimit": False,
    }

    assert parse_guards(info) == {
        "seccomp",
        "cgroupns",
        "memory",
        "swap",
        "cpus",
        "cpu_shares",
        "cpuset",
    }


def test_a_file_goes_into_a_tar_and_comes_out_of_its_pieces() -> None:
    content = os.urandom(200_000)
    tar = pack([("/a/b", (content, 0o751))])

    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        (entry,) = archive.getmembers()
        assert (entry.name, entry.mode, entry.uid) == ("a/b", 0o751, 0)
    pieces = (tar[begin : begin + 1000] for begin in range(0, len(tar), 1000))
    assert b"".join(first_file(pieces)) == content


def test_the_holder_is_a_program_that_waits(tmp_path: Path) -> None:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
    file = tmp_path / "holder"
    file.write_bytes(program(architecture))
    file.chmod(0o755)

    with subprocess.Popen([file]) as process:
        stat = Path(f"/proc/{process.pid}/stat")
        wait_for(lambda: stat.read_text().split()[1:3] == ["(holder)", "S"], what="it to sleep")
        process.send_signal(signal.SIGTERM)

    assert process.returncode == -signal.SIGTERM


def test_there_is_a_holder_for_common_machines_only() -> None:
    assert len(program("amd64")) < 200 > len(program("arm64"))
    with pytest.raises(HolderUnavailable, match="s390x"):
        program("s390x")


def test_the_examples_are_orders_that_a_bus_takes() -> None:
    root = Path(__file__).parent.parent.parent
    orders = (root / "examples" / "run" / "orders.jsonl").read_text().splitlines()

    modes = [Order.model_validate_json(line).spec for line in orders]

    assert [spec.mode for spec in modes if isinstance(spec, Run)] == ["task", "service", "task"]


def test_the_orders_of_the_documentation_are_valid() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "jobs" / "run.md").read_text()
    blocks = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    assert len(blocks) == 2
    for block in blocks:
        assert isinstance(Order.model_validate_json(block).spec, Run)
