from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from commandline import PROGRAM, CommandLine
from dockbus import Bus, Event


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# -- jobs that wait for a worker -----------------------------------------------------------


def test_a_job_can_be_sent_looked_at_and_canceled(dockbus: CommandLine) -> None:
    job = dockbus.ok("run", "-d", "-e", "A=b=c", "busybox", "--", "echo", "--json").strip()

    (listed,) = json.loads(dockbus.ok("jobs", "--json"))
    shown = json.loads(dockbus.ok("job", job, "--json"))
    assert listed == shown
    assert (shown["id"], shown["state"], shown["queue"]) == (job, "queued", "run")
    assert shown["spec"]["command"] == ["echo", "--json"]
    assert shown["spec"]["env"] == {"A": "b=c"}
    table = dockbus.ok("jobs")
    assert re.search(rf"^{job} +run +busybox echo --json +queued ", table, re.MULTILINE)
    assert re.search(r"^spec.image +busybox *$", dockbus.ok("job", job), re.MULTILINE)
    queued = {
        queue["name"]: queue["queued"] for queue in json.loads(dockbus.ok("queues", "--json"))
    }
    assert queued == {"build": 0, "cleanup": 0, "container": 0, "pull": 0, "run": 1, "scan": 0}
    assert re.search(r"^run +1 +0 +0 +0 +0 +0 *$", dockbus.ok("queues"), re.MULTILINE)

    assert dockbus.ok("cancel", job) == f"job {job} is canceled\n"
    assert json.loads(dockbus.ok("job", job, "--json"))["state"] == "canceled"
    again = dockbus("cancel", job)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "already ended" in again.stderr

    told = lines(dockbus.ok("events", "--json"))
    assert [fact["event"]["type"] for fact in told] == [
        "io.dockbus.job.queued",
        "io.dockbus.job.canceled",
    ]
    after = lines(dockbus.ok("events", "--json", "--since", told[0]["position"]))
    assert after == told[1:]
    assert dockbus.ok("events", "--type", "*.queued").count("\n") == 1


SPECS: list[tuple[str, dict[str, Any]]] = [
    (
        "run -m 512m --cpus 1.5 -w /tmp -u 1:1 --network none -l a=1 --pull never --keep busybox",
        {
            "memory": 512 * 1024**2,
            "cpus": 1.5,
            "working_dir": "/tmp",  # noqa: S108
            "user": "1:1",
            "networks": [{"name": "none", "aliases": [], "ipv4": None}],
            "labels": {"a": "1"},
            "pull": "never",
            "remove": False,
            "command": None,
        },
    ),
    ("pull busybox --platform linux/arm64", {"image": "busybox", "platform": "linux/arm64"}),
    (
        "build ctx -t app:1 -t app:2 -f D --build-arg V=1 --target t --no-cache",
        {
            "context": str(Path.cwd() / "ctx"),
            "tags": ["app:1", "app:2"],
            "dockerfile": "D",
            "args": {"V": "1"},
            "target": "t",
            "no_cache": True,
        },
    ),
    (
        "scan busybox --ignore-unfixed --fail-on high",
        {"ignore_unfixed": True, "fail_on": "HIGH"},
    ),
    ("cleanup", {"containers": True, "images": "no", "older_than": 0.0, "dry_run": False}),
    (
        "cleanup --no-containers --images --label a --label b=1 --older-than 7d --dry-run",
        {
            "containers": False,
            "images": "dangling",
            "labels": {"a": "", "b": "1"},
            "older_than": 604800.0,
            "dry_run": True,
        },
    ),
    (
        "restart web --stop-timeout 1m --only-if container.exit_code!=0 --timeout 2m",
        {"container": "web", "timeout": 60.0, "only_if": "container.exit_code!=0"},
    ),
    (
        "stop web --signal SIGINT --started 2026-11-21T12:00:00.123456Z",
        {"signal": "SIGINT", "started": "2026-11-21T12:00:00.123456Z"},
    ),
    ("start web", {"container": "web", "started": None}),
    ("remove web -f -v", {"force": True, "volumes": True}),
    (
        "exec web ls /bin -u 1 -w /srv -e A=b=c --env-from B=secret",
        {
            "command": ["ls", "/bin"],
            "user": "1",
            "working_dir": "/srv",
            "env": {"A": "b=c"},
            "env_from": {"B": "secret"},
        },
    ),
]


@pytest.mark.parametrize(("words", "spec"), SPECS)
def test_options_become_the_spec(dockbus: CommandLine, words: str, spec: dict[str, Any]) -> None:
    job = json.loads(dockbus.ok(*words.split(), "--detach", "--json"))
    assert job["kind"] == words.split(maxsplit=1)[0]
    assert job["spec"].items() >= spec.items()


def test_delivery_options_of_a_job(dockbus: CommandLine, bus: Bus, redis: Redis) -> None:
    first = dockbus.ok("pull", "a", "-d", "--key", "k", "--engine", "e1", "--timeout", "2m").strip()
    assert bus.job(first).refresh().queue == "pull@e1"
    assert redis.hget(f"rq:job:{first}", "timeout") == b"120"
    assert dockbus.ok("pull", "a", "-d", "--key", "k", "--engine", "e1").strip() == first
    conflict = dockbus("pull", "b", "-d", "--key", "k", "--json")
    assert conflict.returncode == 1
    assert json.loads(conflict.stderr)["code"] == "key-conflict"
    normal, high = (dockbus.ok("pull", "a", "-d", *more).strip() for more in ([], ["--high"]))
    assert redis.lrange("rq:queue:pull", 0, -1) == [high.encode(), normal.encode()]


# -- what goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("run busybox --foo", 2, "No such option: --foo (see `dockbus run --help`)"),
        ("run", 2, "Missing argument 'IMAGE'"),
        ("run busybox -e A", 2, "'A' is not KEY=VALUE"),
        ("jbos", 2, "Did you mean 'jobs'?"),
        ("cleanup --older-than 1x", 2, "'1x' is not a span of time"),
        ("events --since yesterday", 2, "Give a position such as"),
        ("scan busybox --fail-on awful", 2, "'awful'"),
        ("run -d Bad:Image", 1, "'Bad:Image' is not an image reference"),
        ("run -d -m 1k busybox", 1, "memory: "),
        ("cleanup -d --no-containers", 1, "nothing to clean up"),
        ("job nope", 1, "There is no such job: nope"),
        ("logs nope", 1, "There is no such job: nope"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    dockbus: CommandLine, redis: Redis, words: str, code: int, said: str
) -> None:
    done = dockbus(*words.split())
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("dockbus: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert redis.dbsize() == 0  # pyright: ignore[reportUnknownMemberType]


def test_a_redis_that_is_down_is_one_line(tmp_path: Path) -> None:
    dockbus = CommandLine(DOCKBUS_REDIS_URL=f"unix://{tmp_path}/none.sock", DOCKBUS_BUS_KEY="any")
    done = dockbus("run", "-d", "busybox")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "DOCKBUS_REDIS_URL" in done.stderr
    problem = json.loads(dockbus("jobs", "--json").stderr)
    assert list(problem) == ["code", "title", "detail", "advice"]
    assert problem["code"] == "redis-unavailable"


def test_a_misspelt_variable_is_named_and_the_settings_are_still_listed(tmp_path: Path) -> None:
    dockbus = CommandLine(DOCKBUS_REDIS_ULR="x", HOME=str(tmp_path))
    done = dockbus("jobs")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "did you mean 'DOCKBUS_REDIS_URL'?" in done.stderr
    listed = dockbus("doctor", "--settings", "--json")
    assert (listed.returncode, json.loads(listed.stderr)["code"]) == (1, "settings-error")
    assert "DOCKBUS_REDIS_URL" in {setting["name"] for setting in json.loads(listed.stdout)}


def test_jobs_of_another_key_are_shown_for_what_they_are(dockbus: CommandLine) -> None:
    job = dockbus.ok("run", "-d", "busybox").strip()
    dockbus.env["DOCKBUS_BUS_KEY"] = "another"
    done = dockbus("jobs")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^{job} +The job's record .* written by ", done.stdout, re.MULTILINE)


def test_a_reader_that_goes_away_is_no_error(dockbus: CommandLine, bus: Bus) -> None:
    for number in range(2000):  # more than a pipe holds
        bus.publish(Event(source="/test", type="test", data={"number": number, "text": "x" * 50}))
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM} events | head -1"],
        check=False,
        capture_output=True,
        text=True,
        env=dockbus.env,
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


# -- with a worker and an Engine -----------------------------------------------------------


def test_run_is_the_container_in_this_terminal(
    dockbus: CommandLine, engine_host: str, base_image: str
) -> None:
    dockbus.env["DOCKER_HOST"] = engine_host
    with dockbus.started("worker", "run", stderr=subprocess.DEVNULL) as worker:
        script = "echo out; echo err >&2; exit 3"
        container = ("--label", "dockbus.test=1", base_image, "--", "sh", "-c", script)
        done = dockbus("run", *container)
        assert (done.returncode, done.stdout) == (3, "out\n")
        said = {text.partition(" after")[0] for text in done.stderr.splitlines()}
        assert said >= {"err", "exit code 3"}
        as_json = dockbus("run", "--json", *container)
        assert as_json.returncode == 3
        assert json.loads(as_json.stdout)["result"]["exit_code"] == 3
        assert "out" in as_json.stderr.splitlines()
        failed = dockbus("run", "--pull", "never", "dockbus/none:1")
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "There is no such image" in failed.stderr.splitlines()[-1]
        worker.terminate()
        assert worker.wait(timeout=40) == 0


# -- doctor --------------------------------------------------------------------------------


def test_the_doctor_where_nothing_runs(tmp_path: Path) -> None:
    dockbus = CommandLine(
        DOCKBUS_REDIS_URL=f"unix://{tmp_path}/redis.sock",
        DOCKBUS_BUS_DATA_DIR=str(tmp_path),
        DOCKER_HOST=f"unix://{tmp_path}/docker.sock",
    )
    done = dockbus("doctor")
    assert (done.returncode, done.stderr) == (1, "")
    findings = done.stdout.splitlines()
    missing = [number for number, line in enumerate(findings) if line.startswith("missing")]
    assert [findings[number].split()[1] for number in missing] == ["engine", "redis", "key"]
    assert all(findings[number + 1].lstrip().startswith("→ ") for number in missing)


def test_the_doctor_looks_at_redis(dockbus: CommandLine, redis: Redis, redis_url: str) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")  # pyright: ignore[reportUnknownMemberType]
    try:
        checks = {check["name"]: check for check in json.loads(dockbus("doctor", "--json").stdout)}
    finally:
        redis.config_set("maxmemory-policy", "noeviction")  # pyright: ignore[reportUnknownMemberType]
    levels = {name: check["level"] for name, check in checks.items()}
    assert levels.items() >= {
        ("redis", "ok"),
        ("redis persistence", "ok"),
        ("redis memory", "warning"),
        ("clock", "ok"),
        ("key", "ok"),
        ("workers", "warning"),
    }
    assert redis_url in checks["redis"]["found"]
    assert "noeviction" in checks["redis memory"]["advice"]
    assert "`dockbus worker run`" in checks["workers"]["advice"]
    assert redis.dbsize() == 0  # pyright: ignore[reportUnknownMemberType]


def test_the_doctor_finds_an_engine(dockbus: CommandLine, engine_host: str) -> None:
    dockbus.env["DOCKER_HOST"] = engine_host
    done = dockbus("doctor")
    assert done.returncode == 0
    assert re.search(r"^(ok|warning) +engine +Docker \d+\.\d+", done.stdout, re.MULTILINE)


# -- the command itself --------------------------------------------------------------------


def test_help_names_every_command() -> None:
    commands = set(re.findall(r"^│ (\w+) ", CommandLine().ok("--help"), re.MULTILINE))
    assert commands >= {
        *("run", "pull", "build", "scan", "cleanup", "enqueue", "replay"),
        *("restart", "stop", "start", "remove", "exec"),
        *("jobs", "job", "logs", "cancel", "events", "queues", "doctor"),
        *("up", "api", "watch", "rules", "schedule", "schedules", "worker", "metrics"),
    }


@pytest.mark.parametrize("word", ["--help", "jobs"])
def test_nothing_is_imported_that_is_not_needed(dockbus: CommandLine, word: str) -> None:
    program = (
        "import sys\n"
        "from dockbus.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code)\n"
        "heavy = {'docker', 'fastapi', 'uvicorn', 'yaml', 'prometheus_client', 'rich.progress',\n"
        "         'dockbus.engine', 'dockbus_workers', 'dockbus_producer'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, word],
        check=True,
        capture_output=True,
        text=True,
        env=dockbus.env,
    )
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"dockbus \d+\.\d+\.\d+\n", CommandLine().ok("--version"))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dockbus ", {"run", "jobs", "worker", "doctor"}),
        ("dockbus j", {"job", "jobs"}),
        ("dockbus run --me", {"--memory"}),
        ("dockbus run --pull ", {"if-not-present", "always", "never"}),
        ("dockbus run --after", {"--after", "--after-failure"}),
        ("dockbus jobs --state ", {"waiting", "dead"}),
        ("dockbus worker --", {"--slots", "--help"}),
    ],
)
def test_the_shell_completes(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    dockbus = CommandLine(
        _DOCKBUS_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1)
    )
    assert offered <= set(dockbus.ok().split())
