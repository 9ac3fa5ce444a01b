"""A process that has imported the command line and forks one of its own for each call: importing it takes a second.

Run as a program it serves calls at a Unix socket until its stdin ends. A call comes as a line of JSON with the files for
stdout and stderr, or for stdin too; the process ID and the exit code go back.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

COMMAND_LINE = "dockbus.cli.main"
_IMPORTED = (
    COMMAND_LINE,
    "dockbus.cli.stream",
    "dockbus_producer.api.server",
    "dockbus_producer.scheduler",
    "dockbus_producer.watch",
    "dockbus_workers.metrics.server",
    "dockbus_workers.process",
)
"""What commands import only when they are called."""
_STAND_IN = """#!{python} -IS
import json, os, signal, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({socket!r})
order = dict(words=sys.argv[1:], env=dict(os.environ), folder=os.getcwd())
socket.send_fds(line, [b"!"], [0, 1, 2])
line.sendall(json.dumps(order).encode() + b"\\n")
answer = line.makefile()
process = int(answer.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(process, number))
code = int(answer.readline())
sys.exit(code if code >= 0 else 128 - code)
"""


def stand_in(folder: Path) -> None:
    """Put a program `dockbus` into a folder, for a PATH: it is called as the real one, and forked as by `call`."""
    file = folder / "dockbus"
    file.write_text(_STAND_IN.format(python=sys.executable, socket=str(_server())))
    file.chmod(0o755)


def call(
    words: Sequence[str], env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Call the command line with these words.

    Raises:
        subprocess.TimeoutExpired: it took longer than that, and is killed.
    """
    with (
        socket.socket(socket.AF_UNIX) as line,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        line.connect(str(_server()))
        order = json.dumps({"words": words, "env": dict(env), "folder": str(Path.cwd())}) + "\n"
        socket.send_fds(line, [b"!"], [out.fileno(), err.fileno()])
        line.sendall(order.encode())
        answer = line.makefile()
        process = int(answer.readline())
        line.settimeout(timeout)
        try:
            code = int(answer.readline())
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(words), timeout) from None
        texts: list[str] = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(list(words), code, *texts)


class Process:
    """The command line with these words, as `subprocess.Popen` would have it; all that it writes goes into a file.

    With `module`, the `main` of that one is called instead.
    """

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], output: int, module: str = COMMAND_LINE
    ) -> None:
        self.returncode: int | None = None
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(_server()))
        order = {
            "words": list(words),
            "env": dict(env),
            "folder": str(Path.cwd()),
            "module": module,
        }
        socket.send_fds(self._line, [b"!"], [output, output])
        self._line.sendall(json.dumps(order).encode() + b"\n")
        self._answer = self._line.makefile()
        self.pid = int(self._answer.readline())

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("dockbus", timeout or 0)
            self.returncode = int(self._answer.readline())
            self._answer.close()
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> Path:
    """The socket of this process' own server, which ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="dkb-"))
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder / "socket")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder)

    atexit.register(end)
    return folder / "socket"


def _serve(path: str) -> str:
    """Serve until stdin ends; returns, in each process that was forked, whose `main` is to be called there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return _carry_out(line)
            line.close()
    return ""


def _carry_out(line: socket.socket) -> str:
    _, files, _, _ = socket.recv_fds(line, 1, 3)
    order = json.loads(line.makefile().readline())
    if process := os.fork():
        for file in files:
            os.close(file)
        line.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(OSError):
            line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    line.close()
    if len(files) == 2:
        files = [os.open(os.devnull, os.O_RDONLY), *files]
    for source, target in zip(files, range(3), strict=True):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    if order["env"].get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")
    sys.argv[1:] = order["words"]
    return str(order.get("module", COMMAND_LINE))


if __name__ == "__main__":
    for imported in _IMPORTED:
        import_module(imported)
    if called := _serve(sys.argv[1]):
        import_module(called).main()
