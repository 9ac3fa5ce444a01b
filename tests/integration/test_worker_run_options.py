"""Every option of a run job, by what the Engine says of the container and by what the container itself sees."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from dockbus import Bus, JobCanceled, JobFailed, JobHandle, RunResult, Settings
from dockbus.engine import Engine
from dockbus.settings import PolicySettings
from processes import Program
from runs import refused, result, shell
from waiting import wait_for

Start = Callable[..., Program]


@pytest.fixture(autouse=True)
def worker(start: Start, base_image: str, settings: Settings) -> Program:
    """One whose policy lets options through that reach the machine: here it is about what they do."""
    policy = PolicySettings(level="privileged")
    program = start("worker", "run", settings=settings.model_copy(update={"policy": policy}))
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def said(bus: Bus) -> Callable[..., list[str]]:
    """What a container with these options prints."""

    def run(script: str, **fields: Any) -> list[str]:
        job = bus.enqueue(shell(script, **fields))
        ended = job.wait(timeout=60)
        assert isinstance(ended, RunResult)
        lines = [line.text for line in job.logs() if line.stream != "system"]
        assert ended.exit_code == 0, lines
        return lines

    return run


@pytest.fixture
def inspected(bus: Bus, engine: Engine) -> Generator[Callable[..., dict[str, Any]]]:
    """What the Engine says of a container with these options, which then goes."""
    jobs: list[JobHandle] = []

    def run(**fields: Any) -> dict[str, Any]:
        jobs.append(job := bus.enqueue(shell("sleep 600", stop_timeout=0, **fields)))
        name = fields.get("name", f"dockbus-{job.id}")
        wait_for(lambda: (it := engine.containers.find(name)) and it.pid, what="it to run")
        return dict(engine.containers.inspect(name))

    yield run
    for job in jobs:
        job.cancel()
    for job in jobs:
        with pytest.raises(JobCanceled):
            job.wait(timeout=60)


Said = Callable[..., list[str]]


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


# -- volumes ----------------------------------------------------------------------------------


@pytest.fixture
def volume(engine: Engine) -> Generator[str]:
    name = f"run-test-{secrets.token_hex(4)}"
    yield name
    engine.volumes.remove(name)


def test_a_volume_keeps_what_one_job_writes_for_the_next(said: Said, volume: str) -> None:
    said("echo kept > /data/a", volumes=[f"{volume}:/data"])

    assert said("cat /in/a; touch /in/b 2>&1 || true", volumes=[f"{volume}:/in:ro"]) == [
        "kept",
        "touch: /in/b: Read-only file system",
    ]


def test_a_volume_without_a_name_goes_with_its_container(said: Said, engine: Engine) -> None:
    before = {volume["Name"] for volume in engine.api.volumes()["Volumes"] or ()}

    assert said("awk '$2 == \"/data\" {print $2}' /proc/mounts", volumes=["/data"]) == ["/data"]

    after = {volume["Name"] for volume in engine.api.volumes()["Volumes"] or ()}
    assert after == before


def test_a_volume_of_a_driver_with_options(said: Said, volume: str) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=2m"}
    mount = {"source": volume, "target": "/m", "driver": "local", "driver_opts": options}

    (line,) = said("grep ' /m ' /proc/mounts", volumes=[mount])

    assert line.startswith("tmpfs /m tmpfs rw")
    assert "size=2048k" in line


def test_a_folder_of_the_machine(said: Said, bus: Bus, tmp_path: Any, engine: Engine) -> None:
    if not engine.host.startswith("unix://"):
        pytest.skip("the Engine is on another machine")
    (tmp_path / "a").write_text("from the machine\n")

    mount = f"{tmp_path}:/in:ro,rprivate"
    assert said("cat /in/a; touch /in/b 2>/dev/null || echo refused", volumes=[mount]) == [
        "from the machine",
        "refused",
    ]
    assert "bind source path does not exist" in refused(bus, volumes=["/no/such/folder:/in"])


# -- networks ---------------------------------------------------------------------------------


@pytest.fixture
def networks(engine: Engine) -> Generator[list[str]]:
    """Two networks with address ranges of their own."""
    names = [f"run-test-{secrets.token_hex(4)}" for _ in range(2)]
    for number, name in enumerate(names):
        pool = {"Config": [{"Subnet": f"10.213.{number}.0/24"}]}
        engine.api.create_network(name, ipam=pool, labels={"dockbus.test": "1"})
    yield names
    for name in names:
        engine.api.remove_network(name)


def test_by_default_containers_reach_the_world_but_not_each_other(
    inspected: Any, said: Said, engine: Engine
) -> None:
    other = inspected(networks=["dockbus"])["NetworkSettings"]["Networks"]["dockbus"]
    network = engine.api.inspect_network("dockbus")

    script = "ping -c 1 -W 1 {} >/dev/null && echo reached || echo apart"
    raw = {"networks": ["dockbus"], "cap_add": ["NET_RAW"]}
    assert said(script.format(other["Gateway"]), **raw) == ["reached"]
    assert said(script.format(other["IPAddress"]), **raw) == ["apart"]
    assert network["Labels"] == {"dockbus.managed": "true"}
    assert network["Options"] == {"com.docker.network.bridge.enable_icc": "false"}


def test_on_networks_of_its_own_it_has_names_and_addresses(
    networks: list[str], inspected: Any, said: Said
) -> None:
    first, second = networks
    it = inspected(
        networks=[
            {"name": first, "aliases": ["db"], "ipv4": "10.213.0.77"},
            {"name": second, "aliases": ["db2"]},
        ]
    )
    on = it["NetworkSettings"]["Networks"]

    assert set(on) == {first, second}
    assert on[first]["IPAddress"] == "10.213.0.77"
    assert "db" in on[first]["Aliases"]
    assert "db2" in on[second]["Aliases"]
    raw = {"cap_add": ["NET_RAW"]}
    assert said("ping -c 1 db | head -1", networks=[first], **raw)[0].startswith(
        "PING db (10.213.0.77)"
    )
    assert said("ping -c 1 db2 | head -1", networks=[second], **raw)[0].startswith(
        "PING db2 (10.213.1."
    )


def test_the_engines_own_words_for_networks(bus: Bus, inspected: Any, said: Said) -> None:
    assert said("ls /sys/class/net") == ["lo"]
    bridged = inspected(networks=["bridge"])
    assert bridged["HostConfig"]["NetworkMode"] == "bridge"
    hosts = {name for _, name in socket.if_nameindex()}
    assert "docker0" in said("ls /sys/class/net", networks=["host"]) or "docker0" not in hosts
    job = bus.enqueue(shell("sleep 0.3", networks=["host"]))
    used = result(job).usage
    assert used is not None
    assert (used.rx_bytes, used.tx_bytes) == (None, None), "the machine's traffic is not its own"
    shared = said("hostname -i", networks=[f"container:{bridged['Id']}"])
    assert shared[-1].split()[0] == bridged["NetworkSettings"]["IPAddress"]


def test_names_and_name_servers(said: Said) -> None:
    lines = said(
        "grep db /etc/hosts; cat /etc/resolv.conf",
        networks=["bridge"],
        extra_hosts={"db": "10.1.2.3"},
        dns=["10.9.9.9"],
        dns_search=["a.example"],
    )

    assert lines[0].split() == ["10.1.2.3", "db"]
    assert "nameserver 10.9.9.9" in lines
    assert "search a.example" in lines


def test_a_network_that_is_not_there_fails_the_job(bus: Bus) -> None:
    assert "network dockbus-no-such not found" in refused(bus, networks=["dockbus-no-such"])
    assert "dockbus-no-such" in refused(bus, networks=["dockbus", "dockbus-no-such"])
    assert "No such container: no-such" in refused(bus, networks=["container:no-such"])


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
