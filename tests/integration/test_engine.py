"""Images and containers of a real Engine, through the client: what is asked happens, what is refused says why."""

from __future__ import annotations

import io
import secrets
import tarfile
import threading
import time

import pytest

from containers import LABELS, container
from dockbus.engine import (
    ContainerNotFound,
    ContainerSpec,
    Engine,
    EngineConflict,
    EngineEvent,
    EngineRejected,
    EngineTimeout,
    ImageNotFound,
    LogChunk,
    RegistryUnavailable,
    Stream,
)
from dockbus.jobs.running import Mount
from waiting import wait_for

# -- images -------------------------------------------------------------------------------------


def test_an_image_is_found_by_name_and_id_tagged_and_removed(
    engine: Engine, base_image: str
) -> None:
    image, name = engine.images.get(base_image), f"dockbus/test-{secrets.token_hex(4)}:1"

    engine.images.tag(base_image, name)

    assert engine.images.get(name) == engine.images.get(image.id)
    assert name in engine.images.get(image.id).tags
    assert image.id in [found.id for found in engine.images.all()]
    engine.images.remove(name)
    assert engine.images.find(name) is None
    assert engine.images.find(base_image) is not None


def test_an_image_that_is_nowhere_is_not_found(engine: Engine) -> None:
    for verb in (engine.images.get, engine.images.remove):
        with pytest.raises(ImageNotFound, match="dockbus/no-such"):
            verb("dockbus/no-such:1")
    with pytest.raises(ImageNotFound):
        engine.images.tag("dockbus/no-such:1", "dockbus/other:1")


def test_an_image_in_use_stays(engine: Engine, base_image: str) -> None:
    with container(engine, "true", start=False):
        image = engine.images.get(base_image).id
        with pytest.raises(EngineConflict):
            engine.images.remove(image)
    assert engine.images.find(base_image)


def test_a_root_file_system_becomes_an_image(engine: Engine) -> None:
    name = f"dockbus/test-{secrets.token_hex(4)}:1"
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("empty"))
        image = engine.images.import_rootfs(
            buffer.getvalue(), name, ["LABEL dockbus.test=1", 'CMD ["x"]']
        )
    try:
        found = engine.images.get(name)
        assert (found.id, found.layers, dict(found.labels)) == (image, 1, LABELS)
    finally:
        engine.images.remove(name)


def test_a_registry_that_is_not_there_is_told_from_an_engine_that_is_not(engine: Engine) -> None:
    with pytest.raises(RegistryUnavailable):
        list(engine.images.pull("127.0.0.1:1/x:1"))


# -- containers ---------------------------------------------------------------------------------


def test_a_container_lives_and_its_output_is_read_to_the_end(
    engine: Engine, base_image: str
) -> None:
    with container(engine, "echo out; echo err >&2; exit 3") as made:
        lines = list(engine.containers.logs(made))
        wait_for(lambda: engine.containers.get(made).is_stopped, what="its end")
        ended = engine.containers.get(made)

        assert {(line.stream, line.text) for line in lines} == {
            ("stdout", "out"),
            ("stderr", "err"),
        }
        assert (ended.state, ended.exit_code, ended.oom_killed) == ("exited", 3, False)
        assert ended.started
        assert ended.finished
        assert (ended.finished - ended.started).total_seconds() > -1  # two readings of its clock
        assert made in [one.id for one in engine.containers.all(labels=LABELS)]
        assert made not in [one.id for one in engine.containers.all(running=True)]
        assert made not in [one.id for one in engine.containers.all(labels={"dockbus.test": "2"})]
    assert engine.containers.find(made) is None


def test_a_line_of_a_megabyte_arrives_whole(engine: Engine, base_image: str) -> None:
    script = (
        "head -c 1048576 /dev/zero | tr '\\0' A; echo; printf 'nul \\0 \\303\\244'; echo; echo end"
    )
    with container(engine, script) as made:
        wait_for(lambda: engine.containers.get(made).is_stopped, what="its end")
        lines = list(engine.containers.logs(made))

    assert "".join(line.text for line in lines) == "A" * 2**20 + "nul \0 ä" + "end"
    assert [line.text for line in lines[-2:]] == ["nul \0 ä", "end"]


def test_reading_goes_on_from_a_second(engine: Engine, base_image: str) -> None:
    with container(engine, "echo one; sleep 1.2; echo two") as made:
        wait_for(lambda: engine.containers.get(made).is_stopped, what="its end")
        _, last = engine.containers.logs(made)
        since = str(int(time.mktime(time.strptime(last.stamp[:19], "%Y-%m-%dT%H:%M:%S"))))
        again = list(engine.containers.logs(made, since=str(int(since) - time.timezone)))

    assert [line.text for line in again] == ["two"]


def test_another_thread_ends_the_reading(engine: Engine, base_image: str) -> None:
    got: list[str] = []
    with container(engine, "echo begun; sleep 60") as made:
        logs, events = engine.containers.logs(made), engine.events()
        readers = [
            threading.Thread(target=lambda: got.extend(line.text for line in logs)),
            threading.Thread(target=lambda: list(events)),
        ]
        for reader in readers:
            reader.start()
        wait_for(lambda: got, what="the first line")

        begun = time.monotonic()
        logs.close()
        events.close()
        events.close()
        for reader in readers:
            reader.join()

    assert time.monotonic() - begun < 30
    assert got == ["begun"]


@pytest.mark.parametrize("verb", ["logs", "events"])
def test_silence_ends_after_the_time_that_is_set(
    engine: Engine, base_image: str, verb: str
) -> None:
    with container(engine, "sleep 60") as made:
        future = str(int(time.time()) + 3600)
        silent: Stream[LogChunk] | Stream[EngineEvent] = (
            engine.containers.logs(made, idle=0.5)
            if verb == "logs"
            else engine.events(since=future, until=str(int(future) + 60), idle=0.5)
        )
        begun = time.monotonic()
        with pytest.raises(EngineTimeout):
            list(silent)
        assert time.monotonic() - begun < 30


def test_what_happens_to_a_container_is_an_event(engine: Engine, base_image: str) -> None:
    since = f"{time.time():.9f}"
    with container(engine, "true") as made:
        actions: list[str] = []
        for event in engine.events(since=since, idle=10):
            if event.actor == made:
                actions.append(event.action)
                assert event.attributes["dockbus.test"] == "1"
            if event.action == "die" and event.actor == made:
                break

    assert actions == ["create", "start", "die"]


def test_stopping_and_removing_what_is_gone_is_no_error(engine: Engine, base_image: str) -> None:
    with container(engine, "sleep 60") as made:
        engine.containers.start(made)
        engine.containers.stop(made, timeout=0)
        engine.containers.stop(made, timeout=0)
        assert engine.containers.get(made).is_stopped
        engine.containers.remove(made)
        engine.containers.remove(made)
        engine.containers.stop(made, timeout=0)


def test_refusals_say_what_is_wrong(engine: Engine, base_image: str) -> None:
    with container(engine, "sleep 60") as made:
        name = engine.containers.get(made).name
        taken = ContainerSpec(name=name, image=base_image, labels=LABELS)
        with pytest.raises(EngineConflict, match=name):
            engine.containers.create(taken)
        with pytest.raises(EngineConflict, match="running"):
            engine.containers.remove(made)
    mount = Mount(type="bind", source="/no/such", target="/x")
    with pytest.raises(EngineRejected, match="bind source path does not exist"):
        engine.containers.create(ContainerSpec(name=name, image=base_image, volumes=[mount]))
    with pytest.raises(ImageNotFound):
        engine.containers.create(ContainerSpec(name=name, image="dockbus/no-such:1"))
    for verb in (engine.containers.get, engine.containers.start, engine.containers.logs):
        with pytest.raises(ContainerNotFound, match=made):
            verb(made)


def test_an_unknown_network_is_refused_at_the_start(engine: Engine, base_image: str) -> None:
    with (
        container(engine, "true", start=False, network="dockbus-no-such") as made,
        pytest.raises(EngineRejected, match="network dockbus-no-such not found"),
    ):
        engine.containers.start(made)
