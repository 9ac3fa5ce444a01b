"""What goes into a container and comes out of it: files, artefacts, secrets."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from dockbus import Bus, Settings
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.settings import SecretsSettings
from dockbus_workers.running.holder import IMAGE
from processes import Program
from runs import failure, no_container, output, refused, result, service, shell
from waiting import wait_for

Start = Callable[..., Program]
SECRET = "correct horse battery staple"


@pytest.fixture
def told(settings: Settings, tmp_path: Path) -> Settings:
    """With secrets, and room for little."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "app_secret").write_text(f"{SECRET}\n")
    (folder / "key").write_text("line one\nline two\n")
    return settings.model_copy(
        update={
            "secrets": SecretsSettings(dir=str(folder)),
            "bus": settings.bus.model_copy(update={"blob_size": 100_000}),
        }
    )


@pytest.fixture(autouse=True)
def worker(start: Start, base_image: str, told: Settings) -> Program:
    program = start("worker", "run", settings=told)
    program.wait_until_said("taking jobs")
    return program


# -- files ------------------------------------------------------------------------------------


def test_files_are_there_before_the_program_starts(bus: Bus) -> None:
    blob = bus.upload(b"\0\xff" * 1000)
    files = {
        "/etc/app/config.toml": "debug = true\n",
        "/usr/local/bin/tool": {"content": "#!/bin/sh\necho ran $1\n", "mode": "0755"},
        "/data/blob": {"blob": blob.digest},
    }

    job = bus.enqueue(
        shell(
            "cat /etc/app/config.toml; /usr/local/bin/tool it; sha256sum /data/blob;"
            " stat -c '%a %u' /etc/app/config.toml /usr/local/bin/tool",
            files=files,
            user="65534",
        )
    )

    assert result(job).exit_code == 0
    assert output(job) == [
        "debug = true",
        "ran it",
        f"{blob.digest.removeprefix('sha256:')}  /data/blob",
        "644 0",
        "755 0",
    ]


def test_files_that_cannot_be_there_fail_the_job(bus: Bus, engine: Engine) -> None:
    gone = f"sha256:{'0' * 64}"

    assert refused(bus, files={"/a": {"blob": gone}}).startswith("blob-not-found: ")
    told = refused(bus, files={"/a": "x"}, read_only=True)
    assert told.startswith("files-refused: ")
    assert "read-only" in told


# -- artefacts --------------------------------------------------------------------------------


def test_what_the_job_names_is_kept_when_the_program_has_ended(bus: Bus, engine: Engine) -> None:
    script = (
        "mkdir -p /out/sub; echo a > /out/a; echo b > /out/sub/b; mkdir /more; echo c > /more/a;"
        " head -c 50000 /dev/zero > /zeros; exit 3"
    )

    job = bus.enqueue(shell(script, collect=["/out/a", "/out", "/more/a", "/zeros", "/none"]))
    ended = result(job)

    assert ended.exit_code == 3
    assert [(one.name, one.media_type) for one in ended.artefacts] == [
        ("a", "application/octet-stream"),
        ("out.tar", "application/x-tar"),
        ("more-a", "application/octet-stream"),
        ("zeros", "application/octet-stream"),
    ]
    assert b"".join(job.artefact("a")) == b"a\n"
    assert b"".join(job.artefact("more-a")) == b"c\n"
    assert b"".join(job.artefact("zeros")) == b"\0" * 50_000
    with tarfile.open(fileobj=io.BytesIO(b"".join(job.artefact("out.tar")))) as tar:
        assert {entry.name for entry in tar if entry.isfile()} == {"out/a", "out/sub/b"}
    assert "nothing to collect at /none" in output(job, "system")
    assert no_container(engine, job)


def test_more_than_the_bus_keeps_is_not_collected(bus: Bus, engine: Engine) -> None:
    script = "head -c 60000 /dev/zero | tee /a > /b"

    job = bus.enqueue(shell(script, collect=["/a", "/b"]))

    told = failure(job)
    assert told.startswith("too-much-to-collect: ")
    assert "/b: there is room for 39 kB" in told
    assert no_container(engine, job)


# -- secrets ----------------------------------------------------------------------------------


def test_secrets_are_files_in_memory_from_the_first_instruction(
    bus: Bus, engine: Engine, redis: Redis
) -> None:
    script = (
        "sha256sum /run/secrets/app_secret; cat /run/secrets/key; echo; ls -ln /run/secrets;"
        " touch /run/secrets/x 2>/dev/null || echo read-only; grep /run/secrets /proc/mounts; sleep 3"
    )

    job = bus.enqueue(shell(script, secrets=["app_secret", "key"], user="65534", remove=False))
    name = f"dockbus-{job.id}"
    wait_for(lambda: (it := engine.containers.find(name)) and it.pid, what="it to run")
    seen = json.dumps(engine.containers.inspect(name)) + json.dumps(engine.api.volumes())
    left = wait_for(
        lambda: len(engine.containers.all(labels={LABEL_JOB: job.id})) == 1, what="the holder to go"
    )
    ended = result(job)

    lines = output(job)
    assert left
    assert ended.exit_code == 0
    digest = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a"
    assert lines[0] == f"{digest}  /run/secrets/app_secret"
    assert lines[1:3] == ["***", "***"], "what it prints of them is blotted out"
    assert [line.split()[0] for line in lines[4:6]] == ["-r--r--r--", "-r--r--r--"]
    assert "read-only" in lines
    assert any(line.startswith("tmpfs /run/secrets tmpfs ro,") for line in lines)
    assert SECRET not in seen
    kept: Any = redis
    assert not any(SECRET.encode() in (kept.dump(key) or b"") for key in kept.scan_iter())
    exported = b"".join(engine.api.export(name))
    assert SECRET.encode() not in exported
    engine.containers.remove(ended.container_id)
    engine.volumes.remove(f"{name}-secrets")


def test_nothing_of_secrets_is_left_on_the_engine(bus: Bus, engine: Engine) -> None:
    ended, canceled = (
        bus.enqueue(shell(script, secrets=["key"], stop_timeout=0))
        for script in ("true", "sleep 600")
    )
    wait_for(lambda: engine.containers.all(labels={LABEL_JOB: canceled.id}, running=True))

    assert result(ended).exit_code == 0
    canceled.cancel()
    wait_for(lambda: canceled.state.ended, what="it to be canceled")

    assert no_container(engine, ended)
    assert no_container(engine, canceled)
    assert engine.images.get(IMAGE).size < 1000


def test_secrets_may_be_variables(bus: Bus) -> None:
    script = 'echo "$PASSWORD" | sha256sum; echo "it is $PASSWORD"'

    job = bus.enqueue(shell(script, env_from={"PASSWORD": "app_secret"}))

    assert result(job).exit_code == 0
    assert output(job)[1] == "it is ***"


def test_a_secret_that_the_worker_does_not_have_fails_the_job(bus: Bus, engine: Engine) -> None:
    for fields in ({"secrets": ["nobody"]}, {"env_from": {"A": "nobody"}}):
        job = bus.enqueue(shell("true", **fields))
        assert failure(job).startswith("secret-not-found: ")
        assert no_container(engine, job)


def test_a_service_has_its_secrets_as_long_as_it_runs(bus: Bus, engine: Engine) -> None:
    job = bus.enqueue(service("sleep 2; sha256sum /run/secrets/key; sleep 600", secrets=["key"]))
    made = result(job).container_id

    assert [one.id for one in engine.containers.all(labels={LABEL_JOB: job.id})] == [made]

    def printed() -> list[str]:
        return [line.text for line in engine.containers.logs(made, tail=5)]

    assert "/run/secrets/key" in wait_for(printed, what="its output")[0]
    engine.containers.remove(made, force=True)
    engine.volumes.remove(f"dockbus-{job.id}-secrets")
