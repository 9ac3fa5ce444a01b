"""Keep a file of routes, domain to target, of all running containers that have the label web.enabled=true.

    python examples/routes/routes.py routes.json [COMMAND ...]

COMMAND, such as the reload of a proxy, runs whenever the file has changed. The file is replaced as a whole, so nobody
reads half of one. It takes an event producer (`dockbus watch`) beside each Engine, and no Engine itself.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from dockbus import Bus, ContainerState, LabelModel, Settings, Watcher
from dockbus.logs import log_to_stderr

log = logging.getLogger("routes")
PART = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def host_name(text: str) -> str:
    """The host name in lower case."""
    if len(text) > 253 or not re.fullmatch(rf"{PART}(\.{PART})*", text, re.ASCII | re.IGNORECASE):
        raise ValueError("it is not a host name, such as shop.example")
    return text.lower()


class Route(LabelModel):
    """The labels of a container that is to be reached under a domain: `web.domain`, `web.port`, `web.description`."""

    domain: Annotated[str, AfterValidator(host_name)]
    port: int = Field(ge=1, le=65535)
    description: str = ""


def target(container: ContainerState, port: int) -> str:
    """Where its port is reached from the Engine's machine: published, on its network, or on the host's."""
    for public in container.ports:
        if (public.container, public.protocol) == (port, "tcp"):
            anywhere = public.address in ("", "0.0.0.0", "::")  # noqa: S104  it is read, not listened on
            return _at("localhost" if anywhere else public.address, public.host)
    return _at(next(iter(container.addresses.values()), "localhost"), port)


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def table(found: Iterable[tuple[ContainerState, Route]]) -> dict[str, dict[str, str]]:
    """The routes by domain. Of several containers with one domain, the first has it."""
    routes: dict[str, dict[str, str]] = {}
    for container, route in found:
        entry = {
            "target": target(container, route.port),
            "engine": container.engine,
            "container": container.id,
            "description": route.description,
        }
        routes.setdefault(route.domain, entry)
    return dict(sorted(routes.items()))


def write(routes: dict[str, dict[str, str]], file: Path) -> bool:
    """Put the routes into the file; whether that changed it."""
    text = json.dumps(routes, indent=2) + "\n"
    if file.exists() and file.read_text() == text:
        return False
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(text)
    draft.replace(file)
    return True


def main(file: Path, *command: str) -> None:
    """Keep the file until SIGTERM or Ctrl-C."""
    settings = Settings.from_env()
    log_to_stderr(settings.log, program="routes")
    with Bus.connect(settings) as bus:
        watcher = Watcher(bus, labels={"web.enabled": "true"}, prefix="web", schema=Route)

        def update() -> None:
            if write(table(watcher.now), file) and command:
                subprocess.run(command, check=True)

        @watcher.on_add
        def added(container: ContainerState, route: Route) -> None:  # pyright: ignore[reportUnusedFunction]
            update()
            holder = table(watcher.now).get(route.domain)
            if holder and holder["container"] != container.id:
                words = "conflict: %s belongs to container %s already, %s must wait"
                log.warning(words, route.domain, holder["container"][:12], container.name)
            else:
                log.info("added %s -> %s", route.domain, target(container, route.port))

        @watcher.on_remove
        def removed(container: ContainerState, route: Route) -> None:  # pyright: ignore[reportUnusedFunction]
            update()
            log.info("removed %s of container %s", route.domain, container.name)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: watcher.stop())
        watcher.discover()
        update()  # where nothing is there, nobody was called, and the file is of yesterday
        watcher.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
