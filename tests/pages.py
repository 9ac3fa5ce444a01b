"""The commands of documentation pages, and a shell that runs them as their readers would.

Each fenced block of a page whose language is `sh`, `console` or `python` is run, from top to bottom, in one shell. In
`console`, lines that begin with `$ ` are commands, and the others all that they print: `…` stands for anything, on a line
of its own for any number of lines, and spaces count once. A command has to succeed, unless a comment behind it
(`# exits with 2`) or an `echo $?` after it tells its exit code. What else a block needs, a comment right above it says:

    <!-- file: rules.yaml -->    it is that file; any language
    <!-- goes on: WORDS -->      each of its commands goes on; what follows waits until it has said these words; `A or B`
    <!-- soon -->                its commands are repeated until they print what stands there
    <!-- after Ctrl-C -->        what goes on is stopped first
    <!-- not run: REASON -->     nobody runs it
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from waiting import wait_for

RUN = ("sh", "console", "python")
NOTES = ("file", "goes on", "soon", "after Ctrl-C", "not run")
LONGEST = 60.0
"""Seconds that one command may take."""
PATIENCE = 30.0
"""Seconds in which something that comes `soon` has to come."""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- ([^:>]+?)(?:: ((?:(?!-->).)*))? -->\s*\Z", re.DOTALL)
_EXITS = re.compile(r"#.*\bexits with (\d+)")


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    text: str
    place: str
    """`page:line`."""
    printed: str | None = None
    """What it prints; None: whatever it likes."""
    code: int = 0


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with what the comment above it says."""

    language: str
    text: str
    place: str
    note: str = ""
    value: str = ""

    @property
    def is_run(self) -> bool:
        return self.language in RUN and self.note not in ("not run", "file")


def blocks(text: str, name: str) -> list[Block]:
    """All blocks of a page.

    Raises:
        ValueError: the comment above one that would be run says nothing that is known.
    """
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        place = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        comment = _NOTE.search(text, 0, match.start())
        note, value = (comment[1], comment[2] or "") if comment else ("", "")
        if note not in ("", *NOTES) and match[1] in RUN:
            raise ValueError(f"{place}: {note!r} is none of {', '.join(NOTES)}")
        found.append(Block(match[1], match[2], place, note, " ".join(value.split())))
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block that is run, in their order."""
    if block.language == "python":
        yield Command(f"python - <<'END-OF-BLOCK'\n{block.text}END-OF-BLOCK", block.place)
        return
    if block.language == "sh":
        for text in _whole(block.text.splitlines()):
            exits = _EXITS.search(text)
            yield Command(text, block.place, code=int(exits[1]) if exits else 0)
        return
    shown = re.findall(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)
    texts = [re.sub(r"^> ", "", typed, flags=re.MULTILINE).strip() for typed, _ in shown]
    for number, (text, (_, printed)) in enumerate(zip(texts, shown, strict=True)):
        asked = number + 1 < len(texts) and texts[number + 1] == "echo $?"
        code = int(shown[number + 1][1]) if asked else 0
        yield Command(text, block.place, printed, code)


def _whole(lines: list[str]) -> Iterator[str]:
    """The lines as commands: one goes on as long as bash finds it wanting."""
    text = ""
    for line in lines:
        text += line + "\n"
        read = subprocess.run(
            ["bash", "-n"], input=text, text=True, capture_output=True, check=False
        )
        if not (read.returncode or read.stderr or line.endswith("\\")):
            if text.strip():
                yield text.strip()
            text = ""
    assert not text, f"an unfinished command: {text}"


def fits(printed: str, expected: str) -> bool:
    """Whether a command printed what its page shows."""
    pattern = ""
    for line in _lines(expected):
        each = ".*".join(re.escape(part) for part in line.split("…"))
        pattern += r"(?:.*\n)*" if line == "…" else f"{each}\n"
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))))


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip("\n").splitlines()]


class Shell:
    """A bash of its own, with what goes on in terminals beside it."""

    def __init__(self, folder: Path, scratch: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self._scratch = scratch
        self._code = 0
        self._going: dict[str, int] = {}
        """Process groups by their command."""
        with (scratch / "bash.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                cwd=folder,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
        self._send("set -m")  # so that what goes on can be stopped as by Ctrl-C

    def follow(self, block: Block) -> None:
        """Do what a block says.

        Raises:
            AssertionError: a command did not do what its page says.
        """
        if block.note == "file":
            file = self.folder / block.value
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        if not block.is_run:
            return
        if block.note == "after Ctrl-C":
            self.interrupt()
        for command in commands(block):
            if block.note == "goes on":
                self._start(command, block.value)
            else:
                self._do(command, soon=block.note == "soon")

    def interrupt(self) -> None:
        """Ctrl-C in every terminal.

        Raises:
            AssertionError: something did not end by it.
        """
        for group in self._going.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGINT)
        for command, group in list(self._going.items()):
            wait_for(lambda group=group: not _lives(group), PATIENCE, f"the end of {command}")  # type: ignore[misc]
            del self._going[command]

    def close(self) -> None:
        """End all of it."""
        try:
            self.interrupt()
        finally:
            for group in self._going.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            self._process.kill()
            self._process.communicate()

    def _do(self, command: Command, *, soon: bool) -> None:
        def done() -> bool:
            code, printed = self._run(command.text)
            said = f"{command.place}: {command.text}\nexited with {code} and printed:\n{printed}"
            ok = code == command.code and (
                command.printed is None or fits(printed, command.printed)
            )
            assert ok or soon, said
            seen[:] = [said]
            return ok

        seen: list[str] = []
        if soon:
            with contextlib.suppress(AssertionError):
                wait_for(done, PATIENCE)
                return
            raise AssertionError(f"for {PATIENCE:g} s: {seen[-1]}")
        done()

    def _run(self, text: str) -> tuple[int, str]:
        """Exit code and output."""
        file, output = self._scratch / "command", self._scratch / "output"
        file.write_text(text + "\n")
        self._code = int(
            self._send(f"(exit {self._code}); . {file} >{output} 2>&1 </dev/null; echo $?", LONGEST)
        )
        return self._code, output.read_text(errors="replace")

    def _start(self, command: Command, words: str) -> None:
        """Have a command go on, unless it does already; returns when it has said these words."""
        bare = re.sub(r"\s+#.*", "", command.text)
        if bare in self._going:
            return
        file, log = self._scratch / "command", self._scratch / f"terminal-{len(self._going)}.log"
        log.touch()
        file.write_text(f"{{ {command.text}\n}} >{log} 2>&1 </dev/null &\n")
        group = int(self._send(f". {file}; echo $!", LONGEST))
        self._going[bare] = group

        def said() -> bool:
            assert _lives(group), f"{command.place}: {command.text}\nended:\n{log.read_text()}"
            return any(each in log.read_text() for each in words.split(" or "))

        wait_for(said, LONGEST, f"{words!r} of {command.place}: {command.text}")

    def _send(self, line: str, timeout: float = 0.0) -> str:
        """Have bash do something; the line that it answers, where it has `timeout` seconds for that."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + "\n")
        if not timeout:
            return ""
        answered = select.select([self._process.stdout], [], [], timeout)[0]
        assert answered, (
            f"{timeout:g} s were not enough for: {(self._scratch / 'command').read_text()}"
        )
        return self._process.stdout.readline()


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def shell(folder: Path, scratch: Path, env: Mapping[str, str]) -> Generator[Shell]:
    """A shell in `folder`; what it goes on with ends with the block."""
    opened = Shell(folder, scratch, env)
    try:
        yield opened
    finally:
        opened.close()
