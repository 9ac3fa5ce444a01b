"""What tests of pull jobs need beside registries: workers that know their way to them, and a job's context without one."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from attempting import attempts_on, take
from dockbus import Bus, Settings, Spec
from dockbus.engine import Engine, EngineError
from dockbus.orders import Order
from dockbus.settings import RegistrySettings, SecretsSettings
from dockbus_workers.context import JobContext


def knowing(
    settings: Settings, folder: Path, *, file: str = "", stall: float = 120.0, **secrets: str
) -> Settings:
    """Settings of a worker with these secrets, this file of registries, and no login of Docker's."""
    for name in ("secrets", "docker"):
        (folder / name).mkdir(exist_ok=True)
    for name, secret in secrets.items():
        (folder / "secrets" / name).write_text(secret)
    path = folder / "registries.yaml"
    path.write_text(file)
    registry = RegistrySettings(
        path=str(path) if file else "", docker_config=str(folder / "docker"), stall=stall
    )
    return settings.model_copy(
        update={"registry": registry, "secrets": SecretsSettings(dir=str(folder / "secrets"))}
    )


def context(bus: Bus, engine: Engine, spec: Spec) -> JobContext:
    """What the handler of such a job would be given, were it carried out here."""
    bus.enqueue(spec)
    attempts = attempts_on(bus)
    (attempt,) = take(attempts, queue=spec.kind.value)
    assert isinstance(attempt.order, Order)
    return JobContext(
        attempt=attempt,
        order=attempt.order,
        attempts=attempts,
        bus=bus,
        engine=engine,
        leaving=threading.Event(),
    )


def forget(engine: Engine, *names: str) -> None:
    """Take names, and with the last the image, from the Engine."""
    for name in names:
        with suppress(EngineError):
            engine.images.remove(name)


@contextmanager
def forgetting(engine: Engine, *names: str) -> Generator[None]:
    """The same, after the block."""
    try:
        yield
    finally:
        forget(engine, *names)
