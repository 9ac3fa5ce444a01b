"""Machines in a Swarm, on one switch: each a Docker Engine with processes, mounts, a network and a name of its own.

All in a machine ends with its first process, at once and whatever it does: a power cut. Run as a program this fetches
what cannot be fetched from within a network of the tests' own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import trixie
from composed import standins
from composed.deployment import said
from dockbus.engine import Engine
from dockbus.errors import DockbusError
from dockbus.settings import EngineSettings
from e2e.chaos.services import answers
from waiting import wait_for

SWITCH = "dkb-switch"
LAN = "10.99.0."
_GROUPS = Path("/sys/fs/cgroup")
GROUP = "4242"
"""Owns the socket of each machine's Engine."""
_BOOT = """
mount -t tmpfs run /run
hostname "$1"
ip link set lo up
until ip link set eth0 up 2>/dev/null; do sleep 0.1; done
ip address add "$2/24" dev eth0
dockerd --config-file "$3" &
wait
"""
_ALONE = ("--net", "--pid", "--uts", "--mount", "--mount-proc", "--fork", "--kill-child")


class Machine:
    """A machine; the files of its Engine outlast a power cut.

    Its Engine answers at `/var/run/docker.sock` in there, and at `host` out here.
    """

    def __init__(self, folder: Path, name: str, number: int) -> None:
        self.name, self.address = name, f"{LAN}{number}"
        self.host = f"unix://{folder / 'docker.sock'}"
        self._folder, self._groups = folder, f"dockbus-{token_hex(3)}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o700)
        (folder / "daemon.json").write_text(
            json.dumps(
                {
                    "data-root": str(folder / "data"),
                    "hosts": [self.host, "unix:///var/run/docker.sock"],
                    "group": GROUP,
                    "cgroup-parent": f"/{self._groups}",
                    "no-new-privileges": True,
                }
            )
        )

    def boot(self) -> None:
        """Switch it on; its Engine answers when this returns."""
        with (self._folder / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                [
                    *("unshare", *_ALONE, "sh", "-euc", _BOOT, "sh"),
                    *(self.name, self.address, str(self._folder / "daemon.json")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        network = Path(f"/proc/{process.pid}/ns/net")
        ours = Path("/proc/thread-self/ns/net").stat().st_ino
        wait_for(lambda: network.stat().st_ino != ours, what="its network")
        cable = ("link", "add", self.cable, "master", SWITCH, "type", "veth")
        _ip(*cable, "peer", "name", "eth0", "netns", str(process.pid))
        _ip("link", "set", self.cable, "up")
        with closing(Engine(EngineSettings(host=self.host, timeout=5))) as engine:
            wait_for(lambda: answers(engine) or process.poll() is not None, 60, self.name)
        assert process.poll() is None, (self._folder / "log").read_text()[-3000:]

    def cut_power(self) -> None:
        """SIGKILL to all that runs in it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
            wait_for(self._is_off, what=f"the end of {self.name}")

    def scrap(self) -> None:
        """Cut its power and remove what it leaves."""
        self.cut_power()
        wait_for(self._is_swept, what=f"the control groups of {self.name} to be empty")

    def docker(self, *arguments: str, folder: Path | None = None, **environment: str) -> str:
        """What Docker's command says on standard output.

        Raises:
            AssertionError: it failed; what it said is in the message.
        """
        command: list[str | Path] = [trixie.command(print), *arguments]
        return said(command, self.host, folder or self._folder, timeout=300, **environment)

    @property
    def cable(self) -> str:
        """The name of its port on the switch."""
        return f"dkb-{self.name}"

    def _is_swept(self) -> bool:
        places = [_GROUPS / self._groups]  # of version 2
        places += _GROUPS.glob(f"*/{self._groups}")  # of version 1
        for place in places:
            for group, _, _ in os.walk(place, topdown=False):
                with suppress(OSError):  # what was killed there is not quite gone
                    Path(group).rmdir()
        return not any(place.exists() for place in places)

    def _is_off(self) -> bool:
        """Its end of the cable goes with its network, and that with the last of its processes."""
        shown = subprocess.run(["ip", "link", "show", self.cable], check=False, capture_output=True)
        return shown.returncode != 0


@contextmanager
def swarm(folder: Path, *names: str) -> Generator[list[Machine]]:
    """Machines of these names to the end of the block; the first one manages the Swarm."""
    folder.mkdir()
    machines = [Machine(folder / name, name, number) for number, name in enumerate(names, 1)]
    with ExitStack() as stack:
        _ip("link", "add", SWITCH, "type", "bridge")
        stack.callback(_ip, "link", "delete", SWITCH)
        _ip("address", "add", f"{LAN}254/24", "dev", SWITCH)
        _ip("link", "set", SWITCH, "up")
        accepted = ["FORWARD", "-i", SWITCH, "-o", SWITCH, "-j", "ACCEPT"]
        # Where an Engine runs out here, it drops what others forward.
        subprocess.run(["iptables", "-I", *accepted], check=True)
        stack.callback(subprocess.run, ["iptables", "-D", *accepted], check=True)
        for machine in machines:
            stack.callback(machine.scrap)
            machine.boot()
        first, *others = machines
        first.docker("swarm", "init", "--advertise-addr", first.address)
        token = first.docker("swarm", "join-token", "--quiet", "worker").strip()
        for machine in others:
            machine.docker("swarm", "join", "--token", token, f"{first.address}:2377")
        yield machines


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    try:
        standins.fetch()
        trixie.command(print)
    except DockbusError as error:
        sys.exit(str(error))
