"""A process that has imported the command line and forks one of its own for each call: importing it takes a second.

Run as a program it serves calls at a Unix socket until its stdin ends. A call comes as a line of JSON with the files for
stdout and stderr; the process ID and the exit code go back.
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
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


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


def _serve(path: str) -> bool:
    """Serve until stdin ends; returns True in each process that is to be the command line."""
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
    return False


def _carry_out(line: socket.socket) -> bool:
    _, files, _, _ = socket.recv_fds(line, 1, 2)
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
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in zip((nothing, *files), range(3), strict=True):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    sys.argv[1:] = order["words"]
    return True


if __name__ == "__main__":
    from dockbus.cli.main import main

    if _serve(sys.argv[1]):
        main()
