"""Every option of a run job, by what the Engine says of the container and by what the container itself sees."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dockbus import Bus, JobFailed, RunResult, Settings
from dockbus.engine import Engine
from dockbus.settings import PolicySettings
from processes import Program
from runs import inspecting, printed, refused, shell

Start = Callable[..., Program]
Said = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def worker(start: Start, base_image: str, settings: Settings) -> Program:
    """One whose policy lets options through that reach the machine: here it is about what they do."""
    policy = PolicySettings(level="privileged")
    program = start("worker", "run", settings=settings.model_copy(update={"policy": policy}))
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def said(bus: Bus) -> Said:
    """What a container with these options prints."""
    return partial(printed, bus)


@pytest.fixture
def inspected(bus: Bus, engine: Engine) -> Generator[Callable[..., dict[str, Any]]]:
    """What the Engine says of a container with these options."""
    with inspecting(bus, engine) as inspect:
        yield inspect


# -- what it runs -----------------------------------------------------------------------------


def test_its_name_is_the_one_that_the_job_gives_it(bus: Bus, inspected: Any) -> None:
    name = f"run-test-{secrets.token_hex(4)}"

    assert inspected(name=name)["Name"] == f"/{name}"
    assert "a container named" in refused(bus, name=name)


def test_its_program_finds_what_the_job_says_around_it(said: Said) -> None:
    lines = said(
        'echo "$A|$0|$1"; pwd; id -u; id -g; id -G; hostname; hostname -f; cat /proc/1/comm',
        command=None,
        entrypoint=[
            "sh",
            "-c",
            'echo "$A|$0"; pwd; id -u; id -g; id -G; hostname; cat /proc/1/comm',
        ],
        env=["A=b=c d"],
        working_dir="/bin",
        user="65534:12",
        group_add=["27", "1000"],
        hostname="box",
        domainname="test.example",
    )

    assert lines == ["b=c d|sh", "/bin", "65534", "12", "12 27 1000", "box", "docker-init"]


def test_lines_may_be_in_a_variable(said: Said) -> None:
    assert said('printf "%s\\n" "$A"', env={"A": "x=1\ny=2"}) == ["x=1", "y=2"]


def test_without_an_init_its_program_is_the_first(said: Said) -> None:
    assert said("read name < /proc/1/comm; echo $name", init=False) == ["sh"]


# -- limits -----------------------------------------------------------------------------------


def test_its_limits_are_those_of_its_control_groups(said: Said) -> None:
    files = [
        "memory/memory.limit_in_bytes",
        "memory/memory.memsw.limit_in_bytes",
        "memory/memory.soft_limit_in_bytes",
        "cpu/cpu.cfs_quota_us",
        "cpu/cpu.cfs_period_us",
        "cpu/cpu.shares",
        "cpuset/cpuset.cpus",
        "pids/pids.max",
    ]
    script = f"cd /sys/fs/cgroup; test -d memory || exit 0; cat {' '.join(files)}"
    limits = {
        "memory": "64m",
        "memory_swap": "96m",
        "memory_reservation": "32m",
        "cpu_quota": 25_000,
        "cpu_period": 50_000,
        "cpu_shares": 512,
        "cpuset": "0",
        "pids": 40,
    }

    assert said(script, **limits) in (
        [],  # version 2, see below for what the Engine says
        [str(64 * 2**20), str(96 * 2**20), str(32 * 2**20), "25000", "50000", "512", "0", "40"],
    )


def test_its_limits_are_what_the_engine_was_told(inspected: Any) -> None:
    host = inspected(memory="64m", memory_swap="96m", cpus=0.5)["HostConfig"]
    bare = inspected(memory=0, pids=0)["HostConfig"]

    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["CpuQuota"]) == (
        64 * 2**20,
        96 * 2**20,
        500_000_000,
        0,
    )
    assert host["PidsLimit"] == 1024
    assert (bare["Memory"], bare["PidsLimit"] or 0) == (0, 0)


def test_its_processes_are_counted(said: Said) -> None:
    script = "(for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done); echo ended"

    assert any("can't fork" in line for line in said(script, pids=6))


def test_each_of_its_processes_is_limited(said: Said) -> None:
    assert said(
        "ulimit -n; ulimit -Hn; ulimit -c; df -k /dev/shm | tail -1 | awk '{print $2}'",
        ulimits=["nofile=1000:2000", {"name": "core", "soft": 0, "hard": 0}],
        shm_size="1m",
    ) == ["1000", "2000", "0", "1024"]


def test_cpus_that_are_not_there_are_refused(bus: Bus) -> None:
    assert "Requested CPUs are not available" in refused(bus, cpuset="63")


# -- isolation --------------------------------------------------------------------------------

STATUS = "awk '/^(CapEff|NoNewPrivs|Seccomp):/ {print $2}' /proc/self/status"


def test_by_default_it_has_no_powers_and_cannot_get_any(said: Said) -> None:
    assert said(STATUS) == ["0000000000000000", "1", "2"]


def test_powers_are_given_and_taken_one_by_one(said: Said) -> None:
    assert said(STATUS, cap_add=["chown", "CAP_KILL"])[0] == "0000000000000021"
    assert said(STATUS, cap_drop=["NET_RAW"])[0] == "00000000a80405fb"
    assert said(STATUS, cap_drop=[], no_new_privileges=False)[:2] == ["00000000a80425fb", "0"]


def test_system_calls_are_filtered_as_the_job_says(said: Said) -> None:
    refuses = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }

    assert said(STATUS, seccomp="unconfined")[2] == "0"
    assert said("mkdir /tmp/a 2>/dev/null || echo refused", seccomp=refuses) == ["refused"]
    assert said("mkdir /tmp/a && echo made") == ["made"]


def test_what_this_engine_ignores_is_told(bus: Bus, engine: Engine) -> None:
    job = bus.enqueue(shell("true", apparmor="no-such-profile", selinux=["type:no_such_t"]))
    if {"apparmor", "selinux"} & engine.guards:
        pytest.skip("this Engine enforces one of them")

    ended = job.wait(timeout=60)

    assert isinstance(ended, RunResult)
    assert ended.not_enforced == ["apparmor", "selinux"]
    assert any("does not enforce: apparmor, selinux" in line.text for line in job.logs())


def test_its_root_may_be_read_only_with_memory_to_write_to(said: Said) -> None:
    lines = said(
        "touch /x 2>/dev/null || echo refused; touch /t/x && echo written;"
        " awk '$2 == \"/t\" {print $3, $4}' /proc/mounts; stat -c %a /t",
        read_only=True,
        volumes=[{"type": "tmpfs", "target": "/t", "size": "1m", "mode": "1750"}],
    )

    assert lines[:2] == ["refused", "written"]
    assert lines[2].startswith("tmpfs rw,")
    assert "size=1024k" in lines[2]
    assert lines[3] == "1750"


def test_devices_and_kernel_parameters_of_its_own(said: Said, bus: Bus) -> None:
    assert said(
        "test -c /dev/nothing && cat /dev/nothing && cat /proc/sys/net/core/somaxconn",
        devices=["/dev/null:/dev/nothing:r"],
        sysctls={"net.core.somaxconn": "99"},
    ) == ["99"]
    assert "not in a separate kernel namespace" in refused(bus, sysctls={"kernel.panic": "1"})
    assert "no-such" in refused(bus, devices=["/dev/no-such"])


def test_the_machines_own_namespaces_are_shared_only_where_asked(
    said: Said, inspected: Any
) -> None:
    script = "readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts"

    own, machines = (
        said(script),
        said(script, pid_mode="host", ipc_mode="host", uts_mode="host", init=False),
    )

    assert not set(own) & set(machines)
    host = inspected(pid_mode="host", userns_mode="host", cgroupns="host", cgroup_parent="/dkb")
    assert [
        host["HostConfig"][key] for key in ("PidMode", "UsernsMode", "CgroupnsMode", "CgroupParent")
    ] == ["host", "host", "host", "/dkb"]


def test_a_runtime_that_is_not_there_is_refused_and_one_that_is_used(
    bus: Bus, inspected: Any
) -> None:
    assert "no-such-runtime" in refused(bus, runtime="no-such-runtime")
    assert inspected(runtime="runc")["HostConfig"]["Runtime"] == "runc"


def test_a_privileged_container_is_asked_for_as_such(bus: Bus, engine: Engine) -> None:
    """Where the tests run in a sandbox, its kernel refuses one; that it was asked for shows."""
    job = bus.enqueue(shell(STATUS, privileged=True, remove=False))
    try:
        ended = job.wait(timeout=60)
    except JobFailed as error:
        if "unable to apply caps" not in str(error):
            raise
        return
    assert isinstance(ended, RunResult)
    assert engine.containers.inspect(ended.container_id)["HostConfig"]["Privileged"]
    engine.containers.remove(ended.container_id)


# -- output -----------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_its_output_is_read_from_where_the_job_has_it_kept(
    said: Said, inspected: Any, driver: str
) -> None:
    assert sorted(said("echo a; echo b >&2", log_driver=driver)) == ["a", "b"]
    log = inspected(log_driver=driver, log_options={"max-size": "1m"})["HostConfig"]["LogConfig"]
    assert log == {"Type": driver, "Config": {"max-size": "1m", "max-file": "3"}}


def test_a_log_driver_that_this_machine_lacks_fails_the_job(bus: Bus, engine: Engine) -> None:
    if Path("/run/systemd/journal/socket").exists() or not engine.host.startswith("unix://"):
        pytest.skip("the Engine's machine has it")
    assert "journald" in refused(bus, log_driver="journald")


def test_its_labels_its_stop_signal_and_its_probe_are_the_engines(inspected: Any) -> None:
    config = inspected(
        labels={"dockbus.test": "1", "a": "b=c"},
        stop_signal="SIGINT",
        healthcheck={"test": ["CMD", "true"], "interval": "5s", "timeout": "3s", "retries": 5},
    )["Config"]

    assert config["Labels"]["a"] == "b=c"
    assert config["StopSignal"] == "SIGINT"
    assert config["Healthcheck"] == {
        "Test": ["CMD", "true"],
        "Interval": 5_000_000_000,
        "Timeout": 3_000_000_000,
        "Retries": 5,
    }
