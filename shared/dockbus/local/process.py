"""A server that lives as long as a `with` block: started, waited for, stopped.

It runs in a session of its own, so that Ctrl-C in a terminal reaches only us and we stop things in
order. The price: a `kill -9` of this process leaves the server behind, to be joined by the next start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dockbus.errors import DockbusError

_LONGEST_SOCKET = 107
"""Bytes that Linux allows in the path of a Unix socket."""


class StartFailed(DockbusError):
    """A server that dockbus starts itself did not start.

    Remove the cause that its log names, then try again.
    """


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    answers: Callable[[], bool],
    timeout: float,
    grace: float,
    hold: Sequence[int] = (),
) -> Generator[None]:
    """Run `command` from the moment it `answers` to the end of the block.

    Args:
        command: the program and its arguments.
        log: where its output is appended.
        answers: whether it is ready; asked again and again.
        timeout: seconds it may take to become ready.
        grace: seconds between SIGTERM and SIGKILL at the end.
        hold: open files, such as a lock, that the server keeps open.

    Raises:
        StartFailed: it ended or did not become ready in time; the end of its log is in the message.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=hold,
        )
    try:
        deadline = time.monotonic() + timeout
        while not answers():
            if process.poll() is not None:
                raise StartFailed(f"{command[0]} exited with {process.returncode}; {_end_of(log)}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{command[0]} was silent for {timeout:g} s; {_end_of(log)}")
            time.sleep(0.05)
        yield
    finally:
        _stop(process, grace)


def socket_path(path: Path) -> Path:
    """The path, if it can be that of a Unix socket.

    Raises:
        StartFailed: it is too long.
    """
    if (size := len(os.fsencode(path))) > _LONGEST_SOCKET:
        raise StartFailed(
            f"the socket {path} would have a path of {size} bytes and Linux allows "
            f"{_LONGEST_SOCKET}; use a folder with a shorter path"
        )
    return path


def _stop(process: subprocess.Popen[bytes], grace: float) -> None:
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_of(log: Path) -> str:
    return f"{log} ends with:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-10:])
