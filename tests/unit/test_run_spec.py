"""The description of a container: short forms, defaults, and what is refused before anything reaches an Engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dockbus.errors import InvalidSpec
from dockbus.jobs import Run, parse_spec
from dockbus.jobs.running import Mount, Network, Port, Ulimit
from dockbus.jobs.running.limits import Limits


def run(**fields: Any) -> Run:
    spec = parse_spec(json.dumps({"kind": "run", "image": "x", **fields}))
    assert isinstance(spec, Run)
    # What Python and JSON make of it is the same, and it survives the bus.
    assert Run.model_validate({"image": "x", **fields}) == spec
    assert parse_spec(spec.model_dump_json()) == spec
    return spec


def refusal(**fields: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(json.dumps({"kind": "run", "image": "x", **fields}))
    return caught.value.detail


def test_a_spec_with_an_image_alone_is_a_bounded_task_without_powers() -> None:
    spec = run()

    assert (spec.mode, spec.restart, spec.remove) == ("task", "no", True)
    assert (spec.memory, spec.memory_swap, spec.pids) == (2**30, None, 1024)
    assert (spec.cap_add, spec.cap_drop, spec.privileged) == ([], ["ALL"], False)
    assert (spec.no_new_privileges, spec.init, spec.seccomp) == (True, True, "default")
    assert spec.networks == [Network(name="dockbus")]


def test_one_limit_leaves_the_others_at_their_defaults() -> None:
    one, none = Limits(cpus=0.5), Limits()

    assert one.model_copy(update={"cpus": None}) == none
    assert (none.memory, none.pids) == (2**30, 1024)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("80", Port(container=80)),
        ("8080:80", Port(container=80, host=8080)),
        ("127.0.0.1:8080:80/udp", Port(container=80, host=8080, protocol="udp")),
        ("0.0.0.0:8080:80", Port(container=80, host=8080, address="0.0.0.0")),  # noqa: S104
        ("[::1]:8080:80/SCTP", Port(container=80, host=8080, address="::1", protocol="sctp")),
        ("10.0.0.1::80", Port(container=80, address="10.0.0.1")),
        (":80", Port(container=80)),
    ],
)
def test_ports_are_read_as_docker_writes_them_but_on_loopback(text: str, port: Port) -> None:
    assert run(ports=[text]).ports == [port]
    assert run(ports=[port.model_dump()]).ports == [port]


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", Mount(target="/data")),
        ("db-data:/var/lib/db", Mount(source="db-data", target="/var/lib/db")),
        ("db-data:/var/lib/db:ro", Mount(source="db-data", target="/var/lib/db", read_only=True)),
        ("/host:/c", Mount(type="bind", source="/host", target="/c")),
        ("//etc/x/..:/c", Mount(type="bind", source="/etc", target="/c")),
        (
            "/host/../etc/:/c/./d/:ro,rslave",
            Mount(type="bind", source="/etc", target="/c/d", read_only=True, propagation="rslave"),
        ),
    ],
)
def test_volumes_are_read_as_docker_writes_them(text: str, mount: Mount) -> None:
    assert run(volumes=[text]).volumes == [mount]


def test_the_path_of_a_bind_is_in_its_shortest_form_however_it_is_given() -> None:
    given = {"type": "bind", "source": "/var/../etc//", "target": "/c/"}

    assert run(volumes=[given]).volumes == [Mount(type="bind", source="/etc", target="/c")]


def test_variables_may_be_a_list_and_keep_what_follows_the_first_sign() -> None:
    wanted = {"A": "b=c\nd", "B": "", "Ä": " "}

    assert run(env=["A=b=c\nd", "B=", "Ä= "]).env == wanted == run(env=wanted).env


def test_sizes_spans_modes_and_limits_are_read_as_people_write_them() -> None:
    spec = run(
        memory="512m",
        memory_swap="1g",
        shm_size="64 MiB",
        stop_timeout="1m30s",
        ulimits=["nofile=1024:2048", "nproc=50"],
        files={"/a": "text", "/b": {"content": "", "mode": "0755"}},
        volumes=[{"type": "tmpfs", "target": "/t", "size": "1m", "mode": "1777"}],
        healthcheck={"test": "wget -q localhost", "interval": "5s", "timeout": "500ms"},
        cap_add=["cap_net_bind_service", "chown"],
        devices=["/dev/null:/dev/x:r", "/dev/zero"],
        networks="none",
    )

    assert (spec.memory, spec.memory_swap, spec.shm_size) == (2**29, 2**30, 2**26)
    assert spec.ulimits == [
        Ulimit(name="nofile", soft=1024, hard=2048),
        Ulimit(name="nproc", soft=50, hard=50),
    ]
    assert [(path, file.content, file.mode) for path, file in spec.files.items()] == [
        ("/a", "text", 0o644),
        ("/b", "", 0o755),
    ]
    assert (spec.volumes[0].size, spec.volumes[0].mode) == (2**20, 0o1777)
    assert spec.healthcheck is not None
    assert spec.healthcheck.test == ["CMD-SHELL", "wget -q localhost"]
    assert (spec.healthcheck.interval, spec.healthcheck.timeout) == (5.0, 0.5)
    assert (spec.stop_timeout, spec.cap_add) == (90.0, ["NET_BIND_SERVICE", "CHOWN"])
    assert [(d.host, d.container, d.permissions) for d in spec.devices] == [
        ("/dev/null", "/dev/x", "r"),
        ("/dev/zero", "/dev/zero", "rwm"),
    ]
    assert spec.networks == [Network(name="none")]


@pytest.mark.parametrize(
    ("given", "test"),
    [
        ("none", ["NONE"]),
        (["NONE"], ["NONE"]),
        ("true", ["CMD-SHELL", "true"]),
        (["CMD", "pg_isready"], ["CMD", "pg_isready"]),
        (["CMD-SHELL", "a && b"], ["CMD-SHELL", "a && b"]),
        (["wget", "-q"], ["CMD", "wget", "-q"]),
        (None, None),
    ],
)
def test_a_probe_may_be_a_list_or_text(given: object, test: list[str] | None) -> None:
    check = run(healthcheck={"test": given}).healthcheck

    assert check is not None
    assert check.test == test


@pytest.mark.parametrize("field", ["memory", "pids"])
def test_nought_and_null_lift_a_limit(field: str) -> None:
    assert getattr(run(**{field: 0}), field) is None
    assert getattr(run(**{field: None}), field) is None


SERVICE = {"mode": "service"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "no such name"}, "name: "),
        ({"name": "-a"}, "name: "),
        ({"env": ["A"]}, "env: 'A' is not NAME=VALUE"),
        ({"env": ["=a"]}, "'' cannot be the name of an environment variable"),
        ({"env": {"A": "1"}, "env_from": {"A": "s"}}, "env_from: A is in env, too"),
        ({"env_from": {"A": "no such"}}, "env_from.A: "),
        ({"working_dir": "tmp"}, "working_dir: 'tmp' is not an absolute path"),
        ({"user": "a b"}, "user: "),
        ({"group_add": [27]}, "group_add.0: "),
        ({"hostname": "a..b"}, "hostname: 'a..b' is not a host name"),
        ({"extra_hosts": {"db": "nowhere"}}, "extra_hosts.db: 'nowhere' is not an IP address"),
        ({"dns": ["x"]}, "dns.0: 'x' is not an IP address"),
        ({"platform": "Linux"}, "platform: "),
        ({"stop_signal": "please"}, "stop_signal: "),
        ({"log_driver": "none"}, "log_driver: "),
        ({"ports": ["80-90:80-90"]}, "ports.0: '80-90:80-90' is not a port; write"),
        ({"ports": ["70000"]}, "ports.0.container: "),
        ({"ports": ["0:80"]}, "ports.0.host: "),
        ({"ports": ["a:80:80"]}, "ports.0.address: 'a' is not an IP address"),
        ({"ports": ["80/icmp"]}, "ports.0.protocol: "),
        ({"ports": ["80:80", "80:81"]}, "port 80/tcp of 127.0.0.1 is there twice"),
        ({"ports": ["80"], "networks": ["none"]}, "there are none to open in network 'none'"),
        ({"ports": ["80"], "networks": ["host"]}, "there are none to open in network 'host'"),
        ({"volumes": ["a:/b:ro:x"]}, "volumes.0: 'a:/b:ro:x' is not a volume"),
        ({"volumes": ["a:/b:z"]}, "volumes.0: 'z' is no option of a volume; there are ro, rw"),
        ({"volumes": ["a:b"]}, "volumes.0.target: 'b' is not an absolute path"),
        ({"volumes": ["../a:/b"]}, "'../a' is not the name of a volume"),
        ({"volumes": ["a:/"]}, "nothing can be mounted over '/'"),
        ({"volumes": ["a:/b", "/c:/b/"]}, "there are two mounts at /b"),
        ({"volumes": ["a:/b:shared"]}, "propagation is for a bind, not for a volume"),
        (
            {"volumes": [{"type": "bind", "source": "a", "target": "/b"}]},
            "'a' is not an absolute path",
        ),
        ({"volumes": [{"type": "bind", "target": "/b"}]}, "a bind has a source"),
        ({"volumes": [{"type": "tmpfs", "source": "a", "target": "/b"}]}, "a tmpfs has no source"),
        ({"volumes": [{"target": "/b", "size": 1}]}, "size is for a tmpfs, not for a volume"),
        ({"networks": []}, "networks: "),
        ({"networks": ["a", "a"]}, "a network is there twice"),
        ({"networks": ["a", "none"]}, "'none' goes with no other network"),
        ({"networks": ["a b"]}, "'a b' is not the name of a network"),
        ({"networks": [{"name": "bridge", "aliases": ["a"]}]}, "no names and no address in 'brid"),
        ({"networks": [{"name": "a", "ipv4": "::1"}]}, "'::1' is not an IPv4 address"),
        ({"network": "none"}, "network: no such field, did you mean 'networks'?"),
        ({"memory_swap": "1g", "memory": 0}, "memory_swap needs memory"),
        ({"memory_swap": "512m"}, "memory_swap is the total of memory and swap: less than memory"),
        ({"memory_reservation": "2g"}, "memory_reservation is more than memory"),
        ({"memory": "1m"}, "memory: it is less than 6291456, the least that an Engine takes"),
        ({"memory": -1}, "memory: Input should be greater"),
        ({"cpus": 1, "cpu_quota": 50000}, "cpus says the same as cpu_quota and cpu_period"),
        ({"cpus": 1, "cpu_period": 50000}, "cpus says the same as cpu_quota and cpu_period"),
        ({"cpuset": "a"}, "cpuset: "),
        ({"pids": -1}, "pids: "),
        ({"ulimits": ["nofiles=1"]}, "there is no limit 'nofiles', did you mean 'nofile'?"),
        ({"ulimits": ["nofile"]}, "'nofile' is not a limit; write NAME=SOFT:HARD"),
        ({"ulimits": ["nofile=2:1"]}, "nofile: soft is more than hard"),
        ({"ulimits": ["core=-1:0"]}, "core: soft is more than hard"),
        ({"ulimits": ["core=1", "core=2"]}, "ulimits: a limit is there twice"),
        (
            {"cap_add": ["cap_sysadmin"]},
            "there is no capability 'cap_sysadmin', did you mean 'SYS_AD",
        ),
        ({"seccomp": "off"}, "seccomp"),
        ({"devices": ["null"]}, "'null' is not a device; write HOST:CONTAINER:rwm"),
        ({"sysctls": {"x": "1"}}, "'x' is not a kernel parameter"),
        ({"pid_mode": "container:x"}, "pid_mode: "),
        ({"runtime": "../runc"}, "runtime: "),
        ({"files": {"a": "x"}}, "'a' is not an absolute path"),
        ({"files": {"/a": {"mode": 0o644}}}, "give either content or blob"),
        ({"files": {"/a": {"content": "", "mode": "rwx"}}}, "'rwx' is not a file mode"),
        ({"files": {"/a": {"blob": "sha256:1"}}}, "files./a.blob: "),
        ({"secrets": ["../key"]}, "secrets.0: "),
        ({"secrets": ["a", "a"]}, "secrets: one is there twice"),
        ({"restart": "always"}, "restart: a task is carried to its end once"),
        ({"restart": "on-failure:0", **SERVICE}, "restart: "),
        ({"wait_healthy": 5}, "wait_healthy: that is for a service"),
        ({"collect": ["/a"], **SERVICE}, "a service does not end"),
        ({"healthcheck": {"interval": 0}}, "healthcheck.interval: "),
        ({"healthcheck": {"retries": 0}}, "healthcheck.retries: "),
        ({"healthcheck": {"test": []}}, "healthcheck.test: "),
    ],
)
def test_what_is_wrong_is_named_before_any_engine_is_asked(
    fields: dict[str, Any], said: str
) -> None:
    assert said in refusal(**fields)
